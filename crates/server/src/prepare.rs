//! Makes a host ready for its daemons: the account's folders, the database, the host's own row.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use store::Store;

use crate::{account, config::Config, daemon};

/// Makes the folders that need root to be made, and gives them to whom they belong.
pub(crate) fn folders(config: &Config) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "this needs root: it prepares folders and starts containers"
    );
    let owner = account::ids()?;
    let run = config.folder("path.run")?;
    folder(&run, 0o755, None)?;
    folder(&run.join("hkd"), 0o711, None)?;
    folder(&run.join("api"), 0o755, Some(owner))?;
    folder(&config.folder("path.ssl")?, 0o700, Some(owner))?;
    folder(&config.folder("path.storage.root")?, 0o755, None)?;
    folder(&config.folder("path.storage.staging")?, 0o750, Some(owner))?;
    folder(&config.folder("path.storage.images")?, 0o750, Some(owner))?;
    if let Some(file) = config.settings.get("database.url")?.strip_prefix("sqlite:")
        && let Some(parent) = Path::new(file).parent()
    {
        let (_, group) = owner;
        folder(parent, 0o2770, Some((0, group)))?;
    }
    Ok(())
}

/// Makes a folder, or puts right one that is there.
fn folder(path: &Path, mode: u32, owner: Option<(u32, u32)>) -> Result<()> {
    let make = || {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        let (uid, gid) = owner.unwrap_or((0, 0));
        chown(path, Some(uid), Some(gid))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    make().with_context(|| format!("cannot make the folder {}", path.display()))
}

/// `qvd migrate`: makes or updates the database.
pub(crate) fn migrate(config: &Config) -> Result<()> {
    folders(config)?;
    daemon::runtime()?.block_on(async {
        let store = Store::migrate(&config.settings.get("database.url")?).await?;
        store.close().await;
        Ok(())
    })
}

/// Makes the database, and gives this host its row in a new installation.
pub(crate) async fn database(config: &Config) -> Result<()> {
    let store = Store::migrate(&config.settings.get("database.url")?).await?;
    let name = config.host()?;
    if store.host_by_name(&name).await?.is_none() {
        store.add_host(&name, "127.0.0.1").await?;
    }
    store.close().await;
    Ok(())
}
