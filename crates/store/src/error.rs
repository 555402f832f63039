//! What can go wrong, in sentences a person can act on.

use std::{net::Ipv4Addr, path::PathBuf};

/// What the database refused or could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row.
    #[error("there is no {noun} {name}")]
    NotFound {
        /// What kind of thing: `user`, `VM`…
        noun: &'static str,
        /// Its name or number.
        name: String,
    },
    /// The name, address or number is taken.
    #[error("{noun} {name} exists already")]
    Exists {
        /// What kind of thing.
        noun: &'static str,
        /// Its name or number.
        name: String,
    },
    /// It cannot go while something needs it.
    #[error("{noun} {name} is in use by {by}")]
    InUse {
        /// What kind of thing.
        noun: &'static str,
        /// Its name or number.
        name: String,
        /// What needs it, in a few words.
        by: String,
    },
    /// The tag is a version.
    #[error("the tag {tag} is the version of image {di}: it can be neither moved nor removed")]
    FixedTag {
        /// The tag.
        tag: String,
        /// The image whose version it is.
        di: model::DiId,
    },
    /// All versions of a day are taken.
    #[error("all 1000 versions of the day {day} are taken: give the image a version of its own")]
    NoVersion {
        /// The day, `YYYY-MM-DD`.
        day: String,
    },
    /// The network is full.
    #[error(
        "every address for VMs from {first} up to {last} is taken: delete VMs, or enlarge the network with `qa config set vm.network.netmask`"
    )]
    NoAddress {
        /// The first address of VMs.
        first: Ipv4Addr,
        /// The end of the network.
        last: Ipv4Addr,
    },
    /// The address cannot be a VM's.
    #[error("{ip} is not an address for VMs: they are from {first} up to {last}")]
    BadAddress {
        /// The address asked for.
        ip: Ipv4Addr,
        /// The first address of VMs.
        first: Ipv4Addr,
        /// The end of the network.
        last: Ipv4Addr,
    },
    /// Not the address of a database.
    #[error("`{url}` names no database: use `sqlite:/PATH` or `postgres://USER@HOST/NAME`")]
    Url {
        /// As it was given, without its password.
        url: String,
    },
    /// The database is empty, older or newer than this program.
    #[error("{}", schema_text(.database, *.found, *.wanted))]
    Schema {
        /// Which database, without its password.
        database: String,
        /// Its version; `None` when it is empty or not there.
        found: Option<i64>,
        /// The version this program works with.
        wanted: i64,
    },
    /// The folder or file of an SQLite database cannot be made or used.
    #[error("cannot use {path} for the database: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A row that none of our programs wrote.
    #[error("row {row} of table {table} has an unusable {column}")]
    Row {
        /// The table.
        table: &'static str,
        /// Its key.
        row: String,
        /// The column.
        column: &'static str,
    },
    /// The tables could not be made or brought up to date.
    #[error("cannot bring the tables of {database} up to date: {error}")]
    Migrate {
        /// Which database, without its password.
        database: String,
        /// Why.
        error: sqlx::migrate::MigrateError,
    },
    /// The database cannot be reached.
    #[error("cannot open the database {database}: {error}")]
    Open {
        /// Which database, without its password.
        database: String,
        /// Why.
        error: sqlx::Error,
    },
    /// Another installation's database is where this one's was.
    #[error(
        "the database {database} is of another installation ({found}, not {wanted}): put back this one's, or start qvd again for the other"
    )]
    Foreign {
        /// Which database, without its password.
        database: String,
        /// Its installation.
        found: String,
        /// The one that it was opened for.
        wanted: String,
    },
    /// Anything else.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
}

// Its sentence ends with the cause, so that whoever prints it prints that too.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn schema_text(database: &str, found: Option<i64>, wanted: i64) -> String {
    match found {
        None => format!(
            "the database {database} is empty or not there: if there was one, put it back; if there was none, run `qvd migrate`"
        ),
        Some(found) if found < wanted => format!(
            "the database {database} has tables of version {found}, and this program needs {wanted}: run `qvd migrate`"
        ),
        Some(found) => format!(
            "the database {database} has tables of version {found}, and this program knows only {wanted}: install a newer version of qvd"
        ),
    }
}

impl Error {
    pub(crate) fn not_found(noun: &'static str, name: &impl ToString) -> Self {
        Self::NotFound { noun, name: name.to_string() }
    }

    pub(crate) fn in_use(noun: &'static str, name: &impl ToString, by: impl Into<String>) -> Self {
        Self::InUse { noun, name: name.to_string(), by: by.into() }
    }

    pub(crate) fn row(table: &'static str, row: &impl ToString, column: &'static str) -> Self {
        Self::Row { table, row: row.to_string(), column }
    }
}

/// What a violated constraint means at the place where a statement is run.
pub(crate) trait Violated<T> {
    /// A unique value is taken.
    fn or_exists(self, noun: &'static str, name: impl ToString) -> Result<T>;
    /// The row that is referred to is not there.
    fn or_missing(self, noun: &'static str, name: impl ToString) -> Result<T>;
    /// The row is referred to.
    fn or_in_use(self, noun: &'static str, name: impl ToString, by: &str) -> Result<T>;
}

impl<T, E: Into<Error>> Violated<T> for Result<T, E> {
    fn or_exists(self, noun: &'static str, name: impl ToString) -> Result<T> {
        self.map_err(|error| match error.into() {
            Error::Database(error) if kind(&error) == Some(Kind::Unique) => {
                Error::Exists { noun, name: name.to_string() }
            }
            error => error,
        })
    }

    fn or_missing(self, noun: &'static str, name: impl ToString) -> Result<T> {
        self.map_err(|error| match error.into() {
            Error::Database(error) if kind(&error) == Some(Kind::Reference) => {
                Error::not_found(noun, &name)
            }
            error => error,
        })
    }

    fn or_in_use(self, noun: &'static str, name: impl ToString, by: &str) -> Result<T> {
        self.map_err(|error| match error.into() {
            Error::Database(error) if kind(&error) == Some(Kind::Reference) => {
                Error::in_use(noun, &name, by)
            }
            error => error,
        })
    }
}

#[derive(PartialEq)]
enum Kind {
    Unique,
    Reference,
}

fn kind(error: &sqlx::Error) -> Option<Kind> {
    let error = error.as_database_error()?;
    if error.is_unique_violation() {
        Some(Kind::Unique)
    } else if error.is_foreign_key_violation() {
        Some(Kind::Reference)
    } else {
        None
    }
}
