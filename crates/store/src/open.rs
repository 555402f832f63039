//! Opening and making a database.
//!
//! An SQLite file is shared by hkd (root) and api (user `qvd`), started in either order. Its folder
//! is 2770 with the group of `qvd`, so that every file in it gets that group; the file is made 0660
//! whatever the umask; and SQLite gives `-wal` and `-shm` the mode of the file.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use rustix::fs::FlockOperation;
use sqlx::{
    ConnectOptions as _, Connection as _,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    database::{Db, Store},
    error::{Error, Result},
    migrations,
    place::Place,
};

/// How long a writer waits for another before it gives up.
const BUSY: Duration = Duration::from_secs(10);
/// How long a server may take to give a connection.
const ANSWERS: Duration = Duration::from_secs(5);
/// Connections of one process. Each of SQLite's is a thread.
const SQLITE_CONNECTIONS: u32 = 4;
/// Connections of one process, of which one listens.
const POSTGRES_CONNECTIONS: u32 = 9;

impl Store {
    /// Opens a database whose tables are of this program's version:
    /// `sqlite:/PATH` or `postgres://USER@HOST/NAME`.
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, SqliteSynchronous::Full).await
    }

    /// The same, for a host that writes what it sees of its own machine: of that a power cut may take
    /// the last moments, since it ends what was seen. Each change is then spared a wait for the disk.
    pub async fn open_for_host(url: &str) -> Result<Self> {
        Self::open_with(url, SqliteSynchronous::Normal).await
    }

    async fn open_with(url: &str, synchronous: SqliteSynchronous) -> Result<Self> {
        let name = without_password(url);
        let schema =
            |found| Error::Schema { database: name.clone(), found, wanted: migrations::VERSION };
        if let Address::Sqlite(path) = Address::of(url)?
            && !path.exists()
        {
            return Err(schema(None));
        }
        let db = connect(url, synchronous).await?;
        match migrations::version(&db).await? {
            Some(migrations::VERSION) => Ok(Self::new(db, name)),
            found => Err(schema(found)),
        }
    }

    /// Makes the database where it is not there (an SQLite file with its folder, or the tables of a
    /// PostgreSQL database), brings its tables up to date, and opens it.
    pub async fn migrate(url: &str) -> Result<Self> {
        let name = without_password(url);
        let folder = match Address::of(url)? {
            Address::Sqlite(path) => Some(prepare(&path)?),
            Address::Postgres => None,
        };
        // SQLite has no lock that lasts over several transactions; PostgreSQL's migrator uses one.
        let _held = match folder {
            Some(folder) => Some(hold(folder).await?),
            None => None,
        };
        let db = connect(url, SqliteSynchronous::Full).await?;
        migrations::run(&db, &name).await?;
        let store = Self::new(db, name);
        store.name_installation().await?;
        Ok(store)
    }
}

enum Address {
    Sqlite(PathBuf),
    Postgres,
}

impl Address {
    fn of(url: &str) -> Result<Self> {
        let bad = || Error::Url { url: without_password(url) };
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let file = Path::new(path);
            if !path.starts_with('/') || file.file_name().is_none() {
                return Err(bad());
            }
            Ok(Self::Sqlite(file.to_owned()))
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Ok(Self::Postgres)
        } else {
            Err(bad())
        }
    }
}

async fn connect(url: &str, synchronous: SqliteSynchronous) -> Result<Db> {
    let open = |error| Error::Open { database: without_password(url), error };
    Ok(match Address::of(url)? {
        Address::Sqlite(path) => {
            lay_beside(&path)?;
            let place = Place::of(&path);
            let options = SqliteConnectOptions::new()
                .filename(&path)
                .create_if_missing(false)
                .foreign_keys(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(synchronous)
                .busy_timeout(BUSY)
                // An unprivileged process may write the file that root reads: nothing in its
                // schema is to be run, and a damaged page is an error.
                .pragma("trusted_schema", "OFF")
                .pragma("cell_size_check", "ON");
            let pool = SqlitePoolOptions::new()
                .max_connections(SQLITE_CONNECTIONS)
                .max_lifetime(None)
                // One whose file is not there any more is closed, and another is opened in its place.
                .before_acquire(move |connection, about| {
                    let kept = place.has_kept(about.age);
                    if !kept && path.exists() {
                        // What cannot be laid there SQLite makes itself, or says why not.
                        let _ = lay_beside(&path);
                    }
                    // Where SQLite itself has undone a transaction, for want of room, the library takes
                    // it for open for good.
                    let usable = kept && !connection.is_in_transaction();
                    Box::pin(async move { Ok(usable) })
                })
                .connect_with(options)
                .await;
            Db::Sqlite(pool.map_err(open)?)
        }
        Address::Postgres => {
            let options = PgConnectOptions::from_str(url)
                .map_err(|_| Error::Url { url: without_password(url) })?
                .application_name("qvd");
            // A pool tries again and again and says only that it did; one connection says why not.
            let first = tokio::time::timeout(BUSY, options.connect());
            let slow = |_| sqlx::Error::Io(io::ErrorKind::TimedOut.into());
            let first = first.await.map_err(slow).flatten().map_err(open)?;
            // It has served its purpose.
            let _ = first.close().await;
            let pool = PgPoolOptions::new()
                .max_connections(POSTGRES_CONNECTIONS)
                .acquire_timeout(ANSWERS)
                .connect_with(options)
                .await;
            Db::Postgres(pool.map_err(open)?)
        }
    })
}

/// Makes the empty files that SQLite keeps beside a database, where they are not there. SQLite makes
/// them with the umask and mends their mode afterwards: another user's process that comes in between
/// could only read, for as long as it runs. A link appears with its final mode or not at all.
fn lay_beside(database: &Path) -> Result<()> {
    for end in ["-shm", "-wal"] {
        let mut path = database.as_os_str().to_owned();
        path.push(end);
        let path = PathBuf::from(path);
        if path.exists() {
            continue;
        }
        let fresh = path.with_extension(format!("new{}{end}", std::process::id()));
        let lay = || -> io::Result<()> {
            // The folder is its group's: what lies there already may be a link to anywhere.
            let _ = fs::remove_file(&fresh);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.set_permissions(fs::Permissions::from_mode(0o660))?;
            match fs::hard_link(&fresh, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            }
        };
        let laid = lay();
        // It has its name now, or is of no use.
        let _ = fs::remove_file(&fresh);
        laid.map_err(|error| Error::File { path, error })?;
    }
    Ok(())
}

/// Makes an empty file with the right mode where there is none, and its folder. The file is never
/// opened when it is there: closing it would take away SQLite's own locks in this process.
fn prepare(path: &Path) -> Result<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::File { path, error }
    };
    if !folder.exists() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o770)
            .create(folder)
            .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o2770)))
            .map_err(failed(folder))?;
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o660).open(path);
    match made {
        // Set again, because the umask cuts the mode a file is made with.
        Ok(file) => {
            file.set_permissions(fs::Permissions::from_mode(0o660)).map_err(failed(path))?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(path)(error)),
    }
    Ok(folder.to_owned())
}

/// A lock on the folder, until the returned file is dropped.
async fn hold(folder: PathBuf) -> Result<fs::File> {
    let path = folder.clone();
    let locked = tokio::task::spawn_blocking(move || {
        let file = fs::File::open(&folder)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    });
    let locked: io::Result<fs::File> = locked.await.unwrap_or_else(|error| Err(error.into()));
    locked.map_err(|error| Error::File { path, error })
}

/// The address of a database with any password taken out, however oddly it is written: what stands
/// between the user's name and the last `@` goes, and of the parameters only known ones stay.
fn without_password(url: &str) -> String {
    const SHOWN: &[&str] = &["host", "port", "dbname", "user", "sslmode"];
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let clean = match rest.rsplit_once('@') {
        Some((who, place)) => match who.split_once(':') {
            Some((user, _)) => format!("{user}@{place}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let clean = match clean.split_once('?') {
        Some((main, query)) => {
            let shown =
                |pair: &&str| pair.split_once('=').is_some_and(|(key, _)| SHOWN.contains(&key));
            let kept: Vec<&str> = query.split('&').filter(shown).collect();
            if kept.is_empty() { main.to_owned() } else { format!("{main}?{}", kept.join("&")) }
        }
        None => clean,
    };
    if scheme.is_empty() { clean } else { format!("{scheme}://{clean}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::without_password;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (url, shown) in [
            ("sqlite:/var/lib/qvd/db/qvd.db", "sqlite:/var/lib/qvd/db/qvd.db"),
            ("postgres://ada:s3cret@db/qvd", "postgres://ada@db/qvd"),
            ("postgres://ada:s3@c/ret@db/qvd", "postgres://ada@db/qvd"),
            ("postgres:///qvd?host=/run/pg&password=s3cret", "postgres:///qvd?host=/run/pg"),
            ("postgres://db/qvd?password=s3cret", "postgres://db/qvd"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    proptest! {
        #[test]
        fn no_password_survives(password in "[a-z0-9:@?&=]{8,20}", user in "[A-Z]{1,8}") {
            let shown = without_password(&format!("postgres://{user}:{password}@HOST/NAME"));
            prop_assert!(!shown.contains(&password), "{shown}");
        }
    }
}
