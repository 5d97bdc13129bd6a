//! A SQLite file that is only a cache: opened, rebuilt if it is unusable, held in memory if it cannot be a file.
//!
//! Guarantees that a damaged file, one of another version or of another boot of the machine is emptied and used. A database
//! of another program is left alone. Writes are never flushed, since the cache holds no primary data.
//! Leaves to others: what it stores.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};

/// Marks a database as ours: "agpm".
const APPLICATION: i64 = 0x6167_706d;

/// The largest write-ahead log that is not worth a checkpoint, in bytes.
const MIN_CHECKPOINT: u64 = 16 << 10;

/// Held to read while a cache is opened, to write while one is removed.
///
/// SQLite opens the files next to a database by their names, and shortens the shared memory that it finds unlocked. Locks of files do
/// not count within a process: a thread that opened the old database and then the new one's shared memory would shorten it under
/// another thread, and the system would kill the process.
static OPENING: RwLock<()> = RwLock::new(());

/// Connections that no request of this process uses, the newest last: reading the tables' definitions takes longer than a question.
static IDLE: Mutex<Vec<(Opened, Connection)>> = Mutex::new(Vec::new());

/// The most connections that are kept, each with up to 16 MiB of the cache in memory: as many as a server may use at once, most of which
/// stay small.
const MOST_IDLE: usize = 16;

/// What a connection was opened for.
#[derive(PartialEq, Eq, Debug)]
struct Opened {
    path: PathBuf,
    boot: String,
    /// Which file it was.
    identity: String,
    schema: i64,
}

/// A cache in use. Its connection is kept for the next request that opens the same file.
#[derive(Debug)]
pub struct Cache {
    /// `None` only while it is dropped.
    db: Option<Connection>,
    /// `None` in memory.
    opened: Option<Opened>,
}

impl Deref for Cache {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.db.as_ref().expect("a cache has its connection until it is dropped")
    }
}

impl DerefMut for Cache {
    fn deref_mut(&mut self) -> &mut Connection {
        self.db.as_mut().expect("a cache has its connection until it is dropped")
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let (Some(db), Some(opened)) = (self.db.take(), self.opened.take()) else { return };
        if !db.is_autocommit() && db.execute_batch("ROLLBACK").is_err() {
            return;
        }
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == MOST_IDLE {
            idle.remove(0);
        }
        idle.push((opened, db));
    }
}

/// An idle connection to what is at this path now.
fn idle(path: &Path, boot: &str, form: &Form) -> Option<Cache> {
    let identity = outside::identity(path);
    let wanted = Opened { path: path.to_owned(), boot: boot.to_owned(), identity, schema: form.schema };
    let db = {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let place = idle.iter().rposition(|(opened, _)| *opened == wanted)?;
        idle.remove(place).1
    };
    // Another version of the program may have replaced the tables.
    let version: i64 = db.prepare_cached("PRAGMA user_version").ok()?.query_row([], |row| row.get(0)).ok()?;
    (version == form.schema).then_some(Cache { db: Some(db), opened: Some(wanted) })
}

/// The contents of a cache.
pub struct Form {
    /// Changes with every change of the tables or their contents.
    pub schema: i64,
    /// The statements that create the tables. They must create `meta(name, value)`.
    pub tables: &'static [&'static str],
}

/// The error for a cache that failed.
pub fn failed(e: rusqlite::Error) -> Error {
    let error = Error::new(Code::Io, format!("the index failed: {e}"))
        .hint("it is only a cache; agentpm doctor shows its path");
    if is_worthless(&e) { error.with(serde_json::json!({ "index": DAMAGED })) } else { error }
}

const DAMAGED: &str = "damaged";

/// Whether a failure comes from a damaged cache, so that a rebuild resolves it.
pub fn is_damaged(e: &Error) -> bool {
    e.code == Code::Io && e.details["index"] == DAMAGED
}

fn is_worthless(e: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, SqliteFailure, Utf8Error,
    };
    match e {
        SqliteFailure(e, _) if e.code == rusqlite::ErrorCode::Unknown => true,
        // The value cannot have been written by this program.
        FromSqlConversionFailure(..) | InvalidColumnType(..) | IntegralValueOutOfRange(..) | Utf8Error(..) => true,
        e => matches!(
            e.sqlite_error_code(),
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
        ),
    }
}

/// Removes a damaged cache; the next open rebuilds it. A file of another program stays.
pub fn discard(path: &Path) {
    let _alone = OPENING.write().unwrap_or_else(PoisonError::into_inner);
    remove(path);
}

fn remove(path: &Path) {
    if !is_ours(path) {
        return;
    }
    for tail in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(tail);
        let _ = crate::env::outside::remove(Path::new(&name));
    }
}

/// Opens or creates the cache at `path`; in memory if `path` is `None` or cannot be written.
///
/// Errors: `ERR_IO` if not even a database in memory can be opened.
pub fn open(path: Option<&Path>, boot: &str, form: &Form) -> Result<Cache> {
    if let Some(path) = path {
        if let Some(cache) = idle(path, boot, form) {
            return Ok(cache);
        }
        match open_file(path, boot, form) {
            Ok(db) => return Ok(db),
            Err(e) => tracing::debug!(path = %path.display(), error = %e, "no cache file, working in memory"),
        }
    }
    let db = Connection::open_in_memory().map_err(failed)?;
    prepare(&db, boot, "", form).map_err(failed)?;
    Ok(Cache { db: Some(db), opened: None })
}

fn open_file(path: &Path, boot: &str, form: &Form) -> rusqlite::Result<Cache> {
    let usable = |opened| match opened {
        Ok(Some(db)) => Some(Ok(db)),
        Err(e) if !is_worthless(&e) => Some(Err(e)),
        Ok(None) | Err(_) => None,
    };
    let opened = {
        let _opening = OPENING.read().unwrap_or_else(PoisonError::into_inner);
        usable(try_file(path, boot, form))
    };
    if let Some(opened) = opened {
        return opened;
    }
    let _alone = OPENING.write().unwrap_or_else(PoisonError::into_inner);
    // Another thread may have been first.
    if let Some(opened) = usable(try_file(path, boot, form)) {
        return opened;
    }
    remove(path);
    try_file(path, boot, form)?.ok_or(rusqlite::Error::InvalidQuery)
}

/// `None` for a copy of a cache, or for one that another process replaced meanwhile: the files that SQLite keeps next to it may belong
/// to another.
fn try_file(path: &Path, boot: &str, form: &Form) -> rusqlite::Result<Option<Cache>> {
    // SQLite would create it, and the files next to it, for its user alone.
    if outside::metadata(path).is_err()
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Err(e) = Dir::open(folder).and_then(|dir| dir.open_rw(name, 0o666))
    {
        tracing::debug!(path = %path.display(), error = %e, "the cache file cannot be made");
    }
    let identity = outside::identity(path);
    let mut db = Connection::open(path)?;
    db.busy_handler(Some(wait_a_little))?;
    db.set_prepared_statement_cache_capacity(64);
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // SQLite would compile a statement again whenever another value is bound on which its plan might depend.
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // A power loss loses it at worst, and then it is rebuilt: the boot of the machine is part of its identity.
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=200;
         PRAGMA cache_size=-16384;",
    )?;
    let made_as = prepare(&db, boot, &identity, form)?;
    let is_its_own = made_as.as_deref() == Some(&identity) && outside::identity(path) == identity;
    let opened = Opened { path: path.to_owned(), boot: boot.to_owned(), identity, schema: form.schema };
    Ok(is_its_own.then_some(Cache { db: Some(db), opened: Some(opened) }))
}

/// Creates the tables, replacing those of another version or of another boot of the machine. Returns as which file it was made.
fn prepare(db: &Connection, boot: &str, identity: &str, form: &Form) -> rusqlite::Result<Option<String>> {
    // One transaction, so that the locks are taken once.
    let read = Transaction::new_unchecked(db, TransactionBehavior::Deferred)?;
    let version: i64 = read.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i64 = read.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != APPLICATION {
        let tables: i64 = read.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables > 0 {
            // A database of another program is not ours to empty.
            return Err(rusqlite::Error::InvalidQuery);
        }
    }
    if application == APPLICATION && version == form.schema && meta(&read, "boot")?.as_deref() == Some(boot) {
        return meta(&read, "identity");
    }
    drop(read);
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != form.schema || meta(db, "boot")?.as_deref() != Some(boot) {
        let names: Vec<String> = tx
            // Dropping a virtual table drops the tables that it stores its data in.
            .prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'
                 ORDER BY sql LIKE 'CREATE VIRTUAL%' DESC",
            )?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for name in names {
            tx.execute_batch(&format!("DROP TABLE IF EXISTS \"{}\"", name.replace('"', "\"\"")))?;
        }
        for tables in form.tables {
            tx.execute_batch(tables)?;
        }
        tx.execute("INSERT INTO meta VALUES('boot', ?1), ('identity', ?2)", [boot, identity])?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", form.schema)?;
    }
    let made_as = meta(&tx, "identity")?;
    tx.commit()?;
    Ok(made_as)
}

/// A value that the cache keeps about itself.
pub(super) fn meta(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()
}

/// Moves a large write-ahead log into the file itself. Otherwise the next open would read all of it.
///
/// A concurrent reader prevents that: the next write tries again.
pub fn checkpoint(db: &mut Connection) {
    let long = db.path().is_some_and(|path| {
        crate::env::outside::metadata(Path::new(&format!("{path}-wal"))).is_ok_and(|log| log.len() > MIN_CHECKPOINT)
    });
    if long && db.busy_handler(None::<fn(i32) -> bool>).is_ok() {
        if let Err(e) = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::debug!(error = %e, "the write-ahead log of the cache was not moved into it");
        }
        // A failure here only loses the waiting.
        let _ = db.busy_handler(Some(wait_a_little));
    }
}

/// Other processes hold a cache for a few milliseconds; SQLite's own waiting grows to a tenth of a second each time.
fn wait_a_little(times: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    times < 5_000
}

/// Whether a damaged file may be removed: only this program uses its folder, or it has our mark.
fn is_ours(path: &Path) -> bool {
    let in_runtime = path.parent().and_then(Path::file_name).is_some_and(|name| name == "agentpm" || name == ".local");
    let head = crate::env::outside::head(path, 72).unwrap_or_default();
    in_runtime || head.is_empty() || (head.starts_with(b"SQLite format 3") && head.ends_with(b"agpm"))
}

/// Whether a cache failed because it cannot be written, so that memory would serve.
pub fn is_unwritable(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    matches!(
        e.sqlite_error_code(),
        Some(ReadOnly | DatabaseBusy | DatabaseLocked | DiskFull | CannotOpen | SystemIoFailure | PermissionDenied)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form { schema: 1, tables: &["CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL)"] };

    /// Whether this is the connection that [`mark`] has seen.
    fn is_marked(cache: &Cache) -> bool {
        cache.prepare("SELECT * FROM seen").is_ok()
    }

    fn mark(cache: &Cache) {
        cache.execute_batch("CREATE TEMP TABLE seen(x)").unwrap();
    }

    #[test]
    fn a_connection_is_kept_for_the_next_request_until_its_file_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agentpm").join("index.db");
        crate::env::outside::make_dirs(path.parent().unwrap()).unwrap();
        let open = |boot: &str| open(Some(&path), boot, &FORM).unwrap();
        let first = open("boot");
        mark(&first);
        let second = open("boot");
        assert!(!is_marked(&second), "two requests at once have one each");
        drop((second, first));
        let kept = open("boot");
        assert!(is_marked(&kept), "the newest is used first");
        kept.execute_batch("BEGIN; INSERT INTO meta VALUES('left', 'open')").unwrap();
        drop(kept);
        let kept = open("boot");
        assert!(is_marked(&kept) && meta(&kept, "left").unwrap().is_none(), "what was left open is rolled back");
        drop(kept);
        assert!(!is_marked(&open("another boot")));
        discard(&path);
        assert!(!is_marked(&open("boot")), "a file that was replaced");
    }

    #[test]
    fn a_statement_is_compiled_once_whatever_is_bound() {
        const EDGES: &str =
            "CREATE TABLE edge(source TEXT, kind TEXT, task TEXT); CREATE INDEX source ON edge(source, kind);
            CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL)";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let cache = open(Some(&path), "boot", &Form { schema: 1, tables: &[EDGES] }).unwrap();
        for id in ["a", "b", "c"] {
            let sql = "SELECT DISTINCT task FROM edge WHERE source = ?1 AND kind = 'blocks' ORDER BY task";
            let mut ask = cache.prepare_cached(sql).unwrap();
            assert!(!ask.exists([id]).unwrap());
            assert_eq!(ask.get_status(rusqlite::StatementStatus::RePrepare), 0);
        }
    }
}
