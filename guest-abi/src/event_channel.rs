//! Event channels: `event_channel_op`, and the words of the FIFO ABI.

use crate::frame::Pfn;
use crate::ids::{DomIdArg, Port, VcpuId};

wire_enum! {
    /// `event_channel_op` commands.
    pub enum EventChannelOp: u32 {
        BindInterdomain = 0,
        BindVirq = 1,
        BindPirq = 2,
        Close = 3,
        Send = 4,
        Status = 5,
        AllocUnbound = 6,
        BindIpi = 7,
        BindVcpu = 8,
        Unmask = 9,
        Reset = 10,
        InitControl = 11,
        ExpandArray = 12,
        SetPriority = 13,
    }
}

wire_enum! {
    /// A port's state, as `status` tells it.
    pub enum PortStatus: u32 {
        Closed = 0,
        Unbound = 1,
        Interdomain = 2,
        Pirq = 3,
        Virq = 4,
        Ipi = 5,
    }
}

/// Flag of [`BindPirq`]: others may bind the same line.
pub const BIND_PIRQ_WILL_SHARE: u32 = 1;

/// FIFO: the most urgent queue.
pub const FIFO_PRIORITY_MAX: u32 = 0;
/// FIFO: where ports start.
pub const FIFO_PRIORITY_DEFAULT: u32 = 7;
/// FIFO: the least urgent queue.
pub const FIFO_PRIORITY_MIN: u32 = 15;
/// FIFO: queues a vCPU has.
pub const FIFO_MAX_QUEUES: usize = 16;
/// FIFO: bit of an event word, an event waits.
pub const FIFO_PENDING: u32 = 31;
/// FIFO: bit of an event word, deliver nothing.
pub const FIFO_MASKED: u32 = 30;
/// FIFO: bit of an event word, it is on a queue.
pub const FIFO_LINKED: u32 = 29;
/// FIFO: bit of an event word, the guest must not unlink it now.
pub const FIFO_BUSY: u32 = 28;
/// FIFO: low bits of an event word, the next port on the queue.
pub const FIFO_LINK_BITS: u32 = 17;
/// FIFO: the mask of those bits.
pub const FIFO_LINK_MASK: u32 = (1 << 17) - 1;
/// FIFO: ports there can be.
pub const FIFO_NR_CHANNELS: u32 = 1 << 17;

abi! {
    /// Opens a port in `dom` that `remote_dom` may bind.
    pub struct AllocUnbound: 8 {
        0 => dom: DomIdArg,
        2 => remote_dom: DomIdArg,
        /// Out: the new port.
        4 => port: Port,
    }

    /// Binds a new local port to one a remote domain opened.
    pub struct BindInterdomain: 12 {
        0 => remote_dom: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        4 => remote_port: Port,
        /// Out: the new port.
        8 => local_port: Port,
    }

    /// Binds a new port to a virtual interrupt.
    pub struct BindVirq: 12 {
        /// [`crate::ids::Virq`].
        0 => virq: u32,
        4 => vcpu: VcpuId,
        /// Out: the new port.
        8 => port: Port,
    }

    /// Binds a new port to a device's interrupt.
    pub struct BindPirq: 12 {
        0 => pirq: u32,
        4 => flags: u32,
        /// Out: the new port.
        8 => port: Port,
    }

    /// Binds a new port over which one vCPU is poked by the others.
    pub struct BindIpi: 8 {
        0 => vcpu: VcpuId,
        /// Out: the new port.
        4 => port: Port,
    }

    /// Closes a port.
    pub struct Close: 4 {
        0 => port: Port,
    }

    /// Sends an event.
    pub struct Send: 4 {
        0 => port: Port,
    }

    /// Asks for a port's state.
    pub struct Status: 24 {
        0 => dom: DomIdArg,
        #[doc(hidden)]
        2 => _pad0: u16,
        4 => port: Port,
        /// Out: [`PortStatus`].
        8 => status: u32,
        /// Out: who is told.
        12 => vcpu: VcpuId,
        /// Out: the remote domain, the pirq or the virq.
        16 => detail: u32,
        /// Out: the remote port.
        20 => remote_port: Port,
    }

    /// Chooses the vCPU that is told.
    pub struct BindVcpu: 8 {
        0 => port: Port,
        4 => vcpu: VcpuId,
    }

    /// Unmasks a port, and delivers what waited.
    pub struct Unmask: 4 {
        0 => port: Port,
    }

    /// Closes all ports of a domain.
    pub struct Reset: 2 {
        0 => dom: DomIdArg,
    }

    /// FIFO: gives a vCPU its control block.
    pub struct InitControl: 24 {
        0 => control_gfn: Pfn,
        8 => offset: u32,
        12 => vcpu: VcpuId,
        /// Out: bits in a link.
        16 => link_bits: u8,
        #[doc(hidden)]
        17 => _pad0: [u8; 7],
    }

    /// FIFO: adds a page of event words.
    pub struct ExpandArray: 8 {
        0 => array_gfn: Pfn,
    }

    /// FIFO: moves a port to another queue.
    pub struct SetPriority: 8 {
        0 => port: Port,
        4 => priority: u32,
    }

    /// FIFO: a vCPU's queues.
    pub struct FifoControlBlock: 72 {
        /// A bit for each queue that holds something.
        0 => ready: u32,
        #[doc(hidden)]
        4 => _pad0: u32,
        /// The first port on each queue.
        8 => head: [u32; FIFO_MAX_QUEUES],
    }
}
