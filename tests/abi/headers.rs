//! Asks the C compiler what Xen's headers say.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Declares what the toolstack may see, in the newest form the headers have.
const PROLOGUE: &str = r#"
#define __XEN_TOOLS__ 1
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <xen/xen.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/callback.h>
#include <xen/domctl.h>
#include <xen/elfnote.h>
#include <xen/errno.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/io/blkif.h>
#include <xen/io/console.h>
#include <xen/io/netif.h>
#include <xen/io/xenbus.h>
#include <xen/io/xs_wire.h>
#define SAY(value) printf("%lld\n", (long long)(value))
int main(void) {
"#;

/// The values of C expressions, in order.
pub(crate) fn evaluate(expressions: &[String]) -> Vec<i64> {
    let mut program = PROLOGUE.to_owned();
    for expression in expressions {
        writeln!(program, "SAY({expression});").unwrap();
    }
    program.push_str("return 0; }\n");

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, binary) = (folder.join("abi.c"), folder.join("abi"));
    fs::write(&source, program).unwrap();
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compiled = Command::new(&compiler)
        .args(["-std=gnu11", "-w", "-o"])
        .args([&binary, &source])
        .output()
        .unwrap_or_else(|why| panic!("no C compiler {compiler:?} ({why}): apt install gcc"));
    assert!(
        compiled.status.success(),
        "the headers do not know what guest-abi declares, or are missing (apt install \
         libxen-dev, or cargo xtask setup):\n{}",
        String::from_utf8_lossy(&compiled.stderr),
    );
    let output = Command::new(&binary).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let values: Vec<_> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(values.len(), expressions.len());
    values
}
