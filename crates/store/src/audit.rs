//! Who did what, from where, and with what result. Every writing process has a chain of its own.
//!
//! Each row carries the hash of itself and the row before it, and `audit_heads` the hash of the
//! last one. So a row that was changed, removed or put in between shows; only rewriting a whole
//! chain from there on does not, which is what signing its head is for.

use model::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    database::{Store, change, read},
    error::Result,
};

/// Something somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: `user NAME`, `admin`, `token NAME`…
    pub who: String,
    /// From where: an address, or `socket`.
    pub from: String,
    /// What: noun and verb.
    pub action: String,
    /// To what: a name or number.
    pub target: String,
    /// How it was before. Never a secret.
    pub before: Option<String>,
    /// How it is now. Never a secret.
    pub after: Option<String>,
    /// `done`, or why not.
    pub result: String,
}

/// An entry as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Never given twice.
    pub id: i64,
    /// Which process wrote it.
    pub writer: String,
    /// Its place in the chain of that process, from 1.
    pub sequence: i64,
    /// What happened.
    pub entry: AuditEntry,
    /// SHA-256 over the hash before it and all of the above but the id, in hexadecimal.
    pub hash: String,
}

/// A chain that was tampered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenChain {
    /// Whose chain.
    pub writer: String,
    /// The first row that is missing or not as it was written.
    pub sequence: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    writer: String,
    sequence: i64,
    at: i64,
    who: String,
    from_address: String,
    action: String,
    target: String,
    value_before: Option<String>,
    value_after: Option<String>,
    result: String,
    hash: String,
}

impl From<Row> for AuditRow {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            writer: row.writer,
            sequence: row.sequence,
            entry: AuditEntry {
                at: Timestamp(row.at),
                who: row.who,
                from: row.from_address,
                action: row.action,
                target: row.target,
                before: row.value_before,
                after: row.value_after,
                result: row.result,
            },
            hash: row.hash,
        }
    }
}

/// How many rows are verified at a time.
const PAGE: i64 = 1000;

impl Store {
    /// Appends to the chain of the process `writer`, such as `api@NODE`.
    pub async fn audit(&self, writer: &str, entry: &AuditEntry) -> Result<()> {
        // Changes the head first, so that nobody else appends to the chain meanwhile.
        const NEXT: &str = "INSERT INTO audit_heads (writer, sequence, hash) VALUES ($1, 1, '')
            ON CONFLICT (writer) DO UPDATE SET sequence = audit_heads.sequence + 1
            RETURNING sequence, hash";
        const ADD: &str = "INSERT INTO audit
                (writer, sequence, at, who, from_address, action, target, value_before,
                 value_after, result, hash)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        const HEAD: &str = "UPDATE audit_heads SET hash = $2 WHERE writer = $1";
        change!(self, on => {
            let (sequence, previous): (i64, String) =
                sqlx::query_as(NEXT).bind(writer).fetch_one(&mut *on).await?;
            let hash = hash(&previous, writer, sequence, entry);
            sqlx::query(ADD)
                .bind(writer)
                .bind(sequence)
                .bind(entry.at.0)
                .bind(&entry.who)
                .bind(&entry.from)
                .bind(&entry.action)
                .bind(&entry.target)
                .bind(entry.before.as_deref())
                .bind(entry.after.as_deref())
                .bind(&entry.result)
                .bind(&hash)
                .execute(&mut *on)
                .await?;
            sqlx::query(HEAD).bind(writer).bind(&hash).execute(&mut *on).await?;
        });
        Ok(())
    }

    /// The newest `count` entries of all chains, newest first.
    pub async fn audit_tail(&self, count: u32) -> Result<Vec<AuditRow>> {
        const FIND: &str = "SELECT id, writer, sequence, at, who, from_address, action, target,
                value_before, value_after, result, hash
            FROM audit ORDER BY id DESC LIMIT $1";
        let rows: Vec<Row> = read!(self, on => {
            sqlx::query_as(FIND).bind(i64::from(count)).fetch_all(on).await
        })?;
        Ok(rows.into_iter().map(AuditRow::from).collect())
    }

    /// Computes every chain anew. Returns those that are not as they were written, each with its
    /// first bad row; empty when all is well.
    pub async fn verify_audit(&self) -> Result<Vec<BrokenChain>> {
        const WRITERS: &str =
            "SELECT writer FROM audit UNION SELECT writer FROM audit_heads ORDER BY writer";
        let writers: Vec<String> =
            read!(self, on => sqlx::query_scalar(WRITERS).fetch_all(on).await)?;
        let mut broken = Vec::new();
        for writer in writers {
            if let Some(sequence) = self.first_broken(&writer).await? {
                broken.push(BrokenChain { writer, sequence });
            }
        }
        Ok(broken)
    }

    /// The first bad row of a chain. The head is read first: entries that come meanwhile lie
    /// beyond it.
    async fn first_broken(&self, writer: &str) -> Result<Option<i64>> {
        const HEAD: &str = "SELECT sequence, hash FROM audit_heads WHERE writer = $1";
        const ROWS: &str = "SELECT id, writer, sequence, at, who, from_address, action, target,
                value_before, value_after, result, hash
            FROM audit WHERE writer = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";
        let head: Option<(i64, String)> = read!(self, on => {
            sqlx::query_as(HEAD).bind(writer).fetch_optional(on).await
        })?;
        let Some((last, head)) = head else { return Ok(Some(1)) };
        let (mut done, mut previous) = (0, String::new());
        while done < last {
            let rows: Vec<Row> = read!(self, on => {
                sqlx::query_as(ROWS).bind(writer).bind(done).bind(PAGE).fetch_all(on).await
            })?;
            if rows.is_empty() {
                return Ok(Some(done + 1));
            }
            for row in rows.into_iter().map(AuditRow::from).take_while(|row| row.sequence <= last) {
                let wanted = hash(&previous, writer, done + 1, &row.entry);
                if row.sequence != done + 1 || row.hash != wanted {
                    return Ok(Some(done + 1));
                }
                (done, previous) = (row.sequence, row.hash);
            }
        }
        Ok((previous != head).then_some(last))
    }
}

/// The hash of an entry: each part goes in with its length, so that no two entries look alike.
fn hash(previous: &str, writer: &str, sequence: i64, entry: &AuditEntry) -> String {
    let mut sha = Sha256::new();
    let mut part = |bytes: Option<&[u8]>| {
        let length = bytes.map_or(-1, |bytes| bytes.len() as i64);
        sha.update(length.to_be_bytes());
        sha.update(bytes.unwrap_or_default());
    };
    part(Some(previous.as_bytes()));
    part(Some(writer.as_bytes()));
    part(Some(&sequence.to_be_bytes()));
    part(Some(&entry.at.0.to_be_bytes()));
    for text in [&entry.who, &entry.from, &entry.action, &entry.target, &entry.result] {
        part(Some(text.as_bytes()));
    }
    for text in [&entry.before, &entry.after] {
        part(text.as_deref().map(str::as_bytes));
    }
    hex::encode(sha.finalize())
}
