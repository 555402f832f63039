//! The `Authorization` header.

use std::fmt;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// Padding or none, and whatever bits the last letter leaves over.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Who a request says it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// It does not say.
    Missing,
    /// Login and password.
    Basic(Login),
    /// A token; the family's newer clients have them.
    Bearer,
    /// Another scheme, or a value that cannot be decoded.
    Unsupported,
}

/// A login and its password. The password is not in the `Debug` form.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Without `:`.
    pub login: String,
    /// As typed; a one-time code may be appended.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("login", &self.login).finish_non_exhaustive()
    }
}

impl Authorization {
    /// From the header's value. Blanks and line ends that encoders leave in base64 do not matter.
    pub fn parse(value: Option<&str>) -> Self {
        let Some(value) = value else { return Self::Missing };
        let (scheme, rest) = value.split_once([' ', '\t']).unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return Self::Bearer;
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return Self::Unsupported;
        }
        let letters: String = rest.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let Ok(bytes) = TOLERANT.decode(letters) else { return Self::Unsupported };
        // What is no UTF-8 is Latin-1: old clients send the bytes of their locale.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect());
        match text.split_once(':') {
            Some((login, password)) => {
                Self::Basic(Login { login: login.to_owned(), password: password.to_owned() })
            }
            None => Self::Unsupported,
        }
    }
}

impl Login {
    /// The header's value.
    pub fn header(&self) -> String {
        let pair = format!("{}:{}", self.login, self.password);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }
}
