//! `lint --staged`: what a commit made now would do to the plan, read from git's index and not from the work tree.
//!
//! Guarantees: looks at what is staged and at nothing else, so that its cost grows with that; what was wrong in the commit
//! before is not held against this one. A commit is made to be read elsewhere, so files that contradict each other stop it.
//! Leaves to others: what follows from several tasks (`together`), and who might write what (`permitted`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::fence::{self, Suspect};
use super::invalid_paths::{OWN_REPOSITORY, in_archive, misplaced};
use super::lines::repeats_log_finding;
use super::permitted::RolesAt;
use super::rewritten::rewritten;
use super::task::several_owners;
use super::{FileAndLog, LintReport, line_of, values};
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::commit::hand_edits::{new_files, removed_files};
use crate::engine::context::check_settings::settings;
use crate::engine::context::open::{Options, Place, place_in_git};
use crate::engine::view::history::Place as FilePlace;
use crate::engine::view::pending::left_behind_at;
use crate::env::Env;
use crate::env::files::{self, Dir};
use crate::error::{Code, Error, Result};
use crate::git::{Change, Item, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, Severity};
use crate::model::id::Id;
use crate::model::settings::{LintSettings, Settings};
use crate::rules::fold::fold_agent;
use crate::store::config;
use crate::store::entity::{LoadedTask, placed, understand};
use crate::store::layout::{LOG, TASKS, entity_below, home, is_archive, shown};
use crate::store::log::Log;

/// Checks what is staged of the plan. `None` where there is no plan, neither in the work tree nor in the index.
///
/// Errors: `ERR_GIT` where git's index or objects cannot be read, `ERR_NO_STORE` where a store is named that is not there,
/// `ERR_IO`.
pub fn lint_staged(env: &Env, options: &Options) -> Result<Option<LintReport>> {
    let Some(place) = place_in_git(env, options)? else { return Ok(None) };
    let staging = Staging::open(env, &place)?;
    let mut findings: Vec<Finding> = staging
        .unmerged
        .iter()
        .map(|path| {
            let finding = Finding::new(Rule::IndexUnmerged, "git's index holds it in conflict").at(path, None);
            match entity_below(staging.below(path)) {
                Some(_) => finding,
                None => Finding { fix: "resolve it with an editor, then git add it".into(), ..finding },
            }
        })
        .collect();
    let mut suspects = Vec::new();
    let mut roles = RolesAt::read(&staging.objects, staging.tree, &place.name, "HEAD", env.now())?;
    let of_agent = |entity: Entity| match &entity {
        Entity::Agent(name) => Some(staging.entries(&entity).map(|(_, new)| (name.clone(), new))),
        _ => None,
    };
    roles.accept_new_keys(&staging.entities().into_iter().filter_map(of_agent).collect::<Result<Vec<_>>>()?);
    for entity in staging.entities() {
        let (found, suspected) = staging.judge(&entity)?;
        findings.extend(found);
        suspects.extend(suspected);
        findings.extend(staging.not_permitted(&entity, &roles)?);
    }
    for change in staging.changes.values() {
        findings.extend(staging.other(change)?);
    }
    findings.extend(staging.together()?);
    let mut findings = staging.add_refusals(env, options, &roles, findings)?;
    let lost = fence::lost(&suspects, place.runtime.as_ref())?;
    // A sync brings the plan together with what other clones say, where the higher fence counts; it must not be held up.
    let leave = |lost: fence::LostEvent| match lost.elsewhere && is_of_sync(env, &place) {
        true => lost.finding.with_severity(Severity::Warning),
        false => lost.finding,
    };
    findings.extend(lost.into_iter().map(leave));
    findings.extend(left_behind_at(env, &place)?);
    let checked = staging.entities().iter().filter(|entity| matches!(entity, Entity::Task(_))).count();
    Ok(Some(LintReport::of(findings, checked, &staging.severities()?)))
}

/// Whether the index in force is one that a sync made for the hooks.
fn is_of_sync(env: &Env, place: &Place) -> bool {
    let index = place.repo.index_in_force(env);
    let name = index.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let canonical = |path: &Path| files::canonical(path).ok();
    let is_in_runtime = |runtime: &Dir| index.parent().and_then(canonical) == canonical(runtime.path());
    name.starts_with("sync-") && name.ends_with(".index") && place.runtime.as_ref().is_some_and(is_in_runtime)
}

/// The index and the commit that is checked out.
pub(crate) struct Staging<'a> {
    pub(crate) place: &'a Place,
    pub(crate) objects: Objects,
    /// The index that git would commit from.
    pub(crate) index: PathBuf,
    /// The files of the commit.
    tree: Option<Oid>,
    /// The files of the commits that a merge in progress brings in.
    merged: Vec<Oid>,
    changes: BTreeMap<String, Change>,
    lineage: Lineage<'a>,
    pub(crate) unmerged: BTreeSet<String>,
}

/// One of an entity's two files, before and after.
pub(crate) struct Sides {
    path: String,
    old: Option<Vec<u8>>,
    pub new: Option<Vec<u8>>,
}

impl<'a> Staging<'a> {
    /// Reads the index that git would commit from.
    pub(crate) fn open(env: &'a Env, place: &'a Place) -> Result<Self> {
        let objects = place.repo.objects_with(env)?;
        let tree_of = |commit: Oid| objects.commit(commit).map(|commit| commit.tree);
        let tree = objects.head()?.commit.map(tree_of).transpose()?;
        let merged = place.repo.merging().into_iter().map(tree_of).collect::<Result<Vec<Oid>>>()?;
        let index = place.repo.index_in_force(env);
        let staged = objects.staged(&index, tree, &place.name)?;
        let changes = staged.changes.into_iter().map(|change| (change.path.clone(), change)).collect();
        let lineage = Lineage::new(env, Some(&place.repo), &place.name);
        Ok(Staging { place, objects, index, tree, merged, changes, lineage, unmerged: staged.unmerged })
    }

    /// Whether git is about to make again a commit that was made before: in a rebase, a cherry-pick and the like.
    pub(crate) fn is_replay(&self) -> bool {
        self.objects.in_progress().is_some_and(|what| what != "git merge")
    }

    /// A path below the store, for one below the top of the work tree.
    fn below<'p>(&self, path: &'p str) -> &'p str {
        path.strip_prefix(&self.place.name).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
    }

    /// The tasks and agents whose files are staged and not in conflict.
    pub(crate) fn entities(&self) -> BTreeSet<Entity> {
        let of = |path: &String| entity_below(self.below(path)).map(|(entity, _)| entity);
        let torn: BTreeSet<Entity> = self.unmerged.iter().filter_map(of).collect();
        self.changes.keys().filter_map(of).filter(|entity| !torn.contains(entity)).collect()
    }

    pub(crate) fn sides(&self, entity: &Entity, name: Option<&str>) -> Result<Option<Sides>> {
        let Some((folder, readable)) = home(entity) else { return Ok(None) };
        let path = shown(&self.place.name, folder.join(name.unwrap_or(readable)));
        let (old, new) = match self.changes.get(&path) {
            Some(change) => (change.old, change.new),
            None => {
                let item = self.tree.map(|tree| self.objects.item(tree, &path)).transpose()?.flatten();
                (item, item)
            }
        };
        Ok(Some(Sides { path, old: self.bytes(old)?, new: self.bytes(new)? }))
    }

    /// What a regular file holds. Whatever else is there is named as an odd file.
    fn bytes(&self, item: Option<Item>) -> Result<Option<Vec<u8>>> {
        match item {
            Some(Item { mode: Mode::File | Mode::Executable, oid }) => self.objects.blob(oid).map(Some),
            _ => Ok(None),
        }
    }

    /// The events of an entity's log before, and as they are staged.
    pub(crate) fn entries(&self, entity: &Entity) -> Result<(Vec<Entry>, Vec<Entry>)> {
        let Some(sides) = self.sides(entity, Some(LOG))? else { return Ok(Default::default()) };
        Ok((read(sides.old.as_deref())?.entries, read(sides.new.as_deref())?.entries))
    }

    /// The events that neither the commit nor one that is being merged holds.
    pub(crate) fn new_events(&self, entity: &Entity) -> Result<Vec<Entry>> {
        let (old, mut new) = self.entries(entity)?;
        let known = self.known(entity, &old)?;
        new.retain(|entry| !known.contains(&entry.event.id));
        Ok(new)
    }

    fn known(&self, entity: &Entity, old: &[Entry]) -> Result<BTreeSet<Id>> {
        let mut known: BTreeSet<Id> = old.iter().map(|entry| entry.event.id).collect();
        let Some((folder, _)) = home(entity) else { return Ok(known) };
        let path = shown(&self.place.name, folder.join(LOG));
        for tree in &self.merged {
            let bytes = self.objects.file(*tree, &path)?;
            known.extend(read(bytes.as_deref())?.entries.iter().map(|entry| entry.event.id));
        }
        Ok(known)
    }

    /// The new events that the parent commit does not permit.
    fn not_permitted(&self, entity: &Entity, roles: &RolesAt<'_>) -> Result<Vec<Finding>> {
        let Some(sides) = self.sides(entity, Some(LOG))?.filter(|_| roles.any()) else { return Ok(Vec::new()) };
        let known = self.known(entity, &read(sides.old.as_deref())?.entries)?;
        let other = |entity: &Entity| Ok(self.entries(entity)?.1);
        roles.judge(entity, &sides.path, &read(sides.new.as_deref())?, &known, &other)
    }

    fn judge(&self, entity: &Entity) -> Result<(Vec<Finding>, Vec<Suspect>)> {
        let (Some(log), Some(yaml)) = (self.sides(entity, Some(LOG))?, self.sides(entity, None)?) else {
            return Ok(Default::default());
        };
        let task = match entity {
            Entity::Task(id) => Some(*id),
            _ => None,
        };
        let of_task = |finding: Finding| task.map_or(finding.clone(), |id| finding.task(id));
        let (old, new) = (read(log.old.as_deref())?, read(log.new.as_deref())?);
        if log.new.is_none() {
            if let Some(id) = task {
                return Ok((self.without_log(id, &log, &yaml), Vec::new()));
            }
            let mut findings = rewritten(entity, &log.path, &old.entries, &Log::default(), &|_| Ok(Vec::new()))?;
            if yaml.new.is_some() && findings.is_empty() {
                let message = format!("{entity} is staged without its log");
                findings.push(Finding::new(Rule::LogMissing, message).at(log.path, None));
            }
            return Ok((findings.into_iter().map(of_task).collect(), Vec::new()));
        }
        let mut findings = rewritten(entity, &log.path, &old.entries, &new, &|other| Ok(self.entries(other)?.1))?;
        let known = self.known(entity, &old.entries)?;
        let before = understood(&self.place.name, entity, &log.path, old);
        let after = understood(&self.place.name, entity, &log.path, new);
        let was: BTreeSet<_> = before.findings.iter().map(|f| (f.rule, f.event, f.message.as_str())).collect();
        let fresh = after.findings.iter().filter(|f| !was.contains(&(f.rule, f.event, f.message.as_str())));
        let mut suspects = Vec::new();
        if let Some(loaded) = &after.task {
            suspects = fence::suspects(loaded, &log.path, &known);
        }
        // What is void under a lost lease is named as just that.
        let doubled = |f: &&Finding| f.rule == Rule::EventFenced && suspects.iter().any(|s| Some(s.event) == f.event);
        findings.extend(fresh.filter(|f| !doubled(f)).cloned().map(strictly));
        let file_and_log = FileAndLog {
            place: FilePlace::Index,
            path: yaml.path,
            entity,
            entries: after.entries(),
            bytes: yaml.new.as_deref(),
        };
        let mut found = file_and_log.findings(&self.lineage);
        found.retain(|found| !repeats_log_finding(found, &after.findings));
        findings.extend(found.into_iter().map(strictly).map(half_staged));
        let text = String::from_utf8_lossy(yaml.new.as_deref().unwrap_or_default());
        for finding in findings.iter_mut().filter(|finding| finding.line.is_none()) {
            finding.line = finding.spot.as_ref().and_then(|spot| line_of(&text, spot));
        }
        Ok((findings.into_iter().map(of_task).collect(), suspects))
    }

    /// Whether a task has events.
    pub(crate) fn has(&self, task: Id) -> bool {
        self.entries(&Entity::Task(task)).is_ok_and(|(_, new)| !new.is_empty())
    }

    /// A task of which no log is staged: removed, new, or torn in two.
    fn without_log(&self, id: Id, log: &Sides, yaml: &Sides) -> Vec<Finding> {
        const FIX: &str = "agentpm lint --fix brings the files back, then git add them; to be done with the task: agentpm task \
                            transition --status cancelled, then agentpm task archive";
        let origin = |bytes: &[u8]| new_files::origin(bytes, Some(id), &|task| self.has(task));
        vec![match (&log.old, &yaml.new) {
            (Some(_), None) => Finding { fix: FIX.into(), ..removed_files::found(&self.place.name, id) },
            (None, Some(bytes)) if let Some(copy_of) = origin(bytes) => {
                new_files::found(yaml.path.clone(), Some(id), copy_of, bytes)
            }
            (_, Some(_)) => Finding::new(Rule::LogMissing, format!("task/{id} is staged without its log"))
                .task(id)
                .at(&log.path, None),
            (None, None) => return Vec::new(),
        }]
    }

    /// A file that is no task's and no agent's.
    fn other(&self, change: &Change) -> Result<Vec<Finding>> {
        let Some(item) = change.new else { return Ok(Vec::new()) };
        let below = self.below(&change.path);
        let odd = |what: &str| vec![Finding::new(Rule::OddFile, what).at(&change.path, None)];
        match item.mode {
            Mode::Link => return Ok(odd("a symbolic link that does not belong here")),
            Mode::Submodule => return Ok(odd(OWN_REPOSITORY)),
            Mode::File | Mode::Executable | Mode::Tree => {}
        }
        if entity_below(below).is_some() {
            return Ok(Vec::new());
        }
        Ok(match below {
            "config.toml" | "roles.yml" => self.settings(&change.path, below, item)?,
            ".gitattributes" | ".gitignore" => Vec::new(),
            _ if is_archive(below) => in_archive(&change.path, &self.objects.blob(item.oid)?),
            _ if new_files::is_yaml(Path::new(below)) && is_place_of_new(below) => {
                let bytes = self.objects.blob(item.oid)?;
                match new_files::origin(&bytes, None, &|task| self.has(task)) {
                    Some(copy_of) => vec![new_files::found(change.path.clone(), None, copy_of, &bytes)],
                    None => misplaced_file(&self.place.name, &change.path, below),
                }
            }
            _ => misplaced_file(&self.place.name, &change.path, below),
        })
    }

    fn settings(&self, path: &str, below: &str, item: Item) -> Result<Vec<Finding>> {
        Ok(settings(path, below, &self.objects.blob(item.oid)?))
    }

    /// The severities of the rules by the staged settings; the defaults if those cannot be read.
    fn severities(&self) -> Result<LintSettings> {
        Ok(self.settings_staged()?.map(|settings| settings.lint).unwrap_or_default())
    }

    /// The settings that are staged, where they can be read.
    pub(crate) fn settings_staged(&self) -> Result<Option<Settings>> {
        let path = shown(&self.place.name, "config.toml");
        let text = self.staged_bytes(&path)?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.map(|text| config::combine(&[(path, text)]).0))
    }

    /// What the index holds of a file.
    pub(crate) fn staged_bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let item = match self.changes.get(path) {
            Some(change) => change.new,
            None => self.tree.map(|tree| self.objects.item(tree, path)).transpose()?.flatten(),
        };
        self.bytes(item)
    }
}

/// The finding for a file that does not belong where it is.
fn misplaced_file(store: &str, path: &str, below: &str) -> Vec<Finding> {
    if let [TASKS, .., id, LOG | "task.yaml"] = below.split('/').collect::<Vec<_>>()[..]
        && let Ok(id) = id.parse()
    {
        return vec![misplaced(store, id, path.to_owned(), "a task in the folder of others")];
    }
    vec![Finding::new(Rule::OddFile, "a file that does not belong here").at(path, None)]
}

/// Whether a file below `tasks` lies where a new task is looked for: in `tasks`, in a folder of the first or the second level, or as
/// `task.yaml` in a folder of its own at any of these places. A folder that is named after a task is searched for `task.yaml` only.
pub(crate) fn is_place_of_new(below: &str) -> bool {
    let [_, folders @ .., name] = &below.split('/').collect::<Vec<_>>()[..] else { return false };
    let has_its_own = *name == "task.yaml" && folders.len() <= 3;
    match folders.iter().position(|folder| folder.parse::<Id>().is_ok()) {
        Some(place) => has_its_own && place + 1 == folders.len(),
        None => has_its_own || folders.len() <= 2,
    }
}

/// A log with its content.
pub(crate) struct LogContent {
    task: Option<LoadedTask>,
    entries: Vec<Entry>,
    pub findings: Vec<Finding>,
}

impl LogContent {
    pub fn entries(&self) -> &[Entry] {
        self.task.as_ref().map_or(&self.entries, |loaded| &loaded.log.entries)
    }
}

/// The content of a log, with the findings about it and its entity alone.
pub(crate) fn understood(store: &str, entity: &Entity, path: &str, mut log: Log) -> LogContent {
    for finding in &mut log.findings {
        finding.path = Some(path.to_owned());
    }
    match entity {
        Entity::Task(id) => {
            let loaded = understand(store, *id, log);
            let mut findings = loaded.findings.clone();
            findings.extend(values(store, &loaded.task));
            findings.extend(several_owners(store, &loaded.task, &loaded.log.entries));
            LogContent { task: Some(loaded), entries: Vec::new(), findings }
        }
        Entity::Agent(name) => {
            let (_, folded) = fold_agent(name, &log.entries);
            let mut findings = placed(&log, folded, path);
            findings.extend(log.findings.clone());
            LogContent { task: None, entries: log.entries, findings }
        }
        Entity::Session(_) => LogContent { task: None, entries: log.entries, findings: log.findings },
    }
}

/// What the next write would repair in a work tree is a fault once it is in a commit.
fn strictly(finding: Finding) -> Finding {
    match finding.rule {
        Rule::LogMarkers | Rule::YamlMissing | Rule::YamlStale => finding.with_severity(Severity::Error),
        _ => finding,
    }
}

/// Where one file is staged and the other is not, the work tree may be in order already.
fn half_staged(finding: Finding) -> Finding {
    let half = matches!(finding.rule, Rule::YamlMissing | Rule::YamlStale | Rule::LogGap);
    let fix = "git add both files of it; where task.yaml is behind its log, agentpm lint --fix writes it first";
    if half { Finding { fix: fix.into(), ..finding } } else { finding }
}

/// Reads a log that git keeps.
pub(crate) fn read(bytes: Option<&[u8]>) -> Result<Log> {
    Log::read(bytes.unwrap_or_default()).map_err(|e| Error::new(Code::Git, format!("cannot read a staged log: {e}")))
}
