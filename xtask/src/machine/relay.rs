//! The relay: many `xl` commands over one management channel.
//!
//! The channel is a single stream, owned by one process on the host. Commands connect to the
//! relay's socket and speak the very same protocol; the relay gives each of their sessions a
//! number of its own on the channel, and cancels those whose command went away.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use dom0::mgmt::frame::{self, Decoder};
use dom0::mgmt::protocol::{SessionId, ToDom0, ToHost, VERSION};

/// Frames a command may leave unread before it is taken for dead.
const UNREAD_FRAMES: usize = 2048;

/// Relays until the channel ends.
pub(super) fn serve(channel: UnixStream, listener: &UnixListener) {
    let (Ok(reader), Ok(listener)) = (channel.try_clone(), listener.try_clone()) else {
        return;
    };
    let relay = Arc::new(Relay {
        channel: Mutex::new(channel),
        state: Mutex::default(),
    });
    let acceptor = Arc::clone(&relay);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let relay = Arc::clone(&acceptor);
            thread::spawn(move || relay.serve_client(client));
        }
    });
    // dom0 reads this when it is there; until then it waits in the socket.
    relay.send_bytes(&frame::preamble());
    relay.send(&ToDom0::Hello { version: VERSION });
    relay.serve_dom0(reader);
}

struct Relay {
    channel: Mutex<UnixStream>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: bool,
    last_client: u64,
    last_session: u32,
    clients: HashMap<u64, Client>,
    routes: HashMap<SessionId, Route>,
}

/// A connected command.
struct Client {
    outbox: SyncSender<Vec<u8>>,
    stream: UnixStream,
}

/// Whose a session is. Without a client it was cancelled, and its `Exit` is awaited.
struct Route {
    client: Option<u64>,
    theirs: SessionId,
}

impl Relay {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &ToDom0) {
        if let Ok(bytes) = frame::encode(message) {
            self.send_bytes(&bytes);
        }
    }

    fn send_bytes(&self, bytes: &[u8]) {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        // A channel that broke is noticed by its reader.
        let _ = channel.write_all(bytes);
    }

    /// Hands what dom0 says to those it is for.
    fn serve_dom0(&self, mut channel: UnixStream) {
        let mut decoder = Decoder::new();
        let mut buffer = vec![0; 1 << 16];
        while let Some(bytes) = read(&mut channel, &mut buffer) {
            decoder.push(bytes);
            while let Some(message) = decoder.next_message() {
                self.state().deliver(message);
            }
        }
        for client in self.state().clients.values() {
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }

    /// Passes on what a command says, until it goes away.
    fn serve_client(&self, mut stream: UnixStream) {
        let (outbox, inbox) = sync_channel::<Vec<u8>>(UNREAD_FRAMES);
        let (Ok(mut writer), Ok(own)) = (stream.try_clone(), stream.try_clone()) else {
            return;
        };
        thread::spawn(move || {
            while let Ok(bytes) = inbox.recv() {
                if writer.write_all(&bytes).is_err() {
                    break;
                }
            }
            let _ = writer.shutdown(Shutdown::Both);
        });
        let id = self.state().add(Client {
            outbox,
            stream: own,
        });

        let mut decoder = Decoder::new();
        let mut buffer = vec![0; 1 << 16];
        while let Some(bytes) = read(&mut stream, &mut buffer) {
            decoder.push(bytes);
            while let Some(message) = decoder.next_message() {
                // The lock must be free again before anything is sent: dom0 may not read on
                // until what it says itself is delivered, and that takes the lock.
                let numbered = self.state().renumber(id, message);
                if let Some(message) = numbered {
                    self.send(&message);
                }
            }
        }
        let orphans = self.state().remove(id);
        for session in orphans {
            self.send(&ToDom0::Cancel { session });
        }
    }
}

impl State {
    fn add(&mut self, client: Client) -> u64 {
        self.last_client += 1;
        self.clients.insert(self.last_client, client);
        if self.ready {
            self.tell(self.last_client, &ToHost::Ready { version: VERSION });
        }
        self.last_client
    }

    /// Forgets a command; returns the sessions to be cancelled.
    fn remove(&mut self, id: u64) -> Vec<SessionId> {
        self.clients.remove(&id);
        let mut orphans = Vec::new();
        for (session, route) in &mut self.routes {
            if route.client == Some(id) {
                route.client = None;
                orphans.push(*session);
            }
        }
        orphans
    }

    /// A command's message with the session's number on the channel.
    fn renumber(&mut self, client: u64, mut message: ToDom0) -> Option<ToDom0> {
        let starts = matches!(message, ToDom0::Exec { .. });
        let session = message.session_mut()?;
        let known = self
            .routes
            .iter()
            .find(|(_, route)| route.client == Some(client) && route.theirs == *session)
            .map(|(ours, _)| *ours);
        *session = match known {
            Some(ours) => ours,
            None if starts => self.add_route(Route {
                client: Some(client),
                theirs: *session,
            }),
            None => return None,
        };
        Some(message)
    }

    fn add_route(&mut self, route: Route) -> SessionId {
        loop {
            self.last_session = self.last_session.wrapping_add(1);
            let session = SessionId(self.last_session);
            if let Entry::Vacant(free) = self.routes.entry(session) {
                free.insert(route);
                return session;
            }
        }
    }

    /// Hands a message of dom0 to the command it is for.
    fn deliver(&mut self, mut message: ToHost) {
        let over = matches!(message, ToHost::Exit { .. });
        let Some(session) = message.session_mut() else {
            self.ready = true;
            let all: Vec<_> = self.clients.keys().copied().collect();
            all.into_iter()
                .for_each(|client| self.tell(client, &message));
            return;
        };
        let ours = *session;
        let Some(route) = self.routes.get(&ours) else {
            return;
        };
        *session = route.theirs;
        if let Some(client) = route.client {
            self.tell(client, &message);
        }
        if over {
            self.routes.remove(&ours);
        }
    }

    fn tell(&mut self, id: u64, message: &ToHost) {
        let Some(client) = self.clients.get(&id) else {
            return;
        };
        let Ok(bytes) = frame::encode(message) else {
            return;
        };
        if let Err(TrySendError::Full(_)) = client.outbox.try_send(bytes) {
            // Nobody reads there. Its reader notices, and cancels.
            let _ = client.stream.shutdown(Shutdown::Both);
        }
    }
}

/// The next bytes of a stream; nothing at its end.
fn read<'a>(stream: &mut UnixStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    match stream.read(buffer) {
        Ok(0) | Err(_) => None,
        Ok(count) => buffer.get(..count),
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
