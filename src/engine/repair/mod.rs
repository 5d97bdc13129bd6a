//! Repairs a plan after git merged it as text: in merges, rebases, cherry-picks and stashes.
//!
//! Guarantees that afterwards each log is the union of the merged versions in normal form, and each `task.yaml` is rendered from
//! its log. Events that a commit in the history of the branch contains are restored, and resolved files are updated in git's
//! index. An unrecorded hand edit stays in its file. Nothing is deleted.
//! Leaves to others: who merged, and with which tool.
//!
//! A missing event is not a deletion: a merge that takes one side or a revert drops events from a log that history still
//! contains. They are restored; only new events undo their effect.

pub(crate) mod collect;
pub(crate) mod lost_events;
pub(crate) mod recover;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::commit::hand_edits::record::{self, Comments};
use crate::engine::commit::hand_edits::removed_files;
use crate::engine::commit::unblock::{self, UNBLOCKED};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::view::history::Place;
use crate::engine::view::last_scan::{self, mark_text};
use crate::engine::view::removed_commits::{self, Removal};
use crate::engine::view::{pending, read, ref_logs, sparse};
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Error, Result};
use crate::git::{Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::job::Deleted;
use crate::model::task::Status;
use crate::rules::fold::{fold, order};
use crate::runtime::journal::Journal;
use crate::runtime::records;
use crate::runtime::rendered::Rendered;
use crate::store::archive;
use crate::store::compact;
use crate::store::edited::{Readable, is_conflicted};
use crate::store::entity::{read_log, read_yaml};
use crate::store::layout::{LOG, entity_below, home, is_in_archives, task_dir};
use crate::store::log::{Log, absent};
use crate::store::project::{project_log, project_onto, render};

/// Deadline for a git command that only changes the index.
const INDEX_DEADLINE: Duration = Duration::from_secs(20);
/// The repair of a log with lines in another order. It is counted alone, since git's union merge causes it in every merge and the order
/// has no meaning.
const SORTED: &str = "log sorted";
/// The repair of a log that lacked events.
const RESTORED: &str = "events restored to the log";

/// What was repaired.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct RepairReport {
    /// Entities whose files were written, with the repairs.
    pub items: Vec<RepairedEntity>,
    /// Number of vanished events that were restored.
    pub restored: usize,
    /// Number of logs whose lines were only brought into their order.
    #[serde(skip_serializing_if = "is_zero")]
    pub sorted: usize,
    /// Archives that were sorted, by path below the store.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<String>,
    /// Number of paths that were marked as resolved in git's index.
    pub staged: usize,
    /// Restored tasks whose files a commit had removed. Removing files does not end a task.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub brought_back: Vec<RestoredTask>,
    /// Number of acknowledged events that were projected.
    #[serde(skip_serializing_if = "is_zero")]
    pub projected: usize,
    /// Damaged records of leases, sessions and keys that were restored from the journal.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rebuilt: Vec<String>,
    /// Left to the user, with the reason: conflicted files that are not derived from logs, and refused hand edits.
    pub left: Vec<String>,
    /// All entities whose files were written, reported or not.
    #[serde(skip)]
    written: Vec<Entity>,
    /// Tasks with hand edits in their files, and whether the file is in conflict.
    #[serde(skip)]
    edits: BTreeMap<Id, bool>,
    /// Events that files show and their logs lack.
    #[serde(skip)]
    lost: BTreeSet<Id>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What was done to one entity.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RepairedEntity {
    /// `task/<ULID>` or `agent/<name>`.
    #[schemars(with = "String")]
    pub entity: Entity,
    /// The repair.
    pub did: Vec<String>,
}

/// A task whose files were removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RestoredTask {
    /// The task.
    pub task: Id,
    /// The abbreviated commit that removed its files, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

impl RestoredTask {
    pub(crate) fn of(task: Id, removal: Option<&Removal>) -> Self {
        RestoredTask { task, commit: removal.map(|removal| removal.commit.clone()) }
    }
}

/// The entities to repair, and the events known to be missing.
#[derive(Default)]
struct Work {
    entities: BTreeSet<Entity>,
    events: BTreeMap<Entity, Vec<Entry>>,
    /// Entities whose `task.yaml` a merge changed.
    merged: BTreeSet<Entity>,
    unmerged: BTreeSet<String>,
    /// An archive is in conflict, or was merged.
    archives: bool,
    /// The archives that were written, by path below the store.
    archives_written: Vec<String>,
    left: Vec<String>,
    /// HEAD contains every event of its history.
    whole: bool,
}

/// Repairs the store once after git may have changed it, and raises the clock above all events of this clone. The caller holds
/// the lock.
pub(crate) fn look_after_git(ws: &Workspace, journal: &mut Journal<'_>, runtime: &Dir) -> Result<()> {
    let Some(repo) = &ws.repo else { return Ok(()) };
    let now = mark_text(repo);
    if last_scan::read(ws).is_some_and(|seen| seen.mark == now) {
        return Ok(());
    }
    let healed = repair_entities(ws, runtime, BTreeSet::new(), false);
    lift_clock(ws, journal)?;
    match healed {
        Ok((_, whole)) => last_scan::note(ws, whole),
        // A failure does not refuse the change; the next one tries again.
        Err(e) => tracing::warn!(error = %e, "what git left was not repaired"),
    }
    Ok(())
}

/// Repairs every entity of the store, and records hand edits and the effects of merged tasks on one another.
///
/// Written files are staged if a git operation is in progress. With `staged` they are always staged, along with clean files of
/// entities that differ between HEAD and the index; unstaged hand edits are then not recorded.
///
/// Errors: `ERR_BUSY` if the lock was not acquired, `ERR_IO` if the files cannot be written, `ERR_GIT` if git's index
/// cannot be read or written; what was repaired by that point stays so.
pub fn repair_all(ws: &Workspace, staged: bool) -> Result<RepairReport> {
    let mut all: BTreeSet<Entity> = ws.store.task_folders()?.0.into_iter().map(Entity::Task).collect();
    all.extend(read::agents(ws)?.into_iter().map(|agent| Entity::Agent(agent.name)));
    let in_index = if staged { files_in_index(ws)? } else { BTreeMap::new() };
    all.extend(awake_in_archives(ws)?.into_iter().map(Entity::Task));
    let emptied = removed_files::emptied(ws)?;
    let (_, left) = removed_files::restore_deleted(ws, &emptied, Deleted::Restore)?;
    let mut healed = repair_now(ws, (all, true), |id| !staged || is_in_index(ws, &in_index, id))?;
    healed.left.extend(left.into_iter().map(|left| left.message));
    for id in emptied
        .into_keys()
        .filter(|id| !read_log(&ws.store, &Entity::Task(*id)).is_ok_and(|log| log.entries.is_empty()))
    {
        healed.items.push(RepairedEntity { entity: Entity::Task(id), did: vec![RESTORED.into()] });
    }
    let unblocked: Vec<Entity> = unblock::record_unblocked(ws).into_iter().map(Entity::Task).collect();
    if let Some(objects) = ws.repo.as_ref().and_then(|repo| repo.objects().ok()) {
        let mut more: BTreeSet<Entity> = unblocked.iter().cloned().collect();
        if staged {
            more.extend(healed.written.drain(..));
            more.extend(rendered_in_index(ws, &objects)?);
        }
        healed.staged += stage(ws, &objects, &Work::default(), more.iter(), staged)?;
    }
    for entity in unblocked {
        match healed.items.iter_mut().find(|item| item.entity == entity) {
            Some(item) => item.did.push(UNBLOCKED.into()),
            None => healed.items.push(RepairedEntity { entity, did: vec![UNBLOCKED.into()] }),
        }
    }
    Ok(healed)
}

/// As [`repair_all`], only for entities that git touched since the last repair. Only conflicted hand edits are recorded.
pub(crate) fn repair_changed(ws: &Workspace) -> Result<RepairReport> {
    repair_now(ws, (BTreeSet::new(), false), |_| false)
}

/// As [`repair_changed`], and for these tasks.
pub(crate) fn repair_tasks(ws: &Workspace, ids: BTreeSet<Id>) -> Result<RepairReport> {
    repair_now(ws, (ids.into_iter().map(Entity::Task).collect(), false), |_| false)
}

/// Sorts the archives, and brings back the tasks in them that are not archived.
pub(crate) fn sort_archives(ws: &Workspace) -> Result<RepairReport> {
    repair_now(ws, (awake_in_archives(ws)?.into_iter().map(Entity::Task).collect(), true), |_| false)
}

/// The tasks that an archive holds although they are not archived any more: a late change reached them there.
fn awake_in_archives(ws: &Workspace) -> Result<Vec<Id>> {
    let archived = archive::archived(&ws.store)?.tasks();
    if archived.is_empty() {
        return Ok(Vec::new());
    }
    let (index, mut awake) = (read::index(ws)?, Vec::new());
    for id in archived {
        if index.status(id)?.is_some_and(|status| status != Status::Archived) {
            awake.push(id);
        }
    }
    Ok(awake)
}

/// Records the hand edits in conflict, and those of the tasks that `is_wanted` names.
fn repair_now(
    ws: &Workspace,
    (also, all_archives): (BTreeSet<Entity>, bool),
    is_wanted: impl Fn(Id) -> bool,
) -> Result<RepairReport> {
    let look = |also| {
        write::under_lock(ws, "agentpm resolve", |runtime, _, journal| {
            let rebuilt = records::damaged(runtime, true)?;
            let (mut healed, whole) = repair_entities(ws, runtime, also, all_archives)?;
            healed.rebuilt = rebuilt.iter().map(|(path, _)| path.display().to_string()).collect();
            lift_clock(ws, journal)?;
            last_scan::note(ws, whole);
            Ok(healed)
        })
    };
    let pending: usize = pending::pending_records(ws)?.iter().map(|record| record.entries.len()).sum();
    let mut healed = look(also)?;
    healed.projected = pending;
    let edits = std::mem::take(&mut healed.edits).into_iter();
    let edits: Vec<Id> = edits.filter(|(id, conflicted)| *conflicted || is_wanted(*id)).map(|(id, _)| id).collect();
    if edits.is_empty() {
        return Ok(healed);
    }
    let recorded = record_edits(ws, edits, &mut healed)?;
    // Conflicts are resolved now; mark them so in git's index.
    let again = look(recorded)?;
    healed.items.extend(again.items);
    healed.written.extend(again.written);
    healed.brought_back.extend(again.brought_back);
    healed.staged += again.staged;
    Ok(healed)
}

/// Records hand edits under the rules of the commands. Returns the tasks whose files were written.
fn record_edits(ws: &Workspace, edits: Vec<Id>, healed: &mut RepairReport) -> Result<BTreeSet<Entity>> {
    let mut recorded = BTreeSet::new();
    for id in edits {
        match record::absorb_in_words(ws, id, Comments::Keep) {
            Ok(all) => {
                for (task, did) in all {
                    let entity = Entity::Task(task);
                    healed.items.push(RepairedEntity { entity: entity.clone(), did: vec![did] });
                    recorded.insert(entity);
                }
            }
            Err(e) => healed.left.push(e.message),
        }
    }
    Ok(recorded)
}

fn lift_clock(ws: &Workspace, journal: &mut Journal) -> Result<()> {
    journal.saw(read::index(ws)?.greatest_lamport()?.min(crate::model::event::MAX_CLOCK));
    journal.note_clock()
}

/// Repairs the entities that git touched since the last repair, and these. Also returns whether HEAD contains every event of
/// its history.
fn repair_entities(
    ws: &Workspace,
    runtime: &Dir,
    also: BTreeSet<Entity>,
    all_archives: bool,
) -> Result<(RepairReport, bool)> {
    let mut work = Work { entities: also, archives: all_archives, ..Work::default() };
    // If the format of git's objects is unknown, only the files are repaired.
    let objects = ws.repo.as_ref().and_then(|repo| repo.objects().ok());
    if let Some(objects) = &objects {
        collect::collect_unmerged(ws, objects, &mut work)?;
        collect::collect_history(ws, objects, &mut work)?;
    }
    work.entities.extend(work.events.keys().cloned());
    // A merge may have been committed with its conflict markers.
    let merged: Vec<Entity> = work.merged.iter().filter(|entity| is_torn(ws, entity)).cloned().collect();
    work.entities.extend(merged);
    collect::collect_misplaced(ws, &mut work)?;
    collect::collect_gaps(ws, &mut work)?;
    let removed =
        if work.events.is_empty() { BTreeMap::new() } else { removed_commits::removed_by_commits(ws, false)? };
    let mut healed = RepairReport { left: std::mem::take(&mut work.left), ..RepairReport::default() };
    if work.archives || has_redacted_text(ws, &work.entities)? {
        compact::sweep(&ws.store);
        healed.archives = compact::sort(&ws.store)?;
    }
    let lineage = record::lineage(ws);
    for entity in &work.entities {
        let was_gone = |id: &Id| removed.contains_key(id) && !sparse::has_log(ws, *id);
        let gone = entity.task().filter(was_gone);
        let mut did = repair_one(ws, entity, &work, &lineage, runtime, &mut healed)?;
        if let Some((id, removal)) = gone.and_then(|id| Some((id, removed.get(&id)?))).filter(|_| !did.is_empty()) {
            did.push("files that a commit had removed restored");
            ws.notice(removed_files::brought_back(id, &removal.commit));
            healed.brought_back.push(RestoredTask::of(id, Some(removal)));
        }
        if !did.is_empty() {
            healed.written.push(entity.clone());
        }
        healed.sorted += usize::from(did == [SORTED]);
        did.retain(|what| *what != SORTED);
        if !did.is_empty() {
            let did = did.into_iter().map(str::to_owned).collect();
            healed.items.push(RepairedEntity { entity: entity.clone(), did });
        }
    }
    let shown = std::mem::take(&mut healed.lost);
    let found = if shown.is_empty() { Vec::new() } else { ref_logs::events_known_here(ws, &shown)? };
    work.entities = found.iter().map(|entry| entry.event.entity.clone()).collect();
    for entry in found {
        work.events.entry(entry.event.entity.clone()).or_default().push(entry);
    }
    collect::collect_gaps(ws, &mut work)?;
    for entity in std::mem::take(&mut work.entities) {
        let did = repair_one(ws, &entity, &work, &lineage, runtime, &mut healed)?;
        if !did.is_empty() {
            healed.written.push(entity.clone());
            healed.items.push(RepairedEntity { entity, did: did.into_iter().map(str::to_owned).collect() });
        }
    }
    if let Some(objects) = &objects {
        work.archives_written.clone_from(&healed.archives);
        healed.staged = stage(ws, objects, &work, healed.written.iter(), false)?;
    }
    Ok((healed, work.whole))
}

/// Whether an archive holds a redacted text of one of these tasks.
fn has_redacted_text(ws: &Workspace, entities: &BTreeSet<Entity>) -> Result<bool> {
    let archived = archive::archived(&ws.store)?;
    for entity in entities.iter().filter(|entity| entity.task().is_some_and(|id| archived.holds(id))) {
        if !read_log(&ws.store, entity)?.redacted_texts().is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn repair_one(
    ws: &Workspace,
    entity: &Entity,
    work: &Work,
    lineage: &Lineage<'_>,
    runtime: &Dir,
    healed: &mut RepairReport,
) -> Result<Vec<&'static str>> {
    let mut log = read_log(&ws.store, entity)?;
    let mut did = Vec::new();
    if log.fixed {
        return Ok(did);
    }
    if let Some(id) = entity.task().filter(|id| log.partial && !sparse::has_log(ws, *id)) {
        let has_news = work.events.get(entity).is_some_and(|found| absent(&log.entries, found).next().is_some());
        if fold(id, &log.entries).0.status != Status::Archived {
            let folder = task_dir(id);
            let failed = |e: std::io::Error| Error::io("make", &ws.store.path().join(&folder), &e);
            ws.store.dir.make_dir(&folder).map_err(failed)?;
            did.push("brought back from the archive");
        } else if !has_news {
            return Ok(did);
        }
    } else if log.partial {
        did.push("events that an archive holds restored to the log");
    }
    did.extend(tidy(&mut log, entity, work));
    let found = work.events.get(entity).map(|entries| order(entity, entries).events).unwrap_or_default();
    let known: BTreeSet<Id> = log.entries.iter().map(|e| e.event.id).collect();
    let more: Vec<Entry> = found.into_iter().filter(|e| !known.contains(&e.event.id)).cloned().collect();
    if !more.is_empty() {
        healed.restored += more.len();
        did.push(RESTORED);
    }
    if log.entries.is_empty() && more.is_empty() {
        return Ok(did);
    }
    let readable = match read_yaml(&ws.store, entity) {
        // agentpm writes no file of this size; lint reports it.
        Err(e) if e.kind() == std::io::ErrorKind::FileTooLarge => {
            if !did.is_empty() {
                project_log(&ws.store, entity, log, &more, runtime)?;
            }
            return Ok(did);
        }
        read => read.unwrap_or_default(),
    };
    let all = match more.is_empty() {
        true => Cow::Borrowed(&log.entries),
        false => Cow::Owned(log.entries.iter().chain(&more).cloned().collect()),
    };
    let judge = |bytes: &Vec<u8>| lineage.judge(Place::WorkTree, entity, &log.entries, &all, bytes);
    let judged = readable.as_ref().map(judge);
    if let Some(judged) = judged.as_ref().filter(|judged| !judged.how.holds_words()) {
        record::notice_unclear(ws, entity, judged);
    }
    match judged {
        None => did.push("task.yaml rendered from its log"),
        Some(judged) => match judged.how {
            Readable::Clean => {}
            Readable::Conflicted => did.push("conflict in task.yaml resolved from its log"),
            Readable::Stale | Readable::Form => did.push("task.yaml rendered from its log"),
            how => {
                healed.edits.extend(entity.task().map(|id| (id, judged.conflicted)));
                if let Readable::Ahead(event) = how {
                    healed.lost.insert(event);
                }
                // A hand edit stays until it is recorded.
                if !did.is_empty() {
                    if !lineage.is_rendered_from(entity, &log.entries) {
                        record::note_rendered(ws, runtime, &[(entity.clone(), Rendered::default())])?;
                    }
                    project_log(&ws.store, entity, log, &more, runtime)?;
                }
                return Ok(did);
            }
        },
    }
    let unmerged = home(entity).is_some_and(|(folder, name)| {
        let path = |file: &str| ws.store.shown(folder.join(file));
        work.unmerged.contains(&path(LOG)) || work.unmerged.contains(&path(name))
    });
    if (!did.is_empty() || unmerged)
        && let Some(heads) = project_onto(&ws.store, entity, log, &more, runtime, readable.as_deref())?
    {
        record::note_rendered(ws, runtime, &[(entity.clone(), heads.into())])?;
    }
    if did.iter().all(|what| *what == SORTED) && unmerged {
        did.push("conflict resolved");
    }
    Ok(did)
}

/// Marks a log that is to be written in its plain form, without the events of other entities; says why.
fn tidy(log: &mut Log, entity: &Entity, work: &Work) -> Option<&'static str> {
    let strangers = |e: &Entry| e.event.entity != *entity && is_moved_to_own_log(work, e);
    if log.entries.iter().any(strangers) {
        log.entries.retain(|e| !strangers(e));
        log.rough = true;
        Some("events of another entity moved to its own log")
    } else if !log.redacted_texts().is_empty() {
        log.rough = true;
        Some("redacted text removed")
    } else if log.rough {
        Some("log rewritten in its plain form")
    } else {
        log.unsorted.then_some(SORTED)
    }
}

/// Whether `task.yaml` contains conflict markers.
fn is_torn(ws: &Workspace, entity: &Entity) -> bool {
    read_yaml(&ws.store, entity).ok().flatten().is_some_and(|bytes| is_conflicted(&String::from_utf8_lossy(&bytes)))
}

/// The files of the store in git's index.
fn files_in_index(ws: &Workspace) -> Result<BTreeMap<String, Oid>> {
    let Some(repo) = &ws.repo else { return Ok(BTreeMap::new()) };
    Ok(repo.objects()?.files_in_index(&repo.index_in_force(&ws.env), &ws.store.name)?.into_iter().collect())
}

/// Whether a task's file in git's index equals the one in the work tree.
fn is_in_index(ws: &Workspace, index: &BTreeMap<String, Oid>, id: Id) -> bool {
    let bytes = read_yaml(&ws.store, &Entity::Task(id)).ok().flatten();
    let objects = ws.repo.as_ref().and_then(|repo| repo.objects().ok());
    let name = objects.zip(bytes).and_then(|(objects, bytes)| objects.name_of(&bytes).ok());
    name.is_some() && name.as_ref() == index.get(&ws.store.shown(task_dir(id).join("task.yaml")))
}

/// The entities without hand edits that differ between HEAD and the index.
fn rendered_in_index(ws: &Workspace, objects: &Objects) -> Result<BTreeSet<Entity>> {
    let Some(repo) = &ws.repo else { return Ok(BTreeSet::new()) };
    let tree = objects.head()?.commit.map(|head| objects.commit(head)).transpose()?.map(|head| head.tree);
    let staged = objects.staged(&repo.index_in_force(&ws.env), tree, &ws.store.name)?;
    let mut entities: BTreeSet<Entity> =
        staged.changes.iter().filter_map(|change| entity_of(ws, &change.path)).map(|(entity, _)| entity).collect();
    entities.retain(|entity| {
        let log = read_log(&ws.store, entity).unwrap_or_default();
        let readable = read_yaml(&ws.store, entity).ok().flatten();
        readable.is_some_and(|bytes| render(entity, &log.entries).as_bytes() == bytes)
    });
    Ok(entities)
}

/// Stages conflicted files as resolved; during a git operation, or with `always`, also the written files. Returns the number of
/// changed entries.
fn stage<'e>(
    ws: &Workspace,
    objects: &Objects,
    work: &Work,
    written: impl Iterator<Item = &'e Entity>,
    always: bool,
) -> Result<usize> {
    let Some(repo) = &ws.repo else { return Ok(0) };
    // Git records no operation for a squash that is not committed yet.
    let squash = outside::metadata(&repo.git_dir.join("SQUASH_MSG")).is_ok();
    let busy = always || objects.in_progress().is_some() || squash || !work.unmerged.is_empty();
    let mut resolved: BTreeSet<String> = work.unmerged.clone();
    if busy {
        resolved.extend(work.archives_written.iter().map(|path| ws.store.shown(path)));
        for (folder, name) in written.filter_map(home) {
            resolved.extend([LOG, name].map(|file| ws.store.shown(folder.join(file))));
        }
    }
    if resolved.is_empty() {
        return Ok(0);
    }
    let (index, known) = (repo.index_in_force(&ws.env), files_in_index(ws)?);
    let (mut input, mut count) = (Vec::new(), 0);
    for path in &resolved {
        let below = path.strip_prefix(&format!("{}/", ws.store.name)).unwrap_or(path);
        let bytes = match ws.store.dir.read(below, crate::store::log::MAX_LOG) {
            Ok(bytes) => bytes,
            // An archive holds all of the task.
            Err(e) if e.kind() == ErrorKind::NotFound && is_archived(ws, below) => {
                if known.contains_key(path) || work.unmerged.contains(path) {
                    count += 1;
                    input.extend_from_slice(format!("0 {}\t{path}\0", objects.no_object()).as_bytes());
                }
                continue;
            }
            Err(_) => continue,
        };
        if is_conflicted(&String::from_utf8_lossy(&bytes)) {
            continue;
        }
        let oid = objects.write_blob(&bytes)?;
        if known.get(path) == Some(&oid) {
            continue;
        }
        count += 1;
        if work.unmerged.contains(path) {
            input.extend_from_slice(format!("0 {}\t{path}\0", "0".repeat(oid.to_string().len())).as_bytes());
        }
        input.extend_from_slice(format!("{} {oid}\t{path}\0", Mode::File.octal()).as_bytes());
    }
    if count == 0 {
        return Ok(0);
    }
    let git = repo.program(&ws.env, INDEX_DEADLINE)?;
    let args = ["update-index", "-z", "--index-info"];
    let outcome = git.call(&args, Some(&index), input)?;
    git.text(&args, &outcome).map_err(|e| e.hint("the files are resolved; git add them when git is free again"))?;
    Ok(count)
}

/// Whether a path below the store is that of a task's file which an archive replaces, or of an archive that is gone.
fn is_archived(ws: &Workspace, below: &str) -> bool {
    let holds = |id: Id| archive::archived(&ws.store).is_ok_and(|archived| archived.holds(id));
    is_in_archives(below) || entity_below(below).and_then(|(entity, _)| entity.task()).is_some_and(holds)
}

/// Whether a path of the work tree is that of an archive.
fn is_archive_of(ws: &Workspace, path: &str) -> bool {
    path.strip_prefix(&ws.store.name).and_then(|rest| rest.strip_prefix('/')).is_some_and(is_in_archives)
}

/// The entity a path of the work tree belongs to, and whether it is its log.
fn entity_of(ws: &Workspace, path: &str) -> Option<(Entity, bool)> {
    entity_below(path.strip_prefix(&ws.store.name)?.strip_prefix('/')?)
}

fn is_moved_to_own_log(work: &Work, entry: &Entry) -> bool {
    work.events.get(&entry.event.entity).is_some_and(|events| events.iter().any(|e| e.line == entry.line))
}
