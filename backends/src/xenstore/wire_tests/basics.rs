//! What the requests mean.

use super::{Client, M, ok, refused};
use crate::xenstore::{Quota, Store};
use guest_abi::io::xs_wire::PAYLOAD_MAX;

#[test]
fn values_come_back_as_written() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    assert_eq!(guest.ask(&mut store, M::Write, "data/x\0value"), ok());
    assert_eq!(
        guest.ask(&mut store, M::Read, "data/x\0"),
        Ok("value".into())
    );
    assert_eq!(
        guest.ask(&mut store, M::Read, "/local/domain/1/data/x\0"),
        Ok("value".into())
    );
    assert_eq!(
        guest.ask(&mut store, M::Directory, "data\0"),
        Ok("x\0".into())
    );
    assert_eq!(guest.ask(&mut store, M::Mkdir, "data/y/z\0"), ok());
    assert_eq!(
        guest.ask(&mut store, M::Directory, "data/y\0"),
        Ok("z\0".into())
    );
    assert_eq!(guest.ask(&mut store, M::Rm, "data/y\0"), ok());
    assert_eq!(guest.ask(&mut store, M::Rm, "data/y\0"), ok());
    assert_eq!(
        guest.ask(&mut store, M::Rm, "data/y/z\0"),
        refused("ENOENT")
    );
    assert_eq!(
        guest.ask(&mut store, M::Read, "data/none\0"),
        refused("ENOENT")
    );
    assert_eq!(
        guest.ask(&mut store, M::GetPerms, "data/x\0"),
        Ok("n1\0".into())
    );
    assert_eq!(
        guest.ask(&mut store, M::GetDomainPath, "7\0"),
        Ok("/local/domain/7\0".into())
    );
}

#[test]
fn a_guest_keeps_to_its_own() {
    let mut store = Store::default();
    let mut one = Client::domain(&mut store, 1);
    let mut two = Client::domain(&mut store, 2);
    one.ask(&mut store, M::Write, "data/x\0secret").unwrap();
    let theirs = "/local/domain/1/data/x\0";
    assert_eq!(two.ask(&mut store, M::Read, theirs), refused("EACCES"));
    assert_eq!(
        two.ask(&mut store, M::Write, &format!("{theirs}mine")),
        refused("EACCES")
    );
    assert_eq!(two.ask(&mut store, M::Rm, theirs), refused("EACCES"));
    assert_eq!(
        two.ask(&mut store, M::SetPerms, &format!("{theirs}b2\0")),
        refused("EACCES")
    );
    assert_eq!(
        two.ask(&mut store, M::Read, "/local/domain/1/data/no\0"),
        refused("EACCES")
    );
    assert_eq!(two.ask(&mut store, M::Write, "/new\0x"), refused("EACCES"));
    assert_eq!(two.ask(&mut store, M::Write, "name\0x"), refused("EACCES"));
    assert_eq!(
        one.ask(&mut store, M::SetPerms, "data/x\0n2\0"),
        refused("EACCES")
    );
    assert_eq!(one.ask(&mut store, M::SetPerms, "data/x\0n1\0r2\0"), ok());
    assert_eq!(two.ask(&mut store, M::Read, theirs), Ok("secret".into()));
}

#[test]
fn the_toolstacks_requests_are_refused_to_guests() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    for (kind, payload) in [
        (M::Introduce, "2\x001\x001\0"),
        (M::Release, "1\0"),
        (M::IsDomainIntroduced, "1\0"),
        (M::Resume, "1\0"),
        (M::SetTarget, "1\x002\0"),
        (M::Control, "check\0"),
        (M::GetPerms, "@releaseDomain\0"),
    ] {
        assert_eq!(
            guest.ask(&mut store, kind, payload),
            refused("EACCES"),
            "{kind:?}"
        );
    }
    let mut dom0 = Client::dom0(&mut store);
    assert_eq!(dom0.ask(&mut store, M::Introduce, "2\x0077\x003\0"), ok());
    assert_eq!(
        dom0.ask(&mut store, M::IsDomainIntroduced, "2\0"),
        Ok("T\0".into())
    );
    assert_eq!(dom0.ask(&mut store, M::Release, "2\0"), ok());
    assert_eq!(
        dom0.ask(&mut store, M::IsDomainIntroduced, "2\0"),
        Ok("F\0".into())
    );
    assert_eq!(dom0.ask(&mut store, M::Control, "check\0"), ok());
}

#[test]
fn malformed_requests_change_nothing() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    for (kind, payload) in [
        (M::Read, ""),
        (M::Read, "data"),
        (M::Read, "data\0more\0"),
        (M::Read, "data//x\0"),
        (M::Write, "data/x"),
        (M::SetPerms, "data\0"),
        (M::SetPerms, "data\0q1\0"),
        (M::Watch, "data\0"),
        (M::Watch, "data\0token"),
        (M::Watch, "@nothing\0t\0"),
        (M::TransactionEnd, "X\0"),
        (M::GetDomainPath, "-1\0"),
        (M::WatchEvent, "data\0t\0"),
        (M::Rm, "/\0"),
    ] {
        assert_eq!(
            guest.ask(&mut store, kind, payload),
            refused("EINVAL"),
            "{kind:?} {payload:?}"
        );
    }
    assert_eq!(guest.call(&mut store, M::Read, b"\xff\0").1, b"EINVAL\0");
}

#[test]
fn a_transaction_is_invisible_until_it_ends() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    guest.ask(&mut store, M::Watch, "data\0t\0").unwrap();
    guest.events(&mut store);
    let id = guest.ask(&mut store, M::TransactionStart, "\0").unwrap();
    let tx: u32 = id.trim_end_matches('\0').parse().unwrap();
    guest.call_in(&mut store, tx, M::Write, b"data/x\x001");
    assert_eq!(guest.call_in(&mut store, tx, M::Read, b"data/x\0").1, b"1");
    assert_eq!(
        guest.call_in(&mut store, tx, M::TransactionStart, b"\0").1,
        b"EBUSY\0"
    );
    assert_eq!(
        guest.ask(&mut store, M::Read, "data/x\0"),
        refused("ENOENT")
    );
    assert!(guest.events(&mut store).is_empty());
    assert_eq!(
        guest.call_in(&mut store, tx, M::TransactionEnd, b"T\0").1,
        b"OK\0"
    );
    assert_eq!(guest.events(&mut store), ["data/x|t"]);
    assert_eq!(
        guest.call_in(&mut store, tx, M::TransactionEnd, b"T\0").1,
        b"ENOENT\0"
    );
}

#[test]
fn a_lost_transaction_is_told_to_start_again() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    guest.ask(&mut store, M::Write, "data/x\x001").unwrap();
    let id = guest.ask(&mut store, M::TransactionStart, "\0").unwrap();
    let tx: u32 = id.trim_end_matches('\0').parse().unwrap();
    guest.call_in(&mut store, tx, M::Read, b"data/x\0");
    guest.call_in(&mut store, tx, M::Write, b"data/y\x001");
    store.put("/local/domain/1/data/x", 2).unwrap();
    assert_eq!(
        guest.call_in(&mut store, tx, M::TransactionEnd, b"T\0").1,
        b"EAGAIN\0"
    );
    assert_eq!(
        guest.ask(&mut store, M::Read, "data/y\0"),
        refused("ENOENT")
    );
}

#[test]
fn quotas_stop_a_guest_and_not_dom0() {
    let quota = Quota {
        nodes: 5,
        watches: 2,
        value_bytes: 8,
        transactions: 1,
        ..Quota::GUEST
    };
    let mut store = Store::new(quota);
    let mut guest = Client::domain(&mut store, 1);
    let full = refused("ENOSPC");
    assert_eq!(guest.ask(&mut store, M::Write, "data/x\x00123456789"), full);
    assert_eq!(guest.ask(&mut store, M::Mkdir, "data/1/2/3/4/5\0"), full);
    assert_eq!(guest.ask(&mut store, M::Mkdir, "data/1/2/3/4\0"), ok());
    assert_eq!(guest.ask(&mut store, M::Mkdir, "data/2\0"), full);
    assert_eq!(guest.ask(&mut store, M::Watch, "data\x001\0"), ok());
    assert_eq!(guest.ask(&mut store, M::Watch, "data\x002\0"), ok());
    assert_eq!(guest.ask(&mut store, M::Watch, "data\x003\0"), full);
    guest.ask(&mut store, M::TransactionStart, "\0").unwrap();
    assert_eq!(guest.ask(&mut store, M::TransactionStart, "\0"), full);
    assert_eq!(
        store.put("/local/domain/1/data/dom0", "a value of any size"),
        Ok(())
    );
}

#[test]
fn a_directory_too_big_for_one_message_comes_in_parts() {
    let mut store = Store::default();
    let names: Vec<String> = (0..900).map(|n| format!("child-{n:05}")).collect();
    store
        .as_dom0(|root| {
            names
                .iter()
                .try_for_each(|name| root.write(&format!("/big/{name}"), ""))
        })
        .unwrap();
    let mut dom0 = Client::dom0(&mut store);
    assert_eq!(
        dom0.ask(&mut store, M::Directory, "/big\0"),
        refused("E2BIG")
    );
    let mut listing = String::new();
    let mut generation = None;
    loop {
        let ask = format!("/big\0{}\0", listing.len());
        let part = dom0.ask(&mut store, M::DirectoryPart, &ask).unwrap();
        assert!(part.len() <= PAYLOAD_MAX);
        let (number, rest) = part.split_once('\0').unwrap();
        assert_eq!(*generation.get_or_insert(number.to_owned()), number);
        if let Some(last) = rest.strip_suffix("\0\0") {
            listing.push_str(last);
            break;
        }
        listing.push_str(rest);
    }
    assert_eq!(listing.split('\0').collect::<Vec<_>>(), names);
}
