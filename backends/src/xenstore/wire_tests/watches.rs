//! Who is told of what.

use super::{Client, M, ok, refused};
use crate::xenstore::Store;
use guest_abi::ids::DomId;

#[test]
fn a_watch_fires_at_once_and_in_the_clients_own_spelling() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    assert_eq!(guest.ask(&mut store, M::Watch, "data\0rel\0"), ok());
    assert_eq!(guest.events(&mut store), ["data|rel"]);
    assert_eq!(
        guest.ask(&mut store, M::Watch, "/local/domain/1/data\0abs\0"),
        ok()
    );
    assert_eq!(guest.events(&mut store), ["/local/domain/1/data|abs"]);
    assert_eq!(
        guest.ask(&mut store, M::Watch, "data\0rel\0"),
        refused("EEXIST")
    );
    store.put("/local/domain/1/data/a/b", 1).unwrap();
    let mut events = guest.events(&mut store);
    events.sort();
    let expected = ["/local/domain/1/data/a/b|abs", "/local/domain/1/data/a|abs"];
    assert_eq!(events[..2], expected);
    assert_eq!(events[2..], ["data/a/b|rel", "data/a|rel"]);
    assert_eq!(guest.ask(&mut store, M::Unwatch, "data\0rel\0"), ok());
    assert_eq!(
        guest.ask(&mut store, M::Unwatch, "data\0rel\0"),
        refused("ENOENT")
    );
    store.put("/local/domain/1/data/a", 2).unwrap();
    assert_eq!(guest.events(&mut store), ["/local/domain/1/data/a|abs"]);
    assert_eq!(guest.ask(&mut store, M::ResetWatches, "\0"), ok());
    store.put("/local/domain/1/data/a", 3).unwrap();
    assert!(guest.events(&mut store).is_empty());
}

#[test]
fn a_removed_parent_fires_the_watch_with_its_own_path() {
    let mut store = Store::default();
    let mut guest = Client::domain(&mut store, 1);
    guest
        .ask(&mut store, M::Write, "data/vbd/0/state\x001")
        .unwrap();
    guest
        .ask(&mut store, M::Watch, "data/vbd/0/state\0t\0")
        .unwrap();
    guest
        .ask(&mut store, M::Watch, "data/vbd-other\0u\0")
        .unwrap();
    guest.events(&mut store);
    store
        .as_dom0(|root| root.remove("/local/domain/1/data/vbd"))
        .unwrap();
    assert_eq!(guest.events(&mut store), ["data/vbd/0/state|t"]);
}

#[test]
fn a_watch_tells_nothing_of_nodes_one_may_not_read() {
    let mut store = Store::default();
    let mut one = Client::domain(&mut store, 1);
    let mut two = Client::domain(&mut store, 2);
    two.ask(&mut store, M::Watch, "/local\0t\0").unwrap();
    two.ask(&mut store, M::Watch, "@releaseDomain\0u\0")
        .unwrap();
    two.events(&mut store);
    one.ask(&mut store, M::Write, "data/x\0secret").unwrap();
    one.ask(&mut store, M::Rm, "data/x\0").unwrap();
    store.release(DomId::new(1)).unwrap();
    assert!(two.events(&mut store).is_empty());
}

#[test]
fn domains_coming_and_going_fire_the_specials() {
    let mut store = Store::default();
    let mut dom0 = Client::dom0(&mut store);
    dom0.ask(&mut store, M::Watch, "@introduceDomain\0i\0")
        .unwrap();
    assert_eq!(dom0.events(&mut store), ["@introduceDomain|i"]);
    dom0.ask(&mut store, M::Watch, "@releaseDomain\0r\0")
        .unwrap();
    assert_eq!(dom0.events(&mut store), ["@releaseDomain|r"]);
    Client::domain(&mut store, 1);
    assert_eq!(dom0.events(&mut store), ["@introduceDomain|i"]);
    store.release(DomId::new(1)).unwrap();
    assert_eq!(dom0.events(&mut store), ["@releaseDomain|r"]);
}
