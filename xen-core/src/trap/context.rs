//! [`VcpuContext`]: everything of a vCPU that assembly does not need at once.
//!
//! While the vCPU runs, its registers, bases and FPU state live in the hardware and the fields for
//! them here are stale; the switch away fills them. What the core emulates (trap table, virtual
//! control registers, privileges) lives here always.

use guest_abi::vcpu::CpuUserRegs;
use guest_abi::zerocopy::FromZeros;

use super::debugreg::DebugRegisters;
use super::gdt::Gdt;
use super::io::IoPrivilege;
use super::ldt::Ldt;
use super::table::TrapTable;

/// CR4 as a guest starts with it: PAE, OSFXSR, OSXMMEXCPT.
const CR4_START: u64 = 1 << 5 | 1 << 9 | 1 << 10;
/// CR4 bits that a guest may set. None reaches the hardware: the core sets all of them itself or
/// hides the feature.
pub const CR4_SETTABLE: u64 = CR4_START | 1 << 3 | 1 << 6;

/// FXSAVE area.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(16))]
pub struct FpuArea(pub [u8; 512]);

impl FpuArea {
    /// As after FNINIT with MXCSR's reset value.
    pub const fn new() -> Self {
        let mut image = [0; 512];
        // FCW = 0x37f, MXCSR = 0x1f80.
        image[0] = 0x7f;
        image[1] = 0x03;
        image[24] = 0x80;
        image[25] = 0x1f;
        Self(image)
    }

    /// An image that a guest or toolstack supplied, with MXCSR's reserved bits cleared: FXRSTOR
    /// would fault on them, in ring 0.
    pub fn from_image(image: &[u8; 512]) -> Self {
        let mut area = Self(*image);
        // Bits 0 to 15 are defined; 6 (denormals are zero) exists on every 64-bit CPU.
        area.0[26] = 0;
        area.0[27] = 0;
        area
    }
}

impl Default for FpuArea {
    fn default() -> Self {
        Self::new()
    }
}

/// Segment bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// FS.
    pub fs: u64,
    /// GS in guest kernel mode.
    pub gs_kernel: u64,
    /// GS in guest user mode.
    pub gs_user: u64,
}

/// A vCPU's context.
#[derive(Debug)]
pub struct VcpuContext {
    /// Registers, selectors included.
    pub regs: CpuUserRegs,
    /// Segment bases.
    pub bases: Bases,
    /// x87 and SSE.
    pub fpu: FpuArea,
    /// Exception handlers.
    pub traps: TrapTable,
    /// Global descriptors.
    pub gdt: Gdt,
    /// Local descriptors.
    pub ldt: Ldt,
    /// Breakpoints.
    pub debug: DebugRegisters,
    /// Port access.
    pub io: IoPrivilege,
    /// Virtual CR4.
    pub cr4: u64,
    /// Virtual CR0.TS.
    pub task_switched: bool,
    /// TSC_AUX.
    pub tsc_aux: u32,
    /// The vCPU has been given a context.
    pub is_initialised: bool,
    /// Counts changes made while the vCPU was not running, so that a CPU that still holds its
    /// state in the hardware knows to load it anew.
    pub generation: u64,
}

impl Default for VcpuContext {
    fn default() -> Self {
        Self::new()
    }
}

impl VcpuContext {
    /// Of a vCPU that is down.
    pub fn new() -> Self {
        Self {
            regs: CpuUserRegs::new_zeroed(),
            bases: Bases::default(),
            fpu: FpuArea::new(),
            traps: TrapTable::new(),
            gdt: Gdt::default(),
            ldt: Ldt::default(),
            debug: DebugRegisters::new(),
            io: IoPrivilege::default(),
            cr4: CR4_START,
            task_switched: false,
            tsc_aux: 0,
            is_initialised: false,
            generation: 0,
        }
    }

    /// CR0 as the guest reads it: PG AM WP NE ET MP PE, and the virtual TS.
    pub const fn cr0(&self) -> u64 {
        0x8005_0033 | if self.task_switched { 1 << 3 } else { 0 }
    }

    /// Sets virtual CR4; bits that a guest cannot have are dropped silently.
    pub const fn set_cr4(&mut self, value: u64) {
        self.cr4 = value & CR4_SETTABLE | CR4_START & 1 << 5;
    }
}
