//! The disk images and the tags that point at them. Written by the api.
//!
//! Whoever adds, tags or removes an image changes the row of its OSF first, which holds off all
//! others that would do the same: so the newest image has the tag `head` whoever comes last.

use model::{
    DiId, OsfId, TenantId, Timestamp,
    di::{self, Di, Tag},
};

use crate::{
    database::{Store, change, read},
    error::{Error, Result, Violated},
    row,
};

/// Changes nothing but the right to go on: others wait here until the transaction is over.
const HOLD: &str = "UPDATE osfs SET name = name WHERE id = $1";
/// Lets a tag point at an image, wherever it pointed before.
const POINT: &str = "INSERT INTO di_tags (osf, name, di, fixed) VALUES ($1, $2, $3, $4)
    ON CONFLICT (osf, name) DO UPDATE SET di = excluded.di WHERE NOT di_tags.fixed";

#[derive(sqlx::FromRow)]
pub(crate) struct DiRow {
    id: i64,
    osf: i64,
    version: String,
    file: String,
    sha256: String,
    bytes: i64,
    kind: String,
    added_at: i64,
}

impl From<DiRow> for Di {
    fn from(row: DiRow) -> Self {
        let id = DiId(row.id);
        Self {
            id,
            osf: OsfId(row.osf),
            version: row.version,
            path: di::path_of(id, &row.file),
            sha256: row.sha256,
            bytes: row.bytes,
            kind: row.kind,
            added_at: Timestamp(row.added_at),
        }
    }
}

#[derive(sqlx::FromRow)]
struct TagRow {
    di: i64,
    osf: i64,
    name: String,
    fixed: bool,
}

impl From<TagRow> for Tag {
    fn from(row: TagRow) -> Self {
        Self { di: DiId(row.di), osf: OsfId(row.osf), name: row.name, fixed: row.fixed }
    }
}

impl Store {
    /// Adds an image to an OSF with its tags: its version (fixed), `head`, and `default` where the
    /// OSF has none. Without a `version` it gets the first free one of the `day` (year, month, day).
    /// `sha256` is lower-case hexadecimal.
    #[expect(clippy::too_many_arguments, reason = "an image is what it is")]
    pub async fn add_di(
        &self,
        now: Timestamp,
        tenant: TenantId,
        osf: OsfId,
        version: Option<&str>,
        day: (i16, i8, i8),
        file_name: &str,
        sha256: &str,
        bytes: i64,
        kind: &str,
    ) -> Result<Di> {
        const HOLD_OF_TENANT: &str = "UPDATE osfs SET name = name WHERE id = $1 AND tenant = $2";
        const TAKEN: &str = "SELECT name FROM di_tags WHERE osf = $1";
        const ADD: &str = "INSERT INTO dis (osf, version, file, sha256, bytes, kind, added_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7)
            RETURNING id, osf, version, file, sha256, bytes, kind, added_at";
        let row: DiRow = change!(self, on => {
            let held =
                sqlx::query(HOLD_OF_TENANT).bind(osf.0).bind(tenant.0).execute(&mut *on).await?;
            if held.rows_affected() == 0 {
                return Err(Error::not_found("OSF", &osf));
            }
            let taken: Vec<String> =
                sqlx::query_scalar(TAKEN).bind(osf.0).fetch_all(&mut *on).await?;
            let version = choose_version(version, day, &taken)?;
            let row: DiRow = sqlx::query_as(ADD)
                .bind(osf.0)
                .bind(&version)
                .bind(file_name)
                .bind(sha256)
                .bind(bytes)
                .bind(kind)
                .bind(now.0)
                .fetch_one(&mut *on)
                .await
                .or_exists("version", &version)?;
            let mut tags = vec![(version.as_str(), true), (di::HEAD, false)];
            if !taken.iter().any(|tag| tag == di::DEFAULT) {
                tags.push((di::DEFAULT, false));
            }
            for (tag, fixed) in tags {
                sqlx::query(POINT)
                    .bind(osf.0)
                    .bind(tag)
                    .bind(row.id)
                    .bind(fixed)
                    .execute(&mut *on)
                    .await?;
            }
            row
        });
        Ok(row.into())
    }

    /// All images of a tenant, in the order of their ids.
    pub async fn dis(&self, tenant: TenantId) -> Result<Vec<Di>> {
        const FIND: &str = "SELECT id, osf, version, file, sha256, bytes, kind, added_at
            FROM dis WHERE osf IN (SELECT id FROM osfs WHERE tenant = $1) ORDER BY id";
        let rows: Vec<DiRow> =
            read!(self, on => sqlx::query_as(FIND).bind(tenant.0).fetch_all(on).await)?;
        Ok(rows.into_iter().map(Di::from).collect())
    }

    /// The image with an id.
    pub async fn di(&self, id: DiId) -> Result<Option<Di>> {
        const FIND: &str = "SELECT id, osf, version, file, sha256, bytes, kind, added_at
            FROM dis WHERE id = $1";
        let row: Option<DiRow> =
            read!(self, on => sqlx::query_as(FIND).bind(id.0).fetch_optional(on).await)?;
        Ok(row.map(Di::from))
    }

    /// All tags of all OSFs, in the order of OSF, image and name.
    pub async fn tags(&self) -> Result<Vec<Tag>> {
        const FIND: &str = "SELECT di, osf, name, fixed FROM di_tags ORDER BY osf, di, name";
        let rows: Vec<TagRow> = read!(self, on => sqlx::query_as(FIND).fetch_all(on).await)?;
        Ok(rows.into_iter().map(Tag::from).collect())
    }

    /// All tags of an OSF, in the order of image and name.
    pub async fn tags_of(&self, osf: OsfId) -> Result<Vec<Tag>> {
        const FIND: &str =
            "SELECT di, osf, name, fixed FROM di_tags WHERE osf = $1 ORDER BY di, name";
        let rows: Vec<TagRow> =
            read!(self, on => sqlx::query_as(FIND).bind(osf.0).fetch_all(on).await)?;
        Ok(rows.into_iter().map(Tag::from).collect())
    }

    /// Lets a tag point at an image, taking it from another image of the OSF. Refused when it is
    /// the version of another.
    pub async fn tag_di(&self, id: DiId, tag: &str) -> Result<()> {
        const HOLDER: &str = "SELECT di, osf, name, fixed FROM di_tags
            WHERE osf = $1 AND name = $2";
        let osf = self.di(id).await?.ok_or_else(|| Error::not_found("image", &id))?.osf;
        change!(self, on => {
            sqlx::query(HOLD).bind(osf.0).execute(&mut *on).await?;
            let holder: Option<TagRow> = sqlx::query_as(HOLDER)
                .bind(osf.0)
                .bind(tag)
                .fetch_optional(&mut *on)
                .await?;
            if let Some(holder) = holder.filter(|holder| holder.fixed && holder.di != id.0) {
                return Err(Error::FixedTag { tag: tag.to_owned(), di: DiId(holder.di) });
            }
            sqlx::query(POINT)
                .bind(osf.0)
                .bind(tag)
                .bind(id.0)
                .bind(false)
                .execute(&mut *on)
                .await
                .or_missing("image", id)?;
        });
        Ok(())
    }

    /// Takes a tag from an image. Refused when it is its version.
    pub async fn untag_di(&self, id: DiId, tag: &str) -> Result<()> {
        const FIXED: &str = "SELECT fixed FROM di_tags WHERE di = $1 AND name = $2";
        const REMOVE: &str = "DELETE FROM di_tags WHERE di = $1 AND name = $2 AND NOT fixed";
        change!(self, on => {
            let removed = sqlx::query(REMOVE).bind(id.0).bind(tag).execute(&mut *on).await?;
            if removed.rows_affected() == 0 {
                let fixed: Option<bool> = sqlx::query_scalar(FIXED)
                    .bind(id.0)
                    .bind(tag)
                    .fetch_optional(&mut *on)
                    .await?;
                return Err(match fixed {
                    Some(_) => Error::FixedTag { tag: tag.to_owned(), di: id },
                    None => Error::not_found("tag", &format!("{tag} of image {id}")),
                });
            }
        });
        Ok(())
    }

    /// The image a tag of an OSF points at, if any.
    pub async fn resolve_tag(&self, osf: OsfId, tag: &str) -> Result<Option<Di>> {
        const FIND: &str = "SELECT id, osf, version, file, sha256, bytes, kind, added_at FROM dis
            WHERE id = (SELECT di FROM di_tags WHERE osf = $1 AND name = $2)";
        let row: Option<DiRow> = read!(self, on => {
            sqlx::query_as(FIND).bind(osf.0).bind(tag).fetch_optional(on).await
        })?;
        Ok(row.map(Di::from))
    }

    /// Removes an image. Refused while a VM is wanted or seen to run from it, or has changes on it
    /// on some host. Where it was `head` or `default`, the newest other image becomes that.
    pub async fn delete_di(&self, id: DiId) -> Result<()> {
        // Changes the rows first, so that nobody wants this image meanwhile.
        const FORGET: &str = "UPDATE vm_desired SET di = NULL, revision = revision + 1
            WHERE di = $1 AND power = 'off' AND NOT EXISTS (
                SELECT 1 FROM vm_observed
                WHERE vm_observed.vm = vm_desired.vm AND vm_observed.seen <> 'nothing')";
        const VMS: &str = "SELECT name FROM vms
            WHERE id IN (SELECT vm FROM vm_desired WHERE di = $1) ORDER BY id";
        const OVERLAYS: &str = "SELECT DISTINCT vm FROM overlays WHERE di = $1 ORDER BY vm";
        const NAMES: &str =
            "SELECT name FROM di_tags WHERE di = $1 AND name IN ('head', 'default')";
        const NEWEST: &str = "SELECT MAX(id) FROM dis WHERE osf = $1";
        const DELETE: &str = "DELETE FROM dis WHERE id = $1";
        let osf = self.di(id).await?.ok_or_else(|| Error::not_found("image", &id))?.osf;
        change!(self, on => {
            sqlx::query(HOLD).bind(osf.0).execute(&mut *on).await?;
            sqlx::query(FORGET).bind(id.0).execute(&mut *on).await?;
            let vms: Vec<String> = sqlx::query_scalar(VMS).bind(id.0).fetch_all(&mut *on).await?;
            if !vms.is_empty() {
                return Err(Error::in_use("image", &id, row::list("VM", &vms)));
            }
            let overlays: Vec<i64> =
                sqlx::query_scalar(OVERLAYS).bind(id.0).fetch_all(&mut *on).await?;
            if !overlays.is_empty() {
                let vms: Vec<String> = overlays.iter().map(i64::to_string).collect();
                return Err(Error::in_use("image", &id, row::list("what is stored of VM", &vms)));
            }
            let names: Vec<String> =
                sqlx::query_scalar(NAMES).bind(id.0).fetch_all(&mut *on).await?;
            let done = sqlx::query(DELETE)
                .bind(id.0)
                .execute(&mut *on)
                .await
                .or_in_use("image", id, "a VM")?;
            if done.rows_affected() == 0 {
                return Err(Error::not_found("image", &id));
            }
            let newest: Option<i64> =
                sqlx::query_scalar(NEWEST).bind(osf.0).fetch_one(&mut *on).await?;
            for name in names.iter().filter(|_| newest.is_some()) {
                sqlx::query(POINT)
                    .bind(osf.0)
                    .bind(name)
                    .bind(newest)
                    .bind(false)
                    .execute(&mut *on)
                    .await?;
            }
        });
        Ok(())
    }
}

/// The version asked for, if it is free, or the first free one of the day.
fn choose_version(version: Option<&str>, day: (i16, i8, i8), taken: &[String]) -> Result<String> {
    match version {
        // The two tags that move would never move again if one were a version.
        Some(version)
            if [di::HEAD, di::DEFAULT].contains(&version)
                || taken.iter().any(|tag| tag == version) =>
        {
            Err(Error::Exists { noun: "tag", name: version.to_owned() })
        }
        Some(version) => Ok(version.to_owned()),
        None => di::next_version(day, taken.iter().map(String::as_str))
            .map(|version| version.to_string())
            .ok_or_else(|| {
                let (year, month, day) = day;
                Error::NoVersion { day: format!("{year:04}-{month:02}-{day:02}") }
            }),
    }
}
