//! `key=value`, and `key = value`.

use super::verbs::{Need, Param};

/// Puts words together to pairs. An equals sign may stand alone or begin a word; what follows a
/// lone one is the value.
pub(super) fn read(words: &[String]) -> Result<Vec<(String, String)>, Vec<String>> {
    let mut joined: Vec<String> = Vec::new();
    let mut value_follows = false;
    for word in words {
        let bare = |last: &&mut String| !last.contains('=');
        match joined.last_mut() {
            Some(last) if value_follows => {
                last.push_str(word);
                value_follows = false;
            }
            Some(last) if word.starts_with('=') && bare(&last) => {
                last.push_str(word);
                value_follows = word == "=";
            }
            Some(_) | None => joined.push(word.clone()),
        }
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut mistakes = Vec::new();
    for word in joined {
        match word.split_once('=') {
            Some(("", _)) => mistakes.push(format!("`{word}` has no key")),
            Some((key, _)) if pairs.iter().any(|(given, _)| given == key) => {
                mistakes.push(format!("{key} is given twice"));
            }
            Some((key, value)) => pairs.push((key.to_owned(), value.to_owned())),
            None => mistakes.push(format!("`{word}` is not key=value")),
        }
    }
    if mistakes.is_empty() { Ok(pairs) } else { Err(mistakes) }
}

/// Whether all that must be given is, and nothing else.
pub(super) fn check(pairs: &[(String, String)], params: &[Param]) -> Result<(), Vec<String>> {
    let given = |key: &str| pairs.iter().any(|(given, value)| given == key && !value.is_empty());
    let lacks = |(at, param): (usize, &Param)| match param.need {
        Need::Must => (!given(param.key)).then(|| format!("{}= is missing", param.key)),
        // Told once, by the first of the two.
        Need::Either(other) if params.iter().take(at).any(|before| before.key == other) => None,
        Need::Either(other) => match (given(param.key), given(other)) {
            (false, false) => Some(format!("{}= or {other}= is missing", param.key)),
            (true, true) => Some(format!("{}= and {other}= are the same thing", param.key)),
            _ => None,
        },
        Need::May => None,
    };
    let foreign =
        pairs.iter().filter(|(key, _)| !params.iter().any(|param| param.key == key.as_str()));
    let mistakes: Vec<String> = params
        .iter()
        .enumerate()
        .filter_map(lacks)
        .chain(foreign.map(|(key, _)| format!("too many arguments: {key}=")))
        .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}
