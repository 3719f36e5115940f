//! Event channels, two-level: binding them, and finding out which fired.
//!
//! Kernel code runs with upcalls masked. It looks for pending events itself
//! ([`take`]) and stops in [`wait`], which the next event ends; the upcall does
//! nothing but wake. So no code is ever interrupted by an event handler, and
//! nothing needs to be protected from one. A driver that waits for one port
//! ([`wait_for`]) leaves the events of the others to the next [`take`].
//!
//! Every port starts masked. Binding one to a virtual CPU notes that CPU as the
//! one whose [`take`] reports it.

use core::{
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};

use guest_abi::{
    DomId, Errno, Hypercall, Port, VcpuId, Virq,
    event_channel::{
        AllocUnbound, BindInterdomain, BindIpi, BindPirq, BindVirq, Close, EventChannelOp, Send,
        Unmask,
    },
    ids::DomIdArg,
    shared_info::SharedInfo,
    vcpu::VcpuInfo,
};

use crate::{
    arch::{hypercall, hypercall::Plain, shared},
    kept::{Kept, WORDS},
};

/// Virtual CPUs that can have ports of their own.
pub const MAX_VCPUS: usize = 8;

/// For each virtual CPU, events that were taken while somebody waited for another.
static KEPT: [Kept; MAX_VCPUS] = [const { Kept::new() }; MAX_VCPUS];

/// For each virtual CPU, the ports it reports.
static OWNED: [[AtomicU64; WORDS]; MAX_VCPUS] =
    [const { [const { AtomicU64::new(0) }; WORDS] }; MAX_VCPUS];

/// The word and the bit of a port.
fn place(port: Port) -> (usize, u64) {
    let number = port.get() as usize;
    (number / 64, 1 << (number % 64))
}

/// Masks every port.
pub(crate) fn init() {
    let info = shared::info();
    for word in 0..WORDS {
        info.u64(offset_of!(SharedInfo, evtchn_mask) + word * 8)
            .store(!0, Ordering::Relaxed);
    }
}

fn op<T: Plain>(op: EventChannelOp, arg: &mut T) -> Result<(), Errno> {
    hypercall::command(Hypercall::EventChannelOp, op.number(), arg).map(drop)
}

/// Makes `vcpu` report `port`, and lets it fire.
fn open(port: Port, vcpu: VcpuId) -> Result<Port, Errno> {
    let (word, bit) = place(port);
    let owned = OWNED
        .get(vcpu.get() as usize)
        .and_then(|words| words.get(word));
    owned.ok_or(Errno::EINVAL)?.fetch_or(bit, Ordering::Relaxed);
    unmask(port);
    Ok(port)
}

/// Binds a virtual interrupt of one virtual CPU.
///
/// # Errors
///
/// The hypervisor's refusal; likewise for every function here that can fail.
pub fn bind_virq(virq: Virq, vcpu: VcpuId) -> Result<Port, Errno> {
    let mut arg = BindVirq {
        virq: virq.number(),
        vcpu,
        ..BindVirq::default()
    };
    op(EventChannelOp::BindVirq, &mut arg)?;
    open(arg.port, vcpu)
}

/// Binds a device's interrupt, reported by vCPU 0.
pub fn bind_pirq(pirq: u32) -> Result<Port, Errno> {
    let mut arg = BindPirq {
        pirq,
        ..BindPirq::default()
    };
    op(EventChannelOp::BindPirq, &mut arg)?;
    open(arg.port, VcpuId::new(0))
}

/// Opens a port over which other virtual CPUs reach `vcpu`.
pub fn bind_ipi(vcpu: VcpuId) -> Result<Port, Errno> {
    let mut arg = BindIpi {
        vcpu,
        ..BindIpi::default()
    };
    op(EventChannelOp::BindIpi, &mut arg)?;
    open(arg.port, vcpu)
}

/// Opens a port of this domain that `remote` may bind; vCPU 0 reports it.
pub fn alloc_unbound(remote: DomId) -> Result<Port, Errno> {
    let port = alloc_unbound_for(DomIdArg::SELF, remote)?;
    open(port, VcpuId::new(0))
}

/// Opens a port of another domain that `remote` may bind. For the toolstack.
pub fn alloc_unbound_for(domain: DomIdArg, remote: DomId) -> Result<Port, Errno> {
    let mut arg = AllocUnbound {
        dom: domain,
        remote_dom: remote.into(),
        ..AllocUnbound::default()
    };
    op(EventChannelOp::AllocUnbound, &mut arg)?;
    Ok(arg.port)
}

/// Binds a new port to one that `remote` opened for this domain.
pub fn bind_interdomain(remote: DomId, remote_port: Port) -> Result<Port, Errno> {
    let mut arg = BindInterdomain {
        remote_dom: remote.into(),
        remote_port,
        ..BindInterdomain::default()
    };
    op(EventChannelOp::BindInterdomain, &mut arg)?;
    open(arg.local_port, VcpuId::new(0))
}

/// Lets vCPU 0 report a port that somebody else opened: a ring of start of day.
pub fn adopt(port: Port) -> Result<Port, Errno> {
    open(port, VcpuId::new(0))
}

/// Closes a port.
pub fn close(port: Port) -> Result<(), Errno> {
    mask(port);
    let (word, bit) = place(port);
    for words in &OWNED {
        if let Some(owned) = words.get(word) {
            owned.fetch_and(!bit, Ordering::Relaxed);
        }
    }
    for kept in &KEPT {
        kept.take(word, bit);
    }
    op(EventChannelOp::Close, &mut Close { port })
}

/// Sends an event to the other end.
pub fn send(port: Port) -> Result<(), Errno> {
    op(EventChannelOp::Send, &mut Send { port })
}

/// Keeps a port from being reported; what arrives meanwhile stays pending.
pub fn mask(port: Port) {
    let (word, bit) = place(port);
    let offset = offset_of!(SharedInfo, evtchn_mask) + word * 8;
    shared::info().u64(offset).fetch_or(bit, Ordering::Relaxed);
}

/// Lets a port be reported again, at once if it is pending.
pub fn unmask(port: Port) {
    // Refused for a port that is not open, which then stays masked.
    let _ = op(EventChannelOp::Unmask, &mut Unmask { port });
}

/// Takes every pending event of `vcpu` that is not masked.
pub fn take(vcpu: VcpuId, mut found: impl FnMut(Port)) {
    if let Some(kept) = KEPT.get(vcpu.get() as usize) {
        kept.drain(|word, bits| each_port(word, bits, &mut found));
    }
    take_words(vcpu, |word, bits| each_port(word, bits, &mut found));
}

/// The ports of a word's bits.
fn each_port(word: usize, mut bits: u64, found: &mut impl FnMut(Port)) {
    while bits != 0 {
        let bit = bits.trailing_zeros();
        bits &= bits - 1;
        found(Port::new(u32::try_from(word).unwrap_or(0) * 64 + bit));
    }
}

/// Takes what is pending in the shared info page, word by word.
fn take_words(vcpu: VcpuId, mut found: impl FnMut(usize, u64)) {
    let info = shared::info();
    let record = shared::vcpu_offset(vcpu);
    let pending = record + offset_of!(VcpuInfo, evtchn_upcall_pending);
    let Some(owned) = OWNED.get(vcpu.get() as usize) else {
        return;
    };

    // Order matters: the flag first, then the selector, then the words, so that
    // an event that arrives meanwhile sets the flag again.
    if !info.take_byte(pending) {
        return;
    }
    let selector = info.u64(record + offset_of!(VcpuInfo, evtchn_pending_sel));
    let mut words = selector.swap(0, Ordering::AcqRel);
    while words != 0 {
        let word = words.trailing_zeros() as usize;
        words &= words - 1;
        let masked = info.u64(offset_of!(SharedInfo, evtchn_mask) + word * 8);
        let pending = info.u64(offset_of!(SharedInfo, evtchn_pending) + word * 8);
        let bits = pending.load(Ordering::Acquire)
            & !masked.load(Ordering::Relaxed)
            & owned[word].load(Ordering::Relaxed);
        pending.fetch_and(!bits, Ordering::AcqRel);
        found(word, bits);
    }
}

/// Waits until `port` has fired for `vcpu`; what else fires meanwhile is left to [`take`].
pub fn wait_for(vcpu: VcpuId, port: Port) {
    wait_for_any(vcpu, &[port]);
}

/// Waits until one of `ports` has fired for `vcpu`; what else fires meanwhile is left to [`take`].
pub fn wait_for_any(vcpu: VcpuId, ports: &[Port]) {
    let Some(kept) = KEPT.get(vcpu.get() as usize) else {
        return;
    };
    loop {
        take_words(vcpu, |word, bits| kept.keep(word, bits));
        let fired = ports.iter().fold(false, |fired, &port| {
            let (word, bit) = place(port);
            kept.take(word, bit) | fired
        });
        if fired {
            return;
        }
        block(vcpu);
    }
}

/// Opens upcalls on the calling virtual CPU, until one comes: the next event to arrive interrupts
/// it once, which does nothing but mask upcalls again. What is pending already does not count.
pub fn open_upcalls(vcpu: VcpuId) {
    let mask = shared::vcpu_offset(vcpu) + offset_of!(VcpuInfo, evtchn_upcall_mask);
    shared::info().set_byte(mask, 0);
}

/// Stops this virtual CPU until an event is pending.
///
/// None is missed: an event that arrived since [`take`] ends the wait at once.
pub fn wait(vcpu: VcpuId) {
    let kept = KEPT.get(vcpu.get() as usize);
    if !kept.is_some_and(Kept::any) {
        block(vcpu);
    }
}

/// Stops until the hypervisor has an event for this virtual CPU.
fn block(vcpu: VcpuId) {
    crate::sched::block();
    // The upcall that ended the wait came back with upcalls masked; a hypervisor
    // that delivered none leaves them open.
    let mask = shared::vcpu_offset(vcpu) + offset_of!(VcpuInfo, evtchn_upcall_mask);
    shared::info().set_byte(mask, 1);
}
