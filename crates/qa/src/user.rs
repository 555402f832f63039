//! `qa user …`

use http::Method;
use wire::rest::{EditUser, NewUser, Password, User};

use crate::{
    block,
    client::{Client, with_query},
    grammar::{Invocation, Misuse},
    selection::{self, Tally, count},
    table::{Column, number, text},
    terminal::{self, Terminal},
};

const COLUMNS: &[Column] = &[number("Id"), text("Login")];
const KIND: block::Kind<User> =
    block::Kind { nouns: "users", noun: "user", of: |user| (user.id, &user.login) };

pub(crate) async fn run(
    it: &Invocation,
    client: &Client,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    if it.get("password").is_some() {
        let problem = "a password on the command line can be read by every user of this machine\n    \
                       leave `password=` out to be asked, or say --password-file FILE, \
                       --password-stdin or --random-password";
        return Err(Misuse(problem.to_owned()).into());
    }
    match it.verb.name {
        "add" => add(it, client, terminal).await,
        "list" => {
            let users: Vec<User> = selection::list(it, client, "users").await?;
            let row = |user: &User| vec![user.id.to_string(), user.login.clone()];
            terminal.list(&users, COLUMNS, row, "There are no such users.")
        }
        "block" | "unblock" => {
            let edit = |blocked| EditUser { blocked };
            block::run(it, client, terminal, &KIND, edit).await
        }
        "passwd" => passwd(it, client, terminal).await,
        _ => del(it, client, terminal).await,
    }
}

async fn add(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let login = it.required("login").to_owned();
    let (password, made_up) = terminal::password(&it.password, &login)?;
    let new = NewUser { login, password: password.clone() };
    let user: User = client.send(Method::POST, "users", &new).await?;
    terminal.done(&user, &format!("User added with id {}", user.id))?;
    if made_up {
        show(terminal, &user.login, &password);
    }
    Ok(())
}

async fn passwd(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    // As logins are kept.
    let login = it.required("user").trim().to_lowercase();
    let login = login.as_str();
    let query = with_query("users", &[("filter", &format!("login={login}"))]);
    let users: Vec<User> = client.get(&query).await?;
    let Some(user) = users.iter().find(|user| user.login == login) else {
        anyhow::bail!("there is no user {login}\n    `qa user list` shows those there are");
    };
    let (password, made_up) = terminal::password(&it.password, login)?;
    let body = Password { password: password.clone() };
    let () = client.send(Method::PUT, &format!("users/{}/password", user.id), &body).await?;
    terminal.done(user, &format!("The password of {login} was changed."))?;
    if made_up {
        show(terminal, login, &password);
    }
    Ok(())
}

/// The one time a made-up password is seen. With JSON it goes beside the result.
fn show(terminal: &Terminal, login: &str, password: &str) {
    let text = format!("Password of {login}: {password}");
    if terminal.is_json() { terminal::complain(&text) } else { terminal::page(&text) }
}

async fn del(it: &Invocation, client: &Client, terminal: &Terminal) -> anyhow::Result<()> {
    let users: Vec<User> = selection::to_change(it, client, "users", ("delete", "users")).await?;
    let mut tally = Tally::default();
    let mut deleted: Vec<User> = Vec::new();
    for user in users {
        let result = client.ask::<()>(Method::DELETE, &format!("users/{}", user.id)).await;
        if tally.add(&user.login, result).is_some() {
            deleted.push(user);
        }
    }
    terminal.done(&deleted, &format!("Deleted {}.", count(tally.done, "user")))?;
    tally.finish()
}
