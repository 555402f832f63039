//! The host's file, `node.conf`: one `key = value` a line, `#` begins a comment.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use model::settings::{self, Settings};

/// This host's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where it was read from.
    pub(crate) path: PathBuf,
    /// The values it sets.
    pub(crate) settings: Settings,
}

impl Config {
    /// Reads the file. One that is not there sets nothing.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context(format!("cannot read {}", path.display())),
        };
        let mut settings = Settings::default();
        settings.layer(parse(&text).with_context(|| format!("in {}", path.display()))?);
        Ok(Self { path: path.to_owned(), settings })
    }

    /// A path among the settings.
    pub(crate) fn folder(&self, key: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(self.settings.get(key)?))
    }

    /// This host's name: `nodename`, or the machine's own.
    pub(crate) fn host(&self) -> Result<String> {
        let name = self.settings.get("nodename")?;
        if !name.is_empty() {
            return Ok(name);
        }
        let uname = rustix::system::uname();
        Ok(uname.nodename().to_string_lossy().into_owned())
    }

    /// The agent's program: `path.vma`, or the one beside this program, or the packaged one.
    pub(crate) fn vma(&self) -> Result<PathBuf> {
        let set = self.settings.get("path.vma")?;
        if !set.is_empty() {
            return Ok(PathBuf::from(set));
        }
        let own = std::env::current_exe().context("cannot find this program's own path")?;
        let beside = own.with_file_name("qvd-vma");
        Ok(if beside.exists() { beside } else { PathBuf::from("/usr/lib/qvd/qvd-vma") })
    }
}

fn parse(text: &str) -> Result<Vec<(String, String)>> {
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            bail!("line {number}: `{line}` is not of the form `key = value`");
        };
        let (key, value) = (key.trim(), value.trim());
        settings::check(key, value).with_context(|| format!("line {number}"))?;
        values.push((key.to_owned(), value.to_owned()));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_lines_of_keys_and_values() {
        let text = "# this host\n\n l7r.port = 9443\npath.run=/run/other # not a comment\n";
        let values = parse(text);
        let error = format!("{:#}", parse("l7r.prot = 1").unwrap_err());
        assert_eq!(error, "line 1: there is no setting `l7r.prot`: did you mean `l7r.port`?");
        assert_eq!(values.unwrap()[0], ("l7r.port".to_owned(), "9443".to_owned()));
        assert!(format!("{:#}", parse("nonsense").unwrap_err()).contains("line 1"));
    }

    #[test]
    fn a_file_that_is_not_there_sets_nothing() {
        let config = Config::read(Path::new("/no/such/node.conf")).unwrap();
        assert_eq!(config.settings, Settings::default());
    }
}
