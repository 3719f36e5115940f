//! From the grants a request names to memory that a disk can work on.
//!
//! With persistent grants, pages come from the [`Cache`]; without, those of a request are mapped
//! side by side in one go and unmapped when the disk has let go of the last piece. For a disk that
//! never looks at the bytes they are mapped for its device only, which is cheaper.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::mem::size_of;

use guest_abi::grant_table::GrantStatus;
use guest_abi::ids::GrantRef;
use guest_abi::io::blkif::Segment;
use guest_abi::zerocopy::IntoBytes;
use guest_abi::{DomId, PAGE_SIZE};

use super::persistent::Cache;
use crate::host::{Access, GrantRefused, Host, IoMemory, Piece, SECTOR_SIZE, copy};

/// The grants of one ring.
pub(super) struct Grants {
    host: Rc<dyn Host>,
    owner: DomId,
    cache: Option<Cache>,
    /// The disk itself looks at the bytes.
    needs_bytes: bool,
    /// Where a page of segments is copied to, made when first needed.
    scratch: Option<Rc<dyn IoMemory>>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("owner", &self.owner)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Grants {
    pub(super) fn new(
        host: Rc<dyn Host>,
        owner: DomId,
        persistent: bool,
        needs_bytes: bool,
    ) -> Self {
        Self {
            host,
            owner,
            cache: persistent.then(Cache::new),
            needs_bytes,
            scratch: None,
        }
    }

    /// The memory of checked segments, to be filled (`fill`) or read.
    pub(super) fn pieces(
        &mut self,
        segments: &[Segment],
        fill: bool,
    ) -> Result<Vec<Piece>, GrantRefused> {
        let (host, owner) = (&self.host, self.owner);
        let Some(cache) = &mut self.cache else {
            return self.map_together(segments, fill);
        };
        let mut pieces = Vec::with_capacity(segments.len());
        for (index, segment) in segments.iter().enumerate() {
            let memory = cache.get(segment.gref, || map_one(&**host, owner, segment.gref));
            let memory = memory.map_err(|refused| GrantRefused { index, ..refused })?;
            pieces.push(piece(memory, 0, segment));
        }
        Ok(pieces)
    }

    /// Copies `count` segments out of the granted page that an indirect request names. Nobody
    /// looks at that page again, so what was checked is what is done.
    pub(super) fn segments(
        &mut self,
        page: GrantRef,
        count: usize,
        segments: &mut Vec<Segment>,
    ) -> Result<(), GrantRefused> {
        segments.clear();
        segments.resize(count, Segment::default());
        let (host, owner) = (&self.host, self.owner);
        let memory = match &mut self.cache {
            Some(cache) => cache.get(page, || map_one(&**host, owner, page))?,
            None => self.copied(page, count * size_of::<Segment>())?,
        };
        memory.copy_from(0, segments.as_mut_slice().as_mut_bytes());
        Ok(())
    }

    /// Maps the pages of one request. A page named twice is mapped twice: that is the guest's own
    /// data, and its own muddle.
    fn map_together(&self, segments: &[Segment], fill: bool) -> Result<Vec<Piece>, GrantRefused> {
        let access = match fill {
            true => Access::ReadWrite,
            false => Access::ReadOnly,
        };
        let grants: Vec<GrantRef> = segments.iter().map(|segment| segment.gref).collect();
        let memory = match self.needs_bytes {
            true => self.host.map_grants(self.owner, &grants, access)?,
            false => (self.host).map_grants_for_devices(self.owner, &grants, access)?,
        };
        let pieces = segments.iter().enumerate();
        Ok(pieces
            .map(|(page, segment)| piece(memory.clone(), page, segment))
            .collect())
    }

    /// The front of a granted page, in memory of our own.
    fn copied(&mut self, page: GrantRef, bytes: usize) -> Result<Rc<dyn IoMemory>, GrantRefused> {
        let scratch = match &self.scratch {
            Some(scratch) => scratch.clone(),
            None => {
                let made = self
                    .host
                    .pages(1)
                    .map_err(|_| refused(GrantStatus::NoSpace))?;
                self.scratch.insert(made).clone()
            }
        };
        let len = u16::try_from(bytes).map_err(|_| refused(GrantStatus::BadCopyArg))?;
        let source = copy::granted(self.owner, page, 0);
        let mut copies = [copy::copy(source, self.host.own(&scratch, 0), len)];
        self.host.copy_grants(&mut copies);
        let [made] = copies;
        match copy::status(&made) {
            GrantStatus::Okay => Ok(scratch),
            status => Err(refused(status)),
        }
    }
}

fn refused(status: GrantStatus) -> GrantRefused {
    GrantRefused { index: 0, status }
}

/// Maps a page that is going to stay: for both directions.
fn map_one(
    host: &dyn Host,
    owner: DomId,
    grant: GrantRef,
) -> Result<Rc<dyn IoMemory>, GrantRefused> {
    host.map_grants(owner, &[grant], Access::ReadWrite)
}

/// A checked segment in page number `page` of `memory`.
fn piece(memory: Rc<dyn IoMemory>, page: usize, segment: &Segment) -> Piece {
    let first = usize::from(segment.first_sect);
    let sectors = usize::from(segment.last_sect).saturating_sub(first) + 1;
    Piece {
        memory,
        offset: page * PAGE_SIZE + first * SECTOR_SIZE,
        len: sectors * SECTOR_SIZE,
    }
}
