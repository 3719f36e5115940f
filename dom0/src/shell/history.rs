//! The lines typed before.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};

/// Lines remembered.
const LINES: usize = 100;

/// Past lines, and a place among them while the user looks around.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: VecDeque<String>,
    /// How far back the user is: 0 is the line being typed.
    back: usize,
    /// The line being typed, while another one is shown.
    draft: String,
}

impl History {
    /// Remembers a line, unless it is the last one again.
    pub(super) fn add(&mut self, line: &str) {
        self.back = 0;
        if line.trim().is_empty() || self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_string());
    }

    /// The line before the one shown, which is `current`.
    pub(super) fn older(&mut self, current: &str) -> Option<String> {
        if self.back == self.lines.len() {
            return None;
        }
        if self.back == 0 {
            self.draft = current.to_string();
        }
        self.back += 1;
        self.lines.get(self.lines.len() - self.back).cloned()
    }

    /// The line after the one shown.
    pub(super) fn newer(&mut self) -> Option<String> {
        self.back = self.back.checked_sub(1)?;
        if self.back == 0 {
            return Some(core::mem::take(&mut self.draft));
        }
        self.lines.get(self.lines.len() - self.back).cloned()
    }
}
