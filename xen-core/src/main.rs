//! The core as a bare-metal program. The loader enters at `boot_entry32` (arch/x86_64/boot.S).
#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("the core runs on bare metal only: see cargo xtask run");
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    xen_core::debug::backtrace::on_panic(info)
}
