//! The verbs: each sends a request and waits for its answer.

use alloc::{string::String, vec::Vec};

use guest_abi::io::xs_wire::MessageType;

use super::{StoreError, Transaction, WatchEvent, Xenbus, message::strings};

impl Xenbus {
    /// A node's value.
    ///
    /// # Errors
    ///
    /// The server's refusal; likewise for all verbs below.
    pub fn read(&mut self, within: Transaction, path: &str) -> Result<Vec<u8>, StoreError> {
        self.ask(MessageType::Read, within, &[path.as_bytes(), b"\0"])
    }

    /// Sets a node's value; makes the node and its parents if they are missing.
    pub fn write(
        &mut self,
        within: Transaction,
        path: &str,
        value: &[u8],
    ) -> Result<(), StoreError> {
        self.ask(MessageType::Write, within, &[path.as_bytes(), b"\0", value])
            .map(drop)
    }

    /// The names of a node's children.
    pub fn list(&mut self, within: Transaction, path: &str) -> Result<Vec<String>, StoreError> {
        let names = self.ask(MessageType::Directory, within, &[path.as_bytes(), b"\0"])?;
        Ok(strings(&names))
    }

    /// Removes a node and all below it.
    pub fn remove(&mut self, within: Transaction, path: &str) -> Result<(), StoreError> {
        self.ask(MessageType::Rm, within, &[path.as_bytes(), b"\0"])
            .map(drop)
    }

    /// Watches a node and all below it. The watch fires once at the start.
    pub fn watch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let parts: &[&[u8]] = &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        self.ask(MessageType::Watch, Transaction::NONE, parts)
            .map(drop)
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, path: &str, token: &str) -> Result<(), StoreError> {
        let parts: &[&[u8]] = &[path.as_bytes(), b"\0", token.as_bytes(), b"\0"];
        self.ask(MessageType::Unwatch, Transaction::NONE, parts)
            .map(drop)
    }

    /// Waits for a watch to fire.
    pub fn next_event(&mut self) -> WatchEvent {
        loop {
            if let Some(event) = self.poll_event() {
                return event;
            }
            self.sleep();
        }
    }

    /// The next watch that has fired, if one has.
    pub fn poll_event(&mut self) -> Option<WatchEvent> {
        self.collect();
        self.fired.pop_front()
    }

    /// Waits until a watch with this token has fired; events of others stay where they are.
    pub fn next_event_of(&mut self, token: &str) -> WatchEvent {
        loop {
            self.collect();
            let found = self.fired.iter().position(|event| event.token == token);
            if let Some(event) = found.and_then(|index| self.fired.remove(index)) {
                return event;
            }
            self.sleep();
        }
    }

    /// Runs `body` as one transaction, again and again until no other change
    /// came between.
    pub fn transaction<T>(
        &mut self,
        mut body: impl FnMut(&mut Self, Transaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let id = self.ask(MessageType::TransactionStart, Transaction::NONE, &[b"\0"])?;
            let id = strings(&id).first().and_then(|id| id.parse().ok());
            let within = Transaction(id.ok_or(StoreError::Protocol)?);
            let outcome = body(self, within);
            let verdict: &[u8] = if outcome.is_ok() { b"T\0" } else { b"F\0" };
            match self.ask(MessageType::TransactionEnd, within, &[verdict]) {
                Err(StoreError::Refused(name)) if name == "EAGAIN" && outcome.is_ok() => {}
                ended => return outcome.and_then(|value| ended.map(|_| value)),
            }
        }
    }
}
