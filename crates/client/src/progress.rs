//! One line that says what happens: a spinner on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use indicatif::ProgressBar;

/// What happens, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    spinner: Option<ProgressBar>,
    last: String,
}

impl Progress {
    /// Nothing has happened.
    pub(crate) fn new() -> Self {
        Self { spinner: None, last: String::new() }
    }

    /// This happens now. The same text again says nothing new.
    pub(crate) fn say(&mut self, text: &str) {
        let text = text.to_owned();
        if io::stderr().is_terminal() {
            let spinner = self.spinner.get_or_insert_with(|| {
                let spinner = ProgressBar::new_spinner();
                spinner.enable_steady_tick(Duration::from_millis(120));
                spinner
            });
            spinner.set_message(text);
        } else if text != self.last {
            writeln!(io::stderr(), "{text}").ok();
            self.last = text;
        }
    }

    /// It is done: the line goes.
    pub(crate) fn done(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
        self.last.clear();
    }
}
