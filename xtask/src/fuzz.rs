//! Tries the parsers of foreign bytes with a fuzzer, each for some time.
//!
//! The programs of `fuzz/` are built with libFuzzer and with counters in their code. What reaches new code is
//! kept in `target/fuzz/corpus`; `--keep` takes the smallest set of it into `fuzz/corpus`, in the tree, and
//! writes `docs/reports/fuzz.md`. A finding is left as a file, which the same program tries again.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, builder::PossibleValuesParser};

use crate::{command::Command, machine::Run, place, say};

/// What is tried, and what that is.
const TARGETS: [(&str, &str); 5] = [
    ("agent", "what agents, hkd and router say to each other"),
    ("head", "heads of requests and answers"),
    ("image", "archives, packed in five ways"),
    ("rest", "bodies of requests to the api"),
    ("settings", "settings, with references to others"),
];

/// Counters in the code, as libFuzzer reads them. rustc of a release has all of it.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";
/// With a target named, the flags are for the programs alone, and not for what builds them.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// A try may take this many seconds, and this many MiB of memory.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=1024"];

/// What to do.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these; everything when none is named
    #[arg(value_parser = names())]
    names: Vec<String>,
    /// How long each is tried: seconds of a processor
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Keep in the tree what reached new code, and write docs/reports/fuzz.md
    #[arg(long)]
    keep: bool,
}

fn names() -> PossibleValuesParser {
    let named = |(name, about): (&'static str, &'static str)| {
        clap::builder::PossibleValue::new(name).help(about)
    };
    TARGETS.map(named).into()
}

/// What came of one.
#[derive(Debug, Default)]
struct Outcome {
    /// The numbers that libFuzzer prints at its end.
    figures: BTreeMap<String, u64>,
    /// The end of what it said, if it found something.
    finding: Option<String>,
}

/// Tries them, all at once. An error when anything was found.
pub(crate) fn run(options: &Options) -> Result<()> {
    let names: Vec<&str> = TARGETS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| options.names.is_empty() || options.names.iter().any(|asked| asked == name))
        .collect();
    let folder = place::target().join("fuzz");
    Command::cargo()
        .args(["build", "--quiet", "--package", "fuzz", "--bins", "--profile", "fuzz"])
        .args(["--target", TRIPLE, "--target-dir"])
        .arg(&folder)
        .env("RUSTFLAGS", FLAGS)
        .run()?;
    let (folder, seconds) = (&folder, options.seconds);
    let done: BTreeMap<&str, Outcome> = thread::scope(|scope| {
        let tries: Vec<_> = names
            .iter()
            .map(|name| (*name, scope.spawn(move || try_one(folder, name, seconds))))
            .collect();
        let end = |name, one: thread::ScopedJoinHandle<'_, Result<Outcome>>| {
            Ok((name, one.join().ok().context("a thread broke")??))
        };
        tries.into_iter().map(|(name, one)| end(name, one)).collect::<Result<_>>()
    })?;
    if options.keep {
        for name in &names {
            keep(folder, name)?;
        }
        write(&done, options.seconds)?;
    }
    let findings: Vec<&str> =
        done.values().filter_map(|outcome| outcome.finding.as_deref()).collect();
    for finding in &findings {
        say::line(finding);
    }
    ensure!(
        findings.is_empty(),
        "{} findings: their files are in {}",
        findings.len(),
        folder.display()
    );
    for (name, outcome) in &done {
        let figure = |name| outcome.figures.get(name).copied().unwrap_or_default();
        say::line(format_args!("fuzz: {name}: {} tries, no finding", figure(TRIES)));
        ensure!(figure(TRIES) > 0, "{name} was not tried at all");
    }
    Ok(())
}

/// libFuzzer's word for tries.
const TRIES: &str = "number_of_executed_units";

/// What was kept: in this run and those before, and in the tree.
fn corpora(folder: &Path, name: &str) -> Result<[PathBuf; 2]> {
    let found = [folder.join("corpus").join(name), place::root().join("fuzz/corpus").join(name)];
    for folder in &found {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(found)
}

fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join(TRIPLE).join("fuzz").join(name)
}

fn try_one(folder: &Path, name: &str, seconds: u64) -> Result<Outcome> {
    let mut finding = folder.join(name).into_os_string();
    finding.push("-");
    let tried = Command::new(program(folder, name))
        .args(corpora(folder, name)?)
        .args(LIMITS)
        .env("FUZZ_SECONDS", seconds.to_string())
        .arg(format!("-artifact_prefix={}", finding.display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .told()?;
    let (well, said) = tried;
    let figures = said.lines().filter_map(|line| {
        let (name, value) = line.strip_prefix("stat::")?.split_once(':')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    });
    let figures = figures.collect();
    let finding = (!well).then(|| {
        let lines: Vec<&str> = said.lines().collect();
        format!(
            "fuzz: {name}: a finding:\n{}",
            lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
        )
    });
    Ok(Outcome { figures, finding })
}

/// Takes into the tree what reaches code that nothing there reaches, in as few files as it can.
fn keep(folder: &Path, name: &str) -> Result<()> {
    let [fresh, kept] = corpora(folder, name)?;
    let merged = folder.join("merged").join(name);
    if merged.exists() {
        fs::remove_dir_all(&merged)
            .with_context(|| format!("cannot empty {}", merged.display()))?;
    }
    fs::create_dir_all(&merged).with_context(|| format!("cannot make {}", merged.display()))?;
    let (well, said) = Command::new(program(folder, name))
        // Ways through the code, not how often each was gone.
        .args(["-merge=1", "-use_counters=0", "-verbosity=0"])
        .args(LIMITS)
        .args([&merged, &kept, &fresh])
        .told()?;
    if !well {
        bail!("what was kept of {name} cannot be merged: {said}");
    }
    fs::remove_dir_all(&kept).with_context(|| format!("cannot empty {}", kept.display()))?;
    fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
    for file in fs::read_dir(&merged)? {
        let file = file?;
        fs::copy(file.path(), kept.join(file.file_name()))?;
    }
    Ok(())
}

fn write(done: &BTreeMap<&str, Outcome>, seconds: u64) -> Result<()> {
    let run = Run::begins()?;
    let mut page = format!(
        "# fuzz\n\nWritten by `cargo xtask fuzz --seconds {seconds} --keep`: libFuzzer with counters in the code \
         of each parser of foreign bytes,\n{seconds} s of a processor each.\n\n| | |\n|---|---|\n{}\n\
         | target | what | tries | kept in `fuzz/corpus` | memory (MiB) | found |\n|---|---|---|---|---|---|\n",
        run.rows()
    );
    for (name, outcome) in done {
        let about =
            TARGETS.iter().find(|(target, _)| target == name).map_or("", |(_, about)| about);
        let figure = |name| outcome.figures.get(name).copied().unwrap_or_default();
        let kept = fs::read_dir(place::root().join("fuzz/corpus").join(name))?.count();
        let found = if outcome.finding.is_some() { "a finding" } else { "nothing" };
        let (tries, memory) = (figure(TRIES), figure("peak_rss_mb"));
        let _ = writeln!(page, "| {name} | {about} | {tries} | {kept} | {memory} | {found} |");
    }
    let path = place::root().join("docs/reports/fuzz.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}
