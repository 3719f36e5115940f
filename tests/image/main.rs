//! What the built images hold, instruction by instruction: `objdump` disassembles them.
//!
//! The core saves the guest's FPU registers lazily, so it must not have a use for them itself: one
//! vector instruction in it, and a guest's data would be gone or shown to another guest.
#![forbid(unsafe_code)]

mod disassembly;

use std::path::{Path, PathBuf};
use std::process::Command;

use disassembly::{Instruction, parse};

/// The functions that may touch FPU state, by a part of their names; each only ever saves or loads
/// all of a guest's registers. The compiler may inline them, into the switch of vCPUs alone.
const FPU_FUNCTIONS: &[&str] = &["arch::x86_64::fpu::", "arch::x86_64::context::"];

/// What saving and loading takes: the whole of the state, and the two x87 instructions that hide
/// the last pointers of the guest before (XSA-52).
const FPU_STATE: &[&str] = &["fxsave64", "fxrstor64", "fnclex", "ffree", "fild"];

#[test]
fn the_core_has_no_vector_or_x87_instruction() {
    let code = disassemble(&image("radon.elf"));
    assert!(
        code.len() > 10_000,
        "the disassembly is cut short: {} lines",
        code.len()
    );
    let offenders: Vec<_> = code
        .iter()
        .filter(|it| it.touches_fpu() && !is_state_switch(it))
        .map(ToString::to_string)
        .collect();
    assert!(
        offenders.is_empty(),
        "the core would spoil guests' registers:\n{}",
        offenders.join("\n")
    );
}

#[test]
fn the_core_saves_and_loads_guests_registers() {
    let code = disassemble(&image("radon.elf"));
    for mnemonic in ["fxsave64", "fxrstor64"] {
        assert!(
            code.iter().any(|it| it.mnemonic == mnemonic),
            "the image has no {mnemonic}: is it the core, and is the disassembly complete?"
        );
    }
}

fn is_state_switch(instruction: &Instruction) -> bool {
    FPU_STATE.contains(&instruction.mnemonic.as_str())
        && FPU_FUNCTIONS
            .iter()
            .any(|part| instruction.function.contains(part))
}

fn image(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = root.join("build/images").join(name);
    assert!(
        file.is_file(),
        "{} is missing: run `cargo xtask build`",
        file.display()
    );
    file
}

fn disassemble(file: &Path) -> Vec<Instruction> {
    let output = Command::new("objdump")
        .args([
            "--disassemble",
            "--demangle",
            "--no-show-raw-insn",
            "-M",
            "intel",
        ])
        .arg(file)
        .output()
        .expect("objdump runs (Debian: apt-get install binutils)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    parse(&String::from_utf8_lossy(&output.stdout))
}
