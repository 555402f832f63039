//! User name and password: from the environment, a file or the terminal, never from the command
//! line.

use std::{env, fs, io::IsTerminal as _, path::Path};

use wire::head::Login;

use crate::{failure::Failure, options::Options};

/// The variable that may hold the password.
pub(crate) const VARIABLE: &str = "QVDPASSWORD";

/// Finds out who logs in.
pub(crate) fn ask(options: &Options) -> Result<Login, Failure> {
    let here = || env::var("USER").ok().filter(|name| !name.is_empty());
    let login = options
        .user
        .clone()
        .or_else(here)
        .ok_or_else(|| Failure::Usage("name the user: --user USER".to_owned()))?;
    if login.contains(':') {
        return Err(Failure::Usage("a user name has no colon".to_owned()));
    }
    let password = password(options.password_file.as_deref(), &login)?;
    Ok(Login { login, password })
}

fn password(file: Option<&Path>, login: &str) -> Result<String, Failure> {
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::Local(format!("cannot read the password from {}: {error}", path.display()))
        })?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    if let Ok(password) = env::var(VARIABLE) {
        return Ok(password);
    }
    if !std::io::stdin().is_terminal() {
        let text =
            format!("no password: use --password-file or {VARIABLE} where there is no terminal");
        return Err(Failure::Usage(text));
    }
    rpassword::prompt_password(format!("Password of {login}: "))
        .map_err(|error| Failure::Local(format!("cannot ask for the password: {error}")))
}
