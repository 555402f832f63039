//! What needs no display: lists, logins, certificates, and what is missing.

use std::fs;

use crate::{
    program::{client, outcome},
    server::Server,
};

/// A user's home and a server that is trusted there.
fn known() -> (tempfile::TempDir, Server) {
    let home = tempfile::tempdir().unwrap();
    let server = Server::new(None);
    let met = outcome(client(home.path(), None).args([
        "--list",
        "--accept-new-certificate",
        &server.name(),
    ]));
    assert_eq!(met.0, 0, "{}", met.2);
    (home, server)
}

#[test]
fn a_list_is_a_table_or_json() {
    let (home, server) = known();
    server.plan.lock().unwrap().names.push("café".to_owned());
    let (code, out, err) = outcome(client(home.path(), None).args(["--list", &server.name()]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "ID  NAME  STATE\n 7  desk  running\n 8  café  running\n");
    let (code, out, _) =
        outcome(client(home.path(), None).args(["--list", "--json", &server.name()]));
    assert_eq!(code, 0);
    assert!(out.contains("\"id\": 7") && out.contains("\"name\": \"café\""), "{out}");
}

#[test]
fn nothing_that_a_server_says_drives_the_terminal() {
    let (home, server) = known();
    server.plan.lock().unwrap().names = vec!["a\u{1b}[2J".to_owned(), "\u{9b}2Jb\r".to_owned()];
    for arguments in [&["--list"][..], &["--list", "--json"], &["--stop"], &["--stop", "--vm", "7"]]
    {
        let mut command = client(home.path(), None);
        let (_, out, err) = outcome(command.args(arguments).arg(server.name()));
        let said = out + &err;
        assert!(said.contains("[2J") || said.contains("Machine stopped"), "{said:?}");
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }
}

#[test]
fn the_environment_names_server_and_user() {
    let (home, server) = known();
    let mut command = client(home.path(), None);
    command.env("QVDHOST", "127.0.0.1").env("QVDPORT", server.address.port().to_string());
    command.env("QVDLOGIN", "ann").env_remove("USER").arg("--list");
    assert_eq!(outcome(&mut command).0, 0);
}

#[test]
fn a_wrong_password_is_said() {
    let (home, server) = known();
    let file = home.path().join("password");
    fs::write(&file, "wrong\n").unwrap();
    let mut command = client(home.path(), None);
    command.arg("--password-file").arg(&file).args(["--list", &server.name()]);
    let (code, _, err) = outcome(&mut command);
    assert_eq!(code, 3);
    assert!(err.contains("refused the login") && !err.contains("wrong"), "{err}");
    fs::write(&file, "secret\n").unwrap();
    assert_eq!(outcome(&mut command).0, 0);
}

#[test]
fn a_new_server_is_not_trusted_without_being_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::new(None);
    let (code, _, err) = outcome(client(home.path(), None).args(["--list", &server.name()]));
    assert_eq!(code, 7);
    assert!(err.contains("sha256:") && err.contains("--accept-new-certificate"), "{err}");
    assert_eq!(server.asked("/"), 0, "nothing was sent to it");
}

#[test]
fn a_changed_certificate_is_refused_with_both_fingerprints() {
    let (home, server) = known();
    let address = server.address;
    drop(server);
    let other = Server::at(address, None);
    let mut command = client(home.path(), None);
    command.args(["--list", "--accept-new-certificate", &other.name()]);
    let (code, _, err) = outcome(&mut command);
    assert_eq!(code, 7);
    assert_eq!(err.matches("sha256:").count(), 2, "{err}");
    assert!(err.contains("known_hosts"), "the remedy is named: {err}");
    assert_eq!(other.asked("/"), 0, "nothing was sent to it");
    // The remedy helps.
    fs::remove_file(home.path().join(".config/qvd/known_hosts")).unwrap();
    assert_eq!(outcome(&mut command).0, 0);
}

#[test]
fn the_first_server_that_answers_is_taken() {
    let (home, server) = known();
    let (code, _, err) = outcome(client(home.path(), None).args(["--list", "127.0.0.1:1"]));
    assert_eq!(code, 5);
    assert!(err.contains("cannot reach 127.0.0.1:1"), "{err}");
    let both = ["--list", "127.0.0.1:1", &server.name()];
    assert_eq!(outcome(client(home.path(), None).args(both)).0, 0);
}

#[test]
fn a_desktop_is_stopped() {
    let (home, server) = known();
    let (code, _, err) = outcome(client(home.path(), None).args(["--stop", &server.name()]));
    assert_eq!((code, err.as_str()), (0, "Stopping\ndesk: Machine stopped\n".trim_end()));
    assert_eq!(server.asked("/qvd/stop_vm?id=7"), 1);
}

#[test]
fn a_desktop_that_is_not_there_is_said() {
    let (home, server) = known();
    server.plan.lock().unwrap().names.push("other".to_owned());
    let stop =
        |vm: &[&str]| outcome(client(home.path(), None).args(["--stop", &server.name()]).args(vm));
    let (code, _, err) = stop(&[]);
    assert_eq!(code, 4);
    assert!(err.contains("desk, other"), "{err}");
    assert_eq!(stop(&["--vm", "none"]).0, 4);
    assert_eq!(stop(&["--vm", "other"]).0, 0);
    assert_eq!(server.asked("/qvd/stop_vm?id=8"), 1);
}

#[test]
fn what_is_missing_here_is_said_before_the_server_is_asked() {
    let (home, server) = known();
    let asked = server.asked("/");
    let (code, _, err) = outcome(client(home.path(), None).arg(server.name()));
    assert_eq!(code, 9);
    assert!(err.contains("DISPLAY is not set"), "{err}");
    let mut command = client(home.path(), Some(99));
    let (code, _, err) = outcome(command.env("PATH", home.path()).arg(server.name()));
    assert_eq!(code, 9);
    assert!(err.contains("nxproxy is not installed"), "{err}");
    assert_eq!(outcome(&mut client(home.path(), Some(99))).0, 2);
    assert_eq!(server.asked("/"), asked);
}
