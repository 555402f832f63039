//! Tries the parsers of foreign bytes with a fuzzer, each for some time.
//!
//! The programs of `fuzz/` are built with libFuzzer and with counters in their code. What reaches new code is
//! kept in `target/fuzz/corpus`; `--keep` takes the smallest set of it into `fuzz/corpus`, in the tree, and
//! writes `docs/reports/fuzz.md`, where each program's last such run stands: they may be run one after the
//! other. A finding is left as a file, which the same program tries again.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, builder::PossibleValuesParser};
use serde::{Deserialize, Serialize};

use crate::{
    command::Command,
    machine::{Machine, Run},
    place, say,
};

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
/// A try may take this many seconds, and this many MiB of memory. The seconds are of the clock: what has to
/// share its processor needs more of them than it works.
const LIMITS: [&str; 2] = ["-timeout=60", "-rss_limit_mb=1024"];
/// The last run of each that was kept, a line of JSON for each.
const RESULTS: &str = "docs/reports/fuzz.jsonl";
/// The same, to read.
const REPORT: &str = "docs/reports/fuzz.md";

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

/// What the report says of one.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    target: String,
    #[serde(flatten)]
    run: Run,
    /// How long it was tried: seconds of a processor.
    seconds: u64,
    /// How many inputs it was given.
    tries: u64,
    /// How many of them are kept in the tree.
    kept: usize,
    /// The most memory it had, in MiB.
    peak_mib: u64,
    /// Whether it did what it must not.
    found: bool,
}

/// What came of one.
#[derive(Debug, Default)]
struct Outcome {
    /// The numbers that libFuzzer prints at its end.
    figures: BTreeMap<String, u64>,
    /// The end of what it said, if it found something.
    finding: Option<String>,
}

impl Outcome {
    /// One of the numbers; none is zero.
    fn figure(&self, name: &str) -> u64 {
        self.figures.get(name).copied().unwrap_or_default()
    }
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
    let (folder, seconds, run) = (&folder, options.seconds, Run::begins()?);
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
        write(&done, &run, seconds)?;
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
        let tries = outcome.figure(TRIES);
        say::line(format_args!("fuzz: {name}: {tries} tries, no finding"));
        ensure!(tries > 0, "{name} was not tried at all");
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

/// Writes what came of these beside what is known of the others.
fn write(done: &BTreeMap<&str, Outcome>, run: &Run, seconds: u64) -> Result<()> {
    let results = place::root().join(RESULTS);
    let mut rows = read(&results)?;
    for (name, outcome) in done {
        let row = Row {
            target: (*name).to_owned(),
            run: run.clone(),
            seconds,
            tries: outcome.figure(TRIES),
            kept: fs::read_dir(place::root().join("fuzz/corpus").join(name))?.count(),
            peak_mib: outcome.figure("peak_rss_mb"),
            found: outcome.finding.is_some(),
        };
        rows.insert(row.target.clone(), row);
    }
    let lines: Vec<String> = rows.values().map(serde_json::to_string).collect::<Result<_, _>>()?;
    let report = place::root().join(REPORT);
    for (file, text) in [(results, lines.join("\n") + "\n"), (report, page(&rows))] {
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    say::line(format_args!("fuzz: {REPORT} is written"));
    Ok(())
}

/// What was written before, by name.
fn read(results: &Path) -> Result<BTreeMap<String, Row>> {
    let text = match fs::read_to_string(results) {
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", results.display()))?,
    };
    let rows = text.lines().map(|line| {
        let row: Row = serde_json::from_str(line)
            .with_context(|| format!("{}: not a result: {line}", results.display()))?;
        Ok((row.target.clone(), row))
    });
    rows.collect()
}

fn page(rows: &BTreeMap<String, Row>) -> String {
    let mut page = "# fuzz\n\nWritten by `cargo xtask fuzz --keep` from fuzz.jsonl beside it: libFuzzer, with \
        counters in the code of each\nparser of foreign bytes. The seconds are of a processor.\n\n\
        | target | what | seconds | tries | kept in `fuzz/corpus` | memory (MiB) | found |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    for Row { target, seconds, tries, kept, peak_mib, found, .. } in rows.values() {
        let about = TARGETS.iter().find(|(name, _)| name == target).map_or("", |(_, about)| about);
        let found = if *found { "a finding" } else { "nothing" };
        let _ = writeln!(
            page,
            "| {target} | {about} | {seconds} | {tries} | {kept} | {peak_mib} | {found} |"
        );
    }
    page.push_str("\n| target | revision | began | kernel | machine |\n|---|---|---|---|---|\n");
    for Row { target, run: Run { revision, began, machine }, .. } in rows.values() {
        let Machine { cpu, cores, memory_mib, kernel } = machine;
        let _ = writeln!(
            page,
            "| {target} | {revision} | {began} | {kernel} | {cpu}, {cores} cores, {memory_mib} MiB |"
        );
    }
    page
}
