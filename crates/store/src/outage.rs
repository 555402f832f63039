//! A database that does not do its work: what that is in a sentence, and what helps.

use crate::{database::Store, error::Error};

/// Why a database does not work at all, whatever is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// A stable word.
    pub code: &'static str,
    /// What it is, naming the database.
    pub sentence: String,
    /// What a person can do about it; it is gone on from without one where that is possible.
    pub remedy: &'static str,
}

/// What an error of the library means: its word, what the database does, and what helps.
fn kind(error: &sqlx::Error) -> Option<(&'static str, &'static str, &'static str)> {
    const AWAY: (&str, &str, &str) = (
        "database-away",
        "cannot be opened",
        "put it back where it was; if it is lost, stop qvd and put back a backup, without the files that \
         end in -wal and -shm",
    );
    const BUSY: (&str, &str, &str) = (
        "database-busy",
        "is held by another program",
        "end what holds it (`fuser -v` on the file shows who), and try again",
    );
    const FULL: (&str, &str, &str) =
        ("database-full", "has no room left on its disk", "make room on the disk it lies on");
    const DAMAGED: (&str, &str, &str) = (
        "database-damaged",
        "is damaged",
        "stop qvd, and put back a backup, without the files that end in -wal and -shm",
    );
    const FAILS: (&str, &str, &str) = (
        "database-fails",
        "cannot be read or written",
        "look at the disk it lies on and at who may write there",
    );
    const SILENT: (&str, &str, &str) =
        ("database-silent", "does not answer", "start its server, or look at the way there");
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => {
            return Some(SILENT);
        }
        sqlx::Error::Database(_) => {}
        _ => return None,
    }
    let error = error.as_database_error()?;
    let sqlite = error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
    let code = error.code()?;
    if !sqlite {
        // Classes of PostgreSQL: a connection, an operator's intervention, and room.
        return match code.get(..2)? {
            "08" | "57" => Some(SILENT),
            "53" => Some(FULL),
            "58" | "XX" => Some(FAILS),
            _ => None,
        };
    }
    // The last byte is the kind, what is before it a detail of that.
    match code.parse::<u32>().ok()? & 0xff {
        5 | 6 => Some(BUSY),
        8 | 10 => Some(FAILS),
        11 | 26 => Some(DAMAGED),
        13 => Some(FULL),
        14 => Some(AWAY),
        _ => None,
    }
}

impl Error {
    /// Whether the database as a whole does not work: see [`Store::outage`].
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Database(error) if kind(error).is_some())
    }
}

impl Store {
    /// What an error says of the database as a whole, if it does.
    pub fn outage(&self, error: &Error) -> Option<Outage> {
        let Error::Database(error) = error else { return None };
        let (code, does, remedy) = kind(error)?;
        let sentence = format!("the database {} {does}: {error}", self.name);
        Some(Outage { code, sentence, remedy })
    }

    /// An error in a sentence for a log: of an outage with what helps.
    pub fn explain(&self, error: &Error) -> String {
        match self.outage(error) {
            Some(Outage { sentence, remedy, .. }) => format!("{sentence}; {remedy}"),
            None => error.to_string(),
        }
    }
}
