//! The plan as it was: the events of a task at a point of its life, from the work tree's logs or from a commit.
//!
//! Guarantees: a commit is read from git's objects alone; nothing is checked out.
//! Leaves to others: what changed between two points (`reports::change`).

use std::collections::{BTreeMap, BTreeSet};

use super::read::{self, one_of, tasks_of};
use crate::engine::context::Workspace;
use crate::env::parallel;
use crate::error::{Code, Error, Result};
use crate::git::{Item, Mode, Objects, Oid, Repo};
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry};
use crate::model::id::{ABBREVIATION_MIN, Id};
use crate::model::point::Point;
use crate::model::settings::LintSettings;
use crate::reports::view::PointView;
use crate::store::config::combine;
use crate::store::entity::{read_log, read_log_with};
use crate::store::index::Pending;
use crate::store::layout::{LOG, TASKS, task_dir};
use crate::store::log::{Log, MAX_LOG};

/// The plan at a point.
pub(crate) struct Past<'a> {
    ws: &'a Workspace,
    point: Option<Point>,
    source: Source,
}

/// Where its events are read.
enum Source {
    /// The work tree's logs and what is acknowledged but not in them yet.
    Here(Pending),
    /// A commit.
    Commit(Box<Tree>),
}

/// The tasks of a commit.
pub(crate) struct Tree {
    objects: Objects,
    commit: Oid,
    tasks: Option<Oid>,
}

/// Where a file stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The work tree, or an editor.
    WorkTree,
    /// Git's index.
    Index,
    /// A commit.
    Commit(Oid),
}

/// The severities of the rules in a commit; as they come where it has no settings that can be read.
pub(crate) fn severities_at(ws: &Workspace, objects: &Objects, commit: Oid) -> Result<LintSettings> {
    let name = ws.store.shown("config.toml");
    let bytes = objects.file(objects.commit(commit)?.tree, &name)?.unwrap_or_default();
    let text = String::from_utf8(bytes).ok();
    Ok(text.map(|text| combine(&[(name, text)]).0.lint).unwrap_or_default())
}

/// The plan at a point; as it is now for `None`.
pub(crate) fn past<'a>(ws: &'a Workspace, point: Option<&Point>) -> Result<Past<'a>> {
    let source = match point {
        Some(Point::Revision(revision)) => Source::Commit(Box::new(tree_of(ws, revision)?)),
        _ => Source::Here(tasks_of(read::pending(ws)?)),
    };
    Ok(Past { ws, point: point.cloned(), source })
}

fn tree_of(ws: &Workspace, revision: &str) -> Result<Tree> {
    let objects = objects(ws)?;
    let commit = objects.commit_named(revision)?;
    tree_at(ws, objects, commit)
}

/// The plan at a commit.
pub(crate) fn past_commit(ws: &Workspace, commit: Oid) -> Result<Past<'_>> {
    let tree = tree_at(ws, objects(ws)?, commit)?;
    Ok(Past { ws, point: Some(Point::Revision(commit.to_string())), source: Source::Commit(Box::new(tree)) })
}

fn tree_at(ws: &Workspace, objects: Objects, commit: Oid) -> Result<Tree> {
    let top = objects.commit(commit)?.tree;
    let tasks = objects.item(top, &ws.store.shown(TASKS))?;
    Ok(Tree { commit, tasks: tasks.filter(|item| item.mode == Mode::Tree).map(|item| item.oid), objects })
}

/// What git keeps.
///
/// Errors: `ERR_GIT` where the store lies in no repository, or in one that cannot be read.
pub(crate) fn objects(ws: &Workspace) -> Result<Objects> {
    repo_around(ws)?.objects_with(&ws.env)
}

/// The repository that the store lies in.
///
/// Errors: `ERR_GIT` where it lies in none.
pub(crate) fn repo_around(ws: &Workspace) -> Result<&Repo> {
    ws.repo.as_ref().ok_or_else(|| {
        Error::new(Code::Git, format!("{} lies in no git repository", ws.store.path().display()))
            .hint("name a Lamport time or a time instead of a revision")
    })
}

impl Past<'_> {
    /// The events of a task that had happened by that point.
    pub fn entries(&self, id: Id) -> Result<Vec<Entry>> {
        let mut entries = match &self.source {
            Source::Commit(tree) => return Ok(tree.log(id)?.entries),
            Source::Here(pending) => {
                let more = pending.get(&id).map_or(&[][..], Vec::as_slice);
                read_log_with(&self.ws.store, &Entity::Task(id), more)?.entries
            }
        };
        entries.retain(|entry| had_happened(entry, self.point.as_ref()));
        Ok(entries)
    }

    /// What `compare` makes of the events of each of these tasks that had happened by that point and by a later point.
    pub fn compared<T: Send>(
        &self,
        later: &Past,
        tasks: &[Id],
        compare: impl Fn(Id, &[Entry], &[Entry]) -> T + Sync,
    ) -> Result<Vec<T>> {
        let (Source::Here(_), Source::Here(pending)) = (&self.source, &later.source) else {
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

    /// The tasks there were by that point, and perhaps some that came later.
    pub fn tasks(&self) -> Result<BTreeSet<Id>> {
        match &self.source {
            Source::Here(pending) => {
                let folders = self.ws.store.task_folders()?.0;
                Ok(folders.into_iter().chain(pending.keys().copied()).collect())
            }
            Source::Commit(tree) => tree.ids(),
        }
    }

    /// Where the files of that point stand.
    pub fn file_place(&self) -> Place {
        match &self.source {
            Source::Here(_) => Place::WorkTree,
            Source::Commit(tree) => Place::Commit(tree.commit),
        }
    }

    /// The shards of the commit, with their trees.
    pub fn shards(&self) -> Result<BTreeMap<String, Oid>> {
        match &self.source {
            Source::Commit(tree) => tree.shards(),
            Source::Here(_) => Ok(BTreeMap::new()),
        }
    }

    /// The tasks whose events may differ from those at a later point.
    pub fn candidates(&self, later: &Past) -> Result<BTreeSet<Id>> {
        match (&self.source, &later.source) {
            (Source::Commit(a), Source::Commit(b)) => {
                let changed = a.objects.changes(a.tasks, b.tasks)?;
                a.objects.fetch_missing(changed.iter().flat_map(|c| [c.old, c.new]).flatten().map(|item| item.oid))?;
                Ok(changed.iter().filter_map(|change| task_in(&change.path)).collect())
            }
            (Source::Here(_), Source::Here(_)) => match (&self.point, &later.point) {
                (Some(Point::Lamport(a)), Some(Point::Lamport(b))) => self.after(*a.min(b)),
                (Some(Point::Lamport(a)), None) | (None, Some(Point::Lamport(a))) => self.after(*a),
                _ => self.tasks(),
            },
            (Source::Commit(tree), Source::Here(pending)) | (Source::Here(pending), Source::Commit(tree)) => {
                // What the work tree has byte for byte as the commit has it had happened by that point, whenever that was: only a
                // point before now can still distinguish them.
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
                Ok(all.into_iter().zip(same).filter(|(_, same)| !same).map(|(id, _)| id).collect())
            }
        }
    }

    /// The tasks of the work tree with an event above a Lamport time.
    fn after(&self, lamport: u64) -> Result<BTreeSet<Id>> {
        Ok(read::index(self.ws)?.tasks_after(lamport)?.into_iter().collect())
    }

    /// The task that a reference means, here or among the tasks of the commit.
    pub fn resolve(&self, reference: &Ref) -> Result<Id> {
        let here = read::resolve(self.ws, reference);
        let Source::Commit(tree) = &self.source else { return here };
        match here {
            Err(e) if e.code == Code::NotFound => {
                let text = reference.0.to_ascii_uppercase();
                let fits = |id: &Id| id.to_string().starts_with(&text) || id.to_string().ends_with(&text);
                let found = if text.len() < ABBREVIATION_MIN { BTreeSet::new() } else { tree.ids()? };
                one_of(found.into_iter().filter(fits).collect(), reference)?.ok_or(e)
            }
            other => other,
        }
    }

    /// The point, for answers.
    pub fn describe(&self) -> PointView {
        PointView {
            point: self.point.as_ref().map_or_else(|| "now".to_owned(), Point::to_string),
            commit: match &self.source {
                Source::Commit(tree) => Some(tree.commit.to_string()),
                Source::Here(_) => None,
            },
        }
    }

    /// The severities of the rules of lint by the settings of that point.
    pub fn severities(&self) -> Result<LintSettings> {
        match &self.source {
            Source::Commit(tree) => severities_at(self.ws, &tree.objects, tree.commit),
            Source::Here(_) => Ok(self.ws.settings.lint.clone()),
        }
    }

    /// The log of a task and the bytes of its readable file, in a commit.
    pub fn files(&self, id: Id) -> Result<(Log, Option<Vec<u8>>)> {
        match &self.source {
            Source::Commit(tree) => Ok((tree.log(id)?, tree.file(id, "task.yaml")?)),
            Source::Here(_) => Ok((read_log(&self.ws.store, &Entity::Task(id))?, None)),
        }
    }
}

impl Tree {
    fn file(&self, id: Id, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(tasks) = self.tasks else { return Ok(None) };
        self.objects.file(tasks, &format!("{}/{id}/{name}", id.shard()))
    }

    fn log(&self, id: Id) -> Result<Log> {
        read(id, &self.file(id, LOG)?.unwrap_or_default())
    }

    /// Fetches what a partial clone lacks of the tasks.
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
        Ok(ids)
    }
}

/// Whether the work tree's log of a task has the bytes it has in a commit with these shards.
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

/// Whether an event of the work tree had happened by a point.
fn had_happened(entry: &Entry, point: Option<&Point>) -> bool {
    match point {
        Some(Point::Lamport(most)) => entry.event.lamport <= *most,
        Some(Point::Time(latest)) => entry.event.at <= *latest,
        _ => true,
    }
}

fn read(id: Id, log: &[u8]) -> Result<Log> {
    Log::read(log).map_err(|e| Error::new(Code::Git, format!("cannot read the log of task {id}: {e}")))
}

/// The commits from which a branch set out: several where it and its base were merged into each other crosswise. There is at
/// least one.
///
/// Errors: `ERR_GIT` where there is none.
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

/// The commits of the base that commits of a branch build upon: where it began, and what it merged since.
///
/// Errors: `ERR_GIT` where history cannot be read.
pub(crate) fn built_upon(objects: &Objects, base: Oid, head: Oid) -> Result<BTreeSet<Oid>> {
    let own: BTreeSet<Oid> = objects.walk(&[head], &[base], usize::MAX)?.into_iter().collect();
    let mut parents = BTreeSet::new();
    for commit in &own {
        parents.extend(objects.commit(*commit)?.parents);
    }
    // What is not committed yet builds upon the head.
    if own.is_empty() {
        parents.insert(head);
    }
    // A shallow clone does not have all of them.
    Ok(parents.into_iter().filter(|parent| !own.contains(parent) && objects.has(*parent)).collect())
}

/// The events that any of these logs holds, each line once.
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
