//! Settings, as lines `key = value`.

use model::settings::{self, Settings};

/// Sets what the lines say. Every setting can then be asked for, and what is in force fits its kind, as
/// do the forms in which it is used.
pub fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
    let pairs: Vec<_> = pairs.filter(|(key, value)| settings::check(key, value).is_ok()).collect();
    let mut settings = Settings::default();
    settings.layer(pairs.clone());
    let mut of_rows = Settings::default();
    of_rows.layer_rows(pairs);
    for setting in settings::ALL {
        for settings in [&settings, &of_rows] {
            let Ok(value) = settings.get(setting.key) else { continue };
            assert!(
                value.len() <= settings::LENGTH_MAX,
                "{} has {} bytes",
                setting.key,
                value.len()
            );
            let _ = (settings.number(setting.key), settings.bool(setting.key));
            let _ = (settings.ipv4(setting.key), settings.networks(setting.key));
        }
    }
    let _ = (settings::find(&text), settings::check(&text, &text));
}
