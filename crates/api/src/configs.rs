//! `/configs`.

use std::collections::{BTreeMap, HashMap};

use axum::Json;
use model::settings::{self, BadSetting, Scope, Setting};
use serde::Deserialize;
use wire::rest::{ChangedConfigs, Config};

use crate::{
    admin::Shared,
    context::{Change, Context},
    extract::{Body, Query},
    fault::Fault,
    peer::Peer,
};

/// The pairs of the query: `key`, any number of times.
type Keys = Vec<(QueryKey, String)>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QueryKey {
    Key,
}

/// All settings there are, or those asked for. Internal ones only when asked for.
pub(crate) async fn list(
    context: Shared,
    Query(keys): Query<Keys>,
) -> Result<Json<Vec<Config>>, Fault> {
    let mut wanted: Vec<&'static Setting> = Vec::new();
    for (_, key) in &keys {
        wanted.push(known(key)?);
    }
    if wanted.is_empty() {
        wanted = settings::ALL.iter().filter(|one| !one.key.starts_with("internal.")).collect();
    }
    wanted.sort_by_key(|setting| setting.key);
    wanted.dedup_by_key(|setting| setting.key);
    bodies(&context, wanted).await.map(Json)
}

/// Sets and unsets, all or nothing.
pub(crate) async fn change(
    context: Shared,
    peer: Peer,
    Body(changes): Body<BTreeMap<String, Option<String>>>,
) -> Result<Json<ChangedConfigs>, Fault> {
    let before: HashMap<String, String> = context.store().configs().await?.into_iter().collect();
    let mut after = context.settings().await?;
    for (key, value) in &changes {
        match value {
            Some(value) => {
                may_set(key, value)?;
                after.layer([(key.clone(), value.clone())]);
            }
            // What an older version left behind may go.
            None if before.contains_key(key) => {}
            None => drop(known(key)?),
        }
    }
    for key in changes.iter().filter(|(_, value)| value.is_some()).map(|(key, _)| key) {
        after.get(key)?;
    }
    let mut removed = Vec::new();
    for one in context.store().change_configs(&changes).await? {
        let change = Change::between(&one.before, &one.after);
        context.audit(peer, "config set", one.key.clone(), change).await;
        if one.after.is_none() {
            removed.push(one.key);
        }
    }
    let keys = changes.keys().filter_map(|key| settings::find(key)).collect();
    Ok(Json(ChangedConfigs { configs: bodies(&context, keys).await?, removed }))
}

fn known(key: &str) -> Result<&'static Setting, Fault> {
    match settings::find(key) {
        Some(setting) => Ok(setting),
        // The check finds what it could have meant.
        None => Err(settings::check(key, "").map_or_else(Fault::from, |_| unknown(key))),
    }
}

fn unknown(key: &str) -> Fault {
    BadSetting::Unknown { key: key.to_owned(), suggestion: None }.into()
}

fn may_set(key: &str, value: &str) -> Result<(), Fault> {
    if key.starts_with("l7r.ssl.") {
        let detail = format!("{key} is not set as a setting: keys and certificates are kept apart");
        return Err(Fault::malformed(detail).remedy("`qa config ssl key=FILE cert=FILE`"));
    }
    let setting = settings::check(key, value)?;
    match setting.scope {
        Scope::Cluster => Ok(()),
        Scope::File => Err(BadSetting::FileOnly(setting.key).into()),
    }
}

async fn bodies(context: &Context, wanted: Vec<&'static Setting>) -> Result<Vec<Config>, Fault> {
    let settings = context.settings().await?;
    let of_installation: HashMap<String, String> =
        context.store().configs().await?.into_iter().collect();
    let body = |setting: &'static Setting| {
        let key = setting.key;
        let origin = if setting.scope == Scope::Cluster && of_installation.contains_key(key) {
            "cluster"
        } else if context.file_settings().is_set(key) {
            "file"
        } else {
            "default"
        };
        Config {
            key: key.to_owned(),
            // A value that cannot be worked out is shown with what is wrong with it.
            value: settings.get(key).unwrap_or_else(|error| format!("({error})")),
            origin: origin.to_owned(),
            scope: match setting.scope {
                Scope::File => "file".to_owned(),
                Scope::Cluster => "cluster".to_owned(),
            },
            about: setting.about.to_owned(),
            reader: setting.reader.to_owned(),
        }
    };
    Ok(wanted.into_iter().map(body).collect())
}
