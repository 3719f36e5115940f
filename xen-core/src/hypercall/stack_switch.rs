//! `stack_switch`: the stack on which the guest's kernel is entered from user mode.

use super::{Call, Reply};

/// Sets selector and pointer. A pointer that cannot take a frame ends the domain when it has to.
pub fn stack_switch(call: &mut Call<'_>) -> Reply {
    let [ss, sp, ..] = call.args;
    call.vcpu.entry.set_kernel_stack(ss, sp);
    Ok(0)
}
