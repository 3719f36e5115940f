//! `xl vcpu-list`

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use guest_abi::{DomId, VcpuId};

use super::args::Args;
use super::table::seconds;
use super::{Context, Failure, Outcome, Verb, refused};

pub(super) const VERB: Verb = Verb {
    name: "vcpu-list",
    usage: "[DOMAIN…]",
    summary: "List the vCPUs of all domains, or of those named",
    options: &[],
    run: |context, words| Box::pin(run(context, words)),
};

async fn run(context: Context, words: Vec<String>) -> Outcome {
    let args = Args::parse(&VERB, words)?;
    let hypervisor = context.toolstack.hypervisor();
    let all = || {
        hypervisor
            .domains()
            .map_err(|errno| refused("getdomaininfolist", errno))
    };
    let domains: Vec<DomId> = if args.words.is_empty() {
        all()?
            .iter()
            .map(|info| DomId::new(info.domain.get()))
            .collect()
    } else {
        args.words
            .iter()
            .map(|word| context.find(word))
            .collect::<Result<_, _>>()?
    };
    let mut text = format!(
        "{:<32} {:>5} {:>5} {:>5} {:>5} {:>9} {}\n",
        "Name", "ID", "VCPU", "CPU", "State", "Time(s)", "Affinity (Hard / Soft)"
    );
    for domain in domains {
        let info = hypervisor
            .domain(domain)
            .map_err(|errno| refused("getdomaininfo", errno))?;
        for vcpu in 0..=info.max_vcpu_id {
            text.push_str(&row(&context, domain, VcpuId::new(vcpu))?);
        }
    }
    Ok(context.stdio.out(text).await?)
}

fn row(context: &Context, domain: DomId, vcpu: VcpuId) -> Result<String, Failure> {
    let hypervisor = context.toolstack.hypervisor();
    let info = hypervisor
        .vcpu(domain, vcpu)
        .map_err(|errno| refused("getvcpuinfo", errno))?;
    let affinity = hypervisor
        .vcpu_affinity(domain, vcpu)
        .map_err(|errno| refused("getvcpuaffinity", errno))?;
    let cpus = hypervisor
        .physinfo()
        .map_err(|errno| refused("physinfo", errno))?
        .nr_cpus;
    let flag = |is: u8, letter: char| if is == 0 { '-' } else { letter };
    let place = if info.online == 0 {
        format!("{:>5} {:>3}{}p ", '-', '-', '-')
    } else {
        format!(
            "{:>5} {:>3}{}- ",
            info.cpu,
            flag(info.running, 'r'),
            flag(info.blocked, 'b')
        )
    };
    Ok(format!(
        "{:<32} {:>5} {:>5} {place} {:>9}  {} / all\n",
        context.name(domain),
        domain.get(),
        vcpu.get(),
        seconds(info.cpu_time),
        cpu_set(&affinity, cpus)
    ))
}

/// A bit map as ranges: `0-3,6`, or `all`.
fn cpu_set(map: &[u8], cpus: u32) -> String {
    let has = |cpu: u32| {
        let byte = usize::try_from(cpu / 8)
            .ok()
            .and_then(|index| map.get(index));
        byte.is_some_and(|byte| byte >> (cpu % 8) & 1 != 0)
    };
    if (0..cpus).all(has) {
        return "all".into();
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for cpu in (0..cpus).filter(|&cpu| has(cpu)) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => ranges.push((cpu, cpu)),
        }
    }
    let texts: Vec<String> = ranges
        .iter()
        .map(|(first, last)| {
            if first == last {
                format!("{first}")
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    texts.join(",")
}
