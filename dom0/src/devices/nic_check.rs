//! A card's driver under load: bursts of questions that QEMU's user network answers.
//!
//! dom0 runs it when its command line says `nic-check=eth0`, and logs one line: `nic-check eth0:
//! ok, …` or `nic-check eth0: failed: …`. Nothing else may use the card.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use backends::host::{Host, Nic, Piece};

use super::Devices;
use crate::executor::Runtime;

/// Questions in a burst: more than a card's ring has room for; and bursts.
const BURST: usize = 600;
const BURSTS: usize = 10;
/// How long the answers to a burst may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Us, and whom we ask for: a guest's usual address there, and the gateway's.
const OURS: [u8; 4] = [10, 0, 2, 15];
const THEIRS: [u8; 4] = [10, 0, 2, 2];

/// Checks the card of this name, and says how it went.
pub async fn nic_check(runtime: Runtime, host: Rc<dyn Host>, devices: Rc<Devices>, name: String) {
    let Some(nic) = devices.nic(&name) else {
        log::error!("nic-check {name}: failed: there is no such card");
        return;
    };
    match check(&runtime, &*host, &*nic).await {
        Ok(text) => log::info!("nic-check {name}: ok, {text}"),
        Err(why) => log::error!("nic-check {name}: failed: {why}"),
    }
}

async fn check(runtime: &Runtime, host: &dyn Host, nic: &dyn Nic) -> Result<String, String> {
    let memory = host.pages(1).map_err(|errno| errno.name())?;
    let question = question(nic);
    memory.copy_to(0, &question);
    // In two pieces, as backends send them.
    let piece = |offset, len| Piece {
        memory: memory.clone(),
        offset,
        len,
    };
    let frame = [piece(0, 14), piece(14, question.len() - 14)];
    let start = host.now();
    for burst in 1..=BURSTS {
        for number in 0..BURST {
            if !nic.transmit(&frame) {
                return Err(format!("burst {burst}: frame {number} was dropped"));
            }
        }
        nic.kick();
        for number in 0..BURST {
            let mut answer = Vec::new();
            let next = core::future::poll_fn(|context| nic.poll_receive(context, &mut answer));
            let came = runtime.timeout(PATIENCE, next).await;
            came.map_err(|_| format!("burst {burst}: {number} answers came"))?;
            check_answer(nic, &answer)?;
        }
    }
    let time = (host.now() - start) / 1_000_000;
    Ok(format!("{} answers in {time} ms", BURST * BURSTS))
}

/// An ARP request. RFC 826.
fn question(nic: &dyn Nic) -> Vec<u8> {
    let mac = nic.mac().0;
    let mut frame = Vec::from([0xff; 6]);
    frame.extend(mac);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(OURS);
    frame.extend([0; 6]);
    frame.extend(THEIRS);
    frame.resize(60, 0);
    frame
}

fn check_answer(nic: &dyn Nic, answer: &[Piece]) -> Result<(), String> {
    let [answer] = answer else {
        return Err(format!("an answer in pieces: {answer:?}"));
    };
    let mut bytes = [0; 42];
    answer.read(0, &mut bytes);
    let is_answer = bytes.starts_with(&nic.mac().0)
        && bytes[12..14] == [8, 6]
        && bytes[20..22] == [0, 2]
        && bytes[28..32] == THEIRS;
    is_answer.then_some(()).ok_or_else(|| {
        format!(
            "no answer, but {} bytes that begin {:02x?}",
            answer.len, bytes
        )
    })
}
