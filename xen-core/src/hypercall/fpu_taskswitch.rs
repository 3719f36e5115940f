//! `fpu_taskswitch`: the virtual CR0.TS.

use super::{Call, Reply};
use crate::arch::machine::Hardware;
use crate::trap::machine::Machine;

/// Sets or clears TS: while it is set, the guest's next FPU instruction raises #NM.
pub fn fpu_taskswitch(call: &mut Call<'_>) -> Reply {
    let [set, ..] = call.args;
    let set = set != 0;
    call.vcpu.context.lock().task_switched = set;
    Hardware.set_task_switched(set);
    Ok(0)
}
