//! The shell at work on a terminal.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::pin;

use futures_util::future::{Either, select};

use super::{Completion, Editor, Event, complete, split};
use crate::io::{Caller, Output, Stdio};
use crate::xl::Xl;

/// The key that stops a verb.
const INTERRUPT: u8 = 0x03;
/// Bytes typed ahead that are kept while a verb runs.
const MAX_TYPED_AHEAD: usize = 1024;

/// A terminal that sends keys and shows bytes.
pub trait Terminal {
    /// The next keys.
    fn read(&self) -> impl Future<Output = Vec<u8>>;

    /// Shows bytes.
    fn write(&self, bytes: &[u8]);
}

/// A shell on a terminal.
#[derive(Debug)]
pub struct Shell<T> {
    terminal: T,
    xl: Xl,
    editor: Editor,
    /// Typed while nobody read.
    ahead: Vec<u8>,
}

impl<T: Terminal> Shell<T> {
    /// A shell for `xl`.
    pub fn new(terminal: T, xl: Xl) -> Self {
        Self {
            terminal,
            xl,
            editor: Editor::new("dom0> "),
            ahead: Vec::new(),
        }
    }

    /// Serves for ever.
    pub async fn run(mut self) -> ! {
        self.terminal
            .write(b"\r\nWelcome to dom0. `help` lists what there is to type.\r\n");
        loop {
            let line = self.line().await;
            self.execute(&line).await;
        }
    }

    /// Lets the user type a line.
    async fn line(&mut self) -> String {
        self.draw();
        loop {
            let bytes = match core::mem::take(&mut self.ahead) {
                ahead if ahead.is_empty() => self.terminal.read().await,
                ahead => ahead,
            };
            let mut bytes = bytes.into_iter();
            while let Some(byte) = bytes.next() {
                let mut out = Vec::new();
                let event = self.editor.feed(byte, &mut out);
                self.terminal.write(&out);
                match event {
                    Some(Event::Line(line)) => {
                        self.ahead.extend(bytes);
                        return line;
                    }
                    Some(Event::Complete) => self.complete(),
                    None => {}
                }
            }
        }
    }

    fn draw(&self) {
        let mut out = Vec::new();
        self.editor.draw(&mut out);
        self.terminal.write(&out);
    }

    fn complete(&mut self) {
        let verbs: Vec<&str> = Xl::verbs().collect();
        match complete(&self.editor.before_cursor(), &verbs, &self.xl.domains()) {
            Completion::Nothing => return self.terminal.write(b"\x07"),
            Completion::Insert(text) => self.editor.insert(&text),
            Completion::Choices(choices) => {
                self.terminal
                    .write(format!("\r\n{}\r\n", choices.join("  ")).as_bytes());
            }
        }
        self.draw();
    }

    async fn execute(&mut self, line: &str) {
        let mut words = match split(line) {
            Ok(words) => words,
            Err(error) => return self.terminal.write(format!("xl: {error}\r\n").as_bytes()),
        };
        if words.first().is_some_and(|first| first == "xl") {
            words.remove(0);
        }
        if words.is_empty() {
            return;
        }
        // A guest's console gets every key.
        let raw = words.first().is_some_and(|verb| verb == "console")
            || words.iter().any(|word| word == "-c");
        let (stdio, caller) = Stdio::new();
        let Caller {
            input,
            output,
            files,
        } = caller;
        // Files are the management channel's; here there are none.
        drop(files);

        let xl = self.xl.clone();
        let terminal = &self.terminal;
        let command = async move { xl.execute(words, stdio).await };
        let show = async {
            while let Ok(Output::Out(bytes) | Output::Err(bytes)) = output.recv().await {
                terminal.write(&with_returns(&bytes));
            }
        };
        let ahead = &mut self.ahead;
        let type_in = async {
            loop {
                let bytes = terminal.read().await;
                if raw {
                    // A command that doesn't read is none that keys are for.
                    let _ = input.try_send(bytes);
                } else if bytes.contains(&INTERRUPT) {
                    return;
                } else if ahead.len() + bytes.len() <= MAX_TYPED_AHEAD {
                    ahead.extend(bytes);
                }
            }
        };
        let work = pin!(async {
            // The output closes when the command is done and all of it was shown.
            futures_util::future::join(command, show).await;
        });
        if let Either::Right(_) = select(work, pin!(type_in)).await {
            self.terminal.write(b"^C\r\n");
        }
    }
}

/// Ends each line the way a terminal wants it.
fn with_returns(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 16);
    let mut last = 0;
    for &byte in bytes {
        if byte == b'\n' && last != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        last = byte;
    }
    out
}
