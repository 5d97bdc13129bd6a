//! A SQLite file that is nothing but a cache: opened, made anew where it is worthless, kept in memory where it must be.
//!
//! Promises: a damaged file, one of another version or of another start of the machine is emptied and used; somebody else's
//! database is left alone. Writing is never flushed, for nothing in it is the truth.
//! Refuses to know: what is kept in it.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use crate::env::files::{self, Dir};
use crate::error::{Code, Error, Result};

/// Marks a database as ours: "agpm".
const APPLICATION: i64 = 0x6167_706d;

/// Bytes of a write-ahead log that are read in no time.
const SETTLE: u64 = 256 << 10;

/// What a cache holds.
pub struct Form {
    /// Changes with every change of the tables or of what they hold.
    pub schema: i64,
    /// The statements that make the tables. They must make `meta(name, value)`.
    pub tables: &'static [&'static str],
}

/// What to say of a cache that failed.
pub fn failed(e: rusqlite::Error) -> Error {
    let error = Error::new(Code::Io, format!("the index failed: {e}"))
        .hint("it is only a cache; agentpm doctor tells where it lies");
    if is_worthless(&e) { error.with(serde_json::json!({ "index": DAMAGED })) } else { error }
}

const DAMAGED: &str = "damaged";

/// Whether a failure comes from a damaged cache, so that it goes away with it.
pub fn is_damaged(e: &Error) -> bool {
    e.code == Code::Io && e.details["index"] == DAMAGED
}

fn is_worthless(e: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, SqliteFailure, Utf8Error,
    };
    match e {
        SqliteFailure(e, _) if e.code == rusqlite::ErrorCode::Unknown => true,
        // What was never written so.
        FromSqlConversionFailure(..) | InvalidColumnType(..) | IntegralValueOutOfRange(..) | Utf8Error(..) => true,
        e => matches!(
            e.sqlite_error_code(),
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt)
        ),
    }
}

/// Throws a damaged cache away; the next one is made anew. Somebody else's file stays.
pub fn discard(path: &Path) {
    if !is_ours(path) {
        return;
    }
    for tail in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(tail);
        let _ = crate::env::files::remove_outside(Path::new(&name));
    }
}

/// Opens the cache at `path`, or makes it; in memory where `path` is `None` or cannot be written.
///
/// Errors: `ERR_IO` where not even memory serves.
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
    match try_file(path, boot, form) {
        Ok(Some(db)) => Ok(db),
        Err(e) if !is_worthless(&e) => Err(e),
        Ok(None) | Err(_) => {
            discard(path);
            try_file(path, boot, form)?.ok_or(rusqlite::Error::InvalidQuery)
        }
    }
}

/// `None` for a copy of a cache: what SQLite keeps beside a file may be another's.
fn try_file(path: &Path, boot: &str, form: &Form) -> rusqlite::Result<Option<Connection>> {
    // SQLite would make it for its user alone, and what lies beside it likewise.
    if files::metadata(path).is_err()
        && let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Err(e) = Dir::open(folder).and_then(|dir| dir.open_rw(name, 0o666))
    {
        tracing::debug!(path = %path.display(), error = %e, "the cache file cannot be made");
    }
    let mut db = Connection::open(path)?;
    db.busy_handler(Some(wait_a_little))?;
    db.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Lost in a power loss at worst, and then made anew: the start of the machine is part of what it must match.
    db.execute_batch(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=200;
         PRAGMA cache_size=-16384;",
    )?;
    let identity = crate::env::files::identity_outside(path);
    prepare(&db, boot, &identity, form)?;
    Ok((meta(&db, "identity")?.as_deref() == Some(&identity)).then_some(db))
}

/// Makes the tables, anew where they are of another version or of another start of the machine.
fn prepare(db: &Connection, boot: &str, identity: &str, form: &Form) -> rusqlite::Result<()> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION {
        // Somebody else's database: not ours to empty.
        return Err(rusqlite::Error::InvalidQuery);
    }
    if version == form.schema && meta(db, "boot")?.as_deref() == Some(boot) {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    let version: i64 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != form.schema || meta(db, "boot")?.as_deref() != Some(boot) {
        let names: Vec<String> = tx
            // A virtual table takes the tables along that it keeps its own in.
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

/// Moves what was written into the file itself where it is much. The next to open would read it all to find its place.
///
/// Somebody who reads just then keeps it where it is: the next write tries again.
pub fn settle(db: &mut Connection) {
    let long = db.path().is_some_and(|path| {
        crate::env::files::metadata(Path::new(&format!("{path}-wal"))).is_ok_and(|log| log.len() > SETTLE)
    });
    if long && db.busy_handler(None::<fn(i32) -> bool>).is_ok() {
        if let Err(e) = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            tracing::debug!(error = %e, "the cache was not settled");
        }
        // Where this fails, waiting is what is lost.
        let _ = db.busy_handler(Some(wait_a_little));
    }
}

/// Others hold a cache for a few milliseconds; SQLite's own waiting grows to a tenth of a second each time.
fn wait_a_little(times: i32) -> bool {
    std::thread::sleep(Duration::from_millis(1));
    times < 5_000
}

/// Whether a damaged file may be thrown away: it lies where nobody but this program keeps anything, or has its mark.
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
