//! Streams for whoever connects: taken, and given.

use alloc::{format, string::String};

use frontends::time;
use smoltcp::{socket::tcp, time::Duration};

use super::{
    Failed, Host, VCPU,
    stack::Stack,
    tcp::{port, tell},
};
use crate::{pattern, wanted::Line};

/// Connections at once, those included that are about to end.
const CONNECTIONS: usize = 4;
/// How long a client may be silent while it owes an answer, and after what time it does.
const PATIENCE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(10);

/// One connection, from its beginning to its end.
#[derive(Clone, Default)]
struct Talk {
    /// When the first byte came.
    since: Option<(u64, u64)>,
    /// What the client wants, if it is asked.
    line: Option<Line>,
    given: u64,
    taken: u64,
    /// Whether what comes is to be looked at, and what it has been so far.
    pattern: Option<bool>,
    /// The client has been told that nothing more will come.
    closed: bool,
}

impl Talk {
    /// Moves what can be moved; whether that was anything.
    fn turn(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let taken = self.take(socket);
        taken | self.give(socket) | self.close(socket)
    }

    fn take(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let mut any = false;
        while socket.can_recv() {
            self.since
                .get_or_insert_with(|| (time::now(VCPU), time::cycles()));
            let line = self.line.as_mut();
            let line = line.filter(|line| line.wanted().is_none());
            // Refused if the client has just gone; the socket says so by itself.
            let _ = socket.recv(|data| {
                let skipped = line.map_or(0, |line| line.feed(data));
                let rest = data.get(skipped..).unwrap_or_default();
                if let Some(fits) = &mut self.pattern {
                    *fits &= pattern::fits(self.taken, rest);
                }
                self.taken += rest.len() as u64;
                (data.len(), ())
            });
            any = true;
        }
        let ended = socket.state() == tcp::State::CloseWait && !socket.may_recv();
        if let Some(line) = self.line.as_mut().filter(|_| ended) {
            line.end();
        }
        any
    }

    /// How many bytes are still to be given; `None` while that is not known.
    fn left(&self) -> Option<u64> {
        let wanted = self.line.as_ref()?.wanted()?;
        Some(wanted.saturating_sub(self.given))
    }

    /// Gives what the client still wants: the buffer was made of such bytes, and holds no others.
    fn give(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let mut any = false;
        while let Some(left) = self.left().filter(|&left| left > 0)
            && socket.can_send()
        {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let count = socket.send(|room| {
                let count = room.len().min(most);
                (count, count)
            });
            let count = count.unwrap_or(0);
            self.given += count as u64;
            any |= count > 0;
        }
        any
    }

    /// Ends our side: when everything is given, or, if nothing is, when the client has ended its own.
    fn close(&mut self, socket: &mut tcp::Socket<'_>) -> bool {
        let done = match self.line {
            Some(_) => self.left() == Some(0),
            None => socket.state() == tcp::State::CloseWait,
        };
        let now = done && !self.closed;
        if now {
            socket.close();
            self.closed = true;
        }
        now
    }
}

/// Takes streams, and says of each how much came.
pub(super) fn sink(host: Host) -> Result<String, Failed> {
    let fresh = Talk {
        pattern: host.has_word("pattern").then_some(true),
        ..Talk::default()
    };
    run(host, "sink", 9, &fresh)
}

/// Takes streams and gives them: a client's first line is how many bytes it wants.
pub(super) fn serve(host: Host) -> Result<String, Failed> {
    let fresh = Talk {
        line: Some(Line::default()),
        ..Talk::default()
    };
    run(host, "serve", 19, &fresh)
}

fn run(host: Host, what: &str, default_port: u16, fresh: &Talk) -> Result<String, Failed> {
    let (port, limit) = (port(&host, default_port), host.number("ops"));
    let mut stack = Stack::new(host)?;
    let mut talks = [(); CONNECTIONS].map(|()| (stack.tcp_with(b'x'), fresh.clone()));
    stack.come_up()?;
    let mut served = 0;
    while !stack.stopping && limit.is_none_or(|limit| served < limit) {
        let mut busy = false;
        for (handle, talk) in &mut talks {
            let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            busy |= talk.turn(socket);
            // Who waits for stray segments would keep others out.
            if socket.state() == tcp::State::TimeWait {
                socket.abort();
            }
            if socket.is_open() {
                continue;
            }
            if let Some(since) = talk.since {
                served += 1;
                if talk.pattern == Some(false) {
                    return Err("a byte is not where it belongs".into());
                }
                tell(what, talk.given + talk.taken, Some(since));
            }
            *talk = fresh.clone();
            socket.set_timeout(Some(PATIENCE));
            socket.set_keep_alive(Some(IDLE));
            let listening = socket.listen(port);
            listening.map_err(|error| Failed(format!("{error}")))?;
            busy = true;
        }
        stack.turn(busy)?;
    }
    Ok(format!("streams={served}"))
}
