//! Command lines and what becomes of them.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn parse_line(line: &str) -> Asked {
    parse(line.split(' ').map(OsString::from))
}

#[track_caller]
fn runs(line: &str) -> Invocation {
    match parse_line(line) {
        Asked::Run(invocation) => *invocation,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn check(line: &str, expect: &Expect) {
    let text = match parse_line(line) {
        Asked::Run(it) => format!("{:?} {:?}", it.pairs, it.keys),
        Asked::Help(text) => text,
        Asked::NotInThisVersion(verb) => format!("not in this version: {verb}"),
        Asked::Unknown(text) => format!("unknown: {text}"),
        Asked::Misused(text) => format!("misused: {text}"),
    };
    expect.assert_eq(&text);
}

#[test]
fn pairs_may_be_written_with_or_without_spaces() {
    for line in ["qa osf add name=x memory=5", "qa osf add name = x memory =5"] {
        check(line, &expect![[r#"[("name", "x"), ("memory", "5")] []"#]]);
    }
    check("qa config set a.b = x=y c=", &expect![[r#"[("a.b", "x=y"), ("c", "")] []"#]]);
    check("qa config get a.b c.d", &expect![[r#"[] ["a.b", "c.d"]"#]]);
}

#[test]
fn options_may_stand_anywhere() {
    for line in [
        "qa -o json vm start -f name=a* --force --wait -q",
        "qa vm --output json start --wait -q --filter name=a* --force -t default",
    ] {
        let it = runs(line);
        assert_eq!((it.verb.object, it.verb.name), ("vm", "start"));
        assert_eq!(it.filter.as_deref(), Some("name=a*"));
        assert!(it.force && it.wait && it.quiet && it.output == Output::Json, "{line}");
    }
    assert_eq!(runs("qa vm list -f a=1 -f b=2").filter.as_deref(), Some("a=1,b=2"));
    assert_eq!(runs("qa user add login=ada --random-password").password, PasswordFrom::Random);
}

#[test]
fn what_is_wrong_with_parameters_is_listed() {
    check(
        "qa vm add nam=x user=ada user=bob osf=",
        &expect![[r"
            misused: qa: syntax error: user is given twice
            See `qa vm add --help`."]],
    );
    check(
        "qa vm add nam=x osf=",
        &expect![[r"
            misused: qa: syntax error: name= is missing
            qa: syntax error: user= or user_id= is missing
            qa: syntax error: osf= or osf_id= is missing
            qa: syntax error: too many arguments: nam=
            See `qa vm add --help`."]],
    );
    check(
        "qa vm add name=x user=ada user_id=1 osf_id=1",
        &expect![[r"
            misused: qa: syntax error: user= and user_id= are the same thing
            See `qa vm add --help`."]],
    );
    check(
        "qa config set x",
        &expect![[r"
            misused: qa: syntax error: `x` is not key=value
            See `qa config set --help`."]],
    );
    check(
        "qa vm edit -f id=1",
        &expect![[r"
            misused: qa: syntax error: nothing to change is given
            See `qa vm edit --help`."]],
    );
    assert!(matches!(parse_line("qa vm list --wait"), Asked::Misused(_)));
    assert!(matches!(parse_line("qa vm list -t other"), Asked::Misused(_)));
    assert!(matches!(parse_line("qa vm list extra"), Asked::Misused(_)));
}

#[test]
fn verbs_of_later_versions_are_known() {
    check("qa vm ssh -f id=1 -- -l root", &expect!["not in this version: vm ssh"]);
    check("qa host counters", &expect!["not in this version: host counters"]);
    check("qa host lost node2", &expect!["not in this version: host lost"]);
    check("qa vm add name=x user=a osf=b bulk=9", &expect!["not in this version: vm add bulk="]);
    check(
        "qa di tag di_id=1 tag=x expire-soft=",
        &expect!["not in this version: di tag expire-soft="],
    );
    check("qa config ssl key=a cert=b ca=c", &expect!["not in this version: config ssl ca="]);
}

#[test]
fn unknown_words_get_a_list() {
    check(
        "qa host dance",
        &expect![[r"
            unknown: qa: there is no 'host dance', available subcommands:
              host add
              host block
              host list
              host unblock"]],
    );
    check(
        "qa di",
        &expect![[r"
            unknown: qa: 'di' needs a verb, available subcommands:
              di add
              di del
              di list
              di tag
              di untag"]],
    );
    for line in ["qa", "qa dance", "qa dance vm"] {
        let Asked::Unknown(text) = parse_line(line) else { panic!("{line}") };
        assert_eq!(text.lines().count(), 1 + ALL.len());
    }
}

#[test]
fn help_tells_what_a_verb_does() {
    check(
        "qa vm add --help",
        &expect![[r"
            Adds a virtual machine

            Usage: qa vm add name=… user=…|user_id=… osf=…|osf_id=… [ip=…] [di_tag=…]

            Options:
              -o, --output <FORM>  table, for people, or json, for programs [default: table]
              -q, --quiet          No headers, no messages, no error text
              -t, --tenant <NAME>  There is one tenant, default
                  --socket <PATH>  The administrator's socket of the api [env: QVD_API_SOCKET] [default:
                                   /run/qvd/api/admin.sock]
              -h, --help           Print help

            Parameters:
              name=              its name
              user=              login of its user
              user_id=           or the user's id
              osf=               name of its OSF
              osf_id=            or the OSF's id
              ip=                its address (a free one)
              di_tag=            the tag it follows (default)

            Example: qa vm add name=ada-desk user=ada osf=desktop
        "]],
    );
    for object in OBJECTS {
        let Asked::Help(text) = parse_line(&format!("qa {} --help", object.0)) else { panic!() };
        assert!(text.contains("Verbs:"), "{text}");
    }
}

#[test]
fn an_empty_filter_is_not_everything() {
    for filter in ["", ",", " , ,", "\t"] {
        let line = ["qa", "vm", "stop", "-f", "name=a", "-f", filter].map(OsString::from);
        let Asked::Misused(text) = parse(line) else { panic!("{filter:?}") };
        assert!(text.starts_with("qa: syntax error: the filter is empty\n"), "{text}");
    }
    assert_eq!(runs("qa vm stop -f name=*").filter.as_deref(), Some("name=*"));
}

#[test]
fn the_grammar_is_sound() {
    command().debug_assert();
    for (object, name, keys) in LATER_PARAMS {
        let verb = ALL.iter().find(|verb| verb.object == *object && verb.name == *name).unwrap();
        let Words::Params(params) = verb.words else { panic!("{object} {name}") };
        assert!(params.iter().all(|param| !keys.contains(&param.key)), "{object} {name}");
    }
    for verb in ALL {
        assert!(OBJECTS.iter().any(|(object, _)| *object == verb.object), "{verb:?}");
        assert!(verb.more.contains(&format!("qa {} {}", verb.object, verb.name)), "{verb:?}");
    }
}

proptest! {
    #[test]
    fn any_words_are_answered(words: Vec<String>) {
        let line = ["qa", "config", "set"].into_iter().map(OsString::from);
        parse(line.chain(words.iter().map(OsString::from)));
        parse(std::iter::once("qa".into()).chain(words.into_iter().map(OsString::from)));
    }
}
