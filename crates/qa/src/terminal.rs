//! What people see, and what they are asked. Results go to the standard output; everything else, to
//! the standard error.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    time::Duration,
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::{
    grammar::{Invocation, Output, PasswordFrom},
    table::{self, Column},
};

/// The person said no: nothing was done, and that is what was asked for.
#[derive(Debug, thiserror::Error)]
#[error("nothing was done")]
pub(crate) struct Declined;

/// Letters of made-up passwords: none that looks like another.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters in a made-up password: 116 bits.
const RANDOM_LENGTH: usize = 20;

/// The terminal, or what stands in for it.
#[derive(Debug)]
pub(crate) struct Terminal {
    quiet: bool,
    output: Output,
}

impl Terminal {
    pub(crate) fn new(invocation: &Invocation) -> Self {
        Self { quiet: invocation.quiet, output: invocation.output }
    }

    /// Shows a result: as JSON, or as a table with `empty` said when it has no rows.
    pub(crate) fn list<T: Serialize>(
        &self,
        items: &[T],
        columns: &[Column],
        row: impl Fn(&T) -> Vec<String>,
        empty: &str,
    ) -> anyhow::Result<()> {
        if self.output == Output::Json {
            return json(&items);
        }
        if items.is_empty() {
            self.say(empty);
            return Ok(());
        }
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        page(&table::render(columns, &rows, !self.quiet));
        Ok(())
    }

    /// Shows a changed thing: as JSON, or as a sentence.
    pub(crate) fn done<T: Serialize>(&self, body: &T, sentence: &str) -> anyhow::Result<()> {
        if self.output == Output::Json {
            return json(body);
        }
        if !self.quiet {
            page(sentence);
        }
        Ok(())
    }

    /// Whether results are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// A remark beside the result.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            complain(text);
        }
    }

    /// A bar for `bytes` bytes; nothing without a terminal.
    pub(crate) fn bar(&self, bytes: u64, what: &str) -> ProgressBar {
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        self.drawn(ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden()))
            .with_style(style)
            .with_message(what.to_owned())
    }

    /// Something that turns while one waits; nothing without a terminal.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        let spinner = self
            .drawn(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
            .with_message(what.to_owned());
        if !spinner.is_hidden() {
            spinner.enable_steady_tick(Duration::from_millis(120));
        }
        spinner
    }

    fn drawn(&self, bar: ProgressBar) -> ProgressBar {
        if !self.quiet && io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar
    }
}

/// Prints text and a line feed. A reader that went away (`qa … | head`) is no error.
pub(crate) fn page(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", text.trim_end_matches('\n'));
}

/// Prints text and a line feed to the standard error.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
}

/// Prints a body of the api.
pub(crate) fn json<T: Serialize>(body: &T) -> anyhow::Result<()> {
    page(&serde_json::to_string_pretty(body).context("cannot write the result")?);
    Ok(())
}

/// Asks before something is done to all; anything but `y` ends the program with code 0. Where nobody can
/// answer, that is a mistake: a script would take nothing for done.
pub(crate) fn confirm(question: &str) -> anyhow::Result<()> {
    let mut out = io::stderr().lock();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        writeln!(out)?;
        anyhow::bail!(
            "there is nobody to answer: nothing was changed\n    say which with -f, or --force for all"
        );
    }
    if answer.starts_with(['y', 'Y']) { Ok(()) } else { Err(Declined.into()) }
}

/// A password from where it was said to come from, and whether it was made up here.
pub(crate) fn password(from: &PasswordFrom, whose: &str) -> anyhow::Result<(String, bool)> {
    let text = match from {
        PasswordFrom::Random => return Ok((random_password(), true)),
        PasswordFrom::File(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the password from {}", path.display()))?,
        PasswordFrom::Stdin => {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line)?;
            line
        }
        PasswordFrom::Prompt => {
            if !io::stdin().is_terminal() {
                anyhow::bail!(
                    "there is no terminal to ask for the password\n    \
                     say --password-stdin, --password-file FILE or --random-password"
                );
            }
            let first = rpassword::prompt_password(format!("Password for {whose}: "))?;
            let second = rpassword::prompt_password("Again: ")?;
            if first != second {
                anyhow::bail!("the two passwords differ: nothing was changed");
            }
            first
        }
    };
    let password = text.lines().next().unwrap_or_default().to_owned();
    if password.is_empty() {
        anyhow::bail!("the password is empty: nothing was changed");
    }
    Ok((password, false))
}

fn random_password() -> String {
    use rand::seq::IndexedRandom;
    let mut random = rand::rng();
    (0..RANDOM_LENGTH)
        .filter_map(|_| LETTERS.choose(&mut random).map(|letter| char::from(*letter)))
        .collect()
}
