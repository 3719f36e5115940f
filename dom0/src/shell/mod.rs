//! The shell on the serial console: a line editor, and `xl` behind it.
//!
//! [`Editor`] turns keys into lines and knows no terminal; [`complete`] knows what may come next;
//! `words` splits a line as people expect; the session below joins them to a [`Terminal`].
//!
//! A line is `xl`'s words, with or without the `xl` in front. While a verb runs, Ctrl-C stops
//! waiting for it, except on a guest's console, which gets every key but Ctrl-].

mod complete;
mod editor;
mod history;
mod keys;
mod session;
mod words;

pub use complete::{Completion, complete};
pub use editor::{Editor, Event};
pub use session::{Shell, Terminal};
pub use words::{WordsError, split};
