//! What each agent has read of its inbox, in this clone.
//!
//! Guarantees that a record is replaced as a whole, is for its user alone, and that a damaged one is kept aside.
//! Leaves to others: what is in an inbox.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::id::Id;
use crate::model::notice::Notice;
use crate::runtime::journals::Position;
use crate::runtime::records::{Found, digest, read_within};
use crate::runtime::worktree::StoreKey;

const FOLDER: &str = "inbox";
/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = 64 * 1024 * 1024;
/// The hexadecimal digits of an item's id.
const ID_DIGITS: usize = 12;
/// Most acknowledged items that are remembered by their ids: an event that arrives in another worktree too is not shown again.
const REMEMBERED: usize = 1_000;
/// Most earlier items of a ready task that are remembered.
const MAX_READY: usize = 8;
/// Most worktrees of which the settings are remembered.
const MAX_WORKTREES: usize = 64;

/// What an agent has read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InboxRecord {
    /// Everything before it in the journals was read.
    pub read_to: Option<Position>,
    /// Items that were acknowledged by themselves, the newest last.
    #[serde(default)]
    pub acknowledged: Vec<String>,
    /// The ready tasks of which the agent knows, with the ids of their items.
    #[serde(default)]
    pub ready: BTreeMap<Id, String>,
    /// Earlier items of these tasks: another worktree may have a task ready by another event.
    #[serde(default)]
    pub ready_before: BTreeMap<Id, Vec<String>>,
    /// The digests of the files of settings as the inbox began, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// What the agent knows of the settings of worktrees, the last one that was looked at last.
    #[serde(default)]
    pub settings_of: Vec<KnownSettings>,
    /// The file that it was read from, or written to.
    #[serde(skip)]
    pub mark: Option<String>,
}

/// What an agent knows of the settings of a worktree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownSettings {
    /// The worktree, with the store in it.
    pub store: StoreKey,
    /// The files, by name.
    pub files: BTreeMap<String, KnownFile>,
}

/// What an agent knows of a file of settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    /// The digest of its text.
    pub digest: String,
    /// How often it changed since the inbox began, as far as the agent was shown: a text may come back.
    pub changes: u64,
}

impl InboxRecord {
    /// The items that were acknowledged by themselves.
    pub fn acknowledged(&self) -> BTreeSet<&str> {
        self.acknowledged.iter().map(String::as_str).collect()
    }

    /// Notes that items were acknowledged. With `all`, which is so while an older item is unread, none is forgotten: the position does
    /// not cover them.
    pub fn acknowledge(&mut self, items: impl IntoIterator<Item = String>, all: bool) {
        let mut seen = BTreeSet::new();
        let mut new: Vec<String> = items.into_iter().collect();
        new.retain(|id| seen.insert(id.clone()));
        self.acknowledged.retain(|id| !seen.contains(id));
        self.acknowledged.extend(new);
        let too_many = self.acknowledged.len().saturating_sub(REMEMBERED);
        if !all {
            self.acknowledged.drain(..too_many);
        }
    }

    /// Whether the agent knows that a task is ready by this item, here or in another worktree.
    pub fn knows_ready(&self, task: Id, item: &str) -> bool {
        let before = self.ready_before.get(&task).into_iter().flatten();
        self.ready.get(&task).into_iter().chain(before).any(|known| known == item)
    }

    /// Notes the item of a ready task.
    pub fn note_ready(&mut self, task: Id, item: &str) {
        let Some(old) = self.ready.insert(task, item.to_owned()).filter(|old| old != item) else { return };
        let before = self.ready_before.entry(task).or_default();
        before.retain(|known| known != item && *known != old);
        before.push(old);
        let too_many = before.len().saturating_sub(MAX_READY);
        before.drain(..too_many);
    }

    /// What the agent knows of a file of settings in a worktree, which has this digest now; `None` if it never saw one of that name. In a
    /// worktree that is new to it, it knows what it saw in any other.
    pub fn known_settings(&self, store: Option<&StoreKey>, name: &str, digest: &str) -> Option<KnownFile> {
        let here = store.and_then(|store| self.settings_of.iter().find(|known| known.store == *store));
        if let Some(known) = here.and_then(|known| known.files.get(name)) {
            return Some(known.clone());
        }
        let first = self.settings.get(name).map(|digest| KnownFile { digest: digest.clone(), changes: 0 });
        let seen = || self.settings_of.iter().rev().filter_map(|known| known.files.get(name));
        let same = seen().find(|known| known.digest == digest).cloned();
        same.or_else(|| first.clone().filter(|first| first.digest == digest))
            .or_else(|| seen().next().cloned())
            .or(first)
    }

    /// Notes what the agent knows of the settings of a worktree.
    pub fn note_settings(&mut self, store: &StoreKey, files: BTreeMap<String, KnownFile>) {
        let old = self.settings_of.iter().position(|known| known.store == *store);
        let mut known = old.map(|n| self.settings_of.remove(n).files).unwrap_or_default();
        known.extend(files);
        self.settings_of.push(KnownSettings { store: store.clone(), files: known });
        let too_many = self.settings_of.len().saturating_sub(MAX_WORKTREES);
        self.settings_of.drain(..too_many);
    }
}

/// The id of an item: a digest of kind, task and cause.
pub fn id_of(notice: &Notice) -> String {
    let task = notice.task.map(|id| id.to_string()).unwrap_or_default();
    let mut id = digest(&format!("{} {task} {}", notice.kind.as_str(), notice.cause));
    id.truncate(ID_DIGITS);
    id
}

/// Whether a text may be the id of an item.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn path(agent: &str) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/{agent}.json"))
}

/// The record of an agent; it is missing until the inbox has begun.
pub fn read(runtime: &Dir, agent: &str) -> Found<InboxRecord> {
    // Of a record that is replaced meanwhile, the mark is the older one.
    let mark = mark(runtime, agent);
    match read_within(runtime, path(agent), MAX_RECORD) {
        Found::Whole(record) => Found::Whole(InboxRecord { mark, ..record }),
        other => other,
    }
}

/// What distinguishes the record of an agent from earlier ones; `None` if there is none.
fn mark(runtime: &Dir, agent: &str) -> Option<String> {
    runtime.mark(path(agent)).ok().flatten().map(|mark| format!("{mark:?}"))
}

/// Whether an agent has a record, which grows with the plan, without reading it.
pub fn has_begun(runtime: &Dir, agent: &str) -> bool {
    matches!(runtime.kind(path(agent)), Ok(Some(_)))
}

/// The agents that have a record.
///
/// Errors: `ERR_IO`.
#[cfg(feature = "bus")]
pub fn agents(runtime: &Dir) -> Result<Vec<String>> {
    let listed = match runtime.dir(FOLDER).and_then(|folder| folder.list()) {
        Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(|e| Error::io("list", &runtime.path().join(FOLDER), &e))?,
    };
    Ok(listed.into_iter().filter_map(|(name, _)| Some(name.strip_suffix(".json")?.to_owned())).collect())
}

/// Replaces the record of an agent. The caller holds the lock for that.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write(runtime: &Dir, agent: &str, record: &mut InboxRecord) -> Result<()> {
    let shown = runtime.path().join(path(agent));
    let bytes = serde_json::to_vec(record).map_err(|e| Error::new(Code::Io, format!("{}: {e}", shown.display())))?;
    let written = match runtime.replace_synced(path(agent), &bytes, 0o600) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            runtime.make_dir(FOLDER).and_then(|_| runtime.replace_synced(path(agent), &bytes, 0o600))
        }
        other => other,
    };
    written.map_err(|e| Error::io("write", &shown, &e))?;
    record.mark = mark(runtime, agent);
    Ok(())
}

/// Keeps a damaged record aside. Returns where it is, below the runtime folder.
///
/// Errors: `ERR_IO`.
pub fn set_aside(runtime: &Dir, agent: &str) -> Result<String> {
    let free = |n: usize| {
        let name = format!("set-aside/inbox-{agent}.{n}.json");
        matches!(runtime.kind(&name), Ok(None)).then_some(name)
    };
    let moved = runtime.make_dir("set-aside").and_then(|_| {
        let name = (1..1_000).find_map(free).unwrap_or_else(|| format!("set-aside/inbox-{agent}.json"));
        runtime.rename(path(agent), &name).map(|()| name)
    });
    moved.map_err(|e| Error::io("set aside", &runtime.path().join(path(agent)), &e))
}

/// What was noted at the last look, which is derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadCount {
    /// The number of unread items.
    pub unread: u64,
    /// The number of those with a place in the journal.
    pub placed: u64,
    /// How far the journal was read.
    pub end: Option<Position>,
    /// The mark of the record that it was counted by.
    #[serde(default)]
    pub of: Option<String>,
}

fn count_path(agent: &str) -> PathBuf {
    PathBuf::from(format!("{FOLDER}/{agent}.count"))
}

/// What was noted at the last look; `None` where there was none. What a slow process counted by an earlier record does not count.
pub fn read_count(runtime: &Dir, agent: &str) -> Option<UnreadCount> {
    let count: UnreadCount = serde_json::from_slice(&runtime.read(count_path(agent), 4_096).ok()?).ok()?;
    (count.of == mark(runtime, agent)).then_some(count)
}

/// Notes a count.
///
/// Errors: those of the disk.
pub fn write_count(runtime: &Dir, agent: &str, count: &UnreadCount) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(count).map_err(std::io::Error::other)?;
    match runtime.replace(count_path(agent), &bytes, 0o600) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            runtime.make_dir(FOLDER).and_then(|_| runtime.replace(count_path(agent), &bytes, 0o600))
        }
        other => other,
    }
}

/// Removes what was noted. A file that stays is replaced at the next look.
pub fn forget_count(runtime: &Dir, agent: &str) {
    if let Err(e) = runtime.remove(count_path(agent)) {
        tracing::debug!(error = %e, "the number of unread items could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_by_an_earlier_record_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Dir::open(folder.path()).unwrap();
        let mut record = InboxRecord::default();
        write(&runtime, "bob", &mut record).unwrap();
        let Found::Whole(slow) = read(&runtime, "bob") else { panic!("it was written") };
        assert_eq!(slow.mark, record.mark);
        let count =
            |unread, record: &InboxRecord| UnreadCount { unread, placed: 0, end: None, of: record.mark.clone() };
        write_count(&runtime, "bob", &count(3, &slow)).unwrap();
        assert_eq!(read_count(&runtime, "bob").unwrap().unread, 3);
        // Two acknowledgments, and the count of a process that looked before them.
        for n in [1, 2] {
            record.acknowledge([format!("{n:012}")], false);
            write(&runtime, "bob", &mut record).unwrap();
            write_count(&runtime, "bob", &count(2 - n, &record)).unwrap();
            assert_eq!(read_count(&runtime, "bob").unwrap().unread, 2 - n);
        }
        write_count(&runtime, "bob", &count(3, &slow)).unwrap();
        assert_eq!(read_count(&runtime, "bob"), None);
    }

    #[test]
    fn while_an_older_item_is_unread_no_acknowledgment_is_forgotten() {
        let ids = |of: std::ops::Range<usize>| of.map(|n| format!("{n:012}"));
        let mut record = InboxRecord::default();
        record.acknowledge(ids(0..3_000), true);
        record.acknowledge([], true);
        assert_eq!(record.acknowledged().len(), 3_000);
        record.acknowledge(ids(5..6), false);
        assert_eq!((record.acknowledged.len(), record.acknowledged.last()), (REMEMBERED, ids(5..6).next().as_ref()));
        assert!(record.acknowledged().contains(&*format!("{:012}", 2_999)));
    }
}
