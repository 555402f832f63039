//! Looks for the users' password where it must not be.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use super::World;
use crate::program::found;

/// The file in a world's folder with what is looked for, one form of a secret a line: so no search has
/// it among its arguments.
const FORMS: &str = "secrets";

/// Notes what must not be found: a secret as it is, and as it goes over the wire.
pub(super) fn note(folder: &Path, secret: &str) {
    let path = folder.join(FORMS);
    let mut file =
        fs::File::options().create(true).append(true).mode(0o600).open(path).expect("secrets");
    writeln!(file, "{secret}\n{}", STANDARD_NO_PAD.encode(secret)).expect("secrets are noted");
}

impl World {
    /// No process has the password in its arguments or its environment, and no file holds it.
    #[track_caller]
    pub fn keeps_its_secrets(&self) {
        self.no_process_shows_a_secret();
        self.no_file_holds_a_secret();
    }

    /// No process of this machine has the password in its arguments or its environment.
    #[track_caller]
    pub fn no_process_shows_a_secret(&self) {
        let forms = self.folder.join(FORMS);
        let showing = found(&format!(
            "grep -lsaF -f {} /proc/[0-9]*/cmdline /proc/[0-9]*/environ",
            forms.display()
        ));
        assert_eq!(showing, "", "the password can be seen in these");
    }

    /// No file holds the password that was written since this world began: of the world itself, of
    /// its desktops, or where programs put files of theirs.
    #[track_caller]
    pub fn no_file_holds_a_secret(&self) {
        let at = self.folder.display();
        // Files may vanish under the search. The volume itself is searched through its files.
        let holds =
            format!("-type f -size -64M -exec grep -lsaF -f {at}/{FORMS} {{}} + 2>/dev/null");
        let mut holding: Vec<String> = [
            format!("find {at} -xdev {holds}"),
            format!("find {at}/storage -newer {at}/owner {holds}"),
            format!("find /tmp /run /var/log -xdev -path {at} -prune -o -newer {at}/owner {holds}"),
        ]
        .iter()
        .flat_map(|search| found(search).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
        holding.sort();
        // These two hold it, or the search is worth nothing.
        let known = ["password", FORMS].map(|name| self.folder.join(name).display().to_string());
        assert_eq!(holding, known, "only the test's own files hold the password");
    }
}
