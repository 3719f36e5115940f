//! `xl info`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use guest_abi::PAGE_SIZE;
use guest_abi::sysctl::PhysCaps;

use super::args::Args;
use super::table::mib;
use super::{Context, Outcome, Verb, refused};

pub(super) const VERB: Verb = Verb {
    name: "info",
    usage: "",
    summary: "Show what this host is and has",
    options: &[("-n --numa", "Accepted for compatibility")],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    Args::parse(&VERB, words)?;
    let hypervisor = context.toolstack.hypervisor();
    let info = hypervisor
        .physinfo()
        .map_err(|errno| refused("physinfo", errno))?;
    let version = hypervisor.version();
    let caps = PhysCaps::from_bits_truncate(info.capabilities);
    let hw_caps: Vec<String> = info
        .hw_cap
        .iter()
        .map(|word| format!("{word:08x}"))
        .collect();
    let virt_caps = if caps.contains(PhysCaps::PV) {
        "pv"
    } else {
        ""
    };
    let mut text = String::new();
    let mut row = |key: &str, value: &dyn core::fmt::Display| {
        text.push_str(&format!("{key:<23}: {value}\n"));
    };
    row("host", &"radon");
    row("release", &env!("CARGO_PKG_VERSION"));
    row("machine", &"x86_64");
    row("nr_cpus", &info.nr_cpus);
    row("max_cpu_id", &info.max_cpu_id);
    row("nr_nodes", &info.nr_nodes);
    row("cores_per_socket", &info.cores_per_socket);
    row("threads_per_core", &info.threads_per_core);
    row(
        "cpu_mhz",
        &format_args!("{}.{:03}", info.cpu_khz / 1000, info.cpu_khz % 1000),
    );
    row("hw_caps", &hw_caps.join(":"));
    row("virt_caps", &virt_caps);
    row("total_memory", &mib(info.total_pages));
    row("free_memory", &mib(info.free_pages));
    row("sharing_freed_memory", &0);
    row("sharing_used_memory", &0);
    row("outstanding_claims", &mib(info.outstanding_pages));
    row("free_cpus", &0);
    row("xen_major", &version.major);
    row("xen_minor", &version.minor);
    row("xen_extra", &version.extra);
    row(
        "xen_version",
        &format_args!("{}.{}{}", version.major, version.minor, version.extra),
    );
    row("xen_caps", &version.capabilities);
    row("xen_scheduler", &"fair");
    row("xen_pagesize", &PAGE_SIZE);
    row(
        "platform_params",
        &format_args!("virt_start={:#x}", version.virt_start),
    );
    row("xen_changeset", &version.changeset);
    row("xen_commandline", &version.command_line);
    row("cc_compiler", &version.compiler);
    row("cc_compile_by", &version.compiled_by);
    row("cc_compile_domain", &version.compiled_on);
    row("cc_compile_date", &version.compile_date);
    row("xend_config_format", &4);
    Ok(context.stdio.out(text.to_string()).await?)
}
