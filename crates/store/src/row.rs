//! From rows to types of `model`.

use crate::error::{Error, Result};

/// Turns every row into its type; one that cannot be is an error.
pub(crate) fn all<R, T: TryFrom<R, Error = Error>>(rows: Vec<R>) -> Result<Vec<T>> {
    rows.into_iter().map(T::try_from).collect()
}

/// Turns a row that may be there into its type.
pub(crate) fn maybe<R, T: TryFrom<R, Error = Error>>(row: Option<R>) -> Result<Option<T>> {
    row.map(T::try_from).transpose()
}

/// The names of what is in the way, for a sentence: at most three of them, then how many more.
pub(crate) fn list(noun: &str, names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    let more = names.len().saturating_sub(3);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{noun} {}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn what_is_in_the_way_is_named_but_not_at_length() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert_eq!(list("VM", &names[..1]), "VM a");
        assert_eq!(list("VM", &names[..3]), "VM a, b, c");
        assert_eq!(list("VM", &names), "VM a, b, c and 2 more");
    }
}
