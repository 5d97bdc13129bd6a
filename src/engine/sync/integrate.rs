//! Integrates local commits with those of the upstream, without touching a work tree or a branch.
//!
//! Guarantees that the plan never conflicts, since its events are merged. Git merges the user's own files; a conflict there is a
//! refusal.
//! Leaves to others: merging the events of a task (`rules`, `store::merge`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::json;

use super::{Sync, refusal};
use crate::engine::view::archives::TreeArchives;
use crate::error::{Error, Result};
use crate::git::{Change, Item, Mode, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::fold::fold;
use crate::store::archive_form;
use crate::store::compact;
use crate::store::dropped;
use crate::store::layout::{CONFIG, DROPPED, LOG, ROLES, entity_below, home, is_in_archives};
use crate::store::log::{Log, union};
use crate::store::project::{redacted, render};

/// Most local commits that are replayed.
const MAX_COMMITS: usize = 2_000;

/// Whether the text that git made of three versions of the settings says what they say, setting by setting: git may have put a line
/// below the head of another table. Settings that cannot be read are corrected by a person, who sees the text.
fn is_merge_of_settings(versions: &[Option<Vec<u8>>; 3], merged: &Option<Vec<u8>>) -> bool {
    let read = |bytes: &Option<Vec<u8>>| -> Option<BTreeMap<Vec<String>, toml::Value>> {
        let text = std::str::from_utf8(bytes.as_deref().unwrap_or_default()).ok()?;
        let mut all = BTreeMap::new();
        spread(toml::Value::Table(text.parse().ok()?), Vec::new(), &mut all);
        Some(all)
    };
    let [base, ours, theirs] = versions.each_ref().map(read);
    let (Some(base), Some(ours), Some(theirs)) = (base, ours, theirs) else { return true };
    let Some(merged) = read(merged) else { return false };
    let all: BTreeSet<&Vec<String>> = [&base, &ours, &theirs, &merged].into_iter().flat_map(BTreeMap::keys).collect();
    all.into_iter().all(|name| {
        let [base, ours, theirs, merged] = [&base, &ours, &theirs, &merged].map(|one| one.get(name));
        let has_one_new = ours == base || theirs == base || ours == theirs;
        has_one_new && merged == if ours == base { theirs } else { ours }
    })
}

/// The values of a table, by the names that lead to them.
fn spread(value: toml::Value, above: Vec<String>, all: &mut BTreeMap<Vec<String>, toml::Value>) {
    match value {
        toml::Value::Table(table) => table.into_iter().for_each(|(name, value)| {
            spread(value, above.iter().cloned().chain([name]).collect(), all);
        }),
        value => drop(all.insert(above, value)),
    }
}

impl Sync<'_> {
    /// A commit that contains both `own` and `theirs`.
    pub(crate) fn integrate(&self, own: Oid, theirs: Oid) -> Result<Oid> {
        let Some(base) = self.objects.merge_base(own, theirs)? else {
            return Err(match self.objects.is_shallow() {
                true => refusal(
                    "this shallow clone does not reach back to where the branch and its upstream parted; nothing was changed",
                    "git fetch --unshallow (or --deepen 100), then agentpm sync",
                ),
                false => refusal(
                    "the branch and its upstream have no common history; nothing was changed",
                    "look at git log of both; set another upstream with git branch --set-upstream-to",
                ),
            });
        };
        if base == theirs {
            return Ok(own);
        }
        if base == own {
            return Ok(theirs);
        }
        let mut commits = self.objects.walk(&[own], &[theirs], MAX_COMMITS)?;
        commits.reverse();
        match self.is_linear(&commits)? {
            true => self.replay(&commits, theirs),
            // History with merges is merged, not linearized.
            false => self.join(base, own, theirs),
        }
    }

    /// Whether each commit is the only parent of the next.
    fn is_linear(&self, commits: &[Oid]) -> Result<bool> {
        let mut before = None;
        for commit in commits {
            let parents = self.objects.commit(*commit)?.parents;
            let follows = parents.len() == 1 && before.is_none_or(|before| parents[0] == before);
            if !follows {
                return Ok(false);
            }
            before = Some(*commit);
        }
        Ok(commits.len() < MAX_COMMITS)
    }

    fn replay(&self, commits: &[Oid], onto: Oid) -> Result<Oid> {
        let mut tip = onto;
        for commit in commits {
            let info = self.objects.commit(*commit)?;
            let (base, ours) = (self.objects.commit(info.parents[0])?.tree, self.objects.commit(tip)?.tree);
            let tree = self.merge_trees(base, ours, info.tree)?;
            // A commit that changes nothing on top of the upstream is dropped.
            if tree != ours {
                tip = self.commit_tree(tree, &[tip], &info.message, Some(&info))?;
            }
        }
        Ok(tip)
    }

    fn join(&self, base: Oid, own: Oid, theirs: Oid) -> Result<Oid> {
        let tree = |commit: Oid| self.objects.commit(commit).map(|info| info.tree);
        let merged = self.merge_trees(tree(base)?, tree(own)?, tree(theirs)?)?;
        let message = format!("Merge the upstream into {}\n", crate::engine::sync::short(&self.branch));
        self.commit_tree(merged, &[own, theirs], message.as_bytes(), None)
    }

    fn merge_trees(&self, base: Oid, ours: Oid, theirs: Oid) -> Result<Oid> {
        let name = &self.ws.store.name;
        let without = |tree: Oid| self.objects.write_tree(Some(tree), &[(name.clone(), None)]);
        let plan = |tree: Oid| -> Result<Option<Oid>> {
            Ok(self.objects.item(tree, name)?.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
        };
        let files = self.merge_files(without(base)?, without(ours)?, without(theirs)?)?;
        let plan = self.merge_plans(plan(base)?, plan(ours)?, plan(theirs)?)?;
        let plan = plan.map(|oid| Item { mode: Mode::Tree, oid });
        match plan {
            Some(plan) => self.objects.write_tree(Some(files), &[(name.clone(), Some(plan))]),
            None => Ok(files),
        }
    }

    /// The user's own files, merged by git.
    fn merge_files(&self, base: Oid, ours: Oid, theirs: Oid) -> Result<Oid> {
        if ours == theirs || base == theirs {
            return Ok(ours);
        }
        if base == ours {
            return Ok(theirs);
        }
        // Git merges only commits with a common ancestor; these two are never published.
        let root = self.passing_commit(base, &[])?;
        let (a, b) = (self.passing_commit(ours, &[root])?, self.passing_commit(theirs, &[root])?);
        let (a, b) = (a.to_string(), b.to_string());
        let args =
            ["-c", "merge.renames=true", "merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", &a, &b];
        let outcome = self.git.call(&args, None, Vec::new())?;
        let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
        let mut parts = said.split('\0').filter(|part| !part.is_empty());
        match (outcome.code, parts.next()) {
            (Some(0), Some(tree)) => tree.parse(),
            (Some(1), Some(_)) => {
                let paths: BTreeSet<&str> = parts.collect();
                Err(refusal(
                    format!(
                        "your commits and the upstream's change the same lines of {}; nothing was changed",
                        paths.iter().take(5).copied().collect::<Vec<_>>().join(", ")
                    ),
                    "commit the plan (git add .agentpm, git commit), git pull --rebase, resolve these files, agentpm resolve for the plan's, then agentpm sync",
                )
                .with(json!({ "paths": paths })))
            }
            _ => Err(self.git.failure(&args[2..], &outcome)),
        }
    }

    /// The plan, merged by its events.
    fn merge_plans(&self, base: Option<Oid>, ours: Option<Oid>, theirs: Option<Oid>) -> Result<Option<Oid>> {
        if ours == theirs || theirs == base {
            return Ok(ours);
        }
        if ours == base {
            return Ok(theirs);
        }
        let by_path = |changes: Vec<Change>| -> BTreeMap<String, Change> {
            changes.into_iter().map(|change| (change.path.clone(), change)).collect()
        };
        let mine = by_path(self.objects.changes(base, ours)?);
        let other = by_path(self.objects.changes(base, theirs)?);
        let sides = Sides {
            plans: [base, ours, theirs],
            archives: [self.archives(base)?, self.archives(ours)?, self.archives(theirs)?],
            dropped: [self.dropped_in(ours)?, self.dropped_in(theirs)?],
        };
        let touched = |changes: &BTreeMap<String, Change>, archives: &TreeArchives| -> Result<BTreeSet<Entity>> {
            let in_folders = changes.keys().filter_map(|path| entity_below(path)).map(|(entity, _)| entity);
            let in_archives = sides.archives[0].differing(&self.objects, archives)?.into_iter().map(Entity::Task);
            Ok(in_folders.chain(in_archives).collect())
        };
        let (here, there) = (touched(&mine, &sides.archives[1])?, touched(&other, &sides.archives[2])?);
        let both: BTreeSet<&Entity> = here.intersection(&there).collect();
        let mut changes: Vec<(String, Option<Item>)> = Vec::new();
        for (path, change) in &other {
            let entity = entity_below(path).map(|(entity, _)| entity);
            match (entity, mine.get(path)) {
                (Some(entity), _) if both.contains(&entity) => {}
                // A missing file of a task is not a deletion, unless an archive holds the task or it was dropped.
                (Some(entity), _) if change.new.is_none() => {
                    if let Entity::Task(id) = entity
                        && (sides.archives[2].holds(&self.objects, id)? || self.explains(&entity, &sides, 2)?)
                    {
                        changes.push((path.clone(), None));
                    }
                }
                (_, None) => changes.push((path.clone(), change.new)),
                (_, Some(own)) if own.new == change.new => {}
                (_, Some(_)) => {
                    let version =
                        |plan: Option<Oid>| Ok(plan.map(|plan| self.objects.file(plan, path)).transpose()?.flatten());
                    let [base, ours, theirs] = sides.plans.map(version);
                    let merged = self.merge_file(path, [base?, ours?, theirs?])?;
                    changes.push((path.clone(), self.file_item(merged.as_deref())?));
                }
            }
        }
        let mut leaving = BTreeSet::new();
        for entity in both {
            let merged = self.merge_entity(entity, &sides)?;
            changes.extend(merged.files);
            leaving.extend(entity.task().filter(|_| merged.leaves_archives));
        }
        let plan = self.objects.write_tree(ours, &changes)?;
        let archives = self.archives(Some(plan))?.without(&self.objects, &leaving)?;
        let rewritten: Vec<(String, Option<Item>)> = archives
            .into_iter()
            .map(|(path, bytes)| Ok((path, self.file_item(Some(&bytes[..]).filter(|bytes| !bytes.is_empty()))?)))
            .collect::<Result<_>>()?;
        self.objects.write_tree(Some(plan), &rewritten).map(Some)
    }

    fn both_changed(&self, path: &str) -> Error {
        let path = self.ws.store.shown(path);
        refusal(
            format!("you and the upstream both changed {path}; nothing was changed"),
            "commit it (git add .agentpm, git commit), git pull --rebase, resolve that file, then agentpm sync",
        )
        .with(json!({ "paths": [path] }))
    }

    /// A file that no log gives, in which both sides changed something since the first of the three: an archive line by line, another one
    /// as git does it.
    ///
    /// Errors: `ERR_SYNC` where both changed the same lines.
    pub(crate) fn merge_file(&self, path: &str, versions: [Option<Vec<u8>>; 3]) -> Result<Option<Vec<u8>>> {
        if is_in_archives(path) {
            let [base, ours, theirs] = versions.map(Option::unwrap_or_default);
            // One without lines is removed.
            return Ok(Some(archive_form::merged(&base, &ours, &theirs)).filter(|bytes| !bytes.is_empty()));
        }
        // A text merge may give a role to another agent: a person decides.
        if path == ROLES {
            return Err(self.both_changed(path));
        }
        let shown = self.ws.store.shown(path);
        let tree = |bytes: &Option<Vec<u8>>| {
            self.objects.write_tree(None, &[(shown.clone(), self.file_item(bytes.as_deref())?)])
        };
        let [base, ours, theirs] = versions.each_ref().map(tree);
        let merged = match self.merge_files(base?, ours?, theirs?) {
            Err(e) if e.details.get("paths").is_some() => return Err(self.both_changed(path)),
            merged => self.objects.file(merged?, &shown)?,
        };
        match path == CONFIG && !is_merge_of_settings(&versions, &merged) {
            true => Err(self.both_changed(path)),
            false => Ok(merged),
        }
    }

    fn file_item(&self, bytes: Option<&[u8]>) -> Result<Option<Item>> {
        bytes.map(|bytes| Ok(Item { mode: Mode::File, oid: self.objects.write_blob(bytes)? })).transpose()
    }

    /// The tasks that the record of a plan names as dropped.
    fn dropped_in(&self, plan: Option<Oid>) -> Result<BTreeMap<Id, Time>> {
        let record = plan.map(|plan| self.objects.file(plan, DROPPED)).transpose()?.flatten().unwrap_or_default();
        Ok(dropped::tasks_in(&String::from_utf8_lossy(&record)))
    }

    /// Merges an entity that both sides changed: the union of the logs, and its rendering. A task that one side archived, and to which
    /// nothing happened on the other, stays archived; one that a side dropped stays dropped.
    fn merge_entity(&self, entity: &Entity, sides: &Sides) -> Result<MergedEntity> {
        let Some((folder, readable)) = home(entity) else { return Ok(MergedEntity::default()) };
        let path = |name: &str| folder.join(name).display().to_string();
        let removed = || vec![(path(LOG), None), (path(readable), None)];
        if self.is_dropped(entity, sides)? {
            return Ok(MergedEntity { files: removed(), leaves_archives: true });
        }
        let file = |side: Option<Oid>| {
            let bytes = side.map(|side| self.objects.file(side, &path(LOG))).transpose()?.flatten();
            Ok::<_, Error>(bytes.unwrap_or_default())
        };
        let [_, ours, theirs] = sides.plans;
        let (own, their) = (file(ours)?, file(theirs)?);
        let mut bytes = union(&own, &their);
        if let Entity::Task(id) = entity {
            let mut archived = sides.archives[1].entries(&self.objects, *id)?;
            archived.extend(sides.archives[2].entries(&self.objects, *id)?);
            let held: HashSet<&str> = archived.iter().map(|known| &*known.line).collect();
            let is_held = |entry: &Entry| held.contains(&*entry.line);
            let is_one_side = own.is_empty() || their.is_empty();
            if is_one_side
                && Log::of(&bytes).entries.iter().all(is_held)
                && fold(*id, &archived).0.status == Status::Archived
            {
                return Ok(MergedEntity { files: removed(), leaves_archives: false });
            }
            let lines: String = archived.iter().map(|entry| format!("{}\n", entry.line)).collect();
            bytes = union(&bytes, lines.as_bytes());
        }
        let mut log = Log::of(&bytes);
        if !log.fixed {
            redacted(&mut log.entries)?;
            bytes = log.canonical(&[]);
        }
        let yaml = render(entity, &log.entries);
        let mut files = Vec::with_capacity(2);
        for (name, bytes) in [(LOG, bytes), (readable, yaml.into_bytes())] {
            files.push((path(name), Some(Item { mode: Mode::File, oid: self.objects.write_blob(&bytes)? })));
        }
        Ok(MergedEntity { files, leaves_archives: !log.fixed && compact::redacts(&log.entries) })
    }

    /// Whether one side dropped a task to which nothing happened on the other.
    fn is_dropped(&self, entity: &Entity, sides: &Sides) -> Result<bool> {
        let Entity::Task(id) = entity else { return Ok(false) };
        let entries = |side: usize| -> Result<Vec<Entry>> {
            let log = sides.archives[side].log(&self.objects, sides.plans[side], entity)?;
            Ok(log.unwrap_or_default().entries)
        };
        for (dropping, other) in [(1, 2), (2, 1)] {
            if sides.dropped[dropping - 1].contains_key(id) && entries(dropping)?.is_empty() {
                let base: BTreeSet<Id> = entries(0)?.iter().map(|entry| entry.event.id).collect();
                let is_same = entries(other)?.iter().all(|entry| base.contains(&entry.event.id));
                return Ok(is_same && self.explains(entity, sides, dropping)?);
            }
        }
        Ok(false)
    }

    /// Whether a drop that one side recorded explains that it lacks what the task had when the sides parted.
    fn explains(&self, entity: &Entity, sides: &Sides, side: usize) -> Result<bool> {
        let Some(at) = entity.task().and_then(|id| sides.dropped[side - 1].get(&id)) else { return Ok(false) };
        let base = sides.archives[0].log(&self.objects, sides.plans[0], entity)?.unwrap_or_default();
        Ok(dropped::explains(*at, base.entries.iter().map(|entry| &entry.event)))
    }
}

/// The plan where both sides began, ours and theirs.
struct Sides {
    plans: [Option<Oid>; 3],
    archives: [TreeArchives; 3],
    /// The dropped tasks of ours and theirs.
    dropped: [BTreeMap<Id, Time>; 2],
}

/// The files of an entity that both sides changed.
#[derive(Default)]
struct MergedEntity {
    files: Vec<(String, Option<Item>)>,
    /// Whether no archive may hold lines of it: it was dropped, or its log redacts a text.
    leaves_archives: bool,
}
