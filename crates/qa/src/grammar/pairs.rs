//! `key=value`, and `key = value`.

use super::verbs::Param;

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
    let missing = params.iter().filter(|param| {
        param.required && !pairs.iter().any(|(key, value)| key == param.key && !value.is_empty())
    });
    let foreign =
        pairs.iter().filter(|(key, _)| !params.iter().any(|param| param.key == key.as_str()));
    let mistakes: Vec<String> = missing
        .map(|param| format!("{}= is missing", param.key))
        .chain(foreign.map(|(key, _)| format!("too many arguments: {key}=")))
        .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}
