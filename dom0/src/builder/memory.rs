//! A new domain's memory: got in batches, written through short mappings.

use alloc::vec::Vec;

use guest_abi::layout::Layout;
use guest_abi::{DomId, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn};

use super::BuildError;
use crate::executor::Runtime;
use crate::hypervisor::Hypervisor;

/// Pages got, or mapped, at a time: other tasks run in between.
const BATCH: usize = 256;

/// The memory of a domain that doesn't run yet.
pub(super) struct GuestMemory<'a> {
    pub(super) hypervisor: &'a dyn Hypervisor,
    pub(super) domain: DomId,
    runtime: &'a Runtime,
    /// The machine frame of each pfn.
    p2m: Vec<u64>,
}

/// The pseudo-physical address of a page.
pub(super) fn address(pfn: Pfn) -> u64 {
    pfn.get() << PAGE_SHIFT
}

impl<'a> GuestMemory<'a> {
    /// Gives the domain its pages. They hold zeros.
    pub(super) async fn populate(
        hypervisor: &'a dyn Hypervisor,
        runtime: &'a Runtime,
        domain: DomId,
        pages: u64,
    ) -> Result<Self, BuildError> {
        let count = usize::try_from(pages).map_err(|_| BuildError::Dom0Memory)?;
        let mut p2m = Vec::new();
        // The list is written out in whole pages, the last one filled with "no frame".
        let room = count.next_multiple_of(PAGE_SIZE / 8);
        p2m.try_reserve_exact(room)
            .map_err(|_| BuildError::Dom0Memory)?;
        p2m.extend(0..pages);
        for batch in p2m.chunks_mut(BATCH) {
            let asked = batch.len();
            let got = hypervisor
                .populate(domain, batch)
                .map_err(BuildError::refused("populate_physmap"))?;
            if got < asked {
                let info = hypervisor
                    .physinfo()
                    .map_err(BuildError::refused("physinfo"))?;
                return Err(BuildError::NotEnoughMemory {
                    free_kib: info.free_pages.saturating_mul(4),
                    asked_kib: pages.saturating_mul(4),
                });
            }
            runtime.yield_now().await;
        }
        Ok(Self {
            hypervisor,
            domain,
            runtime,
            p2m,
        })
    }

    /// The machine frame of a pfn.
    pub(super) fn frame(&self, pfn: Pfn) -> Result<Mfn, BuildError> {
        let index = usize::try_from(pfn.get()).ok();
        let frame = index.and_then(|index| self.p2m.get(index));
        // The plan only names pages that the domain has.
        frame.copied().map(Mfn::new).ok_or(BuildError::Dom0Memory)
    }

    /// Writes bytes at a pseudo-physical address.
    pub(super) async fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BuildError> {
        let mut address = address;
        let mut left = bytes;
        while !left.is_empty() {
            // `PAGE_SIZE` is a power of two that fits any integer.
            let offset = usize::try_from(address % PAGE_SIZE as u64).unwrap_or(0);
            let (now, later) = left.split_at(left.len().min(BATCH * PAGE_SIZE - offset));
            let first = address >> PAGE_SHIFT;
            let pages = (offset + now.len()).div_ceil(PAGE_SIZE) as u64;
            let frames = (first..first + pages)
                .map(|pfn| self.frame(Pfn::new(pfn)))
                .collect::<Result<Vec<_>, _>>()?;
            self.map(&frames)?.write(offset, now);
            address += now.len() as u64;
            left = later;
            self.runtime.yield_now().await;
        }
        Ok(())
    }

    /// Maps frames of the domain.
    pub(super) fn map(
        &self,
        frames: &[Mfn],
    ) -> Result<alloc::boxed::Box<dyn crate::hypervisor::ForeignMemory>, BuildError> {
        let mapped = self.hypervisor.map(self.domain, frames);
        mapped.map_err(|error| BuildError::Refused {
            what: "mapping the domain's memory",
            errno: error.errno,
        })
    }

    /// Writes the list of machine frames where the guest looks for it.
    pub(super) async fn write_p2m(&self, layout: &Layout) -> Result<(), BuildError> {
        const PER_PAGE: usize = PAGE_SIZE / 8;
        let mut place = address(layout.p2m_list.first);
        for chunk in self.p2m.chunks(PER_PAGE * BATCH) {
            let mut bytes = Vec::new();
            let length = chunk.len().next_multiple_of(PER_PAGE) * 8;
            bytes
                .try_reserve_exact(length)
                .map_err(|_| BuildError::Dom0Memory)?;
            for frame in chunk {
                bytes.extend_from_slice(&frame.to_le_bytes());
            }
            // Entries behind the end are holes.
            bytes.resize(length, 0xff);
            self.write(place, &bytes).await?;
            place += length as u64;
        }
        Ok(())
    }
}
