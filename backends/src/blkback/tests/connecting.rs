//! How a frontend and the backend come together, and how they don't.

use crate::blkback::testing::{Rig, Setup, flush};
use guest_abi::io::blkif::BlkStatus;
use guest_abi::io::xenbus::XenbusState;

/// A rig whose guest has written its nodes, and then something else.
fn refused(setup: Setup, wrong: &[(&str, &str)]) -> String {
    let mut rig = Rig::new();
    rig.front.make_rings(setup);
    for (key, value) in wrong {
        rig.front.set(key, value);
    }
    rig.front.state(XenbusState::Initialised);
    assert_eq!(rig.run(), None);
    assert_eq!(rig.state(), XenbusState::Closing, "{wrong:?}");
    assert_eq!(rig.host.mapped(), 0);
    // What was wrong is mended, but nobody looks before it starts anew.
    rig.front.make_rings(Setup::default());
    rig.front.state(XenbusState::Connected);
    rig.run();
    assert_eq!(rig.state(), XenbusState::Closing);
    let error = rig.error().unwrap();
    rig.front.state(XenbusState::Closed);
    rig.run();
    rig.front.state(XenbusState::Initialising);
    rig.run();
    rig.connect(Setup::default());
    assert_eq!(rig.status(&flush(1)), BlkStatus::Okay);
    error
}

#[test]
fn what_there_is_is_told_before_anybody_asks() {
    let rig = Rig::new();
    for (key, value) in [
        ("feature-persistent", "1"),
        ("feature-max-indirect-segments", "256"),
        ("multi-queue-max-queues", "4"),
        ("max-ring-page-order", "4"),
        ("feature-barrier", "1"),
        ("feature-flush-cache", "1"),
        ("feature-discard", "1"),
        ("discard-granularity", "4096"),
        ("discard-alignment", "0"),
        ("discard-secure", "0"),
        ("state", "2"),
    ] {
        assert_eq!(rig.back(key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(rig.back("sectors"), None);
}

#[test]
fn the_disk_is_described_when_connected() {
    let rig = Rig::connected(Setup::default());
    for (key, value) in [
        ("sectors", "2048"),
        ("info", "0"),
        ("sector-size", "512"),
        ("physical-sector-size", "4096"),
        ("state", "4"),
    ] {
        assert_eq!(rig.back(key).as_deref(), Some(value), "{key}");
    }
}

#[test]
fn nodes_that_make_no_sense_are_refused_in_plain_words() {
    let one = Setup::default();
    let two = Setup {
        queues: 2,
        order: 1,
        persistent: true,
    };
    for (setup, key, value, words) in [
        (
            one,
            "protocol",
            "x86_32-abi",
            "protocol \"x86_32-abi\" instead of x86_64-abi",
        ),
        (
            one,
            "ring-ref",
            "banana",
            "ring-ref is missing or not a number",
        ),
        (one, "ring-ref", "-1", "ring-ref is missing or not a number"),
        (one, "ring-ref", "999", "ring-ref 999: BadGntref"),
        (
            one,
            "event-channel",
            "",
            "event-channel is missing or not a number",
        ),
        (one, "event-channel", "77", "event-channel 77: EINVAL"),
        (
            one,
            "ring-page-order",
            "5",
            "ring-page-order is 5; from 0 to 4 is possible",
        ),
        (
            one,
            "ring-page-order",
            "2",
            "ring-ref0 is missing or not a number",
        ),
        (
            one,
            "multi-queue-num-queues",
            "0",
            "multi-queue-num-queues is 0; from 1 to 4 is possible",
        ),
        (
            one,
            "multi-queue-num-queues",
            "5",
            "multi-queue-num-queues is 5; from 1 to 4 is possible",
        ),
        (
            one,
            "multi-queue-num-queues",
            "2",
            "queue-0/ring-ref0 is missing or not a number",
        ),
        (
            two,
            "queue-1/ring-ref1",
            "",
            "queue-1/ring-ref1 is missing or not a number",
        ),
        (
            two,
            "queue-1/ring-ref1",
            "1000",
            "queue-1/ring-ref 1000: BadGntref",
        ),
        (
            two,
            "queue-1/event-channel",
            "100",
            "queue-1/event-channel 100: EINVAL",
        ),
    ] {
        assert_eq!(refused(setup, &[(key, value)]), words);
    }
}

#[test]
fn a_single_page_may_be_named_either_way() {
    for key in ["ring-ref", "ring-ref0"] {
        let mut rig = Rig::new();
        rig.front.make_rings(Setup::default());
        let path = "/local/domain/3/device/vbd/51712";
        let mut store = crate::host::Host::store(&*rig.host).borrow_mut();
        let grant = store.get(&format!("{path}/ring-ref")).unwrap();
        store
            .as_dom0(|local| local.remove(&format!("{path}/ring-ref")))
            .unwrap();
        store.put(&format!("{path}/{key}"), grant).unwrap();
        drop(store);
        rig.front.state(XenbusState::Initialised);
        rig.run();
        assert_eq!(rig.state(), XenbusState::Connected);
        assert_eq!(rig.status(&flush(1)), BlkStatus::Okay);
    }
}

#[test]
fn a_driver_may_be_unloaded_and_loaded_again() {
    let mut rig = Rig::connected(Setup::default());
    for _ in 0..10 {
        rig.front.state(XenbusState::Closing);
        rig.run();
        assert_eq!(rig.host.mapped(), 0);
        rig.front.state(XenbusState::Closed);
        rig.run();
        rig.front.state(XenbusState::Initialising);
        rig.run();
        rig.connect(Setup {
            queues: 3,
            ..Setup::default()
        });
        assert_eq!(rig.status(&flush(1)), BlkStatus::Okay);
    }
}
