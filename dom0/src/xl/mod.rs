//! `xl`: the verbs, one a file.
//!
//! Whoever calls, the shell on the serial console or a session of the management channel, gives
//! words and a [`Stdio`] and gets an exit status. Names, columns and statuses are those of Xen's
//! own `xl`, so that habits and scripts keep working.

mod args;
mod backend_restart;
mod block_attach;
mod block_detach;
mod block_list;
mod cat;
mod console;
mod create;
mod debug_keys;
mod destroy;
mod devices;
mod dmesg;
mod domid;
mod domname;
mod help;
mod info;
mod json;
mod list;
mod ls;
mod mem_max;
mod mem_set;
mod network_attach;
mod network_detach;
mod network_list;
mod pause;
mod poweroff;
mod reboot;
mod shutdown;
mod table;
#[cfg(test)]
mod tests;
mod unpause;
mod uptime;
mod vcpu_list;
mod vol;
mod xenstore_ls;

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use guest_abi::{DomId, Errno};

use crate::config::nearest;
use crate::io::{Gone, Stdio};
use crate::mgmt::server::Commands;
use crate::toolstack::Toolstack;

/// Exit status of success.
const SUCCESS: u8 = 0;
/// Exit status of every failure.
const FAILURE: u8 = 1;

/// Every verb, as `help` lists them.
const VERBS: [&Verb; 32] = [
    &create::VERB,
    &list::VERB,
    &destroy::VERB,
    &shutdown::VERB,
    &reboot::VERB,
    &pause::VERB,
    &unpause::VERB,
    &console::VERB,
    &vcpu_list::VERB,
    &block_attach::VERB,
    &block_detach::VERB,
    &block_list::VERB,
    &network_attach::VERB,
    &network_detach::VERB,
    &network_list::VERB,
    &backend_restart::VERB,
    &mem_set::VERB,
    &mem_max::VERB,
    &vol::VERB,
    &ls::VERB,
    &cat::VERB,
    &info::VERB,
    &dmesg::VERB,
    &uptime::VERB,
    &domid::VERB,
    &domname::VERB,
    &debug_keys::VERB,
    &xenstore_ls::VERB,
    &poweroff::VERB,
    &help::VERB,
    &help::DASH_H,
    &help::DASH_DASH_HELP,
];

/// What a verb works with.
#[derive(Clone, Debug)]
struct Context {
    toolstack: Rc<Toolstack>,
    stdio: Stdio,
}

/// Why a verb failed.
#[derive(Debug)]
enum Failure {
    /// One line for the user.
    Message(String),
    /// Nobody is there to be told.
    Gone,
}

impl From<Gone> for Failure {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

type Outcome = Result<(), Failure>;

/// A verb at work.
type Running = Pin<Box<dyn Future<Output = Outcome>>>;

/// A verb.
struct Verb {
    name: &'static str,
    /// What goes behind the name.
    usage: &'static str,
    summary: &'static str,
    /// Each option with its meaning.
    options: &'static [(&'static str, &'static str)],
    run: fn(Context, Vec<String>) -> Running,
}

impl Verb {
    /// Whether `help` hides it: another spelling of `help`.
    fn is_alias(&self) -> bool {
        self.name.starts_with('-')
    }
}

/// A failure with these words.
fn failure(text: impl ToString) -> Failure {
    Failure::Message(text.to_string())
}

/// A refusal of the hypervisor.
fn refused(what: &str, errno: Errno) -> Failure {
    failure(format!(
        "{what} failed: {}; `xl dmesg` tells why",
        errno.name()
    ))
}

impl Context {
    /// The domain a user means.
    fn find(&self, word: &str) -> Result<DomId, Failure> {
        if let Some(domain) = self.toolstack.find(word) {
            return Ok(domain);
        }
        let names = self.toolstack.names();
        let hint = match nearest(word, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant}?"),
            None => "`xl list` shows all".to_string(),
        };
        Err(failure(format!(
            "{word} is an invalid domain identifier; {hint}"
        )))
    }

    /// As [`find`](Self::find), and not dom0.
    fn find_guest(&self, word: &str, verb: &str) -> Result<DomId, Failure> {
        match self.find(word)? {
            DomId::DOM0 => Err(failure(format!("cannot {verb} privileged domain 0"))),
            domain => Ok(domain),
        }
    }

    /// The name of a domain, or what stands for none.
    fn name(&self, domain: DomId) -> String {
        self.toolstack
            .name(domain)
            .unwrap_or_else(|| "(null)".to_string())
    }

    /// Prints a line.
    async fn line(&self, text: impl AsRef<str>) -> Result<(), Gone> {
        self.stdio.out(format!("{}\n", text.as_ref())).await
    }

    /// Prints a line to the standard error output.
    async fn note(&self, text: impl AsRef<str>) -> Result<(), Gone> {
        self.stdio.err(format!("xl: {}\n", text.as_ref())).await
    }
}

/// The command.
#[derive(Clone, Debug)]
pub struct Xl {
    toolstack: Rc<Toolstack>,
}

impl Xl {
    /// `xl` on a toolstack.
    #[must_use]
    pub fn new(toolstack: Rc<Toolstack>) -> Self {
        Self { toolstack }
    }

    /// The names of all verbs.
    pub fn verbs() -> impl Iterator<Item = &'static str> {
        VERBS
            .iter()
            .filter(|verb| !verb.is_alias())
            .map(|verb| verb.name)
    }

    /// The names of all domains.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        self.toolstack.names()
    }

    /// Runs words, the first of them the verb; returns the exit status.
    pub async fn execute(&self, words: Vec<String>, stdio: Stdio) -> u8 {
        let context = Context {
            toolstack: self.toolstack.clone(),
            stdio,
        };
        let mut words = words.into_iter();
        let outcome = match words.next() {
            None => (help::VERB.run)(context.clone(), Vec::new()).await,
            Some(name) => match VERBS.iter().find(|verb| verb.name == name) {
                Some(verb) => {
                    let words: Vec<String> = words.collect();
                    if words.iter().any(|word| word == "-h" || word == "--help") {
                        (help::VERB.run)(context.clone(), Vec::from([name])).await
                    } else {
                        (verb.run)(context.clone(), words).await
                    }
                }
                None => Err(unknown(&name)),
            },
        };
        match outcome {
            Ok(()) => SUCCESS,
            Err(Failure::Gone) => FAILURE,
            Err(Failure::Message(text)) => {
                // Nobody there to read it is no reason to fail twice.
                let _ = context.note(text).await;
                FAILURE
            }
        }
    }
}

fn unknown(name: &str) -> Failure {
    let hint = match nearest(name, Xl::verbs()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "`xl help` lists all".to_string(),
    };
    failure(format!("command '{name}' not implemented; {hint}"))
}

impl Commands for Xl {
    fn run(&self, argv: Vec<String>, stdio: Stdio) -> Pin<Box<dyn Future<Output = u8>>> {
        let xl = self.clone();
        Box::pin(async move { xl.execute(argv, stdio).await })
    }
}
