//! `/users`.

use axum::Json;
use http::StatusCode;
use model::{UserId, settings::Settings, user};
use wire::rest::{EditUser, NewUser, Password, User};

use crate::{
    admin::Shared,
    context::{Change, Context, TENANT},
    extract::{Body, Path, Query},
    fault::Fault,
    filter::{Fields, Wanted},
    peer::Peer,
};

impl Fields for User {
    const KEYS: &'static [&'static str] = &["id", "login", "uid", "blocked"];

    fn values(&self, key: &str) -> Vec<String> {
        vec![match key {
            "id" => self.id.to_string(),
            "login" => self.login.clone(),
            "uid" => self.uid.to_string(),
            _ => u8::from(self.blocked).to_string(),
        }]
    }
}

fn body(user: user::User) -> User {
    let user::User { id, login, uid, gid, blocked, .. } = user;
    User { id: id.0, login, uid, gid, blocked }
}

pub(crate) async fn list(context: Shared, wanted: Query<Wanted>) -> Result<Json<Vec<User>>, Fault> {
    let users = context.store().users(TENANT).await?;
    wanted.0.of(users.into_iter().map(body).collect()).map(Json)
}

pub(crate) async fn add(
    context: Shared,
    peer: Peer,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, Json<User>), Fault> {
    let login: user::Login =
        new.login.parse().map_err(|bad: user::BadLogin| Fault::malformed(bad.to_string()))?;
    let hash = hashed(new.password).await?;
    let uid_min = uid_min(&context.settings().await?)?;
    let store = context.store();
    let user = store.add_user(context.now(), TENANT, &login, Some(&hash), uid_min).await?;
    let user = body(user);
    context.audit(peer, "user add", user.login.clone(), Change::to(&user)).await;
    Ok((StatusCode::CREATED, Json(user)))
}

pub(crate) async fn set_password(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
    Body(new): Body<Password>,
) -> Result<StatusCode, Fault> {
    let user = find(&context, id).await?;
    let hash = hashed(new.password).await?;
    context.store().set_password_hash(user.id, Some(&hash)).await?;
    context.audit(peer, "user passwd", user.login, Change::default()).await;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn edit(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
    Body(new): Body<EditUser>,
) -> Result<Json<User>, Fault> {
    let before = body(find(&context, id).await?);
    context.store().set_user_blocked(UserId(id), new.blocked).await?;
    let after = body(find(&context, id).await?);
    context.audit(peer, "user edit", before.login.clone(), Change::between(&before, &after)).await;
    Ok(Json(after))
}

pub(crate) async fn delete(
    context: Shared,
    peer: Peer,
    Path(id): Path<i64>,
) -> Result<StatusCode, Fault> {
    let user = find(&context, id).await?;
    context.store().delete_user(user.id).await?;
    let user = body(user);
    context.audit(peer, "user del", user.login.clone(), Change::from(&user)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The user who is named in one of two ways.
pub(crate) async fn named(
    context: &Context,
    login: Option<&str>,
    id: Option<i64>,
) -> Result<user::User, Fault> {
    match (login, id) {
        (Some(login), None) => {
            let known = match login.parse::<user::Login>() {
                Ok(known) => context.store().user_by_login(TENANT, known.as_str()).await?,
                Err(_) => None,
            };
            known.ok_or_else(|| Fault::not_found("user", login))
        }
        (None, Some(id)) => find(context, id).await,
        _ => Err(Fault::malformed("name the user with either user or user_id")),
    }
}

async fn find(context: &Context, id: i64) -> Result<user::User, Fault> {
    context.store().user(UserId(id)).await?.ok_or_else(|| Fault::not_found("user", id))
}

async fn hashed(password: String) -> Result<String, Fault> {
    if password.is_empty() {
        return Err(Fault::malformed("the password is empty"));
    }
    login::hash(password)
        .await
        .map_err(|error| Fault::internal("the password was not kept", &error))
}

fn uid_min(settings: &Settings) -> Result<u32, Fault> {
    let first = settings.number("user.uid.min")?;
    u32::try_from(first).map_err(|_| Fault::malformed("user.uid.min is out of bounds"))
}
