//! Projects acknowledged events into the files that people read.
//!
//! Guarantees that projection is idempotent by event, so that repeating it after a crash changes nothing. A log is
//! appended to, or replaced as a whole if something in it needs repair. Only duplicates, conflict markers and the rest of a
//! cut-off write are dropped; that rest is set aside first.
//! Leaves to others: whether the events were acknowledged.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use crate::env::files::{Dir, Kind};
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::yaml::{render_agent, render_task};
use crate::rules::fold;
use crate::rules::register::heads_of;
use crate::store::archive;
use crate::store::compact;
use crate::store::entity::{MAX_YAML, is_odd, read_log};
use crate::store::layout::{LOG, Store, home};
use crate::store::log::{Log, absent};

/// The most earlier states of a log that a readable file is compared with.
const MAX_STATES: usize = 64;

/// The heads that a readable file was rendered from; `None` if it was left as it is.
pub type Rendered = Option<Vec<Id>>;

/// Adds `new` to the log of `entity` and renders its readable file. A file that differs from the log with all or some of the
/// new events is left alone. `set_aside` receives cut-off bytes.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`; then a later repetition completes what was begun.
pub fn project(store: &Store, entity: &Entity, new: &[Entry], set_aside: &Dir) -> Result<Rendered> {
    project_logs(store, entity, read_log(store, entity)?, new, set_aside, Expected::States)
}

/// As [`project`], for a log that was just read. `known` are contents of the readable file without user edits, or whose edits
/// are recorded as events.
///
/// Errors: as [`project`].
pub fn project_onto(
    store: &Store,
    entity: &Entity,
    log: Log,
    new: &[Entry],
    set_aside: &Dir,
    known: Option<&[u8]>,
) -> Result<Rendered> {
    project_logs(store, entity, log, new, set_aside, Expected::Known(known))
}

/// The contents that the readable file must have to be replaced. An edit that a user saves in the meantime is never replaced.
#[derive(Clone, Copy)]
enum Expected<'a> {
    Nothing,
    /// These bytes; if they are not known, the rendering of the log before the new events.
    Known(Option<&'a [u8]>),
    /// The rendering of the log before any of the new events.
    States,
}

/// As [`project_onto`], without touching the readable file.
///
/// Errors: as [`project`].
pub fn project_log(store: &Store, entity: &Entity, log: Log, new: &[Entry], set_aside: &Dir) -> Result<()> {
    project_logs(store, entity, log, new, set_aside, Expected::Nothing).map(drop)
}

fn project_logs(
    store: &Store,
    entity: &Entity,
    mut log: Log,
    new: &[Entry],
    set_aside: &Dir,
    over: Expected<'_>,
) -> Result<Rendered> {
    let Some((folder, readable)) = home(entity) else { return Ok(None) };
    let mut fresh: Vec<Entry> =
        absent(&log.entries, new).filter(|entry| !entry.event.payload.journal_only()).cloned().collect();
    let fail = |what: &'static str| {
        let path = store.path().join(&folder);
        move |e: std::io::Error| match is_odd(&e) {
            true => odd_home(&path, &e),
            false => Error::io(what, &path, &e),
        }
    };
    let is_new = log.entries.is_empty();
    let dir = if is_new { store.dir.make_dir(&folder) } else { store.dir.dir(&folder) };
    let dir = match dir {
        // An archive holds the whole task; a change brings it back.
        Err(e) if e.kind() == ErrorKind::NotFound && log.partial => match fresh.is_empty() {
            true => return Ok(None),
            false => store.dir.make_dir(&folder).map_err(fail("make"))?,
        },
        dir => dir.map_err(fail(if is_new { "make" } else { "open" }))?,
    };
    let before = match over {
        Expected::Known(None) | Expected::States => render(entity, &log.entries),
        Expected::Known(Some(_)) | Expected::Nothing => String::new(),
    };
    let redacted = redact(&mut log.entries, &mut fresh)?;
    // Events from elsewhere may be older than those here.
    let last = log.entries.iter().map(|e| e.event.stamp()).max();
    let older = fresh.iter().any(|e| Some(e.event.stamp()) < last) || !fresh.is_sorted_by_key(|e| e.event.stamp());
    let is_replaced = (log.rough || log.unsorted || log.partial || redacted || older) && !log.fixed;
    let bytes = if is_replaced { log.canonical(&fresh) } else { appended(&log, &fresh) };
    let torn = log.torn.take().filter(|_| is_replaced);
    log.entries.extend(fresh);
    let write_log = || -> Result<()> {
        if let Some(torn) = &torn {
            keep_torn(set_aside, entity, torn)?;
        }
        let append = || dir.open_append(LOG, 0o666)?.write_all(&bytes);
        match is_replaced {
            // A power loss must not take what was in the log long before.
            true => dir.replace_synced(LOG, &bytes, 0o666).map_err(fail("write"))?,
            false if bytes.is_empty() => {}
            false => append().map_err(fail("write"))?,
        }
        if let Entity::Task(id) = entity
            && !log.fixed
            && compact::redacts(&log.entries)
            && archive::archived(store)?.holds(*id)
        {
            compact::take_out(store, *id)?;
        }
        Ok(())
    };
    // Without the first event of a task, its file says more of it than its log.
    let is_whole =
        entity.task().is_none() || log.entries.iter().any(|e| matches!(e.event.payload, Payload::TaskCreated(_)));
    if matches!(over, Expected::Nothing) || !is_whole {
        return write_log().map(|()| None);
    }
    let render = || render_over(&dir, readable, (entity, &log.entries, new), over, &before).map_err(fail("write"));
    // Once the log has lost a text, a file that has it looks like a hand edit: the file goes first.
    if redacted {
        let rendered = render()?;
        return write_log().map(|()| rendered);
    }
    write_log()?;
    render()
}

/// The lines that are appended to a log.
fn appended(log: &Log, fresh: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if (log.torn.is_some() || log.unended) && !fresh.is_empty() {
        bytes.push(b'\n');
    }
    for entry in fresh {
        bytes.extend_from_slice(entry.line.as_bytes());
        bytes.push(b'\n');
    }
    bytes
}

/// Renders a readable file, unless it holds something else than what is expected.
fn render_over(
    dir: &Dir,
    readable: &str,
    (entity, entries, new): (&Entity, &[Entry], &[Entry]),
    over: Expected<'_>,
    before: &str,
) -> std::io::Result<Rendered> {
    let text = render(entity, entries);
    let rendered = || Ok(Some(heads_of(entries)));
    let current = match dir.read(readable, MAX_YAML) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::FileTooLarge) => {
            dir.replace(readable, text.as_bytes(), 0o666)?;
            return rendered();
        }
        Err(e) => return Err(e),
    };
    if current == text.as_bytes() {
        return rendered();
    }
    let is_known = match over {
        Expected::Known(Some(known)) => known == current,
        // A power loss may leave the name of a file without its bytes.
        Expected::States if current.is_empty() || is_state_of(entity, entries, new, &current) => true,
        _ => before.as_bytes() == current,
    };
    // An edit that a user saves between the read and the rename is kept as well.
    match is_known && dir.replace_unchanged(readable, &current, text.as_bytes(), 0o666)? {
        true => rendered(),
        false => Ok(None),
    }
}

/// Whether a readable file is the rendering of the log without the last of the new events.
fn is_state_of(entity: &Entity, entries: &[Entry], new: &[Entry], bytes: &[u8]) -> bool {
    let late = new.len().saturating_sub(MAX_STATES)..=new.len();
    late.rev().any(|count| {
        let left: BTreeSet<Id> = new[count..].iter().map(|entry| entry.event.id).collect();
        render(entity, entries.iter().filter(|entry| !left.contains(&entry.event.id))).as_bytes() == bytes
    })
}

/// Removes the temporary files that a dead writer left next to an entity's files. The caller holds the lock.
pub fn sweep(store: &Store, entity: &Entity) {
    if let Some((folder, _)) = home(entity) {
        sweep_folder(store, &folder);
    }
}

/// Removes the temporary files that a dead writer left in a folder of the store. The caller holds the lock.
pub fn sweep_folder(store: &Store, folder: &Path) {
    let names = store.dir.dir(folder).and_then(|dir| dir.list()).unwrap_or_default();
    for (name, _) in names.into_iter().filter(|(name, kind)| is_temporary(name) && *kind == Kind::File) {
        // All readers ignore a temporary file, so a failure to remove it does no harm.
        let _ = store.dir.remove(folder.join(name));
    }
}

/// Whether a name is that of a temporary file.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Checks that the files of an entity can be written: every folder above them is a folder or does not exist yet, and this
/// process may write them.
///
/// Errors: `ERR_CORRUPT` for a link or a file in place of a folder, `ERR_IO` if a folder cannot be read or written.
pub fn check_home(store: &Store, entity: &Entity) -> Result<()> {
    let Some((folder, _)) = home(entity) else { return Ok(()) };
    let may_write = |dir: &Dir, name: &str| match dir.check_writable(name) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| not_writable(&dir.path().join(name), &e)),
    };
    match store.dir.dir(&folder) {
        Ok(dir) => return may_write(&dir, ".").and_then(|()| may_write(&dir, LOG)),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) if is_odd(&e) => return Err(odd_home(&store.path().join(&folder), &e)),
        Err(e) => return Err(Error::io("open", &store.path().join(&folder), &e)),
    }
    let above = folder.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
    for path in above {
        match store.dir.dir(path) {
            Ok(dir) => return may_write(&dir, "."),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(odd_home(&store.path().join(path), &e)),
        }
    }
    may_write(&store.dir, ".")
}

fn not_writable(path: &Path, e: &std::io::Error) -> Error {
    let path: std::path::PathBuf = path.components().collect();
    Error::io("write", &path, e)
        .hint("nothing was written; make it writable for this user, then run the same command again")
}

fn odd_home(path: &Path, e: &std::io::Error) -> Error {
    Error::new(Code::Corrupt, format!("{} is not a folder of regular files: {e}", path.display()))
        .with(serde_json::json!({ "path": path.display().to_string() }))
        .hint("agentpm follows no links in a store; agentpm lint lists the paths that do not belong there")
}

/// The readable file of an entity with these events.
pub fn render<'a>(entity: &Entity, entries: impl IntoIterator<Item = &'a Entry>) -> String {
    match entity {
        Entity::Task(id) => render_task(&fold::fold(*id, entries).0),
        Entity::Agent(name) => render_agent(&fold::fold_agent(name, entries).0),
        Entity::Session(_) => String::new(),
    }
}

/// Removes the text of entries that a redaction among them names, as [`project`] does.
///
/// Errors: `ERR_VALIDATION` if an entry could not be rewritten.
pub fn redacted(entries: &mut [Entry]) -> Result<()> {
    redact(entries, &mut []).map(|_| ())
}

/// Removes the text of the ContextAdded lines that a redaction names, among old and new lines. Returns whether any line
/// changed.
fn redact(old: &mut [Entry], fresh: &mut [Entry]) -> Result<bool> {
    let mut changed = false;
    let named = fold::redactions(old.iter().chain(&*fresh));
    for entry in old.iter_mut().chain(fresh) {
        changed |= named.contains(&entry.event.id) && without_text(entry)?;
    }
    Ok(changed)
}

/// Removes the text of a ContextAdded line, its reason and its tracing ids. Returns whether it had any.
///
/// Errors: `ERR_VALIDATION` if it could not be rewritten.
pub fn without_text(entry: &mut Entry) -> Result<bool> {
    if entry.event.is_redacted() {
        return Ok(false);
    }
    if !entry.event.remove_text() {
        return Ok(false);
    }
    *entry = Entry::new(entry.event.clone())?;
    Ok(true)
}

fn keep_torn(set_aside: &Dir, entity: &Entity, bytes: &[u8]) -> Result<()> {
    let name = format!("set-aside/{}.{}.bin", entity.to_string().replace('/', "-"), bytes.len());
    let keep = || {
        set_aside.make_dir("set-aside")?;
        set_aside.replace(&name, bytes, 0o600)
    };
    keep().map_err(|e| Error::io("set aside a cut-off line in", set_aside.path(), &e))
}
