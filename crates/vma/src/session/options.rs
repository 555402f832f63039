//! The file of options that `nxagent` reads when it starts and each time it resumes.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use wire::session::Parameters;

/// The one line: what the client asked for, and where to listen. `socket` is one of our own paths,
/// without a comma or a colon.
pub(crate) fn line(parameters: &Parameters, socket: &Path, display: u16) -> String {
    let mut options = parameters.nx_options();
    // So that clients with other pixel formats can take turns on one session.
    options.push("tolerancechecks=risky".to_owned());
    options.push(format!("listen=unix:{}", socket.display()));
    format!("nx/nx,{}:{display}\n", options.join(","))
}

/// Writes `content` to `path` such that a reader sees all of it or the old.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_what_nxagent_reads() {
        let parameters = Parameters {
            geometry: "800x600".parse().ok(),
            link: "lan".parse().ok(),
            ..Parameters::default()
        };
        assert_eq!(
            line(&parameters, Path::new("/run/x/nx.sock"), 100),
            "nx/nx,link=lan,geometry=800x600,tolerancechecks=risky,listen=unix:/run/x/nx.sock:100\n"
        );
    }
}
