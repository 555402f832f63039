//! A PostgreSQL server of a world's own.

use std::{path::Path, time::Duration};

use crate::{
    program::{Running, command, shell, try_shell},
    wait::until,
};

/// Starts a server in a folder, on the world's loopback, and makes an empty database. Returns it and
/// the database's address.
pub fn start(folder: &Path) -> (Running, String) {
    let place = folder.join("pg");
    let bin = shell("ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1");
    let as_postgres = "setpriv --reuid postgres --regid postgres --clear-groups";
    let at = place.display();
    shell(&format!(
        "mkdir {at} && chown postgres {at} && cd / && {as_postgres} {bin}/initdb -D {at}/data -A trust -U postgres --no-sync >/dev/null"
    ));
    let server = serve(folder);
    try_shell(&format!("cd / && {as_postgres} psql -h {at} -U postgres -qc 'CREATE DATABASE qvd'"))
        .unwrap_or_else(|why| panic!("{why}"));
    (server, "postgres://postgres@127.0.0.1:5432/qvd".to_owned())
}

/// Starts the server whose database is in a folder, and waits until it answers.
pub fn serve(folder: &Path) -> Running {
    let place = folder.join("pg");
    let bin = shell("ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1");
    let server = command("setpriv")
        .args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--clear-groups",
            "--pdeathsig",
            "KILL",
        ])
        .arg(format!("{bin}/postgres"))
        .arg("-D")
        .arg(place.join("data"))
        .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "port=5432"])
        .arg("-k")
        .arg(&place)
        .current_dir("/")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("postgres starts");
    until("PostgreSQL", Duration::from_secs(30), || {
        try_shell(&format!("pg_isready -q -h {}", place.display()))
    });
    Running(server)
}
