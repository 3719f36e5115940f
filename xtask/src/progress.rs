//! Progress: a bar or spinner on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Something that takes a while.
#[derive(Debug)]
pub struct Step {
    what: String,
    begun: Instant,
    /// Nothing without a terminal.
    bar: Option<ProgressBar>,
}

impl Step {
    /// Begins something of unknown length.
    #[must_use]
    pub fn begin(what: impl Into<String>) -> Self {
        Self::with(
            what.into(),
            ProgressBar::new_spinner(),
            "{spinner} {msg} {elapsed}",
        )
    }

    /// Begins something of `length` parts.
    #[must_use]
    pub fn parts(what: impl Into<String>, length: u64) -> Self {
        Self::with(
            what.into(),
            ProgressBar::new(length),
            "{wide_bar} {pos}/{len} {msg} {elapsed}",
        )
    }

    fn with(what: String, bar: ProgressBar, template: &str) -> Self {
        let hidden = bar.is_hidden();
        if hidden {
            eprintln!("{what} …");
        } else {
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(what.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            what,
            begun: Instant::now(),
            bar: (!hidden).then_some(bar),
        }
    }

    /// Names the part that is under way.
    pub fn at(&self, part: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(format!("{}: {part}", self.what)),
            None => eprintln!("  {part}"),
        }
    }

    /// One more part is done.
    pub fn advance(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// How long it has taken so far.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// It is done.
    pub fn done(self) {
        let seconds = self.begun.elapsed().as_secs_f32();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: done in {seconds:.1} s", self.what);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
