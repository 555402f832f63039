//! Tests on another machine: Debian's own kernel and systemd under QEMU, for what the kernel that this
//! runs on may lack. `docs/reports/vm.md` says what came of each.
//!
//! Nothing goes over a network: the programs and the list of the tests come on a disk that is read, and
//! results go out through a port of their own, a line of JSON each.

mod disk;
mod report;

use std::{fs, path::Path, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{REPORTS, empty};
use crate::{command::Command, machine::Run, place, say};
use disk::{Disk, Test};
use report::Report;

/// Its name among the others.
pub(super) const NAME: &str = "vm";
/// What it is.
pub(super) const ABOUT: &str =
    "tests in an emulated machine with Debian's kernel: what the kernel here may lack";

/// The emulator. It is told never to use the processor's own help: where that is offered, it need not
/// work.
const EMULATOR: &str = "qemu-system-x86_64";
/// What the kernel and systemd are told: to be patient.
const KERNEL: &str = "root=/dev/vda rw console=ttyS0 quiet mitigations=off \
    systemd.default_timeout_start_sec=900 systemd.default_device_timeout_sec=900";
/// Seconds after which the machine is ended.
const LIMIT: u64 = 4 * 3600;

/// Runs the tests whose name contains `only`, and writes the report unless some were left out. An error
/// when any failed.
pub(super) fn run(only: Option<&str>) -> Result<()> {
    let tests: Vec<Test> = disk::listed()?
        .into_iter()
        .filter(|test| only.is_none_or(|only| test.to_string().contains(only)))
        .collect();
    ensure!(!tests.is_empty(), "no test of {} has such a name", disk::LIST);
    let shown = tests.iter().map(report::shown).collect::<Result<Vec<_>>>()?;
    let began = Run::begins()?;
    Command::new("packaging/prepare").args(["packages", "vm", "image"]).run()?;
    let system = Command::new("tests/vm/build").output()?;
    let system = Path::new(system.trim());
    let work = place::target().join("soak").join(NAME);
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    Disk::make(&work, &tests)?;
    let results = work.join("results.jsonl");
    empty(&results)?;
    say::line(format_args!("soak: {} tests; watch {}", tests.len(), results.display()));
    let started = Instant::now();
    emulate(system, &work, &results)?;
    let said = fs::read_to_string(&results)
        .with_context(|| format!("cannot read {}", results.display()))?;
    let report = Report::of(began, started.elapsed().as_secs(), shown, &said)?;
    if only.is_none() {
        report.write(&place::root().join(REPORTS))?;
        say::line(format_args!("soak: {REPORTS}/{NAME}.md is written"));
    }
    let bad = report.bad();
    if !bad.is_empty() {
        let output = work.join("output").display().to_string();
        bail!(
            "{} of {} tests did not pass: {}; see {output}",
            bad.len(),
            tests.len(),
            bad.join(", ")
        );
    }
    Ok(())
}

/// Runs the machine until it is off.
fn emulate(system: &Path, work: &Path, results: &Path) -> Result<()> {
    let at = |name: &str| work.join(name).display().to_string();
    let in_system = |name: &str| system.join(name).display().to_string();
    let cores = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let root =
        format!("file={},format=raw,if=virtio,snapshot=on,cache=unsafe", in_system("root.img"));
    let programs = format!("file={},format=raw,if=virtio,readonly=on", at("disk.img"));
    let status = Command::new("timeout")
        .args(["--kill-after=10", &LIMIT.to_string(), EMULATOR])
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "4096", "-smp", &cores])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-kernel", &in_system("vmlinuz"), "-initrd", &in_system("initrd")])
        .args(["-append", KERNEL])
        .args(["-drive", &root, "-drive", &programs, "-device", "virtio-rng-pci"])
        .args(["-serial", &format!("file:{}", at("console"))])
        .args(["-device", "virtio-serial-pci"])
        .args(["-chardev", &format!("file,id=results,path={}", results.display())])
        .args(["-device", "virtserialport,chardev=results,name=results"])
        .args(["-chardev", &format!("file,id=output,path={}", at("output"))])
        .args(["-device", "virtserialport,chardev=output,name=output"])
        // What is written to the disk is kept here as long as the machine runs.
        .env("TMPDIR", work)
        .status()?;
    ensure!(status.success(), "the machine did not come to its end: see {}", at("console"));
    Ok(())
}
