//! `qvd doctor`: says in plain words what this machine lacks, and how to mend it.

use std::path::Path;

use anyhow::{Result, bail};
use hkd::{
    examine,
    layout::Layout,
    linux::doctor::{self, Finding, Wrong},
};
use model::settings::Settings;
use store::Store;

use crate::{account::Account, config::Config, daemon};

/// Looks at everything, says what was found, and fails when something is wrong.
#[expect(clippy::print_stdout, reason = "a command's answer")]
pub(crate) fn run(config: &Config) -> Result<()> {
    let findings = look(config)?;
    let mut wrong = 0;
    for finding in &findings {
        match &finding.wrong {
            None => println!("good   {}", finding.what),
            Some(Wrong { why, remedy }) => {
                wrong += 1;
                println!("WRONG  {}: {why}\n       remedy: {remedy}", finding.what);
            }
        }
    }
    match wrong {
        0 => {
            println!("This machine can run desktops.");
            Ok(())
        }
        1 => bail!("one thing is wrong"),
        many => bail!("{many} things are wrong"),
    }
}

fn look(config: &Config) -> Result<Vec<Finding>> {
    let InForce { settings, database, clock } = daemon::runtime()?.block_on(in_force(config))?;
    let layout = Layout::from_settings(&settings)?;
    let mut asked = examine::asked(&settings, &layout, config.vma()?)?;
    asked.shared =
        vec![("the storage of images", layout.images), ("the storage of homes", layout.homefs)];
    let root = rustix::process::geteuid().is_root();
    let mut findings = vec![
        finding(
            "root's rights",
            (!root).then(|| {
                Wrong::new("this is not root: some things cannot be seen", "run `sudo qvd doctor`")
            }),
        ),
        finding(
            "the account of router and api",
            Account::of_this_machine()
                .err()
                .map(|error| Wrong::new(error.to_string(), "make the account")),
        ),
        finding("the database", database),
        finding("the clock", clock),
    ];
    findings.extend(doctor::look(&asked));
    Ok(findings)
}

fn finding(what: &'static str, wrong: Option<Wrong>) -> Finding {
    Finding { what, wrong }
}

/// What the database says.
struct InForce {
    /// The settings of this host's file with those of the installation over them.
    settings: Settings,
    /// What is wrong with the database.
    database: Option<Wrong>,
    /// What is wrong with this machine's clock.
    clock: Option<Wrong>,
}

/// A database that is not made yet is as good as an empty one.
async fn in_force(config: &Config) -> Result<InForce> {
    let settings = config.settings.clone();
    let url = settings.get("database.url")?;
    let mut found = InForce { settings, database: None, clock: None };
    let made = url.strip_prefix("sqlite:").is_none_or(|file| Path::new(file).exists());
    if !made {
        return Ok(found);
    }
    let rows = async {
        let store = Store::open(&url).await?;
        let rows = store.configs().await;
        found.clock = examine::clock(&store, &*hkd::start::clock()).await;
        store.close().await;
        rows
    };
    match rows.await {
        Ok(rows) => found.settings.layer_rows(rows),
        Err(error) => {
            found.database = Some(Wrong::new(
                format!("{:#}", anyhow::Error::new(error)),
                format!("look at database.url in {}; `qvd check` says more", config.path.display()),
            ));
        }
    }
    Ok(found)
}
