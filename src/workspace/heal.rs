//! After git: putting right what merges, rebases, cherry-picks and stashes left of a plan that git merged as text.
//!
//! Promises: afterwards each log is the union of what was merged, in its plain form; each `task.yaml` is rendered from its log;
//! no event is missing that a commit of this branch's history holds; what was settled is noted in git's index. A file that
//! somebody edited by hand is left as it is. Nothing is deleted.
//! Refuses to know: who merged, and with which tool.
//!
//! Absence never deletes: where a merge took one side only, or a commit was reverted, events vanish from a log though the
//! history of the branch still holds them. They are brought back; what they did is undone by new events or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::Workspace;
use crate::env::files::{self, Dir};
use crate::error::Result;
use crate::git::{Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::{Id, check_agent_name};
use crate::model::payload::Payload;
use crate::model::yaml::is_as_written;
use crate::rules::fold::order;
use crate::runtime::journal::Journal;
use crate::runtime::lock::Lock;
use crate::store::edited::{Readable, compare};
use crate::store::entity::{read_log, read_yaml};
use crate::store::layout::{AGENTS, LOG, TASKS, home};
use crate::store::log::Log;
use crate::store::project::project_onto;

/// How long a call of git may take that only touches the index.
const INDEX_DEADLINE: Duration = Duration::from_secs(20);
/// Most commits whose differences are looked through for events that vanished.
const MAX_COMMITS: usize = 5_000;
/// The same in a worktree that was never looked through, which may be a new clone of a long history.
const FIRST_COMMITS: usize = 1_000;
/// How many commits are remembered as looked through.
const REMEMBERED: usize = 16;

/// What was put right.
#[derive(Debug, Default, Serialize)]
pub struct Healed {
    /// Entities whose files were written, with what was done, in words.
    pub items: Vec<HealedEntity>,
    /// Events that had vanished from logs and were brought back.
    pub restored: usize,
    /// Paths that were noted as settled in git's index.
    pub staged: usize,
    /// Files of the store that git left in conflict and that are not made from logs: their owner must settle them.
    pub left: Vec<String>,
}

/// What was done to one entity.
#[derive(Debug, Serialize)]
pub struct HealedEntity {
    /// `task/<ULID>` or `agent/<name>`.
    pub entity: Entity,
    /// What was done.
    pub did: Vec<&'static str>,
}

/// What was known when the store was last looked through, kept beside the index of each worktree.
#[derive(Debug, Default)]
struct Seen {
    /// The mark of git's index.
    mark: String,
    /// What was checked out.
    last: Option<Oid>,
    /// Commits whose files are known to hold every event of their history.
    whole: Vec<Oid>,
}

/// What is to be looked at, and what is known to be missing there.
#[derive(Default)]
struct Work {
    entities: BTreeSet<Entity>,
    events: BTreeMap<Entity, Vec<Entry>>,
    /// Versions of readable files that git merged, by entity: a file put together of their lines was edited by nobody.
    versions: BTreeMap<Entity, Vec<Vec<u8>>>,
    unmerged: BTreeSet<String>,
    left: Vec<String>,
    /// What is checked out holds every event of its history.
    whole: bool,
}

impl Workspace {
    /// Puts right what git left: of every entity of the store.
    ///
    /// Errors: `ERR_BUSY` where the lock was not had, `ERR_IO` where the files cannot be written, `ERR_GIT` where git's index
    /// cannot be read or written; what was put right by then stays so.
    pub fn heal_all(&self) -> Result<Healed> {
        let mut all: BTreeSet<Entity> = self.store.task_folders()?.0.into_iter().map(Entity::Task).collect();
        all.extend(self.agents()?.into_iter().map(|agent| Entity::Agent(agent.name)));
        self.heal_now(all)
    }

    /// As [`Workspace::heal_all`], of what git touched since last time alone.
    pub(super) fn heal_changed(&self) -> Result<Healed> {
        self.heal_now(BTreeSet::new())
    }

    fn heal_now(&self, also: BTreeSet<Entity>) -> Result<Healed> {
        let runtime = self.runtime_to_write()?;
        let wait = Duration::from_millis(self.settings.lock.wait_ms.into());
        let _lock = Lock::take(&runtime, wait, "agentpm resolve")?;
        let mut journal = Journal::open(&runtime, self.env.boot())?;
        if !journal.is_settled() {
            self.recover(&mut journal, &runtime)?;
        }
        let (healed, whole) = self.heal(&runtime, also)?;
        self.lift_clock(&mut journal)?;
        self.note_seen(whole);
        Ok(healed)
    }

    /// Looks through the store once after git may have changed it: puts right what it left, and lifts the clock above all that
    /// this clone has seen. The caller holds the lock.
    pub(super) fn look_after_git(&self, journal: &mut Journal, runtime: &Dir) -> Result<()> {
        let Some(repo) = &self.repo else { return Ok(()) };
        let now = mark_text(repo);
        if self.seen().is_some_and(|seen| seen.mark == now) {
            return Ok(());
        }
        // A repository that cannot be read is no reason to refuse a change of the plan.
        let whole = match self.heal(runtime, BTreeSet::new()) {
            Ok((_, whole)) => whole,
            Err(e) => {
                tracing::warn!(error = %e, "what git left was not put right");
                false
            }
        };
        self.lift_clock(journal)?;
        self.note_seen(whole);
        Ok(())
    }

    fn lift_clock(&self, journal: &mut Journal) -> Result<()> {
        journal.saw(self.index()?.greatest_lamport()?.min(crate::model::event::MAX_CLOCK));
        journal.settle(&self.store.dir)
    }

    /// Puts right what git left in the entities it touched since last time, and in these besides. Says too whether what is
    /// checked out holds every event of its history.
    fn heal(&self, runtime: &Dir, also: BTreeSet<Entity>) -> Result<(Healed, bool)> {
        let mut work = Work { entities: also, ..Work::default() };
        // Where git keeps its objects in a form that is not known, the files alone are put right.
        let objects = self.repo.as_ref().and_then(|repo| repo.objects().ok());
        if let Some(objects) = &objects {
            self.collect_unmerged(objects, &mut work)?;
            self.collect_history(objects, &mut work)?;
        }
        work.entities.extend(work.events.keys().cloned());
        self.collect_misplaced(&mut work)?;
        self.collect_gaps(&mut work)?;
        let mut healed = Healed { left: std::mem::take(&mut work.left), ..Healed::default() };
        let mut written = Vec::new();
        for entity in &work.entities {
            let did = self.heal_one(entity, &work, runtime, &mut healed)?;
            if !did.is_empty() {
                healed.items.push(HealedEntity { entity: entity.clone(), did });
                written.push(entity.clone());
            }
        }
        if let Some(objects) = &objects {
            healed.staged = self.stage(objects, &work, &written)?;
        }
        Ok((healed, work.whole))
    }

    /// Files that git's index holds in conflict: all their versions count.
    fn collect_unmerged(&self, objects: &Objects, work: &mut Work) -> Result<()> {
        for (path, stage, item) in objects.index_below(&self.store.name)? {
            if stage == 0 {
                continue;
            }
            let Some((entity, is_log)) = self.entity_of(&path) else {
                if !work.left.contains(&path) {
                    work.left.push(path);
                }
                continue;
            };
            work.entities.insert(entity.clone());
            work.unmerged.insert(path);
            if matches!(item.mode, Mode::File | Mode::Executable) {
                let bytes = objects.blob(item.oid)?;
                match is_log {
                    true => add_events(&mut work.events, &bytes),
                    false => work.versions.entry(entity).or_default().push(bytes),
                }
            }
        }
        Ok(())
    }

    /// Commits that are new to this worktree: which entities they changed, and which events a parent has and they have not.
    fn collect_history(&self, objects: &Objects, work: &mut Work) -> Result<()> {
        let Some(head) = objects.head()?.commit else { return Ok(()) };
        let seen = self.seen().unwrap_or_default();
        work.whole = seen.whole.contains(&head);
        if work.whole {
            return Ok(());
        }
        // A commit that is whole says nothing of those before it, which may be checked out now.
        let mut behind = Vec::new();
        for whole in seen.whole {
            if objects.has(whole) && objects.merge_base(whole, head)? == Some(whole) {
                behind.push(whole);
            }
        }
        let folder = |commit: Oid| -> Result<Option<Oid>> {
            let item = objects.item(objects.commit(commit)?.tree, &self.store.name)?;
            Ok(item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
        };
        if let Some(last) = seen.last.filter(|last| objects.has(*last)) {
            let changed = objects.changes(folder(last)?, folder(head)?)?;
            work.entities.extend(changed.iter().filter_map(|change| entity_below(&change.path)).map(|(e, _)| e));
        }
        let mut vanished = BTreeMap::new();
        let most = if seen.last.is_some() { MAX_COMMITS } else { FIRST_COMMITS };
        for commit in objects.walk(&[head], &behind, most)? {
            // Where the whole store is gone, somebody uninstalled it.
            let Some(new) = folder(commit)? else { continue };
            let parents = objects.commit(commit)?.parents;
            let merged = parents.len() > 1;
            for parent in parents {
                // A shallow clone does not have all parents.
                let Ok(Some(old)) = folder(parent) else { continue };
                for change in objects.changes(Some(old), Some(new))? {
                    let (Some((entity, is_log)), Some(was)) = (entity_below(&change.path), change.old) else {
                        continue;
                    };
                    if !matches!(was.mode, Mode::File | Mode::Executable) {
                        continue;
                    }
                    if is_log {
                        let now = change.new.map(|item| objects.blob(item.oid)).transpose()?.unwrap_or_default();
                        let before = objects.blob(was.oid)?;
                        if !now.starts_with(&before) {
                            add_vanished(&mut vanished, &before, &now);
                        }
                    } else if merged {
                        work.versions.entry(entity).or_default().push(objects.blob(was.oid)?);
                    }
                }
            }
        }
        work.whole = true;
        for (entity, entries) in vanished {
            let committed = match (folder(head)?, home(&entity)) {
                (Some(plan), Some((at, _))) => objects.file(plan, &at.join(LOG).display().to_string())?,
                _ => None,
            };
            let there: BTreeSet<Id> = read(&committed.unwrap_or_default()).entries.iter().map(|e| e.event.id).collect();
            let lost: Vec<Entry> = entries.into_iter().filter(|e| !there.contains(&e.event.id)).collect();
            if !lost.is_empty() {
                work.whole = false;
                work.events.entry(entity).or_default().extend(lost);
            }
        }
        Ok(())
    }

    /// Events that lie in the log of another entity than the one they name, as git's guesses at renames leave them. They are
    /// moved home where that is an entity of this store; one that was copied from elsewhere stays and is named by lint.
    fn collect_misplaced(&self, work: &mut Work) -> Result<()> {
        let mut homes: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
        for entity in &work.entities {
            for entry in read_log(&self.store, entity)?.entries {
                if entry.event.entity != *entity {
                    homes.entry(entry.event.entity.clone()).or_default().push(entry);
                }
            }
        }
        for (entity, entries) in homes {
            if self.is_of_this_store(&entity, &entries)? {
                work.entities.insert(entity.clone());
                work.events.entry(entity).or_default().extend(entries);
            }
        }
        Ok(())
    }

    fn is_of_this_store(&self, entity: &Entity, entries: &[Entry]) -> Result<bool> {
        let begins = |e: &Entry| matches!(e.event.payload, Payload::TaskCreated(_) | Payload::AgentRegistered(_));
        Ok(home(entity).is_some() && (entries.iter().any(begins) || !read_log(&self.store, entity)?.entries.is_empty()))
    }

    /// Events that others build upon and that are not here: what an event comes from belongs to it, whoever picked it.
    fn collect_gaps(&self, work: &mut Work) -> Result<()> {
        // Each round finds the parents of what the last one brought; histories end.
        for _ in 0..MAX_COMMITS {
            let mut wanted = BTreeSet::new();
            for entity in &work.entities {
                let log = read_log(&self.store, entity)?;
                let more = work.events.get(entity).map_or(&[][..], Vec::as_slice);
                let here: BTreeSet<Id> = log.entries.iter().chain(more).map(|e| e.event.id).collect();
                let parents = log.entries.iter().chain(more).flat_map(|e| e.event.parents.iter().copied());
                wanted.extend(parents.filter(|parent| !here.contains(parent)));
            }
            let found = self.known_events(&wanted)?;
            if found.is_empty() {
                break;
            }
            for entry in found {
                work.events.entry(entry.event.entity.clone()).or_default().push(entry);
            }
        }
        Ok(())
    }

    fn heal_one(&self, entity: &Entity, work: &Work, runtime: &Dir, healed: &mut Healed) -> Result<Vec<&'static str>> {
        let mut log = read_log(&self.store, entity)?;
        let mut did = Vec::new();
        if log.fixed {
            return Ok(did);
        }
        let strangers = |e: &Entry| e.event.entity != *entity && moved_home(work, e);
        if log.entries.iter().any(strangers) {
            log.entries.retain(|e| !strangers(e));
            log.rough = true;
            did.push("events of another entity moved to its own log");
        } else if log.rough {
            did.push("log written in its plain form");
        }
        let known: BTreeSet<Id> = log.entries.iter().map(|e| e.event.id).collect();
        let more: Vec<Entry> = work
            .events
            .get(entity)
            .map(|entries| order(entity, entries).events.into_iter().cloned().collect())
            .unwrap_or_default();
        let more: Vec<Entry> = more.into_iter().filter(|e: &Entry| !known.contains(&e.event.id)).collect();
        if !more.is_empty() {
            healed.restored += more.len();
            did.push("events brought back into the log");
        }
        if log.entries.is_empty() && more.is_empty() {
            return Ok(did);
        }
        let readable = read_yaml(&self.store, entity).unwrap_or_default();
        let standing = match &readable {
            None => Some("task.yaml written from its log"),
            Some(bytes) => match compare(entity, &log.entries, bytes) {
                Readable::Clean => None,
                Readable::Conflicted => Some("conflict in task.yaml settled from its log"),
                Readable::Stale | Readable::Ahead(_) | Readable::Astray => Some("task.yaml written from its log"),
                Readable::Edited(_) if is_mixture(bytes, work.versions.get(entity)) => {
                    Some("task.yaml, merged line by line, written from its log")
                }
                // A person's words: lint names them.
                Readable::Edited(_) => return Ok(Vec::new()),
            },
        };
        did.extend(standing);
        let unmerged = home(entity).is_some_and(|(folder, name)| {
            let path = |file: &str| self.store.shown(folder.join(file));
            work.unmerged.contains(&path(LOG)) || work.unmerged.contains(&path(name))
        });
        if !did.is_empty() || unmerged {
            project_onto(&self.store, entity, log, &more, runtime)?;
        }
        if did.is_empty() && unmerged {
            did.push("conflict settled");
        }
        Ok(did)
    }

    /// Notes in git's index what was settled: the files that it held in conflict, and in the middle of an operation of git also
    /// those it held as they were before.
    fn stage(&self, objects: &Objects, work: &Work, written: &[Entity]) -> Result<usize> {
        let Some(repo) = &self.repo else { return Ok(0) };
        // A squash has no name while it waits for its commit.
        let squash = files::metadata(&repo.git_dir.join("SQUASH_MSG")).is_ok();
        let busy = objects.in_progress().is_some() || squash || !work.unmerged.is_empty();
        let mut settled: BTreeSet<String> = work.unmerged.clone();
        if busy {
            for (folder, name) in written.iter().filter_map(home) {
                settled.extend([LOG, name].map(|file| self.store.shown(folder.join(file))));
            }
        }
        if settled.is_empty() {
            return Ok(0);
        }
        let mut input = Vec::new();
        for path in &settled {
            let below = path.strip_prefix(&format!("{}/", self.store.name)).unwrap_or(path);
            let Ok(bytes) = self.store.dir.read(below, crate::store::log::MAX_LOG) else { continue };
            if is_conflicted(&bytes) {
                continue;
            }
            let oid = objects.write_blob(&bytes)?;
            if work.unmerged.contains(path) {
                input.extend_from_slice(format!("0 {}\t{path}\0", "0".repeat(oid.to_string().len())).as_bytes());
            }
            input.extend_from_slice(format!("{} {oid}\t{path}\0", Mode::File.octal()).as_bytes());
        }
        let git = repo.program(&self.env, INDEX_DEADLINE)?;
        let args = ["update-index", "-z", "--index-info"];
        let outcome = git.call(&args, None, input)?;
        git.text(&args, &outcome).map_err(|e| e.hint("the files are settled; git add them when git is free again"))?;
        Ok(settled.len())
    }

    /// The entity a path of the work tree belongs to, and whether it is its log.
    fn entity_of(&self, path: &str) -> Option<(Entity, bool)> {
        entity_below(path.strip_prefix(&self.store.name)?.strip_prefix('/')?)
    }

    fn seen_path(&self) -> Option<std::path::PathBuf> {
        self.index_path().map(|path| path.with_extension("seen"))
    }

    fn seen(&self) -> Option<Seen> {
        let bytes = files::read_outside(&self.seen_path()?, 4096).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let mark = lines.next()?.to_owned();
        let last = lines.next().and_then(|line| line.parse().ok());
        Some(Seen { mark, last, whole: lines.filter_map(|line| line.parse().ok()).collect() })
    }

    /// Remembers what was looked through. Where that cannot be kept, the next command looks once more.
    pub(super) fn note_seen(&self, is_whole: bool) {
        let (Some(repo), Some(path)) = (&self.repo, self.seen_path()) else { return };
        let mut whole = self.seen().unwrap_or_default().whole;
        let head = repo.objects().and_then(|objects| objects.head()).ok().and_then(|head| head.commit);
        if let Some(head) = head.filter(|_| is_whole) {
            whole.retain(|known| *known != head);
            whole.insert(0, head);
            whole.truncate(REMEMBERED);
        }
        let line = |oid: &Oid| format!("\n{oid}");
        let last = head.map_or_else(|| "\n-".to_owned(), |head| line(&head));
        let text = mark_text(repo) + &last + &whole.iter().map(line).collect::<String>();
        let kept = files::write_outside(&path, text.as_bytes());
        kept.unwrap_or_else(|e| tracing::debug!(error = %e, "no note of what was seen"));
    }
}

fn mark_text(repo: &crate::git::Repo) -> String {
    let mark = repo.index_mark();
    format!("{} {} {}", mark.size, mark.mtime, mark.inode)
}

/// The entity a path below the store belongs to, and whether it is its log.
pub(super) fn entity_below(path: &str) -> Option<(Entity, bool)> {
    let parts: Vec<&str> = path.split('/').collect();
    let entity = match parts[..] {
        [TASKS, shard, id, _] => Entity::Task(id.parse().ok().filter(|id: &Id| id.shard() == shard)?),
        [AGENTS, name, _] => check_agent_name(name).ok().map(|()| Entity::Agent(name.to_owned()))?,
        _ => return None,
    };
    let (_, readable) = home(&entity)?;
    match *parts.last()? {
        LOG => Some((entity, true)),
        name if name == readable => Some((entity, false)),
        _ => None,
    }
}

fn read(bytes: &[u8]) -> Log {
    // Memory does not fail.
    Log::read(bytes).unwrap_or_default()
}

fn add_events(events: &mut BTreeMap<Entity, Vec<Entry>>, bytes: &[u8]) {
    for entry in read(bytes).entries {
        events.entry(entry.event.entity.clone()).or_default().push(entry);
    }
}

fn add_vanished(events: &mut BTreeMap<Entity, Vec<Entry>>, before: &[u8], now: &[u8]) {
    let still: BTreeSet<Id> = read(now).entries.iter().map(|e| e.event.id).collect();
    for entry in read(before).entries.into_iter().filter(|e| !still.contains(&e.event.id)) {
        events.entry(entry.event.entity.clone()).or_default().push(entry);
    }
}

fn moved_home(work: &Work, entry: &Entry) -> bool {
    work.events.get(&entry.event.entity).is_some_and(|events| events.iter().any(|e| e.line == entry.line))
}

/// Whether a file was put together by git, line by line, from versions that programs wrote.
fn is_mixture(bytes: &[u8], versions: Option<&Vec<Vec<u8>>>) -> bool {
    let Some(versions) = versions.filter(|versions| !versions.is_empty()) else { return false };
    let written = |bytes: &Vec<u8>| std::str::from_utf8(bytes).is_ok_and(|text| is_as_written(text) != Some(false));
    let lines: BTreeSet<&[u8]> =
        versions.iter().filter(|v| written(v)).flat_map(|v| v.split(|b| *b == b'\n')).collect();
    bytes.split(|b| *b == b'\n').all(|line| lines.contains(line))
}

fn is_conflicted(bytes: &[u8]) -> bool {
    let has = |mark: &[u8]| bytes.split(|b| *b == b'\n').any(|line| line.starts_with(mark));
    has(b"<<<<<<< ") && has(b">>>>>>> ")
}
