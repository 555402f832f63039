//! `/osfs`.

use serde::{Deserialize, Deserializer, Serialize};

/// An operating system flavour: a line of images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Osf {
    /// Never given twice.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Memory limit of each VM, in MiB.
    pub memory: i64,
    /// Size of a user's storage in MiB; null for no limit, 0 for VMs without a home.
    pub user_storage_size: Option<i64>,
    /// Whether programs in its VMs may make user name spaces, as the sandboxes of browsers do.
    pub nesting: bool,
    /// What process 1 of its VMs is: `auto`, `image` or `own`.
    pub init: String,
}

/// An OSF to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOsf {
    /// Its name.
    pub name: String,
    /// In MiB; the setting `osf.default.memory` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// In MiB; no limit when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_storage_size: Option<i64>,
    /// They may, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nesting: Option<bool>,
    /// `auto` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
}

/// What to change of an OSF; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditOsf {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In MiB, from the next start of each VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<i64>,
    /// In MiB; null for no limit.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub user_storage_size: Option<Option<i64>>,
    /// From the next start of each VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nesting: Option<bool>,
    /// From the next start of each VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
}

/// Tells `null` from a field that is left out.
#[expect(clippy::option_option, reason = "left out, null and a size are three things")]
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_the_same_as_left_out() {
        let edit: EditOsf = serde_json::from_str(r#"{"user_storage_size":null}"#).unwrap();
        assert_eq!(edit.user_storage_size, Some(None));
        assert_eq!(serde_json::to_string(&edit).unwrap(), r#"{"user_storage_size":null}"#);
        assert_eq!(serde_json::from_str::<EditOsf>("{}").unwrap(), EditOsf::default());
        assert!(serde_json::from_str::<EditOsf>(r#"{"memroy":1}"#).is_err());
    }
}
