//! Makes a host ready for its daemons: the account's folders, the database, the host's own row, the
//! storage.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use model::settings::Settings;
use store::Store;

use crate::{
    account::{self, Account},
    config::Config,
    daemon,
};

/// Permissions of a folder with these, sticky, set-group-id and set-user-id.
const MODE: u32 = 0o7777;

/// A folder as it has to be.
#[derive(Debug)]
struct Folder {
    /// The setting that names it, or what it is in.
    key: &'static str,
    mode: u32,
    /// User and group.
    owner: (u32, u32),
}

/// `qvd migrate`: makes or updates the database, and the folders.
pub(crate) fn migrate(config: &Config, restored: bool) -> Result<()> {
    daemon::runtime()?.block_on(async {
        host(config).await?;
        if restored {
            let store = Store::open(&config.settings.get("database.url")?).await?;
            store.go_on_from_backup().await?;
            store.close().await;
        }
        Ok(())
    })
}

/// Makes all of it. What is there and right stays as it is.
pub(crate) async fn host(config: &Config) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this needs root: it prepares folders and starts containers"
    );
    if let Err(error) = hkd::linux::apparmor::load() {
        // Desktops run without it; the doctor says what that means.
        tracing::warn!(%error, "the profile of desktops is not loaded");
    }
    let account = Account::of_this_machine()?;
    folders(config, account.ids())?;
    let settings = database(config).await?;
    storage(&settings, account.ids())
}

/// The folders that only the host's file names.
fn folders(config: &Config, owner: (u32, u32)) -> Result<()> {
    let run = config.folder("path.run")?;
    let (_, group) = owner;
    let ours = |mode| Folder { key: "path.run", mode, owner: (0, 0) };
    ours(0o755).make(&run)?;
    ours(0o711).make(&run.join("hkd"))?;
    // Root's: the router runs as the same user as the api, and must not replace its sockets.
    ours(0o755).make(&run.join("api"))?;
    Folder { key: "path.ssl", mode: 0o700, owner }.make(&config.folder("path.ssl")?)?;
    if let Some(file) = config.settings.get("database.url")?.strip_prefix("sqlite:")
        && let Some(parent) = Path::new(file).parent()
    {
        Folder { key: "database.url", mode: 0o2770, owner: (0, group) }.make(parent)?;
    }
    Ok(())
}

/// The folders of the storage that are not hkd's own: the settings are those of the installation.
fn storage(settings: &Settings, owner: (u32, u32)) -> Result<()> {
    let allowed = settings.get("path.storage.allowed")?;
    let folders = [
        Folder { key: "path.storage.root", mode: 0o755, owner: (0, 0) },
        Folder { key: "path.storage.staging", mode: 0o750, owner },
        Folder { key: "path.storage.images", mode: 0o750, owner },
    ];
    for folder in folders {
        let (key, path) = (folder.key, settings.get(folder.key)?);
        ensure!(
            Path::new(&path).starts_with(&allowed),
            "{key} is {path}, which is not below path.storage.allowed {allowed}: change one of them"
        );
        folder.make_below(Path::new(&path), Path::new(&allowed))?;
    }
    Ok(())
}

impl Folder {
    /// Makes it. One that is there may be anybody's: it is compared, not changed.
    fn make(&self, path: &Path) -> Result<()> {
        match fs::metadata(path) {
            Ok(found) => self.compare(path, &found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_new(path).with_context(|| self.doing(path))
            }
            Err(error) => Err(error).with_context(|| self.doing(path)),
        }
    }

    /// The same for a path that a row of the database may name: those who can write rows must not
    /// get folders made where a link of theirs leads.
    fn make_below(&self, path: &Path, allowed: &Path) -> Result<()> {
        if !path.exists() {
            let above = path.ancestors().skip(1).take_while(|above| above.starts_with(allowed));
            let foreign = |above: &&Path| fs::symlink_metadata(above).is_ok_and(|it| it.uid() != 0);
            if let Some(above) = above.into_iter().find(foreign) {
                bail!(
                    "{}: {} does not belong to root: make the folder by hand, or set {} to another",
                    self.doing(path),
                    above.display(),
                    self.key
                );
            }
        }
        self.make(path)
    }

    fn make_new(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        let (uid, gid) = self.owner;
        chown(path, Some(uid), Some(gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode))
    }

    fn compare(&self, path: &Path, found: &fs::Metadata) -> Result<()> {
        let (uid, gid) = self.owner;
        let mode = found.permissions().mode() & MODE;
        if found.is_dir() && (found.uid(), found.gid(), mode) == (uid, gid, self.mode) {
            return Ok(());
        }
        let name = |id| if id == 0 { "root" } else { account::NAME };
        let path = path.display();
        bail!(
            "{path} ({key}) is there with owner {}:{} and mode {mode:04o}, and needs {}:{} and {wanted:04o}: \
             if it is QVD's alone, `chown {}:{} {path} && chmod {wanted:04o} {path}`; if not, set {key} to another path",
            found.uid(),
            found.gid(),
            uid,
            gid,
            name(uid),
            name(gid),
            key = self.key,
            wanted = self.mode,
        )
    }

    fn doing(&self, path: &Path) -> String {
        format!("cannot make the folder {} ({})", path.display(), self.key)
    }
}

/// Makes the database, and gives this host its row in a new installation. Returns the settings in
/// force.
async fn database(config: &Config) -> Result<Settings> {
    let store = Store::migrate(&config.settings.get("database.url")?).await?;
    let name = config.host()?;
    if store.host_by_name(&name).await?.is_none() {
        store.add_host(&name, "127.0.0.1").await?;
    }
    let mut settings = config.settings.clone();
    settings.layer_rows(store.configs().await?);
    store.close().await;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path) -> (u32, u32, u32) {
        let found = fs::metadata(path).unwrap();
        (found.uid(), found.gid(), found.permissions().mode() & MODE)
    }

    /// Who runs the test, as a folder's owner.
    fn me() -> (u32, u32) {
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
    }

    #[test]
    fn a_folder_is_made_with_its_mode_and_one_that_is_there_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (uid, gid) = me();
        let folder = Folder { key: "database.url", mode: 0o2770, owner: me() };
        let new = place.path().join("a/new");
        folder.make(&new).unwrap();
        assert_eq!(of(&new), (uid, gid, 0o2770));
        folder.make(&new).unwrap();
        let foreign = place.path().join("foreign");
        fs::create_dir(&foreign).unwrap();
        fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
        let error = folder.make(&foreign).unwrap_err().to_string();
        assert_eq!(of(&foreign), (uid, gid, 0o755), "it was changed");
        for part in ["foreign", "mode 0755", "chmod 2770", "set database.url"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn storage_lies_where_the_installation_says_and_below_what_the_file_allows() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().display();
        let mut settings = Settings::default();
        settings.layer([("path.storage.allowed".to_owned(), format!("{at}/allowed"))]);
        let mut with = |root: String| {
            settings.layer_rows([("path.storage.root".to_owned(), root)]);
            storage(&settings, me())
        };
        let outside = with(format!("{at}/elsewhere")).unwrap_err().to_string();
        assert!(
            outside.contains("path.storage.root") && outside.contains("elsewhere"),
            "{outside}"
        );
        assert!(!place.path().join("elsewhere").exists());
        assert!(rustix::process::geteuid().is_root(), "only root gives folders away");
        with(format!("{at}/allowed/mine")).unwrap();
        let (uid, gid) = me();
        assert_eq!(of(&place.path().join("allowed/mine/staging")), (uid, gid, 0o750));
        // Somebody who writes rows leads root astray.
        let (target, link) = (place.path().join("target"), place.path().join("allowed/link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
        let astray = with(format!("{at}/allowed/link/x")).unwrap_err().to_string();
        assert!(astray.contains("does not belong to root"), "{astray}");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
    }
}
