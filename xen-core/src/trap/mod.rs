//! Guest exceptions (placeholder of the skeleton; owner: traps).
/// What assembly reads.
#[derive(Debug)]
#[repr(C)]
pub struct EntryState {}
impl EntryState {
    /// Of a vCPU that is down.
    pub fn new() -> Self {
        Self {}
    }
}
/// What a vCPU is switched with.
#[derive(Debug)]
pub struct VcpuContext {}
impl VcpuContext {
    /// Of a vCPU that is down.
    pub fn new() -> Self {
        Self {}
    }
}
