//! What a client asks of a desktop: the query of `connect_to_vm`.
//!
//! A client may send any `qvd.client.*` and `custom.*`. What becomes an option of `nxagent` is
//! parsed here into closed types; everything else is dropped, and nothing a client writes reaches a
//! command line or an options file as it came. Empty values count as not given: an empty option
//! makes `nxagent` end at once.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The parameters of a session, allow-listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Parameters {
    /// The client's system: decides between the printing channels.
    pub client: Option<ClientOs>,
    /// `model/layout` for X, such as `pc105/es`.
    pub keyboard: Option<Keyboard>,
    /// How the picture is compressed.
    pub link: Option<Link>,
    /// Size of the desktop.
    pub geometry: Option<Geometry>,
    /// The desktop covers the client's screen.
    pub fullscreen: bool,
}

/// A query that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadParameters {
    /// Keys that are neither `id` nor `qvd.client.*` nor `custom.*`.
    #[error("Invalid parameters {0}")]
    Foreign(String),
}

impl Parameters {
    /// From the query's pairs, decoded. Values that do not fit their type are dropped, as the
    /// clients of the family send some that never did.
    pub fn from_query(query: &BTreeMap<String, String>) -> Result<Self, BadParameters> {
        let known = |key: &str| {
            key == "id"
                || key == "resume"
                || key.starts_with("qvd.client.")
                || key.starts_with("custom.")
        };
        let foreign: Vec<&str> =
            query.keys().map(String::as_str).filter(|key| !known(key)).collect();
        if !foreign.is_empty() {
            return Err(BadParameters::Foreign(foreign.join(" ")));
        }
        let get = |key: &str| query.get(key).map(String::as_str).filter(|value| !value.is_empty());
        Ok(Self {
            client: get("qvd.client.os").and_then(|value| value.parse().ok()),
            keyboard: get("qvd.client.keyboard").and_then(|value| value.parse().ok()),
            link: get("qvd.client.link").and_then(|value| value.parse().ok()),
            geometry: get("qvd.client.geometry").and_then(|value| value.parse().ok()),
            fullscreen: matches!(get("qvd.client.fullscreen"), Some("1" | "true")),
        })
    }

    /// The options of `nxagent`'s `-display nx/nx,…`, in a fixed order.
    pub fn nx_options(&self) -> Vec<String> {
        let mut options = Vec::new();
        options.extend(self.client.map(|client| format!("client={client}")));
        options.extend(self.keyboard.as_ref().map(|keyboard| format!("keyboard={keyboard}")));
        options.extend(self.link.map(|link| format!("link={link}")));
        options.extend(self.geometry.map(|geometry| format!("geometry={geometry}")));
        if self.fullscreen {
            options.push("fullscreen=1".to_owned());
        }
        options
    }
}

/// A value that is none of the kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {kind}")]
pub struct BadValue {
    kind: &'static str,
    value: String,
}

fn bad(kind: &'static str, value: &str) -> BadValue {
    BadValue { kind, value: value.to_owned() }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $($(#[$vdoc:meta])* $variant:ident = $word:literal $(| $alias:literal)*),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl FromStr for $name {
            type Err = BadValue;
            fn from_str(text: &str) -> Result<Self, BadValue> {
                match text.to_ascii_lowercase().as_str() {
                    $($word $(| $alias)* => Ok(Self::$variant),)+
                    _ => Err(bad($kind, text)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(
    /// The client's system.
    ClientOs, "client system",
    /// Linux and what is like it.
    Linux = "linux" | "android" | "ios",
    /// Windows; the Qt client says `winnt`.
    Windows = "windows" | "winnt" | "mswin32",
    /// macOS.
    Darwin = "darwin" | "macosx",
);

words!(
    /// How much the picture is compressed, by the name of a connection of that speed.
    Link, "link type",
    /// 33.6 kbit/s.
    Modem = "modem" | "56k",
    /// 64 kbit/s.
    Isdn = "isdn" | "64k",
    /// 256 kbit/s.
    Adsl = "adsl" | "256k",
    /// 1 Mbit/s.
    Wan = "wan" | "1m",
    /// 10 Mbit/s.
    Lan = "lan" | "10m",
    /// No compression worth the name.
    Local = "local",
);

/// A desktop's size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// 100 to 16384.
    pub width: u16,
    /// 100 to 16384.
    pub height: u16,
}

impl FromStr for Geometry {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let side = |text: &str| text.parse().ok().filter(|pixels| (100..=16384).contains(pixels));
        text.split_once('x')
            .and_then(|(width, height)| Some(Self { width: side(width)?, height: side(height)? }))
            .ok_or_else(|| bad("geometry (WIDTHxHEIGHT)", text))
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// `model/layout`, each of letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keyboard(String);

impl FromStr for Keyboard {
    type Err = BadValue;
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let word = |word: &str| {
            (1..=32).contains(&word.len())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        };
        match text.split_once('/') {
            Some((model, layout)) if word(model) && word(layout) => Ok(Self(text.to_owned())),
            _ => Err(bad("keyboard (MODEL/LAYOUT)", text)),
        }
    }
}

impl TryFrom<String> for Keyboard {
    type Error = BadValue;
    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl From<Keyboard> for String {
    fn from(keyboard: Keyboard) -> Self {
        keyboard.0
    }
}

impl fmt::Display for Keyboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_real_clients_send_becomes_options() {
        let sent = query(&[
            ("id", "7"),
            ("qvd.client.os", "linux"),
            ("qvd.client.geometry", "800x600"),
            ("qvd.client.link", "adsl"),
            ("qvd.client.keyboard", "pc105/en"),
            ("qvd.client.fullscreen", "0"),
            ("qvd.client.printing.enabled", ""),
        ]);
        let options = Parameters::from_query(&sent).unwrap().nx_options();
        assert_eq!(options, ["client=linux", "keyboard=pc105/en", "link=adsl", "geometry=800x600"]);
    }

    #[test]
    fn empty_values_are_dropped_and_foreign_keys_named() {
        let sent = query(&[("qvd.client.fullscreen", ""), ("qvd.client.keyboard", "")]);
        assert_eq!(Parameters::from_query(&sent).unwrap(), Parameters::default());
        let error = Parameters::from_query(&query(&[("shell", "x"), ("id", "1")])).unwrap_err();
        assert_eq!(error.to_string(), "Invalid parameters shell");
    }

    proptest! {
        #[test]
        fn nothing_a_client_writes_can_add_an_option(value in ".*") {
            let sent = query(&[
                ("qvd.client.keyboard", &value), ("qvd.client.geometry", &value),
                ("qvd.client.link", &value), ("qvd.client.os", &value),
            ]);
            for option in Parameters::from_query(&sent).unwrap().nx_options() {
                prop_assert!(!option.contains([',', ':', ' ', '\n', '\0']));
                prop_assert_eq!(option.matches('=').count(), 1);
            }
        }
    }
}
