//! Reads `--name value` pairs. Only our own processes write them, so there is no more to it.

/// A part started with arguments it does not understand.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadArguments {
    /// Not given.
    #[error("the argument {0} is missing")]
    Missing(&'static str),
    /// Given, and nonsense.
    #[error("the argument {0} has no valid value")]
    Invalid(&'static str),
}

/// The value behind `name`, parsed.
pub(crate) fn value<T: std::str::FromStr>(
    arguments: &[String],
    name: &'static str,
) -> Result<T, BadArguments> {
    arguments
        .windows(2)
        .find_map(|pair| match pair {
            [key, value] if key == name => Some(value),
            _ => None,
        })
        .ok_or(BadArguments::Missing(name))?
        .parse()
        .map_err(|_| BadArguments::Invalid(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_behind_its_name() {
        let given = ["--display", "100", "--folder", "/run"].map(str::to_owned);
        assert_eq!(value::<u16>(&given, "--display").unwrap(), 100);
        assert!(matches!(value::<u16>(&given, "--folder"), Err(BadArguments::Invalid("--folder"))));
        assert!(matches!(value::<u16>(&given, "--x"), Err(BadArguments::Missing("--x"))));
    }
}
