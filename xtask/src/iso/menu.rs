//! What GRUB shows: on the screen, and on the serial port that is Radon's console as well.

/// GRUB's menu.
pub(super) const MENU: &str = "\
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=2
set default=0

menuentry 'Radon' {
    multiboot2 /boot/radon console=com1
    module2 /boot/dom0
}

menuentry 'Radon, telling all it does' {
    multiboot2 /boot/radon console=com1 loglvl=all guest_loglvl=all
    module2 /boot/dom0 loglevel=debug
}
";
