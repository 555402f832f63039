//! `?filter=key=value,key2=va*`: which of a list are wanted.
//!
//! All pairs must hold. `*` stands for any letters and `?` for one; case matters. Neither a comma
//! nor a wildcard can be escaped, as it has always been.

use http::StatusCode;
use serde::Deserialize;

use crate::fault::Fault;

/// The query of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    filter: Option<String>,
}

/// Something that can be filtered.
pub(crate) trait Fields {
    /// Its keys.
    const KEYS: &'static [&'static str];

    /// Keys that the original has and this version has not; also all of properties.
    const LATER: &'static [&'static str] = &[];

    /// The values of a key; several where it can have several, none for null.
    fn values(&self, key: &str) -> Vec<String>;
}

impl Wanted {
    /// Those of `items` that fit.
    pub(crate) fn of<T: Fields>(&self, mut items: Vec<T>) -> Result<Vec<T>, Fault> {
        let pairs = self.filter.as_deref().map_or(Ok(Vec::new()), |filter| pairs::<T>(filter))?;
        items.retain(|item| {
            pairs
                .iter()
                .all(|(key, pattern)| item.values(key).iter().any(|value| matches(pattern, value)))
        });
        Ok(items)
    }
}

fn pairs<T: Fields>(filter: &str) -> Result<Vec<(&str, &str)>, Fault> {
    filter
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (key, value) = part.split_once('=').ok_or_else(|| {
                Fault::malformed(format!("`{part}` in the filter is not key=value"))
            })?;
            let (key, value) = (key.trim(), value.trim());
            if T::KEYS.contains(&key) {
                Ok((key, value))
            } else if T::LATER.contains(&key) || key.starts_with("property.") {
                let detail = format!("filtering by `{key}` is not in this version of QVD");
                Err(Fault::new(StatusCode::NOT_IMPLEMENTED, "later", detail))
            } else {
                let keys = T::KEYS.join(", ");
                Err(Fault::malformed(format!("there is nothing to filter by `{key}`"))
                    .remedy(format!("filter by {keys}")))
            }
        })
        .collect()
}

/// Whether a value fits a pattern, in time proportional to the product of their lengths.
fn matches(pattern: &str, value: &str) -> bool {
    let (pattern, value): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), value.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last star was, and how much of the value it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = value.get(seen) {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == letter => {
                at += 1;
                seen += 1;
            }
            _ => match &mut star {
                Some((star_at, taken)) => {
                    *taken += 1;
                    (at, seen) = (*star_at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|wanted| *wanted == '*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Thing(&'static str, &'static [&'static str]);

    impl Fields for Thing {
        const KEYS: &'static [&'static str] = &["name", "tag"];

        fn values(&self, key: &str) -> Vec<String> {
            match key {
                "name" => vec![self.0.to_owned()],
                _ => self.1.iter().map(|tag| (*tag).to_owned()).collect(),
            }
        }
    }

    #[track_caller]
    fn check(filter: &str, expected: &[&str]) {
        let things = vec![Thing("ada", &["a", "head"]), Thing("Adam", &["b"]), Thing("bob", &[])];
        let wanted = Wanted { filter: Some(filter.to_owned()) };
        let found: Vec<&str> = wanted.of(things).unwrap().iter().map(|thing| thing.0).collect();
        assert_eq!(found, expected, "{filter}");
    }

    #[test]
    fn all_pairs_must_hold_and_case_matters() {
        check("", &["ada", "Adam", "bob"]);
        check("name=a*", &["ada"]);
        check("name=?da*", &["ada", "Adam"]);
        check("name=*a*,tag=head", &["ada"]);
        check("name=*a*, tag=*", &["ada", "Adam"]);
        check("tag=", &[]);
    }

    #[test]
    fn a_wrong_key_is_refused_with_those_there_are() {
        let wanted = |text: &str| Wanted { filter: Some(text.to_owned()) };
        let fault = wanted("nme=x").of(Vec::<Thing>::new()).unwrap_err();
        assert_eq!(fault.detail(), "there is nothing to filter by `nme`");
        assert!(wanted("x").of(Vec::<Thing>::new()).is_err());
        let fault = wanted("property.room=4").of(Vec::<Thing>::new()).unwrap_err();
        assert_eq!(fault.detail(), "filtering by `property.room` is not in this version of QVD");
    }

    /// The same, written as it is defined.
    fn slow(pattern: &[char], value: &[char]) -> bool {
        match (pattern.split_first(), value.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                slow(rest, value)
                    || value.split_first().is_some_and(|(_, tail)| slow(pattern, tail))
            }
            (Some((wanted, rest)), Some((letter, tail))) => {
                (*wanted == '?' || wanted == letter) && slow(rest, tail)
            }
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_defined(pattern in "[ab?*]{0,8}", value in "[ab]{0,8}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &value), slow(&letters(&pattern), &letters(&value)));
        }
    }
}
