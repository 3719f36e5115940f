//! The consoles of all domains: kept from the first byte, shown to whoever asks.
//!
//! A console outlives its domain, so that last words can be read: [`end`] drains
//! and lets go of the ring, [`forget`] drops the rest.
//!
//! [`end`]: Consoles::end
//! [`forget`]: Consoles::forget

use alloc::{collections::BTreeMap, rc::Rc, vec::Vec};
use core::{
    cell::RefCell,
    fmt,
    task::{Poll, Waker},
};

use backends::console::{Chunk, Console, Cursor};
use guest_abi::{DomId, Errno, Mfn, Port};

use super::link::{Channel, RingPage};
use crate::{
    executor::{JoinHandle, Runtime},
    hypervisor::Hypervisor,
};

/// One domain's console.
struct Entry {
    console: Console<RingPage>,
    /// Gone when the console has ended.
    channel: Option<Rc<Channel>>,
    /// Serves the ring.
    task: Option<JoinHandle<()>>,
    viewers: Vec<Waker>,
}

impl Entry {
    /// Moves what can move, and tells both sides.
    fn run(&mut self) {
        let progress = self.console.run();
        if progress.notify
            && let Some(channel) = &self.channel
        {
            channel.notify();
        }
        if progress.printed || self.console.closed().is_some() {
            self.wake_viewers();
        }
    }

    fn wake_viewers(&mut self) {
        self.viewers.drain(..).for_each(Waker::wake);
    }
}

/// The consoles of this host.
pub struct Consoles {
    runtime: Runtime,
    hypervisor: Rc<dyn Hypervisor>,
    entries: RefCell<BTreeMap<DomId, Rc<RefCell<Entry>>>>,
}

impl fmt::Debug for Consoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consoles")
            .field("domains", &self.entries.borrow().keys())
            .finish_non_exhaustive()
    }
}

impl Consoles {
    /// No consoles yet.
    #[must_use]
    pub fn start(runtime: &Runtime, hypervisor: Rc<dyn Hypervisor>) -> Rc<Self> {
        Rc::new(Self {
            runtime: runtime.clone(),
            hypervisor,
            entries: RefCell::default(),
        })
    }

    /// Serves a domain's console: its ring's frame, and its end of the channel.
    ///
    /// # Errors
    ///
    /// The hypervisor's refusal.
    pub fn attach(&self, domain: DomId, frame: Mfn, port: Port) -> Result<(), Errno> {
        let (page, channel) = Channel::open(&self.hypervisor, &self.runtime, domain, frame, port)?;
        let channel = Rc::new(channel);
        let entry = Rc::new(RefCell::new(Entry {
            console: Console::new(page),
            channel: Some(channel.clone()),
            task: None,
            viewers: Vec::new(),
        }));
        let served = entry.clone();
        let task = self.runtime.spawn(async move {
            loop {
                served.borrow_mut().run();
                if served.borrow().console.closed().is_some() {
                    return;
                }
                channel.events().wait().await;
            }
        });
        entry.borrow_mut().task = Some(task);
        self.entries.borrow_mut().insert(domain, entry);
        Ok(())
    }

    /// Takes what is left in a domain's ring and lets go of the page. The log stays.
    pub fn end(&self, domain: DomId) {
        let Some(entry) = self.entry(domain) else {
            return;
        };
        let mut entry = entry.borrow_mut();
        if let Some(task) = entry.task.take() {
            task.abort();
        }
        entry.console.end();
        entry.channel = None;
        entry.wake_viewers();
    }

    /// Drops a domain's console, log and all. Who views it sees it to its end.
    pub fn forget(&self, domain: DomId) {
        self.end(domain);
        self.entries.borrow_mut().remove(&domain);
    }

    /// Types at a domain. Answers how many bytes it took: fewer when it does not read.
    pub fn type_in(&self, domain: DomId, bytes: &[u8]) -> usize {
        let Some(entry) = self.entry(domain) else {
            return 0;
        };
        let mut entry = entry.borrow_mut();
        let taken = entry.console.type_in(bytes);
        entry.run();
        taken
    }

    /// Everything that is kept of what a domain has printed.
    #[must_use]
    pub fn log(&self, domain: DomId) -> Option<Vec<u8>> {
        Some(self.entry(domain)?.borrow().console.log().to_vec())
    }

    /// A view of a domain's console, from its first byte on.
    #[must_use]
    pub fn view(&self, domain: DomId) -> Option<Viewer> {
        Some(Viewer {
            entry: self.entry(domain)?,
            cursor: Cursor::default(),
        })
    }

    fn entry(&self, domain: DomId) -> Option<Rc<RefCell<Entry>>> {
        self.entries.borrow().get(&domain).cloned()
    }
}

/// Somebody who looks at a console.
pub struct Viewer {
    entry: Rc<RefCell<Entry>>,
    cursor: Cursor,
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewer")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Viewer {
    /// What was printed next, raw; waits for it. `None` when nothing comes any more.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        core::future::poll_fn(|context| {
            let mut entry = self.entry.borrow_mut();
            match entry.console.log().read(&mut self.cursor) {
                Chunk::Nothing if entry.console.closed().is_some() => Poll::Ready(None),
                Chunk::Nothing => {
                    entry.viewers.push(context.waker().clone());
                    Poll::Pending
                }
                chunk => Poll::Ready(Some(chunk.to_bytes())),
            }
        })
        .await
    }

    /// Moves past everything printed so far.
    pub fn skip_to_end(&mut self) {
        self.cursor = self.entry.borrow().console.log().end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        executor::tests::FakePlatform,
        hypervisor::{ForeignMemory, fake::FakeHypervisor},
        services::tests::guest_page,
    };

    /// Prints as a guest does.
    fn print(page: &dyn ForeignMemory, text: &[u8]) {
        let index = page.load_u32(3084) as usize;
        page.write(1024 + index, text);
        page.store_u32(3084, u32::try_from(index + text.len()).unwrap());
    }

    fn host() -> (Runtime, FakeHypervisor, Rc<Consoles>) {
        let runtime = Runtime::new(FakePlatform::default());
        let hypervisor = FakeHypervisor::new(64);
        let consoles = Consoles::start(&runtime, Rc::new(hypervisor.clone()));
        (runtime, hypervisor, consoles)
    }

    #[test]
    fn last_words_are_seen_after_the_end() {
        let (runtime, hypervisor, consoles) = host();
        let (domain, frame, page) = guest_page(&hypervisor);
        consoles.attach(domain, frame, Port::new(2)).unwrap();
        let mut viewer = consoles.view(domain).unwrap();
        print(&*page, b"last words\n");
        runtime.block_on(async move {
            // The domain dies before anybody has looked.
            consoles.forget(domain);
            assert_eq!(viewer.next().await.unwrap(), b"last words\n");
            assert_eq!(viewer.next().await, None);
        });
    }

    #[test]
    fn an_ended_console_gives_its_page_and_its_port_back() {
        let (_runtime, hypervisor, consoles) = host();
        let (domain, frame, _page) = guest_page(&hypervisor);
        let before = hypervisor.books();
        consoles.attach(domain, frame, Port::new(2)).unwrap();
        consoles.end(domain);
        assert_eq!(hypervisor.books(), before);
        assert_eq!(consoles.type_in(domain, b"anybody?"), 0);
    }
}
