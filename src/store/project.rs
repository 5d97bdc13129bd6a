//! Bringing acknowledged events into the files that people read.
//!
//! Promises: idempotent by event id, so that doing it again after a crash changes nothing; a log is appended to, or, where
//! something needs mending, replaced as a whole; no line is dropped but copies, markers and what a cut-off write left, and
//! the last is set aside first.
//! Refuses to know: whether the events were acknowledged; its caller does.

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
use crate::store::entity::{MAX_YAML, is_odd, read_log};
use crate::store::layout::{LOG, Store, home};
use crate::store::log::Log;

/// Most earlier states of a log that a readable file is compared with.
const MAX_STATES: usize = 64;

/// The newest events of those that a readable file was rendered from; `None` where it was left as it is.
pub type Rendered = Option<Vec<Id>>;

/// Brings `new` into the log of `entity` and renders its readable file, unless that says something else than the log, with all or
/// some of the new events, does. `set_aside` is where cut-off bytes go.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`; then doing it again later ends what was begun.
pub fn project(store: &Store, entity: &Entity, new: &[Entry], set_aside: &Dir) -> Result<Rendered> {
    project_logs(store, entity, read_log(store, entity)?, new, set_aside, Over::States)
}

/// As [`project`], onto a log that was just read. `known` are bytes of the readable file that hold no words of a person, or whose
/// words are in events by now.
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
    project_logs(store, entity, log, new, set_aside, Over::Known(known))
}

/// What the readable file may hold for it to be replaced. An edit that a user saves in the meantime is never replaced.
#[derive(Clone, Copy)]
enum Over<'a> {
    Nothing,
    /// These bytes; where they are not known, what the log said before.
    Known(Option<&'a [u8]>),
    /// What the log said before each of the new events.
    States,
}

/// As [`project_onto`], leaving the readable file as it is.
///
/// Errors: as [`project`].
pub fn project_log(store: &Store, entity: &Entity, log: Log, new: &[Entry], set_aside: &Dir) -> Result<()> {
    project_logs(store, entity, log, new, set_aside, Over::Nothing).map(drop)
}

fn project_logs(
    store: &Store,
    entity: &Entity,
    mut log: Log,
    new: &[Entry],
    set_aside: &Dir,
    over: Over<'_>,
) -> Result<Rendered> {
    let Some((folder, readable)) = home(entity) else { return Ok(None) };
    let mut fresh: Vec<Entry> = new
        .iter()
        .filter(|e| !e.event.payload.journal_only() && !log.entries.iter().any(|known| known.event.id == e.event.id))
        .cloned()
        .collect();
    let fail = |what: &'static str| {
        let path = store.path().join(&folder);
        move |e: std::io::Error| match is_odd(&e) {
            true => odd_home(&path, &e),
            false => Error::io(what, &path, &e),
        }
    };
    let is_new = log.entries.is_empty();
    let dir = if is_new { store.dir.make_dir(&folder) } else { store.dir.dir(&folder) };
    let dir = dir.map_err(fail(if is_new { "make" } else { "open" }))?;
    let before = match over {
        Over::Known(None) | Over::States => render(entity, &log.entries),
        Over::Known(Some(_)) | Over::Nothing => String::new(),
    };
    let redacted = redact(&mut log.entries, &mut fresh)?;
    // What comes from elsewhere may be older than what is here.
    let last = log.entries.iter().map(|e| e.event.stamp()).max();
    let older = fresh.iter().any(|e| Some(e.event.stamp()) < last) || !fresh.is_sorted_by_key(|e| e.event.stamp());
    if (log.rough || log.unsorted || redacted || older) && !log.fixed {
        if let Some(torn) = &log.torn {
            keep_torn(set_aside, entity, torn)?;
        }
        dir.replace(LOG, &log.canonical(&fresh), 0o666).map_err(fail("write"))?;
    } else if !fresh.is_empty() {
        let mut bytes = Vec::new();
        if log.torn.is_some() {
            bytes.push(b'\n');
        }
        for entry in &fresh {
            bytes.extend_from_slice(entry.line.as_bytes());
            bytes.push(b'\n');
        }
        let append = || dir.open_append(LOG, 0o666)?.write_all(&bytes);
        append().map_err(fail("write"))?;
    }
    log.entries.extend(fresh);
    if matches!(over, Over::Nothing) {
        return Ok(None);
    }
    let text = render(entity, &log.entries);
    let rendered = || Ok(Some(heads_of(&log.entries)));
    let current = match dir.read(readable, MAX_YAML) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::FileTooLarge) => {
            dir.replace(readable, text.as_bytes(), 0o666).map_err(fail("write"))?;
            return rendered();
        }
        Err(e) => return Err(fail("read")(e)),
    };
    if current == text.as_bytes() {
        return rendered();
    }
    let is_known = match over {
        Over::Known(Some(known)) => known == current,
        Over::States if is_state_of(entity, &log.entries, new, &current) => true,
        _ => before.as_bytes() == current,
    };
    // An edit that a user saves between the read and the rename is kept as well.
    match is_known && dir.replace_known(readable, &current, text.as_bytes(), 0o666).map_err(fail("write"))? {
        true => rendered(),
        false => Ok(None),
    }
}

/// Whether a readable file is what the log says without the last of the new events.
fn is_state_of(entity: &Entity, entries: &[Entry], new: &[Entry], bytes: &[u8]) -> bool {
    let late = new.len().saturating_sub(MAX_STATES)..=new.len();
    late.rev().any(|count| {
        let left: BTreeSet<Id> = new[count..].iter().map(|entry| entry.event.id).collect();
        render(entity, entries.iter().filter(|entry| !left.contains(&entry.event.id))).as_bytes() == bytes
    })
}

/// Removes the temporary files that a writer who died left beside an entity's. Call it under the lock.
pub fn sweep(store: &Store, entity: &Entity) {
    if let Some((folder, _)) = home(entity) {
        sweep_folder(store, &folder);
    }
}

/// Removes the temporary files that a writer who died left in a folder of the store. Call it under the lock.
pub fn sweep_folder(store: &Store, folder: &Path) {
    let names = store.dir.dir(folder).and_then(|dir| dir.list()).unwrap_or_default();
    for (name, _) in names.into_iter().filter(|(name, kind)| is_temporary(name) && *kind == Kind::File) {
        // Git ignores it and so does everyone else; that it stays does no harm.
        let _ = store.dir.remove(folder.join(name));
    }
}

/// Whether a name is one of those that a file has while it is being replaced.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

/// Asks whether the files of an entity can be written where they belong: every folder above them is a folder, or not there yet,
/// and this process may write them.
///
/// Errors: `ERR_CORRUPT` for a link or a file in a folder's place, `ERR_IO` where it cannot be looked at or written.
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
        .hint("agentpm follows no links in a store; agentpm lint names what does not belong there")
}

/// The readable file of an entity with these events.
pub fn render<'a>(entity: &Entity, entries: impl IntoIterator<Item = &'a Entry>) -> String {
    match entity {
        Entity::Task(id) => render_task(&fold::fold(*id, entries).0),
        Entity::Agent(name) => render_agent(&fold::fold_agent(name, entries).0),
        Entity::Session(_) => String::new(),
    }
}

/// Takes the text out of the entries that a redaction among them names, as [`project`] does.
///
/// Errors: `ERR_VALIDATION` where an entry could not be written anew.
pub fn redacted(entries: &mut [Entry]) -> Result<()> {
    redact(entries, &mut []).map(|_| ())
}

/// Takes the text out of the ContextAdded lines that a redaction names, among the old and the new. Says whether any line changed.
fn redact(old: &mut [Entry], fresh: &mut [Entry]) -> Result<bool> {
    let mut changed = false;
    let named = old.iter().chain(fresh.iter()).filter_map(|e| match &e.event.payload {
        Payload::ContextRedacted(p) => Some(p.entry),
        _ => None,
    });
    let named: BTreeSet<Id> = named.collect();
    for entry in old.iter_mut().chain(fresh) {
        changed |= named.contains(&entry.event.id) && without_text(entry)?;
    }
    Ok(changed)
}

/// Takes the text out of a ContextAdded line, the reason too. Says whether it had any.
///
/// Errors: `ERR_VALIDATION` where it could not be written anew.
pub fn without_text(entry: &mut Entry) -> Result<bool> {
    if let Payload::ContextAdded(added) = &mut entry.event.payload
        && !(added.content.is_empty() && added.metadata.is_null() && entry.event.why.is_none())
    {
        added.content.clear();
        added.metadata = serde_json::Value::Null;
        entry.event.why = None;
        *entry = Entry::new(entry.event.clone())?;
        return Ok(true);
    }
    Ok(false)
}

fn keep_torn(set_aside: &Dir, entity: &Entity, bytes: &[u8]) -> Result<()> {
    let name = format!("set-aside/{}.{}.bin", entity.to_string().replace('/', "-"), bytes.len());
    let keep = || {
        set_aside.make_dir("set-aside")?;
        set_aside.replace(&name, bytes, 0o600)
    };
    keep().map_err(|e| Error::io("set aside a cut-off line in", set_aside.path(), &e))
}
