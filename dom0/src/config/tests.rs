//! Configurations right and wrong, with the words their authors get to read.

use proptest::prelude::*;

use super::{Action, Complaint, DomainConfig, Sources, nearest};

fn parse(text: &str) -> Result<(DomainConfig, Vec<String>), String> {
    let mut sources = Sources::default();
    let parsed = sources
        .file("guest.cfg", text)
        .and_then(|()| sources.finish());
    let words = |complaints: Vec<Complaint>| complaints.iter().map(ToString::to_string).collect();
    parsed
        .map(|(config, warnings)| (config, words(warnings)))
        .map_err(|complaint| complaint.to_string())
}

const GOOD: &str = "name = \"hello\"\nkernel='/boot/vmlinuz'\nmemory = 64\n";

fn complaint(line: &str) -> String {
    parse(&format!("{GOOD}{line}\n")).unwrap_err()
}

#[test]
fn a_whole_file_is_understood() {
    let text = "# my guest\nname = \"deb\" ; memory = 0x100\nvcpus=2\nmaxmem = 512 # more\n\
        kernel = \"/k\"\nramdisk = \"/r\"\nroot = \"/dev/xvda\"\nextra = \"quiet \\\"x\\\"\"\n\
        uuid = \"d44ecb24-c10f-49bc-8d5c-d91dc07bd395\"\non_crash = \"preserve\"\n\
        pci = [ '0:1', # a comment\n  [1, 2], ]\n";
    let (config, warnings) = parse(text).unwrap();
    assert_eq!(config.name, "deb");
    assert_eq!(
        (config.memory_mib, config.max_memory_mib, config.vcpus),
        (256, 512, 2)
    );
    assert_eq!(config.command_line, "root=/dev/xvda quiet \"x\"");
    assert_eq!(config.uuid.unwrap()[..2], [0xd4, 0x4e]);
    assert_eq!(
        (config.on_crash, config.on_reboot),
        (Action::Preserve, Action::Restart)
    );
    assert_eq!(
        warnings,
        ["guest.cfg:11: `pci` is ignored: there is no such device"]
    );
}

#[test]
fn an_unknown_key_is_warned_of_with_the_nearest_known_one() {
    let (_, warnings) = parse(&format!("{GOOD}memroy=1\nblub=2\n")).unwrap();
    assert_eq!(
        warnings,
        [
            "guest.cfg:4: unknown key `memroy` is ignored; did you mean `memory`?",
            "guest.cfg:5: unknown key `blub` is ignored"
        ]
    );
}

#[test]
fn wrong_kinds_and_values_name_line_and_remedy() {
    for (line, words) in [
        (
            "memory=\"much\"",
            "guest.cfg:4: `memory` must be a number of MiB, not the string \"much\"",
        ),
        (
            "kernel=5",
            "guest.cfg:4: `kernel` must be a string, not the number 5; put it in quotes",
        ),
        (
            "vcpus=0",
            "guest.cfg:4: `vcpus` must be between 1 and 32 vCPUs, not 0",
        ),
        (
            "maxmem=3",
            "guest.cfg:4: `maxmem` (3) is less than `memory` (64)",
        ),
        (
            "on_crash=\"explode\"",
            "guest.cfg:4: `on_crash` must be one of destroy, restart,",
        ),
        (
            "uuid=\"12\"",
            "guest.cfg:4: `uuid` must be 32 hexadecimal digits",
        ),
        (
            "name=\"a b\"",
            "guest.cfg:4: `name` must be up to 64 letters",
        ),
        (
            "name=\"12\"",
            "guest.cfg:4: `name` \"12\" would be taken for a domain id",
        ),
        (
            "extra=\"open",
            "guest.cfg:4: the string that begins here lacks its closing \"",
        ),
        (
            "disk=[1",
            "guest.cfg:4: the list that begins here lacks its closing ]",
        ),
        (
            "extra = yes",
            "guest.cfg:4: expected a value, found `yes`; text needs quotes",
        ),
        ("vcpus 2", "guest.cfg:4: expected `=` behind `vcpus`"),
        (
            "vcpus = 2 3",
            "guest.cfg:4: there is something behind the value of `vcpus`",
        ),
        ("= 3", "guest.cfg:4: expected a key, found `=`"),
    ] {
        let text = complaint(line);
        assert!(text.starts_with(words), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}

#[test]
fn what_is_missing_is_named() {
    for (text, words) in [
        ("", "guest.cfg: `name` is missing; add name=\"guest\""),
        (
            "name='a'",
            "guest.cfg: `kernel` is missing; add kernel=\"/boot/vmlinuz\"",
        ),
    ] {
        assert_eq!(parse(text), Err(words.to_owned()));
    }
}

#[test]
fn memory_and_its_maximum_stand_in_for_each_other() {
    let memory = |text: &str| {
        let (config, _) = parse(&format!("name='a'\nkernel='k'\n{text}")).unwrap();
        (config.memory_mib, config.max_memory_mib)
    };
    assert_eq!(memory(""), (32, 32));
    assert_eq!(memory("memory=64"), (64, 64));
    assert_eq!(memory("maxmem=64"), (64, 64));
    assert_eq!(memory("memory=64\nmaxmem=128"), (64, 128));
}

#[test]
fn the_command_line_wins_and_needs_no_quotes() {
    let mut sources = Sources::default();
    sources.file("guest.cfg", GOOD).unwrap();
    for argument in [
        "memory=128",
        "name=other",
        "extra=console=hvc0 quiet",
        "root=\"x\"",
    ] {
        sources.argument(argument).unwrap();
    }
    let (config, _) = sources.finish().unwrap();
    assert_eq!((config.name.as_str(), config.memory_mib), ("other", 128));
    assert_eq!(config.command_line, "root=x console=hvc0 quiet");
    let wrong = Sources::default().argument("nothing").unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "command line: `nothing` is neither a file nor key=value"
    );
}

#[test]
fn the_whole_command_line_of_the_kernel_beats_its_parts() {
    let (config, warnings) = parse(&format!("{GOOD}cmdline='a'\nextra='b'\n")).unwrap();
    assert_eq!(config.command_line, "a");
    assert_eq!(warnings.len(), 1);
}

#[test]
fn nothing_near_is_nothing_meant() {
    assert_eq!(nearest("vcpu", ["vcpus", "kernel"]), Some("vcpus"));
    assert_eq!(nearest("kernle", ["vcpus", "kernel"]), Some("kernel"));
    assert_eq!(nearest("zzz", ["vcpus", "kernel"]), None);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[a-z0-9=\\[\\]\"'#;, \\n\\\\]{0,80}") {
        let _ = parse(&text);
        let _ = Sources::default().argument(&text);
    }
}

#[test]
fn disks_and_networks_are_read_from_files_and_from_the_command_line() {
    let (config, warnings) = parse(&format!(
        "{GOOD}disk = [ 'phy:/dev/vda,xvda,w',\n '/y,raw,xvdb,r,script=s' ]\nvif=['', '']\n"
    ))
    .unwrap();
    let targets: Vec<_> = config
        .disks
        .iter()
        .map(|disk| disk.target.as_str())
        .collect();
    assert_eq!((targets, config.vifs.len()), (vec!["/dev/vda", "/y"], 2));
    assert_eq!(
        warnings,
        ["guest.cfg:4: disk 2: `script` is ignored: dom0 opens disks itself"]
    );
    let mut sources = Sources::default();
    sources.file("guest.cfg", GOOD).unwrap();
    sources
        .argument("disk=['/x,raw,xvda', \"/y,raw,xvdb\"]")
        .unwrap();
    sources.argument("vif=bridge=lan").unwrap();
    let (config, _) = sources.finish().unwrap();
    assert_eq!(
        (config.disks.len(), config.vifs[0].bridge.as_str()),
        (2, "lan")
    );
}

#[test]
fn a_malformed_device_names_its_place() {
    for (line, words) in [
        (
            "disk=['/x,raw,xvda','/x,xvdb']",
            "guest.cfg:4: disk 2 (`/x,xvdb`): `xvdb` stands in the place of the format",
        ),
        (
            "disk=['/x,raw,xvda','/y,raw,d0p0']",
            "guest.cfg:4: disks 1 and 2 are both xvda; give one another vdev",
        ),
        (
            "disk=[3]",
            "guest.cfg:4: `disk` must be a list of strings, not the number 3 in it",
        ),
        (
            "vif=3",
            "guest.cfg:4: `vif` must be a list of strings, not the number 3",
        ),
        (
            "vif=['mc=1']",
            "guest.cfg:4: vif 1 (`mc=1`): unknown key `mc`",
        ),
        (
            "vif=['mac=00:16:3e:00:00:01','mac=00:16:3e:00:00:01']",
            "guest.cfg:4: vifs 1 and 2 have the same MAC address; give one another mac",
        ),
        (
            "vif=['devid=1','']",
            "guest.cfg:4: vifs 1 and 2 have the same devid; give one another devid",
        ),
    ] {
        let text = complaint(line);
        assert!(text.starts_with(words), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
