//! Stopping: one CPU, the others, the machine.

use guest_abi::sched::ShutdownReason;
use x86_64::instructions::{hlt, interrupts};

use core::sync::atomic::{AtomicBool, Ordering};

use super::io::{inb, outb, outw};
use super::{apic, percpu};
use crate::boot::{self, acpi::Power};
use crate::debug::log::write_emergency;
use crate::sync::Once;

static SWITCH: Once<Power> = Once::new();
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Bits of the PM1 control registers: sleep type from 10 on, and the trigger.
const SLEEP_TYPE_SHIFT: u32 = 10;
const SLEEP_ENABLE: u16 = 1 << 13;
/// Where QEMU's q35 has its PM1a control register, for want of tables.
const Q35_PM1A_CONTROL: u16 = 0x604;

/// Remembers how to switch off.
pub(super) fn set_switch(power: Power) {
    SWITCH.call_once(|| power);
}

/// Stops this CPU for good.
pub fn halt() -> ! {
    loop {
        interrupts::disable();
        hlt();
    }
}

/// Stops all other CPUs for good, whatever they do: they halt in the NMI handler.
pub fn stop_others() {
    STOPPING.store(true, Ordering::SeqCst);
    // Those that are not up yet are in the firmware's hands, which takes no NMI.
    let online = percpu::online();
    if !online.is_empty() {
        let others = online.without(percpu::this_cpu());
        others.iter().for_each(apic::send_nmi);
    }
}

/// What an NMI means: another CPU stops the machine, or the hardware complains.
pub fn on_nmi() {
    if STOPPING.load(Ordering::SeqCst) {
        halt();
    }
    write_emergency(format_args!(
        "(RADON) NMI on CPU {} for no known reason\n",
        percpu::this_cpu()
    ));
}

/// Ends or reboots the host, for the reason that dom0 gave.
pub fn host_shutdown(reason: ShutdownReason) -> ! {
    stop_others();
    match reason {
        ShutdownReason::Poweroff => power_off(),
        ShutdownReason::Reboot => reboot(),
        _ => log::error!("dom0 has stopped: {reason:?}"),
    }
    if boot::machine().options.no_reboot {
        log::error!("the machine is halted");
        halt()
    }
    reboot()
}

/// Switches the machine off.
pub fn power_off() -> ! {
    log::info!("switching off from CPU {}", percpu::this_cpu());
    if let Some(power) = SWITCH.get() {
        let word = |kind: u8| u16::from(kind) << SLEEP_TYPE_SHIFT | SLEEP_ENABLE;
        outw(power.pm1a_control, word(power.sleep_type_a));
        if power.pm1b_control != 0 {
            outw(power.pm1b_control, word(power.sleep_type_b));
        }
    }
    outw(Q35_PM1A_CONTROL, SLEEP_ENABLE);
    halt()
}

/// Resets the machine: through the chipset's reset register, then the keyboard controller.
pub fn reboot() -> ! {
    log::info!("rebooting");
    outb(0xcf9, 0x02);
    outb(0xcf9, 0x06);
    for _ in 0..0x1_0000 {
        if inb(0x64) & 2 == 0 {
            break;
        }
    }
    outb(0x64, 0xfe);
    halt()
}
