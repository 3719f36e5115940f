//! Random lives of a pool, ended by losses of power at any write, against a model.

mod disk;
mod model;
mod world;

use backends::host::DiskRequest;
use futures_util::future::join;

use crate::executor::Runtime;
use crate::executor::tests::FakePlatform;
use crate::storage::block::perform;
use disk::Dice;
use world::{VOLUME, World};

/// Lives through `rounds` of steps, each ended by a loss of power after so many writes. Returns
/// how many superblocks there were.
fn live(seed: u64, rounds: &[u64]) -> u64 {
    let runtime = Runtime::new(FakePlatform::default());
    let rounds = rounds.to_vec();
    let handle = runtime.clone();
    runtime.block_on(async move {
        let mut world = World::new(handle, seed).await;
        for (round, &writes) in rounds.iter().enumerate() {
            world.disk.fail_after(writes);
            for _ in 0..60 {
                let result = world.step().await;
                assert!(result.is_ok() || world.disk.is_dead(), "{result:?}");
                if world.disk.is_dead() {
                    break;
                }
            }
            world.restart(seed + round as u64).await;
        }
        world.pool.tail.get().generation
    })
}

#[test]
fn the_power_may_fail_at_any_write() {
    for writes in (0..120).step_by(2) {
        live(7, &[writes]);
    }
}

#[test]
fn what_was_durable_survives_any_life() {
    for seed in 0..50 {
        let dice = Dice::new(seed);
        let rounds: Vec<u64> = (0..4).map(|_| dice.roll(120)).collect();
        live(seed, &rounds);
    }
}

#[test]
fn a_long_life_passes_many_checkpoints() {
    let generation = live(1234, &[u64::MAX; 24]);
    assert!(generation > 10, "only {generation}");
}

/// A world in which everything is used, and its volumes.
async fn full_world(runtime: Runtime, seed: u64) -> World {
    let mut world = World::new(runtime, seed).await;
    for _ in 0..5 {
        world.create_plain().await;
    }
    for name in world.writable() {
        world.write_all(&name).await.unwrap();
        world.flush(&name).await.unwrap();
    }
    world
}

fn run<T: 'static, F: Future<Output = T> + 'static>(work: impl FnOnce(Runtime) -> F) -> T {
    let runtime = Runtime::new(FakePlatform::default());
    runtime.block_on(work(runtime.clone()))
}

#[test]
fn what_a_volume_gives_up_goes_to_another_only_when_that_is_durable() {
    for seed in 0..20 {
        run(move |runtime| async move {
            let mut world = full_world(runtime, seed).await;
            let names = world.writable();
            world.discard_all(&names[0]).await.unwrap();
            world.create_plain().await;
            let new = world.writable().pop().unwrap();
            world.write_all(&new).await.unwrap();
            world.restart(seed).await;
        });
    }
}

#[test]
fn a_slow_read_never_shows_what_another_volume_wrote_meanwhile() {
    for seed in 0..10 {
        run(move |runtime| async move {
            let mut world = full_world(runtime, seed).await;
            let mine = world.writable().remove(0);
            world.create_plain().await;
            let other = world.writable().pop().unwrap();
            let mut old = world.models[&mine].1.clone();
            let volume = world.open(&mine);
            world.disk.delay_next(1000);
            let read = world.values(&volume, 0, VOLUME);
            let change = async {
                let discard = DiskRequest::Discard {
                    sector: 0,
                    sectors: VOLUME,
                };
                perform(&*volume, discard).await.unwrap();
                perform(&*volume, DiskRequest::Flush).await.unwrap();
                // There is room only where the read is still under way.
                let write = DiskRequest::Write {
                    sector: 0,
                    pieces: world.data(&vec![777_777; VOLUME as usize]),
                    durable: false,
                };
                perform(&*world.open(&other), write).await.unwrap();
            };
            let (values, ()) = join(read, change).await;
            old.discard(0, VOLUME);
            old.check_now(0, &values.unwrap());
        });
    }
}
