//! Reads one entity from its files: its log, the state that the log folds to, and its readable file.
//!
//! Guarantees that a broken file is an entity with findings, never a missing one and never a failure.
//! Leaves to others: other entities.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use crate::env::files::is_no_regular_file as is_odd;
use crate::error::{Error, Result};
use crate::model::agent::Agent;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::task::Task;
use crate::rules::fold;
use crate::store::archive;
use crate::store::layout::{AGENTS, LOG, Store, home, shown, task_dir};
use crate::store::log::{Log, MAX_LOG};

/// The largest readable file, in bytes. One rendered from a log of any size is read, to be compared with its log. Only a
/// smaller one is parsed as a document (`store::yaml`).
pub const MAX_YAML: u64 = MAX_LOG;

/// The log of an entity, with what the archives hold of a task; empty if there is none. Findings carry the path.
///
/// Errors: `ERR_IO` if the disk fails. A link, folder or device in its place is a finding.
pub fn read_log(store: &Store, entity: &Entity) -> Result<Log> {
    let mut log = read_own_log(store, entity)?;
    if let Entity::Task(id) = entity {
        log.add_archived(archive::entries(store, *id)?);
    }
    Ok(log)
}

/// As [`read_log`], without the archives.
///
/// Errors: as [`read_log`].
pub fn read_own_log(store: &Store, entity: &Entity) -> Result<Log> {
    let Some((folder, _)) = home(entity) else { return Ok(Log::default()) };
    let path = folder.join(LOG);
    let mut log = match store.dir.open_file(&path) {
        Ok(file) => match Log::read(file) {
            Ok(log) => log,
            Err(e) => return Err(Error::io("read", &store.path().join(&path), &e)),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => Log::default(),
        Err(e) if is_odd(&e) => {
            let mut log = Log { fixed: true, ..Log::default() };
            log.findings.push(Finding::new(Rule::OddFile, format!("not a regular file: {e}")));
            log
        }
        // A file that this user may not read must not block all others.
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            let mut log = Log { fixed: true, ..Log::default() };
            log.findings.push(Finding::new(Rule::LogLine, format!("it cannot be read: {e}")));
            log
        }
        Err(e) => return Err(Error::io("open", &store.path().join(&path), &e)),
    };
    let shown = store.shown(&path);
    for finding in &mut log.findings {
        finding.path = Some(shown.clone());
    }
    Ok(log)
}

/// The readable file of an entity; `None` if there is none.
///
/// Errors: those of the disk, and `InvalidInput` for what is not a regular file.
pub fn read_yaml(store: &Store, entity: &Entity) -> std::io::Result<Option<Vec<u8>>> {
    let Some(path) = yaml_path(entity) else { return Ok(None) };
    match store.dir.read(path, MAX_YAML) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The path of the readable file, below the store.
pub fn yaml_path(entity: &Entity) -> Option<PathBuf> {
    home(entity).map(|(folder, name)| folder.join(name))
}

/// A task with its log.
#[derive(Clone, Debug)]
pub struct LoadedTask {
    /// The state that the log folds to.
    pub task: Task,
    /// The log itself.
    pub log: Log,
    /// The findings of both.
    pub findings: Vec<Finding>,
}

/// Reads and folds a task, with acknowledged events that are not in its log yet. A task without any event has
/// `task.version == 0`.
///
/// Errors: `ERR_IO` where the disk fails.
pub fn load_task(store: &Store, id: Id, pending: &[Entry]) -> Result<LoadedTask> {
    Ok(understand(&store.name, id, read_log_with(store, &Entity::Task(id), pending)?))
}

/// As [`read_log`], with acknowledged events that are not in the log yet.
///
/// Errors: as [`read_log`].
pub fn read_log_with(store: &Store, entity: &Entity, pending: &[Entry]) -> Result<Log> {
    let mut log = read_log(store, entity)?;
    if pending.is_empty() {
        return Ok(log);
    }
    let mut known: HashSet<Id> = log.entries.iter().map(|entry| entry.event.id).collect();
    for entry in pending {
        if known.insert(entry.event.id) {
            log.entries.push(entry.clone());
        }
    }
    Ok(log)
}

/// Folds the log of a task, wherever it was read; `store` is the store's name, for messages.
pub fn understand(store: &str, id: Id, log: Log) -> LoadedTask {
    let (task, folded) = fold::fold(id, &log.entries);
    let path = shown(store, task_dir(id).join(LOG));
    let mut findings = log.findings.clone();
    findings.extend(placed(&log, folded, &path));
    for finding in &mut findings {
        finding.task = Some(id);
    }
    LoadedTask { task, log, findings }
}

/// Adds to the findings of a fold the lines of their events, or the first line.
pub fn placed(log: &Log, folded: Vec<Finding>, path: &str) -> Vec<Finding> {
    let mut lines: HashMap<Id, usize> = HashMap::new();
    if !folded.is_empty() {
        for (entry, line) in log.entries.iter().zip(&log.lines) {
            lines.entry(entry.event.id).or_insert(*line);
        }
    }
    let line = |finding: &Finding| match finding.event {
        Some(event) => lines.get(&event).copied(),
        None => log.lines.first().copied(),
    };
    let place = |finding: Finding| {
        let line = line(&finding);
        finding.at(path, line)
    };
    folded.into_iter().map(place).collect()
}

/// Reads and folds an agent.
///
/// Errors: `ERR_IO` where the disk fails.
pub fn load_agent(store: &Store, name: &str) -> Result<(Agent, Log, Vec<Finding>)> {
    let log = read_log(store, &Entity::Agent(name.to_owned()))?;
    let (agent, folded) = fold::fold_agent(name, &log.entries);
    let path = store.shown(Path::new(AGENTS).join(name).join(LOG));
    let mut findings = placed(&log, folded, &path);
    findings.extend(log.findings.clone());
    Ok((agent, log, findings))
}
