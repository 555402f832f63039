//! Hardware addresses, as values: text of people never gets into a rule or a configuration.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// A hardware address. Written and stored as `54:52:00:0a:00:07`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        let whole = octets.iter_mut().all(|octet| match parts.next() {
            Some(part) if part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()) => {
                u8::from_str_radix(part, 16).map(|value| *octet = value).is_ok()
            }
            _ => false,
        });
        if whole && parts.next().is_none() {
            return Ok(Self(octets));
        }
        Err(Error::Unexpected {
            what: format!("{text:?}"),
            why: "it is no hardware address".to_owned(),
        })
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|octet| format!("{octet:02x}")).join(":"))
    }
}

impl TryFrom<String> for Mac {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_but_a_hardware_address_is_one() {
        let mac: Mac = "54:52:00:0A:00:07".parse().unwrap();
        assert_eq!(mac.to_string(), "54:52:00:0a:00:07");
        for bad in [
            "",
            "54:52:00",
            "54:52:00:0a:00:07:08",
            "54:52:00:0a:00:+7",
            "54:52:00:0a:00:7",
            "54:52:00:0a:00:07 }; flush ruleset",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_means_itself(text in "\\PC*|([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}") {
            if let Ok(mac) = text.parse::<Mac>() {
                prop_assert_eq!(mac.to_string(), text.to_ascii_lowercase());
            }
        }
    }
}
