//! The file of options that `nxagent` reads when it starts and each time it resumes.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use wire::session::Parameters;

/// The one line: what the client asked for, and where to listen. `socket` is one of our own paths,
/// without a comma or a colon.
pub(crate) fn line(parameters: &Parameters, socket: &Path, display: u16) -> String {
    let mut options = parameters.nx_options();
    // So that clients with other pixel formats can take turns on one session.
    options.push("tolerancechecks=risky".to_owned());
    options.push(format!("listen=unix:{}", socket.display()));
    format!("nx/nx,{}:{display}\n", options.join(","))
}

/// Writes `content` to `path` such that a reader sees all of it or the old.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The options there may be: what a client may choose, and what is ours.
    const ALLOWED: [&str; 7] =
        ["client", "keyboard", "link", "geometry", "fullscreen", "tolerancechecks", "listen"];

    /// What clients of the family send, and what somebody might send to add an option.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            ".{0,40}",
            prop::sample::select(vec![
                "",
                "1",
                "linux",
                "winnt",
                "lan",
                "56k",
                "800x600",
                "pc105/es",
                "empty/empty",
                "a,b",
                "lan,shadow=1",
                "lan\nnx/nx,listen=tcp:4000",
                "pc105/es:100",
                "x/y=z",
                "/",
                "0x0",
                "local,options=/etc/shadow",
                "100x99999",
                "true",
                "\0",
                "\u{2028}",
            ])
            .prop_map(str::to_owned),
        ]
    }

    fn key() -> impl Strategy<Value = String> {
        let known = ["os", "keyboard", "link", "geometry", "fullscreen", "nxagent.extra_args"];
        prop_oneof![
            prop::sample::select(known.to_vec()).prop_map(|key| format!("qvd.client.{key}")),
            "qvd[.]client[.].{0,20}",
            "custom[.].{0,20}",
        ]
    }

    proptest! {
        /// No parameter of a client can add an option, name one twice, leave one empty, or reach
        /// beyond the one line.
        #[test]
        fn no_parameter_adds_an_option(query in prop::collection::btree_map(key(), value(), 0..10)) {
            let query: BTreeMap<String, String> = query;
            let parameters = Parameters::from_query(&query).unwrap();
            // The same when it comes by the wire.
            let json = serde_json::to_string(&parameters).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Parameters>(&json).unwrap(), &parameters);
            let line = line(&parameters, Path::new("/run/x/nx.sock"), 100);
            let options = line.strip_prefix("nx/nx,").and_then(|rest| rest.strip_suffix(":100\n"));
            let options: Vec<(&str, &str)> =
                options.unwrap().split(',').map(|option| option.split_once('=').unwrap()).collect();
            let mut names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            prop_assert_eq!(names.len(), options.len(), "{}", line);
            for (name, value) in &options {
                prop_assert!(ALLOWED.contains(name), "{}", line);
                let plain = |c: char| c.is_ascii_alphanumeric() || "/_-.:".contains(c);
                prop_assert!(!value.is_empty() && value.chars().all(plain), "{}", line);
                prop_assert!(!value.contains(':') || *name == "listen", "{}", line);
            }
            prop_assert!(options.contains(&("listen", "unix:/run/x/nx.sock")), "{}", line);
        }

        /// Nor does anything that hkd, or who speaks in its place, could say: what is no value of its
        /// kind is no message.
        #[test]
        fn no_message_adds_an_option(value in value()) {
            for key in ["client", "keyboard", "link", "geometry"] {
                let json = serde_json::json!({ key: value }).to_string();
                if let Ok(parameters) = serde_json::from_str::<Parameters>(&json) {
                    for option in parameters.nx_options() {
                        prop_assert!(!option.contains([',', ':', ' ', '\n', '\0']), "{}", option);
                    }
                }
            }
        }
    }

    #[test]
    fn the_line_is_what_nxagent_reads() {
        let parameters = Parameters {
            geometry: "800x600".parse().ok(),
            link: "lan".parse().ok(),
            ..Parameters::default()
        };
        assert_eq!(
            line(&parameters, Path::new("/run/x/nx.sock"), 100),
            "nx/nx,link=lan,geometry=800x600,tolerancechecks=risky,listen=unix:/run/x/nx.sock:100\n"
        );
    }
}
