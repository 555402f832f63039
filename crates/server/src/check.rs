//! `qvd check`: is the configuration right?

use anyhow::{Context, Result};
use model::settings;
use store::Store;

use crate::{config::Config, daemon};

/// Checks the file, the database and the values in force; says what is wrong first.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub(crate) fn run(config: &Config) -> Result<()> {
    daemon::runtime()?.block_on(async {
        let url = config.settings.get("database.url")?;
        let store = Store::open(&url).await.context("the database")?;
        let mut values = config.settings.clone();
        values.layer_rows(store.configs().await?);
        for setting in settings::ALL {
            values.get(setting.key).with_context(|| format!("the setting {}", setting.key))?;
        }
        let host = config.host()?;
        let known = store.host_by_name(&host).await?.is_some();
        anyhow::ensure!(
            known,
            "this host, {host}, is not registered: run `qa host add name={host} address=ADDRESS`"
        );
        println!(
            "{}: {} settings, all well; this host is {host}",
            config.path.display(),
            settings::ALL.len()
        );
        Ok(())
    })
}
