//! The far end of a TCP stream, outside the machine: 10.0.2.2 to guests, 127.0.0.1 to us.
//!
//! Whoever connects says in a line how many bytes it wants. It gets them, and whatever it sends
//! after that line is taken and counted, until it hangs up.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How long a stream may go on after the guest is done with it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The listening end; its thread ends with the process.
#[derive(Debug)]
pub(super) struct Peer {
    port: u16,
    ended: Receiver<Talk>,
}

/// One connection from its line to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    pub(super) bytes: u64,
    pub(super) time: Duration,
}

impl Peer {
    pub(super) fn listen() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
        let port = listener.local_addr()?.port();
        let (ends, ended) = channel();
        thread::spawn(move || serve(&listener, &ends));
        Ok(Self { port, ended })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the end of a connection.
    pub(super) fn end(&self) -> Result<Talk> {
        let talk = self.ended.recv_timeout(PATIENCE);
        talk.context("the guest's stream does not end")
    }
}

fn serve(listener: &TcpListener, ends: &Sender<Talk>) {
    for stream in listener.incoming().flatten() {
        if let Ok(talk) = talk(stream)
            && ends.send(talk).is_err()
        {
            return;
        }
    }
}

fn talk(mut stream: TcpStream) -> std::io::Result<Talk> {
    let mut reader = BufReader::with_capacity(1 << 18, stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let begun = Instant::now();
    let wanted = line.trim().parse().unwrap_or(0);
    give(&mut stream, wanted)?;
    let taken = std::io::copy(&mut reader, &mut std::io::sink())?;
    Ok(Talk {
        bytes: wanted + taken,
        time: begun.elapsed(),
    })
}

fn give(stream: &mut TcpStream, mut left: u64) -> std::io::Result<()> {
    let chunk = vec![b'x'; 1 << 18];
    while left > 0 {
        let count = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        stream.write_all(chunk.get(..count).unwrap_or(&chunk))?;
        left -= count as u64;
    }
    stream.shutdown(Shutdown::Write)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn bytes_are_given_and_taken() {
        let peer = Peer::listen().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", peer.port())).unwrap();
        stream.write_all(b"300000\nabc").unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        drop(stream);
        assert_eq!((got.len(), peer.end().unwrap().bytes), (300_000, 300_003));
    }
}
