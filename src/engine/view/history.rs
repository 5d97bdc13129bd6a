//! The plan at a point in time: the events of a task from the work tree's logs, or from a commit.
//!
//! Guarantees that a commit is read from git's objects alone, without a checkout.
//! Leaves to others: what changed between two points (`reports::change`).

use std::collections::{BTreeMap, BTreeSet};

use super::archives::TreeArchives;
use super::read::{self, one_of, tasks_of};
use crate::engine::context::Workspace;
use crate::env::parallel;
use crate::error::{Code, Error, Result};
use crate::git::{Item, Mode, Objects, Oid, Repo};
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry};
use crate::model::id::{ABBREVIATION_MIN, Id};
use crate::model::point::Point;
use crate::model::settings::{LintSettings, Settings};
use crate::reports::view::PointView;
use crate::store::archive;
use crate::store::config::{SettingsFile, combine};
use crate::store::entity::{read_log, read_log_with};
use crate::store::index::Pending;
use crate::store::layout::{CONFIG, LOG, TASKS, task_dir};
use crate::store::log::{Log, MAX_LOG};

/// The plan at a point.
pub(crate) struct PlanAt<'a> {
    ws: &'a Workspace,
    point: Option<Point>,
    source: EventSource,
}

/// Where the events of a point are read.
enum EventSource {
    /// The work tree's logs, with acknowledged events that are not projected yet.
    Here(Pending),
    /// A commit.
    Commit(Box<Tree>),
}

/// The tasks of a commit.
pub(crate) struct Tree {
    objects: Objects,
    commit: Oid,
    plan: Option<Oid>,
    tasks: Option<Oid>,
    archives: TreeArchives,
}

/// The place of a version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The work tree, or the buffer of an editor.
    WorkTree,
    /// Git's index.
    Index,
    /// A commit.
    Commit(Oid),
}

/// The settings of the store in a commit; the defaults if it has no readable ones.
pub(crate) fn settings_at(ws: &Workspace, objects: &Objects, commit: Oid) -> Result<Settings> {
    let name = ws.store.shown(CONFIG);
    let bytes = objects.file(objects.commit(commit)?.tree, &name)?.unwrap_or_default();
    let text = String::from_utf8(bytes).ok();
    Ok(text.map(|text| combine(&[SettingsFile::of_store(name, text)]).0).unwrap_or_default())
}

/// The plan at a point; the present plan for `None`.
pub(crate) fn plan_at<'a>(ws: &'a Workspace, point: Option<&Point>) -> Result<PlanAt<'a>> {
    let point = point.map(|point| point.seen_from(ws.env.now()));
    let source = match &point {
        Some(Point::Revision(revision)) => EventSource::Commit(Box::new(tree_of(ws, revision)?)),
        _ => EventSource::Here(tasks_of(read::pending(ws)?)),
    };
    Ok(PlanAt { ws, point, source })
}

fn tree_of(ws: &Workspace, revision: &str) -> Result<Tree> {
    let objects = objects(ws)?;
    let commit = objects.commit_named(revision)?;
    tree_at(ws, objects, commit)
}

/// The plan at a commit.
pub(crate) fn plan_at_commit(ws: &Workspace, commit: Oid) -> Result<PlanAt<'_>> {
    let tree = tree_at(ws, objects(ws)?, commit)?;
    Ok(PlanAt { ws, point: Some(Point::Revision(commit.to_string())), source: EventSource::Commit(Box::new(tree)) })
}

fn tree_at(ws: &Workspace, objects: Objects, commit: Oid) -> Result<Tree> {
    let top = objects.commit(commit)?.tree;
    let folder = |item: Option<Item>| item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid);
    let plan = folder(objects.item(top, &ws.store.name)?);
    let tasks = folder(plan.map(|plan| objects.item(plan, TASKS)).transpose()?.flatten());
    Ok(Tree {
        commit,
        plan,
        tasks,
        archives: TreeArchives::at(&objects, plan)?.with_files_of(&objects, &ws.store)?,
        objects,
    })
}

/// The objects of the repository that contains the store.
///
/// Errors: `ERR_GIT` if the store is in no repository, or in an unreadable one.
pub(crate) fn objects(ws: &Workspace) -> Result<Objects> {
    repo_around(ws)?.objects_with(&ws.env)
}

/// The repository that contains the store.
///
/// Errors: `ERR_GIT` if there is none.
pub(crate) fn repo_around(ws: &Workspace) -> Result<&Repo> {
    ws.repo.as_ref().ok_or_else(|| {
        Error::new(Code::Git, format!("{} lies in no git repository", ws.store.path().display()))
            .hint("name a Lamport time or a time instead of a revision")
    })
}

impl PlanAt<'_> {
    /// The events of a task up to that point.
    pub fn entries(&self, id: Id) -> Result<Vec<Entry>> {
        let mut entries = match &self.source {
            EventSource::Commit(tree) => return Ok(tree.log(id)?.entries),
            EventSource::Here(pending) => {
                let more = pending.get(&id).map_or(&[][..], Vec::as_slice);
                read_log_with(&self.ws.store, &Entity::Task(id), more)?.entries
            }
        };
        entries.retain(|entry| had_happened(entry, self.point.as_ref()));
        Ok(entries)
    }

    /// Applies `compare` to the events of each of these tasks up to that point and up to a later one.
    pub fn compared<T: Send>(
        &self,
        later: &PlanAt,
        tasks: &[Id],
        compare: impl Fn(Id, &[Entry], &[Entry]) -> T + Sync,
    ) -> Result<Vec<T>> {
        let (EventSource::Here(_), EventSource::Here(pending)) = (&self.source, &later.source) else {
            return tasks.iter().map(|id| Ok(compare(*id, &self.entries(*id)?, &later.entries(*id)?))).collect();
        };
        let (store, points) = (&self.ws.store, (self.point.as_ref(), later.point.as_ref()));
        parallel::map(tasks, |id| {
            let more = pending.get(id).map_or(&[][..], Vec::as_slice);
            let mut after = read_log_with(store, &Entity::Task(*id), more)?.entries;
            let before: Vec<Entry> = after.iter().filter(|entry| had_happened(entry, points.0)).cloned().collect();
            after.retain(|entry| had_happened(entry, points.1));
            Ok(compare(*id, &before, &after))
        })
    }

    /// The tasks that existed at that point, and possibly later ones.
    pub fn tasks(&self) -> Result<BTreeSet<Id>> {
        match &self.source {
            EventSource::Here(pending) => {
                let known = archive::all_tasks(&self.ws.store)?;
                Ok(known.into_iter().chain(pending.keys().copied()).collect())
            }
            EventSource::Commit(tree) => tree.ids(),
        }
    }

    /// The place of that point's files.
    pub fn file_place(&self) -> Place {
        match &self.source {
            EventSource::Here(_) => Place::WorkTree,
            EventSource::Commit(tree) => Place::Commit(tree.commit),
        }
    }

    /// The tree of the store's folder in the commit, if it has one.
    pub fn tree_of_plan(&self) -> Option<Oid> {
        match &self.source {
            EventSource::Commit(tree) => tree.plan,
            EventSource::Here(_) => None,
        }
    }

    /// The shards of the commit, with their trees.
    pub fn shards(&self) -> Result<BTreeMap<String, Oid>> {
        match &self.source {
            EventSource::Commit(tree) => tree.shards(),
            EventSource::Here(_) => Ok(BTreeMap::new()),
        }
    }

    /// The archives of the commit, by path.
    pub fn archives(&self) -> BTreeMap<String, Oid> {
        match &self.source {
            EventSource::Commit(tree) => tree.archives.blobs().clone(),
            EventSource::Here(_) => BTreeMap::new(),
        }
    }

    /// The tasks whose events may differ from those at a later point.
    pub fn candidates(&self, later: &PlanAt) -> Result<BTreeSet<Id>> {
        match (&self.source, &later.source) {
            (EventSource::Commit(a), EventSource::Commit(b)) => {
                let changed = a.objects.changes(a.tasks, b.tasks)?;
                a.objects.fetch_missing(changed.iter().flat_map(|c| [c.old, c.new]).flatten().map(|item| item.oid))?;
                let mut tasks: BTreeSet<Id> = changed.iter().filter_map(|change| task_in(&change.path)).collect();
                tasks.extend(a.archives.differing(&a.objects, &b.archives)?);
                Ok(tasks)
            }
            (EventSource::Here(_), EventSource::Here(_)) => match (&self.point, &later.point) {
                (Some(Point::Lamport(a)), Some(Point::Lamport(b))) => self.after(*a.min(b)),
                (Some(Point::Lamport(a)), None) | (None, Some(Point::Lamport(a))) => self.after(*a),
                _ => self.tasks(),
            },
            (EventSource::Commit(tree), EventSource::Here(pending))
            | (EventSource::Here(pending), EventSource::Commit(tree)) => {
                // A log that is byte for byte that of the commit has no later events, so only a point before the present can
                // distinguish them.
                let all: BTreeSet<Id> = self.tasks()?.into_iter().chain(later.tasks()?).collect();
                if self.point.is_some() && later.point.is_some() {
                    return Ok(all);
                }
                let (all, shards, repo) = (Vec::from_iter(all), tree.shards()?, repo_around(self.ws)?);
                tree.fetch_all()?;
                let same = parallel::map_with(
                    &all,
                    || repo.objects_for_many(),
                    |objects, id| Ok(!pending.contains_key(id) && is_same(self.ws, objects, &shards, *id)?),
                )?;
                let mut tasks: BTreeSet<Id> =
                    all.into_iter().zip(same).filter(|(_, same)| !same).map(|(id, _)| id).collect();
                tasks.extend(tree.archives.differing_from(&tree.objects, &self.ws.store)?);
                Ok(tasks)
            }
        }
    }

    /// The tasks of the work tree with an event above a Lamport time.
    fn after(&self, lamport: u64) -> Result<BTreeSet<Id>> {
        Ok(read::index(self.ws)?.tasks_after(lamport)?.into_iter().collect())
    }

    /// The task that a reference means, in the work tree or in the commit.
    pub fn resolve(&self, reference: &Ref) -> Result<Id> {
        let here = read::resolve(self.ws, reference);
        let EventSource::Commit(tree) = &self.source else { return here };
        match here {
            Err(e) if e.code == Code::NotFound => {
                let text = reference.0.to_ascii_uppercase();
                let found = if text.len() < ABBREVIATION_MIN { BTreeSet::new() } else { tree.ids()? };
                one_of(found.into_iter().filter(|id| id.has_part(&text)).collect(), reference)?.ok_or(e)
            }
            other => other,
        }
    }

    /// The point, for answers.
    pub fn describe(&self) -> PointView {
        PointView {
            point: self.point.as_ref().map_or_else(|| "now".to_owned(), Point::to_string),
            commit: match &self.source {
                EventSource::Commit(tree) => Some(tree.commit.to_string()),
                EventSource::Here(_) => None,
            },
        }
    }

    /// The severities of the lint rules at that point.
    pub fn severities(&self) -> Result<LintSettings> {
        match &self.source {
            EventSource::Commit(tree) => settings_at(self.ws, &tree.objects, tree.commit).map(|settings| settings.lint),
            EventSource::Here(_) => Ok(self.ws.settings.lint.clone()),
        }
    }

    /// The log of a task and the bytes of its `task.yaml` in a commit.
    pub fn files(&self, id: Id) -> Result<(Log, Option<Vec<u8>>)> {
        match &self.source {
            EventSource::Commit(tree) => Ok((tree.log(id)?, tree.file(id, "task.yaml")?)),
            EventSource::Here(_) => Ok((read_log(&self.ws.store, &Entity::Task(id))?, None)),
        }
    }
}

impl Tree {
    fn file(&self, id: Id, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(tasks) = self.tasks else { return Ok(None) };
        self.objects.file(tasks, &format!("{}/{id}/{name}", id.shard()))
    }

    fn log(&self, id: Id) -> Result<Log> {
        let bytes = self.file(id, LOG)?;
        Ok(self.archives.completed(&self.objects, &Entity::Task(id), bytes.as_deref())?.unwrap_or_default())
    }

    /// Fetches the objects of tasks that a partial clone lacks.
    fn fetch_all(&self) -> Result<()> {
        match self.objects.is_partial() {
            true => {
                let files = self.objects.changes(None, self.tasks)?;
                self.objects.fetch_missing(files.into_iter().filter_map(|change| Some(change.new?.oid)))
            }
            false => Ok(()),
        }
    }

    fn shards(&self) -> Result<BTreeMap<String, Oid>> {
        let folders = |tree: Oid| -> Result<Vec<(String, Oid)>> {
            let items = self.objects.items(tree)?.into_iter();
            Ok(items.filter(|(_, item)| item.mode == Mode::Tree).map(|(name, item)| (name, item.oid)).collect())
        };
        let mut shards = BTreeMap::new();
        for (first, tree) in self.tasks.map(folders).transpose()?.unwrap_or_default() {
            shards.extend(folders(tree)?.into_iter().map(|(second, shard)| (format!("{first}/{second}"), shard)));
        }
        Ok(shards)
    }

    fn ids(&self) -> Result<BTreeSet<Id>> {
        let mut ids = BTreeSet::new();
        for shard in self.shards()?.into_values() {
            ids.extend(self.objects.items(shard)?.keys().filter_map(|name| name.parse::<Id>().ok()));
        }
        ids.extend(self.archives.tasks(&self.objects)?);
        Ok(ids)
    }
}

/// Whether a task's log in the work tree is byte for byte the one in a commit with these shards.
fn is_same(ws: &Workspace, objects: &Objects, shards: &BTreeMap<String, Oid>, id: Id) -> Result<bool> {
    let there = match shards.get(&id.shard()) {
        Some(shard) => objects.item(*shard, &format!("{id}/{LOG}"))?,
        None => None,
    };
    match (ws.store.dir.read(task_dir(id).join(LOG), MAX_LOG), there) {
        (Ok(bytes), Some(Item { oid, .. })) => Ok(objects.name_of(&bytes)? == oid),
        _ => Ok(false),
    }
}

/// Whether an event of the work tree is not later than a point.
fn had_happened(entry: &Entry, point: Option<&Point>) -> bool {
    match point {
        Some(Point::Lamport(most)) => entry.event.lamport <= *most,
        Some(Point::Time(latest)) => entry.event.at <= *latest,
        _ => true,
    }
}

/// The merge bases of a branch and its base, at least one; several after criss-cross merges.
///
/// Errors: `ERR_GIT` if there is none.
pub(crate) fn began_at(objects: &Objects, base: Oid, head: Oid) -> Result<Vec<Oid>> {
    let found = objects.merge_bases(base, head)?;
    (!found.is_empty()).then_some(found).ok_or_else(|| {
        let error = Error::new(Code::Git, format!("{} and {} have no common ancestor", base.short(), head.short()));
        match objects.is_shallow() {
            true => error.hint("the clone is shallow: git fetch --unshallow fetches the rest of history"),
            false => error.hint("compare them as they are: agentpm diff BASE HEAD"),
        }
    })
}

/// The commits of the base that are parents of commits of a branch: its merge bases, and what it merged since.
///
/// Errors: `ERR_GIT` if history cannot be read.
pub(crate) fn built_upon(objects: &Objects, base: Oid, head: Oid) -> Result<BTreeSet<Oid>> {
    let own: BTreeSet<Oid> = objects.walk(&[head], &[base], usize::MAX)?.into_iter().collect();
    let mut parents = BTreeSet::new();
    for commit in &own {
        parents.extend(objects.commit(*commit)?.parents);
    }
    // Uncommitted changes are based on the head.
    if own.is_empty() {
        parents.insert(head);
    }
    // A shallow clone lacks some of them.
    Ok(parents.into_iter().filter(|parent| !own.contains(parent) && objects.has(*parent)).collect())
}

/// The union of these logs: each distinct line once.
pub(crate) fn united(logs: impl IntoIterator<Item = Vec<Entry>>) -> Vec<Entry> {
    let mut logs = logs.into_iter();
    let mut all = logs.next().unwrap_or_default();
    for log in logs {
        let there: BTreeSet<(Id, Box<str>)> = all.iter().map(|entry| (entry.event.id, entry.line.clone())).collect();
        all.extend(log.into_iter().filter(|entry| !there.contains(&(entry.event.id, entry.line.clone()))));
    }
    all
}

/// The task whose folder holds a path such as `P/8/01M7…P8/events.jsonl`.
fn task_in(path: &str) -> Option<Id> {
    path.split('/').nth(2)?.parse().ok()
}
