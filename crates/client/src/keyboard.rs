//! What keyboard this machine has: the X server keeps it in a property of its root window.

use std::process::Stdio;

use wire::session::Keyboard;

use crate::command::command;

/// What a desktop assumes where nothing is known.
const DEFAULT: &str = "pc105/us";

/// The keyboard of the display, as far as `xprop` can tell.
pub(crate) fn detect() -> Keyboard {
    let told = command("xprop")
        .args(["-root", "_XKB_RULES_NAMES"])
        .stderr(Stdio::null())
        .output()
        .ok()
        .and_then(|output| parse(&String::from_utf8_lossy(&output.stdout)));
    told.unwrap_or_else(|| DEFAULT.parse().expect("the default is a keyboard"))
}

/// From `_XKB_RULES_NAMES(STRING) = "evdev", "pc105", "es,us", "", ""`: the model and the first
/// layout.
fn parse(line: &str) -> Option<Keyboard> {
    let (_, values) = line.split_once('=')?;
    let mut values = values.split(", ").map(|value| value.trim().trim_matches('"'));
    let _rules = values.next()?;
    let model = values.next()?;
    let layout = values.next()?.split(',').next()?;
    format!("{model}/{layout}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_layout_counts() {
        let told = |line| parse(line).map(String::from);
        let line = r#"_XKB_RULES_NAMES(STRING) = "evdev", "pc105", "es,us", "", """#;
        assert_eq!(told(line).as_deref(), Some("pc105/es"));
        assert_eq!(told("_XKB_RULES_NAMES:  not found."), None);
        assert_eq!(told(r#"_XKB_RULES_NAMES(STRING) = "evdev", "", "", "", """#), None);
        assert_eq!(told(r#"_XKB_RULES_NAMES(STRING) = "evdev", "pc105""#), None);
        assert_eq!(String::from(DEFAULT.parse::<Keyboard>().unwrap()), DEFAULT);
    }
}
