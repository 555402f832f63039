//! The disk with what the machine is to run.

use std::{
    collections::BTreeSet,
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::{command::Command, place};

/// The tests, a line each.
pub(super) const LIST: &str = "tests/vm/list";
/// How they are built: as for every other test.
const PROFILE: &str = "debug";
/// The programs that the tests run.
const PROGRAMS: [&str; 3] = ["qvd", "qa", "qvd-client"];
const AGENT_TARGET: &str = super::super::AGENT_TARGET;
/// The image of the tests.
const IMAGE: &str = "test";
/// How many times as long as on a real machine anything may take.
const PATIENCE: u32 = 15;
/// MiB beside what is on the disk.
const ROOM: u64 = 64;

/// A test: the file it is in, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) file: String,
    pub(super) name: String,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file, self.name)
    }
}

/// What [`LIST`] says.
pub(super) fn listed() -> Result<Vec<Test>> {
    let text = fs::read_to_string(place::root().join(LIST));
    tests(&text.with_context(|| format!("cannot read {LIST}"))?)
}

fn tests(text: &str) -> Result<Vec<Test>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [file, name] = words.as_slice() else {
            anyhow::bail!("{LIST}: `{line}` is not a file and a test");
        };
        Ok(Test { file: (*file).to_owned(), name: (*name).to_owned() })
    };
    lines.map(read).collect()
}

/// A line of cargo's messages.
#[derive(Debug, Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The disk.
pub(super) struct Disk {
    /// What will be on it.
    folder: PathBuf,
}

impl Disk {
    /// Makes `disk.img` in a folder.
    pub(super) fn make(work: &Path, tests: &[Test]) -> Result<()> {
        let disk = Self { folder: work.join("disk") };
        match fs::remove_dir_all(&disk.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("cannot remove the folder of an earlier disk");
            }
            _ => {}
        }
        disk.programs(tests)?;
        disk.tree()?;
        disk.orders(tests)?;
        let image = work.join("disk.img");
        let used =
            Command::new("du").args(["-sm", "--apparent-size"]).arg(&disk.folder).output()?;
        let used: u64 = used.split_whitespace().next().unwrap_or_default().parse()?;
        let size = (used + used / 8 + ROOM) << 20;
        File::create(&image).and_then(|file| file.set_len(size)).context("cannot make the disk")?;
        Command::new("mkfs.ext4")
            .args(["-q", "-L", "qvd", "-d"])
            .arg(&disk.folder)
            .arg(&image)
            .run()?;
        fs::remove_dir_all(&disk.folder).context("cannot remove the disk's folder")
    }

    /// Puts a file on it.
    fn put(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.folder.join(to);
        let folder = to.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// Puts a program on it, without what only a debugger needs.
    fn put_program(&self, from: &Path, to: &str) -> Result<()> {
        self.put(from, to)?;
        Command::new("strip").arg("--strip-debug").arg(self.folder.join(to)).run()
    }

    /// Builds the programs and the tests, and puts them where the tests look for them.
    fn programs(&self, tests: &[Test]) -> Result<()> {
        let files: BTreeSet<&str> = tests.iter().map(|test| test.file.as_str()).collect();
        let agent = ["--package", "vma", "--profile", "agent", "--target", AGENT_TARGET];
        Command::cargo().args(["build", "--quiet"]).args(agent).run()?;
        let mut build = Command::cargo()
            .args(["build", "--workspace", "--bins", "--message-format", "json"])
            .args(["--exclude", "bench", "--exclude", "fuzz"]);
        for file in &files {
            build = build.args(["--test", *file]);
        }
        let messages = build.output()?;
        let mut found = 0;
        for line in messages.lines() {
            let message: Message = serde_json::from_str(line).context("cargo's messages")?;
            let (Some(target), Some(program)) = (message.target, message.executable) else {
                continue;
            };
            let to = match target.kind.first().map(String::as_str) {
                Some("test") if files.contains(target.name.as_str()) => {
                    format!("target/{PROFILE}/deps/{}", target.name)
                }
                Some("bin") if PROGRAMS.contains(&target.name.as_str()) => {
                    format!("target/{PROFILE}/{}", target.name)
                }
                _ => continue,
            };
            self.put_program(&program, &to)?;
            found += 1;
        }
        let wanted = files.len() + PROGRAMS.len();
        ensure!(found == wanted, "cargo built {found} programs of {wanted}");
        let agent = format!("{AGENT_TARGET}/agent/qvd-vma");
        self.put(&place::target().join(&agent), &format!("target/{agent}"))
    }

    /// The parts of the tree that tests read, and the image of the tests.
    fn tree(&self) -> Result<()> {
        let kept = |path: &Path| ["images", "packaging"].iter().any(|part| path.starts_with(part));
        for path in place::files()?.into_iter().filter(|path| kept(path)) {
            let to = format!("tree/{}", path.display());
            self.put(&place::root().join(&path), &to)?;
        }
        let image = Command::new("images/build").arg(IMAGE).output()?;
        let image = Path::new(image.trim());
        let name = image.file_name().context("an image has a name")?.to_string_lossy();
        self.put(image, &format!("cache/{name}"))
    }

    /// What is to be done with it.
    fn orders(&self, tests: &[Test]) -> Result<()> {
        let lines: Vec<String> = tests.iter().map(Test::to_string).collect();
        let list = lines.join("\n") + "\n";
        let root = place::root().display();
        let environment =
            format!("QVD_ROOT='{root}'\nQVD_PROFILE={PROFILE}\nQVD_PATIENCE={PATIENCE}\n");
        for (name, text) in [("list", list), ("environment", environment)] {
            fs::write(self.folder.join(name), text)
                .with_context(|| format!("cannot write {name}"))?;
        }
        self.put(&place::root().join("tests/vm/run"), "run")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read() {
        let of = |file: &str, name: &str| Test { file: file.into(), name: name.into() };
        let text = "# why\nunits all\n\ncycles  of::two\n";
        assert_eq!(super::tests(text).unwrap(), [of("units", "all"), of("cycles", "of::two")]);
        assert!(super::tests("units\n").is_err());
    }
}
