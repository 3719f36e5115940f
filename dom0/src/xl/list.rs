//! `xl list`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use guest_abi::DomId;
use guest_abi::domctl::DomainInfo;

use super::args::Args;
use super::json::Json;
use super::table::{mib, seconds, state};
use super::{Context, Failure, Outcome, Verb, refused};
use crate::builder::uuid_text;
use crate::toolstack::Guest;

pub(super) const VERB: Verb = Verb {
    name: "list",
    usage: "[-l] [--json] [-v] [DOMAIN…]",
    summary: "List all domains, or those named",
    options: &[
        ("-l --long", "All about each domain, as JSON"),
        ("--json", "The table, as JSON"),
        ("-v --verbose", "UUIDs and reasons of shutdown too"),
    ],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let infos = domains(&context, &args.words)?;
    if args.has("-l --long") {
        let list = infos.iter().map(|info| long(&context, info)).collect();
        return Ok(context.line(format!("{}", Json::List(list))).await?);
    }
    if args.has("--json") {
        let list = infos.iter().map(|info| brief(&context, info)).collect();
        return Ok(context.line(format!("{}", Json::List(list))).await?);
    }
    let verbose = args.has("-v --verbose");
    let mut text = format!(
        "{:<40} {:>5} {:>5} {:>5}\t{}\t{}",
        "Name", "ID", "Mem", "VCPUs", "State", "Time(s)"
    );
    if verbose {
        text.push_str("   UUID                            Reason-Code");
    }
    text.push('\n');
    for info in &infos {
        text.push_str(&row(&context, info, verbose));
    }
    Ok(context.stdio.out(text).await?)
}

/// The domains named, or all.
fn domains(context: &Context, words: &[String]) -> Result<Vec<DomainInfo>, Failure> {
    let hypervisor = context.toolstack.hypervisor();
    if words.is_empty() {
        return hypervisor
            .domains()
            .map_err(|errno| refused("getdomaininfolist", errno));
    }
    let look = |word: &String| {
        let domain = context.find(word)?;
        hypervisor
            .domain(domain)
            .map_err(|errno| refused("getdomaininfo", errno))
    };
    words.iter().map(look).collect()
}

fn row(context: &Context, info: &DomainInfo, verbose: bool) -> String {
    let domain = DomId::new(info.domain.get());
    let mut row = format!(
        "{:<40} {:>5} {:>5} {:>5}     {}  {:>8}",
        context.name(domain),
        domain.get(),
        mib(info.tot_pages),
        info.nr_online_vcpus,
        state(info),
        seconds(info.cpu_time)
    );
    if verbose {
        let reason = match crate::toolstack::shutdown_reason(info) {
            Some(reason) => format!("{}", reason.number()),
            None => "-".into(),
        };
        row.push_str(&format!(" {} {reason:>16}", uuid_text(&info.handle)));
    }
    row.push('\n');
    row
}

fn brief(context: &Context, info: &DomainInfo) -> Json {
    let domain = DomId::new(info.domain.get());
    Json::Map(Vec::from([
        ("name", Json::Text(context.name(domain))),
        ("domid", Json::Number(domain.get().into())),
        ("memory_mib", Json::Number(mib(info.tot_pages))),
        ("vcpus", Json::Number(info.nr_online_vcpus.into())),
        ("state", Json::Text(state(info))),
        ("cpu_time_ns", Json::Number(info.cpu_time)),
        ("uuid", Json::Text(uuid_text(&info.handle))),
    ]))
}

/// All about a domain, under the names that Xen's `xl list -l` uses.
fn long(context: &Context, info: &DomainInfo) -> Json {
    let domain = DomId::new(info.domain.get());
    let name = Json::Text(context.name(domain));
    let mut about = Vec::from([
        ("type", "pv".into()),
        ("name", name),
        ("uuid", Json::Text(uuid_text(&info.handle))),
    ]);
    about.retain(|(key, _)| *key != "type" || domain != DomId::DOM0);
    let mut build = Vec::from([
        ("max_vcpus", Json::Number(u64::from(info.max_vcpu_id) + 1)),
        ("max_memkb", Json::Number(info.max_pages.saturating_mul(4))),
        (
            "target_memkb",
            Json::Number(info.tot_pages.saturating_mul(4)),
        ),
    ]);
    let mut config = Vec::from([("c_info", Json::Map(about))]);
    if let Some(guest) = context.toolstack.guest(domain) {
        let settings = guest.config();
        build.push(("kernel", Json::Text(settings.kernel.clone())));
        if let Some(ramdisk) = &settings.ramdisk {
            build.push(("ramdisk", Json::Text(ramdisk.clone())));
        }
        build.push(("cmdline", Json::Text(settings.command_line.clone())));
        config.push(("b_info", Json::Map(build)));
        config.extend(devices(&guest));
        config.push(("on_poweroff", settings.on_poweroff.name().into()));
        config.push(("on_reboot", settings.on_reboot.name().into()));
        config.push(("on_crash", settings.on_crash.name().into()));
    } else {
        config.push(("b_info", Json::Map(build)));
    }
    Json::Map(Vec::from([
        ("domid", Json::Number(domain.get().into())),
        ("config", Json::Map(config)),
        ("state", Json::Text(state(info))),
    ]))
}

/// A guest's disks and networks.
fn devices(guest: &Guest) -> [(&'static str, Json); 2] {
    let devices = guest.devices();
    let disks = devices.iter().filter_map(|device| {
        let spec = device.disk()?;
        Some(Json::Map(Vec::from([
            ("pdev_path", Json::Text(spec.target.clone())),
            ("vdev", spec.vdev.name().into()),
            ("format", "raw".into()),
            ("readwrite", Json::Number((!spec.read_only).into())),
            ("is_cdrom", Json::Number(spec.cdrom.into())),
        ])))
    });
    let vifs = devices.iter().filter_map(|device| {
        let (spec, mac) = device.vif()?;
        let mut nic = Vec::from([
            ("devid", Json::Number(device.id().into())),
            ("mac", Json::Text(format!("{mac}"))),
            ("bridge", Json::Text(spec.bridge.clone())),
        ]);
        if !spec.ips.is_empty() {
            let ips: Vec<_> = spec.ips.iter().map(|ip| format!("{ip}")).collect();
            nic.push(("ip", Json::Text(ips.join(" "))));
        }
        if let Some(rate) = spec.rate {
            nic.push((
                "rate_bytes_per_interval",
                Json::Number(rate.bytes_per_interval()),
            ));
            nic.push(("rate_interval_usecs", Json::Number(rate.interval_us.into())));
        }
        Some(Json::Map(nic))
    });
    [
        ("disks", Json::List(disks.collect())),
        ("nics", Json::List(vifs.collect())),
    ]
}
