//! A SQLite file that is only a cache: opened, rebuilt if it is unusable, held in memory if it cannot be a file.
//!
//! Guarantees that a damaged file, one of another version or of another boot of the machine is emptied and used. A database
//! of another program is left alone. Writes are never flushed, since the cache holds no primary data.
//! Leaves to others: what it stores.

use std::path::Path;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::env::files::{self, Dir};
use crate::error::{Code, Error, Result};

/// Marks a database as ours: "agpm".
const APPLICATION: i64 = 0x6167_706d;

/// The largest write-ahead log that is not worth a checkpoint, in bytes.
const MIN_CHECKPOINT: u64 = 256 << 10;

/// Held to read while a cache is opened, to write while one is removed.
///
/// SQLite opens the files next to a database by their names, and shortens the shared memory that it finds unlocked. Locks of files do
/// not count within a process: a thread that opened the old database and then the new one's shared memory would shorten it under
/// another thread, and the system would kill the process.
static OPENING: RwLock<()> = RwLock::new(());

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
        let _ = crate::env::files::remove_outside(Path::new(&name));
    }
}

/// Opens or creates the cache at `path`; in memory if `path` is `None` or cannot be written.
///
/// Errors: `ERR_IO` if not even a database in memory can be opened.
pub fn open(path: Option<&Path>, boot: &str, form: &Form) -> Result<Connection> {
    if let Some(path) = path {
        match open_file(path, boot, form) {
            Ok(db) => return Ok(db),
            Err(e) => tracing::debug!(path = %path.display(), error = %e, "no cache file, working in memory"),
        }
    }
    let db = Connection::open_in_memory().map_err(failed)?;
    prepare(&db, boot, "", form).map_err(failed)?;
    Ok(db)
}

fn open_file(path: &Path, boot: &str, form: &Form) -> rusqlite::Result<Connection> {
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
fn try_file(path: &Path, boot: &str, form: &Form) -> rusqlite::Result<Option<Connection>> {
    // SQLite would create it, and the files next to it, for its user alone.
    if files::metadata(path).is_err()
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Err(e) = Dir::open(folder).and_then(|dir| dir.open_rw(name, 0o666))
    {
        tracing::debug!(path = %path.display(), error = %e, "the cache file cannot be made");
    }
    let identity = files::identity_outside(path);
    let mut db = Connection::open(path)?;
    db.busy_handler(Some(wait_a_little))?;
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // A power loss loses it at worst, and then it is rebuilt: the boot of the machine is part of its identity.
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=200;
         PRAGMA cache_size=-16384;",
    )?;
    prepare(&db, boot, &identity, form)?;
    let is_its_own = meta(&db, "identity")?.as_deref() == Some(&identity) && files::identity_outside(path) == identity;
    Ok(is_its_own.then_some(db))
}

/// Creates the tables, replacing those of another version or of another boot of the machine.
fn prepare(db: &Connection, boot: &str, identity: &str, form: &Form) -> rusqlite::Result<()> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION {
        // A database of another program is not ours to empty.
        return Err(rusqlite::Error::InvalidQuery);
    }
    if version == form.schema && meta(db, "boot")?.as_deref() == Some(boot) {
        return Ok(());
    }
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
    tx.commit()
}

fn meta(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()
}

/// Moves a large write-ahead log into the file itself. Otherwise the next open would read all of it.
///
/// A concurrent reader prevents that: the next write tries again.
pub fn checkpoint(db: &mut Connection) {
    let long = db.path().is_some_and(|path| {
        crate::env::files::metadata(Path::new(&format!("{path}-wal"))).is_ok_and(|log| log.len() > MIN_CHECKPOINT)
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
    let head = crate::env::files::head_outside(path, 72).unwrap_or_default();
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
