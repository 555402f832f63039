//! Wake-ups: something may have changed in the database.
//!
//! A wake-up is only a hint: it says neither what has changed nor that anything has, several
//! changes may come as one, and one's own changes wake one too. What was missed while the database
//! was away is made up for by one wake-up when it is back. On PostgreSQL a listener waits for
//! `NOTIFY qvd`; on SQLite inotify tells when the file `-wal` is written, by whichever process, and a
//! number in its head (`user_version`, which nobody else here uses) whether others are to hear of it.

use std::{
    ffi::{CStr, OsString},
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use rustix::{fs::inotify, io::Errno};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Sqlite, SqliteConnection, postgres::PgListener,
    sqlite::SqliteConnectOptions,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::watch,
    task::JoinHandle,
};

use crate::{database::Db, place::Place};

/// How long to wait before listening is tried again. As long as it fails, readers are woken this
/// often, so that they see changes late rather than never.
const RETRY: Duration = Duration::from_secs(1);

/// Tells one reader that something may have changed.
#[derive(Clone, Debug)]
pub struct Wake {
    changes: watch::Receiver<u64>,
    /// Keeps the listener at work when the last [`crate::Store`] is gone.
    _listener: Arc<Listener>,
}

impl Wake {
    /// Returns when anything may have changed since this last returned (or, the first time, since
    /// [`crate::Store::wake`]). May be dropped half-way without missing anything.
    pub async fn changed(&mut self) {
        // An error would mean that the listener is gone, which `_listener` keeps alive.
        let _ = self.changes.changed().await;
    }
}

/// The one listener of a store, started when it is first needed.
pub(crate) struct Waker {
    db: Db,
    listener: OnceLock<Arc<Listener>>,
}

#[derive(Debug)]
struct Listener {
    changes: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Waker {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, listener: OnceLock::new() }
    }

    pub(crate) fn wake(&self) -> Wake {
        let listener = self.listener.get_or_init(|| {
            let (wake, changes) = watch::channel(0);
            let task = tokio::spawn(listen(self.db.clone(), wake));
            Arc::new(Listener { changes, task })
        });
        let mut changes = listener.changes.clone();
        changes.mark_unchanged();
        Wake { changes, _listener: Arc::clone(listener) }
    }
}

/// Listens for good. Ends when the pool is closed, or is aborted with its [`Listener`].
async fn listen(db: Db, wake: watch::Sender<u64>) {
    let mut failed_before = false;
    loop {
        let error = match Source::open(&db).await {
            Ok(mut source) => {
                failed_before = false;
                // Something may have changed before there was anybody to listen.
                notify(&wake);
                loop {
                    match source.next().await {
                        Ok(()) => notify(&wake),
                        Err(error) => break error,
                    }
                }
            }
            Err(error) => error,
        };
        if matches!(error, sqlx::Error::PoolClosed) {
            return;
        }
        if !failed_before {
            tracing::warn!(%error, "cannot hear of changes in the database; looking for them every second");
        }
        failed_before = true;
        tokio::time::sleep(RETRY).await;
        notify(&wake);
    }
}

fn notify(wake: &watch::Sender<u64>) {
    wake.send_modify(|count| *count = count.wrapping_add(1));
}

/// Where changes are heard of.
enum Source {
    File {
        inotify: AsyncFd<OwnedFd>,
        names: [OsString; 2],
        commits: Commits,
        place: Place,
        since: Instant,
    },
    Notify(PgListener),
}

impl Source {
    async fn open(db: &Db) -> Result<Self, sqlx::Error> {
        match db {
            Db::Sqlite(pool) => {
                let options = pool.connect_options();
                let (inotify, names) = watch_file(options.get_filename())?;
                let place = Place::of(options.get_filename());
                let (since, commits) = (Instant::now(), Commits::open(&options).await?);
                Ok(Self::File { inotify, names, commits, place, since })
            }
            Db::Postgres(pool) => {
                let mut listener = PgListener::connect_with(pool).await?;
                listener.listen("qvd").await?;
                Ok(Self::Notify(listener))
            }
        }
    }

    /// Returns when something has changed.
    async fn next(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::File { inotify, names, commits, place, since } => {
                // What is written from time to time, such as a sign of life, is heard of by nobody.
                loop {
                    written(inotify, names).await?;
                    if !place.has_kept(since.elapsed()) {
                        return Err(io::Error::other("the file of the database is another").into());
                    }
                    if commits.changed().await? {
                        return Ok(());
                    }
                }
            }
            Self::Notify(listener) => {
                // `None` stands for a lost connection that is there again: something may have been
                // missed.
                let _ = listener.try_recv().await?;
                Ok(())
            }
        }
    }
}

/// Watches the folder of a database, because `-wal` comes and goes; and for the file itself.
fn watch_file(database: &Path) -> io::Result<(AsyncFd<OwnedFd>, [OsString; 2])> {
    let folder = database.parent().unwrap_or(Path::new("/"));
    let name = database.file_name().unwrap_or_default().to_owned();
    let mut wal = name.clone();
    wal.push("-wal");
    let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let changes = inotify::WatchFlags::MODIFY
        | inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVE
        | inotify::WatchFlags::DELETE
        | inotify::WatchFlags::MOVE_SELF
        | inotify::WatchFlags::ONLYDIR;
    inotify::add_watch(&inotify, folder, changes)?;
    #[expect(unsafe_code, reason = "the only way to wait for a descriptor of our own")]
    // SAFETY: an `OwnedFd` is open and is the same descriptor until it is dropped, and the
    // `AsyncFd` owns it from here on.
    let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) }?;
    Ok((inotify, [name, wal]))
}

/// Makes others hear of what a transaction changes, once it is committed.
pub(crate) async fn note_change(on: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let changes: i32 = sqlx::query_scalar(CHANGES).fetch_one(&mut *on).await?;
    // A pragma takes no bound value.
    let noted = format!("PRAGMA user_version = {}", changes.wrapping_add(1));
    sqlx::query(AssertSqlSafe(noted)).execute(on).await?;
    Ok(())
}

/// How many changes of which others hear a SQLite database has had.
const CHANGES: &str = "PRAGMA user_version";

/// Tells when a commit can be read. The file is written first, and what was written is there for
/// readers only when SQLite has then noted it in its index, of which nobody is told.
struct Commits {
    connection: SqliteConnection,
    version: i64,
    changes: i32,
}

impl Commits {
    /// How often is looked, and how many times for one writing: one that was rolled back, or is a part
    /// of a larger one, changes nothing.
    const LOOK: (Duration, u32) = (Duration::from_millis(2), 25);

    async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let connection = options.connect().await?;
        let mut commits = Self { connection, version: 0, changes: 0 };
        commits.version = commits.read("PRAGMA data_version").await?;
        commits.changes = commits.read(CHANGES).await?;
        Ok(commits)
    }

    async fn read<T>(&mut self, pragma: &'static str) -> Result<T, sqlx::Error>
    where
        T: for<'r> sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + Send + Unpin,
    {
        sqlx::query_scalar(pragma).fetch_one(&mut self.connection).await
    }

    /// Returns when a commit can be read that could not be before, or when there seems to be none; and
    /// whether others are to hear of it.
    async fn changed(&mut self) -> Result<bool, sqlx::Error> {
        let (pause, looks) = Self::LOOK;
        for _ in 0..looks {
            // Changes when another connection has committed.
            let version = self.read("PRAGMA data_version").await?;
            if std::mem::replace(&mut self.version, version) != version {
                break;
            }
            tokio::time::sleep(pause).await;
        }
        let changes = self.read(CHANGES).await?;
        Ok(std::mem::replace(&mut self.changes, changes) != changes)
    }
}

/// Returns when a file with one of these names was written, or came or went.
async fn written(inotify: &AsyncFd<OwnedFd>, names: &[OsString; 2]) -> io::Result<()> {
    loop {
        let mut ready = inotify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(inotify, &mut buffer);
        let mut hit = false;
        loop {
            match events.next() {
                Ok(event) if event.events().contains(inotify::ReadFlags::IGNORED) => {
                    return Err(io::Error::other("the folder of the database is gone"));
                }
                Ok(event) => {
                    // Without a name: so much happened that the kernel kept no list.
                    // The database's own file is written when nothing changes.
                    let written = event.events().contains(inotify::ReadFlags::MODIFY);
                    let [database, wal] = names.each_ref().map(|name| name.as_bytes());
                    let ours = |file: &CStr| match file.to_bytes() {
                        file if file == wal => true,
                        file => file == database && !written,
                    };
                    hit |= event.file_name().is_none_or(ours);
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => {
                    ready.clear_ready();
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if hit {
            return Ok(());
        }
    }
}
