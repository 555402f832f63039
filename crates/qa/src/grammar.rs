//! What can be said to `qa`, and what was.

mod pairs;
mod verbs;

use std::{ffi::OsString, fmt::Write as _, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, error::ErrorKind};

use verbs::{ALL, LATER, LATER_PARAMS, Need, OBJECTS, Words};
pub(crate) use verbs::{Extra, Verb};

/// The api's socket, unless told otherwise.
pub(crate) const SOCKET: &str = "/run/qvd/api/admin.sock";

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// For programs: the api's bodies.
    Json,
}

/// Where a password comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PasswordFrom {
    /// The terminal, twice.
    Prompt,
    /// The first line of a file.
    File(PathBuf),
    /// The first line of the standard input.
    Stdin,
    /// Made up here, and shown.
    Random,
}

/// What was said.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) verb: &'static Verb,
    /// `key=value`, in order.
    pub(crate) pairs: Vec<(String, String)>,
    /// Bare words, where the verb takes them.
    pub(crate) keys: Vec<String>,
    pub(crate) filter: Option<String>,
    pub(crate) quiet: bool,
    pub(crate) force: bool,
    pub(crate) wait: bool,
    pub(crate) output: Output,
    pub(crate) password: PasswordFrom,
    pub(crate) socket: PathBuf,
}

impl Invocation {
    /// The value of a `key=value`, if it was given.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(given, _)| given == key).map(|(_, value)| value.as_str())
    }

    /// The same where it is an id. An empty one is none.
    pub(crate) fn id(&self, key: &str) -> Result<Option<i64>, Misuse> {
        let number =
            |text: &str| text.parse().map_err(|_| Misuse(format!("{key}={text} is no number")));
        self.get(key).filter(|text| !text.is_empty()).map(number).transpose()
    }

    /// The value of a `key=value` that the grammar requires.
    pub(crate) fn required(&self, key: &str) -> &str {
        self.get(key).expect("the grammar refuses a verb without its required parameters")
    }
}

/// What is to be done with the command line.
#[derive(Debug)]
pub(crate) enum Asked {
    /// This.
    Run(Box<Invocation>),
    /// Show this text.
    Help(String),
    /// A verb, or a parameter of one, that comes later.
    NotInThisVersion(String),
    /// No such object or verb; the text lists what there is.
    Unknown(String),
    /// Options or parameters that make no sense.
    Misused(String),
}

/// A value that only the verb itself could see is wrong; counts as not understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Understands a command line, its first word being the program.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Asked {
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => return refused(&error),
    };
    let Some((object, of_object)) = matches.subcommand() else {
        return Asked::Unknown(available("a word for what to work on is missing", None));
    };
    let Some((name, of_verb)) = of_object.subcommand() else {
        return Asked::Unknown(available(&format!("'{object}' needs a verb"), Some(object)));
    };
    match ALL.iter().find(|verb| verb.object == object && verb.name == name) {
        Some(verb) => match invocation(verb, of_verb) {
            Ok(invocation) => Asked::Run(Box::new(invocation)),
            Err(Wrong::Later(key)) => Asked::NotInThisVersion(format!("{object} {name} {key}=")),
            Err(Wrong::Mistakes(mistakes)) => Asked::Misused(misused(verb, &mistakes)),
        },
        None => Asked::NotInThisVersion(format!("{object} {name}")),
    }
}

fn refused(error: &clap::Error) -> Asked {
    use clap::error::{ContextKind, ContextValue};
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Asked::Help(text),
        ErrorKind::InvalidSubcommand => {
            let word = match error.get(ContextKind::InvalidSubcommand) {
                Some(ContextValue::String(word)) => word.as_str(),
                _ => "that",
            };
            // The usage line ends with the object when it was the verb that is unknown.
            let object = OBJECTS.iter().map(|(object, _)| *object).find(|object| {
                matches!(error.get(ContextKind::Usage), Some(ContextValue::StyledStr(usage))
                    if usage.to_string().contains(&format!("qa {object} ")))
            });
            let full = object.map_or(word.to_owned(), |object| format!("{object} {word}"));
            Asked::Unknown(available(&format!("there is no '{full}'"), object))
        }
        _ => Asked::Misused(text),
    }
}

/// What was wrong, and the verbs there are: of one object or of all.
fn available(message: &str, object: Option<&str>) -> String {
    let mut text = format!("qa: {message}, available subcommands:\n");
    let mut verbs: Vec<String> = ALL
        .iter()
        .filter(|verb| object.is_none_or(|object| object == verb.object))
        .map(|verb| format!("  {} {}", verb.object, verb.name))
        .collect();
    verbs.sort();
    text.push_str(&verbs.join("\n"));
    text
}

fn misused(verb: &Verb, mistakes: &[String]) -> String {
    let mut text: String = mistakes.iter().fold(String::new(), |mut text, mistake| {
        let _ = writeln!(text, "qa: syntax error: {mistake}");
        text
    });
    let _ = write!(text, "See `qa {} {} --help`.", verb.object, verb.name);
    text
}

/// Why the words behind a verb cannot be done.
enum Wrong {
    /// A parameter of this key comes later.
    Later(&'static str),
    /// One sentence each.
    Mistakes(Vec<String>),
}

impl From<Vec<String>> for Wrong {
    fn from(mistakes: Vec<String>) -> Self {
        Self::Mistakes(mistakes)
    }
}

/// The first parameter that the verb will take in a later version.
fn later(verb: &Verb, pairs: &[(String, String)]) -> Option<&'static str> {
    let of_verb =
        |(object, name, _): &&(&str, &str, _)| *object == verb.object && *name == verb.name;
    let (_, _, keys) = LATER_PARAMS.iter().find(of_verb)?;
    keys.iter().copied().find(|key| pairs.iter().any(|(given, _)| given == key))
}

/// The filters, joined. An empty one is a mistake, such as a variable of a script that is not set:
/// it must not stand for everything.
fn filter(matches: &ArgMatches) -> Result<Option<String>, Vec<String>> {
    let filters: Vec<String> =
        matches.get_many::<String>("filter").unwrap_or_default().cloned().collect();
    let says = |filter: &String| filter.split(',').any(|part| !part.trim().is_empty());
    if !filters.iter().all(says) {
        return Err(vec!["the filter is empty".to_owned()]);
    }
    Ok((!filters.is_empty()).then(|| filters.join(",")))
}

fn invocation(verb: &'static Verb, matches: &ArgMatches) -> Result<Invocation, Wrong> {
    let words: Vec<String> = match verb.words {
        Words::None => Vec::new(),
        Words::Params(_) | Words::Pairs | Words::Keys => {
            matches.get_many::<String>("words").unwrap_or_default().cloned().collect()
        }
    };
    let (pairs, keys) = match verb.words {
        Words::Keys => (Vec::new(), words),
        Words::Params(_) | Words::Pairs | Words::None => (pairs::read(&words)?, Vec::new()),
    };
    if let Some(key) = later(verb, &pairs) {
        return Err(Wrong::Later(key));
    }
    if let Words::Params(params) = verb.words {
        pairs::check(&pairs, params)?;
    }
    if verb.words == Words::Pairs && pairs.is_empty() {
        return Err(vec!["no key=value is given".to_owned()].into());
    }
    if verb.name == "edit" && pairs.is_empty() {
        return Err(vec!["nothing to change is given".to_owned()].into());
    }
    let has = |extra: fn(&Extra) -> bool| verb.extras.iter().any(extra);
    let flag = |is: bool, name: &str| is && matches.get_flag(name);
    let filter =
        if has(|extra| matches!(extra, Extra::Filter(_))) { filter(matches)? } else { None };
    Ok(Invocation {
        verb,
        pairs,
        keys,
        filter,
        quiet: matches.get_flag("quiet"),
        force: flag(has(|extra| *extra == Extra::Force), "force"),
        wait: flag(has(|extra| *extra == Extra::Wait), "wait"),
        output: match matches.get_one::<String>("output").map(String::as_str) {
            Some("json") => Output::Json,
            _ => Output::Table,
        },
        password: if has(|extra| *extra == Extra::Password) {
            password(matches)
        } else {
            PasswordFrom::Prompt
        },
        socket: matches.get_one::<PathBuf>("socket").cloned().unwrap_or_else(|| SOCKET.into()),
    })
}

fn password(matches: &ArgMatches) -> PasswordFrom {
    if let Some(path) = matches.get_one::<PathBuf>("password-file") {
        PasswordFrom::File(path.clone())
    } else if matches.get_flag("password-stdin") {
        PasswordFrom::Stdin
    } else if matches.get_flag("random-password") {
        PasswordFrom::Random
    } else {
        PasswordFrom::Prompt
    }
}

/// The whole grammar as clap knows it.
fn command() -> Command {
    let root = Command::new("qa")
        .about("Administers QVD: virtual Linux desktops")
        .version(env!("CARGO_PKG_VERSION"))
        .override_usage("qa OBJECT VERB [options] [key=value …]")
        .subcommand_value_name("OBJECT")
        .subcommand_help_heading("Objects")
        .disable_help_subcommand(true)
        .max_term_width(100)
        .after_help(
            "`qa OBJECT --help` lists the verbs of an object, `qa OBJECT VERB --help` tells what one \
             does.\nValues may be written key=value or key = value. A filter is key=value[,key=value…], \
             where * and ? stand for any letters.\n\n\
             From nothing to a desktop:\n  \
             qa osf add name=desktop\n  \
             qa di add path=debian12-xfce.tar.zst osf=desktop\n  \
             qa user add login=ada\n  \
             qa vm add name=ada-desk user=ada osf=desktop\n  \
             qa vm start -f name=ada-desk --wait\n\n\
             Exit codes: 0 done; 1 not done, or no such object or verb; 2 options or parameters that make \
             no sense.",
        )
        .args(global_options());
    OBJECTS.iter().fold(root, |root, (object, about)| {
        let mut command = Command::new(*object)
            .about(*about)
            .override_usage(format!("qa {object} VERB [options] [key=value …]"))
            .subcommand_value_name("VERB")
            .subcommand_help_heading("Verbs")
            .disable_help_subcommand(true);
        for verb in ALL.iter().filter(|verb| verb.object == *object) {
            command = command.subcommand(verb_command(verb));
        }
        let later = LATER.iter().filter(|(of, _)| of == object).flat_map(|(_, names)| *names);
        for name in later {
            let anything =
                Arg::new("anything").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
            command = command.subcommand(Command::new(*name).hide(true).arg(anything));
        }
        root.subcommand(command)
    })
}

fn global_options() -> [Arg; 4] {
    [
        Arg::new("output")
            .short('o')
            .long("output")
            .global(true)
            .value_name("FORM")
            .value_parser(["table", "json"])
            .default_value("table")
            .hide_possible_values(true)
            .help("table, for people, or json, for programs"),
        Arg::new("quiet")
            .short('q')
            .long("quiet")
            .global(true)
            .action(ArgAction::SetTrue)
            .help("No headers, no messages, no error text"),
        Arg::new("tenant")
            .short('t')
            .long("tenant")
            .global(true)
            .value_name("NAME")
            .value_parser(["default"])
            .hide_possible_values(true)
            .help("There is one tenant, default"),
        Arg::new("socket")
            .long("socket")
            .global(true)
            .env("QVD_API_SOCKET")
            .hide_env_values(true)
            .value_name("PATH")
            .value_hint(ValueHint::FilePath)
            .value_parser(clap::value_parser!(PathBuf))
            .default_value(SOCKET)
            .help("The administrator's socket of the api"),
    ]
}

fn verb_command(verb: &'static Verb) -> Command {
    let mut usage = format!("qa {} {}", verb.object, verb.name);
    let mut more = String::new();
    if !verb.extras.is_empty() {
        usage.push_str(" [options]");
    }
    let mut command = Command::new(verb.name).about(verb.about);
    match verb.words {
        Words::None => {}
        Words::Keys => usage.push_str(" [key…]"),
        Words::Pairs => usage.push_str(" key=value…"),
        Words::Params(params) => {
            more.push_str("Parameters:\n");
            for param in params {
                let before =
                    |other| params.iter().take_while(|it| *it != param).any(|it| it.key == other);
                let usual = match param.need {
                    Need::Must => format!(" {}=…", param.key),
                    Need::May => format!(" [{}=…]", param.key),
                    Need::Either(other) if before(other) => String::new(),
                    Need::Either(other) => format!(" {}=…|{other}=…", param.key),
                };
                if param.key != "password" {
                    usage.push_str(&usual);
                }
                let _ = writeln!(more, "  {:<18} {}", format!("{}=", param.key), param.about);
            }
            more.push('\n');
        }
    }
    if verb.words != Words::None {
        command = command.arg(Arg::new("words").num_args(0..).hide(true));
    }
    for extra in verb.extras {
        if let Extra::Filter(keys) = extra {
            let _ = writeln!(more, "Filter by: {}\n", keys.join(", "));
        }
        command = command.args(extra_options(*extra));
    }
    more.push_str(verb.more);
    command.override_usage(usage).after_help(more)
}

fn extra_options(extra: Extra) -> Vec<Arg> {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    match extra {
        Extra::Filter(_) => vec![
            Arg::new("filter")
                .short('f')
                .long("filter")
                .value_name("FILTER")
                .action(ArgAction::Append)
                .help("Only those that fit: key=value[,key=value…], with * and ? in values"),
        ],
        Extra::Force => vec![flag("force", "Without asking when no filter is given")],
        Extra::Wait => vec![flag("wait", "Until it is so, or cannot be")],
        Extra::Password => vec![
            Arg::new("password-file")
                .long("password-file")
                .value_name("FILE")
                .value_hint(ValueHint::FilePath)
                .value_parser(clap::value_parser!(PathBuf))
                .conflicts_with_all(["password-stdin", "random-password"])
                .help("The password is the first line of this file"),
            flag("password-stdin", "The password is the first line of the standard input")
                .conflicts_with("random-password"),
            flag("random-password", "Make one up, and show it once"),
        ],
    }
}

#[cfg(test)]
mod tests;
