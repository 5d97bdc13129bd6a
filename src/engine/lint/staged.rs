//! `lint --staged`: the plan as git would commit it now, read from the index and not from the work tree.
//!
//! Guarantees: reads only what is staged, so that the cost grows with that. Findings that the commit before had already are not
//! reported.
//! Leaves to others: several tasks together (`together`), and rights (`permitted`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::permitted::{Gate, PrecedenceOf, RolesAt};
use super::source::{LintSource, Subject, log_path};
use super::{Found, LintReport, claimed, run};
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::context::open::{Options, Place, place_in_git};
use crate::engine::view::archives::{TreeArchives, log_in};
use crate::env::Env;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::git::{Change, Item, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::settings::Settings;
use crate::rules::fold::fold_agent;
use crate::rules::roles::Rights;
use crate::store::config::{self, SettingsFile};
use crate::store::layout::{ARCHIVE, CONFIG, ROLES, entity_below, is_archive, shown};
use crate::store::log::Log;
use crate::store::yaml;

/// Checks the staged part of the plan. `None` if neither the work tree nor the index has a plan.
///
/// Errors: `ERR_GIT` where git's index or objects cannot be read, `ERR_NO_STORE` where a store is named that is not there,
/// `ERR_IO`.
pub fn lint_staged(env: &Env, options: &Options) -> Result<Option<LintReport>> {
    let Some(place) = place_in_git(env, options)? else { return Ok(None) };
    let staging = Staging::open(env, &place)?;
    let mut roles = RolesAt::read(&staging.objects, staging.tree, &place.name, "HEAD", env.now())?;
    // Git repeats events that were written under the roles of other commits.
    if !staging.is_replay() {
        roles.judge_precedence_alone(staging.brought_precedence()?);
    }
    for entity in staging.entities() {
        if let Entity::Agent(name) = &entity {
            roles.keys.accept_signed(name, &staging.entries(&entity)?.1);
        }
    }
    // Other commits have no part in a commit made now.
    let (keys, vanished, new, facts) = Default::default();
    let gate = Gate { roles, keys, vanished, new, facts };
    let found = run(LintSource::Index(&staging, &gate))?;
    let mut findings = staging.add_refusals(options, &gate.roles, found.findings)?;
    findings.extend(claimed::find(&staging, options)?);
    let checked = staging.entities().iter().filter(|entity| entity.task().is_some()).count();
    let severities = staging.settings_staged()?.map(|settings| settings.lint).unwrap_or_default();
    Ok(Some(LintReport::of(findings, checked, &severities)))
}

/// The paths that the index holds in conflict.
pub(crate) fn check_unmerged(staging: &Staging<'_>, found: &mut Found) -> Result<()> {
    found.findings.extend(staging.unmerged.iter().map(|path| {
        let finding = Finding::new(Rule::IndexUnmerged, "git's index holds it in conflict").at(path, None);
        match entity_below(staging.below(path)) {
            Some(_) => finding,
            None => Finding { fix: "resolve it with an editor, then git add it".into(), ..finding },
        }
    }));
    Ok(())
}

/// The index and the commit that is checked out.
pub(crate) struct Staging<'a> {
    pub(crate) env: &'a Env,
    pub(crate) place: &'a Place,
    pub(crate) objects: Objects,
    /// The index that git would commit from.
    pub(crate) index: PathBuf,
    /// The files of the commit.
    pub(crate) tree: Option<Oid>,
    /// The files of the commits that a merge in progress brings in.
    merged: Vec<Oid>,
    /// The archives of the commit, and as they are staged.
    archives: [TreeArchives; 2],
    changes: BTreeMap<String, Change>,
    pub(crate) lineage: Lineage<'a>,
    pub(crate) unmerged: BTreeSet<String>,
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
        let changes: BTreeMap<String, Change> =
            staged.changes.into_iter().map(|change| (change.path.clone(), change)).collect();
        let archives = archives(&objects, tree, &changes, &place.name)?;
        let lineage = Lineage::new(env, Some(&place.repo), &place.name);
        let unmerged = staged.unmerged;
        Ok(Staging { env, place, objects, index, tree, merged, archives, changes, lineage, unmerged })
    }

    /// Whether git is about to repeat an earlier commit, in a rebase, a cherry-pick and the like.
    pub(crate) fn is_replay(&self) -> bool {
        self.objects.in_progress().is_some_and(|what| what != "git merge")
    }

    /// Whether the index is one that a sync made for the hooks.
    pub(crate) fn is_of_sync(&self) -> bool {
        let name = self.index.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let canonical = |path: &Path| outside::canonical(path).ok();
        let is_in_runtime = |runtime: &Dir| self.index.parent().and_then(canonical) == canonical(runtime.path());
        name.starts_with("sync-") && name.ends_with(".index") && self.place.runtime.as_ref().is_some_and(is_in_runtime)
    }

    /// A path below the store, for one below the top of the work tree.
    fn below<'p>(&self, path: &'p str) -> &'p str {
        path.strip_prefix(&self.place.name).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
    }

    /// The tasks and agents whose files are staged and not in conflict.
    pub(crate) fn entities(&self) -> BTreeSet<Entity> {
        let of = |path: &String| entity_below(self.below(path)).map(|(entity, _)| entity);
        let torn: BTreeSet<Entity> = self.unmerged.iter().filter_map(of).collect();
        let [before, after] = &self.archives;
        // An archive that cannot be read is a finding of its own.
        let archived = before.differing(&self.objects, after).unwrap_or_default().into_iter().map(Entity::Task);
        self.changes.keys().filter_map(of).chain(archived).filter(|entity| !torn.contains(entity)).collect()
    }

    /// A file before the commit, and as it is staged. Anything but a regular file is a finding of its own.
    fn sides(&self, path: &str) -> Result<[Option<Vec<u8>>; 2]> {
        let [old, new] = match self.changes.get(path) {
            Some(change) => [change.old, change.new],
            None => [self.tree.map(|tree| self.objects.item(tree, path)).transpose()?.flatten(); 2],
        };
        let bytes = |item: Option<Item>| {
            let file = item.filter(|item| matches!(item.mode, Mode::File | Mode::Executable));
            file.map(|item| self.objects.blob(item.oid)).transpose()
        };
        Ok([bytes(old)?, bytes(new)?])
    }

    /// The bytes of a file in the index.
    pub(crate) fn staged_bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let [_, new] = self.sides(path)?;
        Ok(new)
    }

    /// The log of an entity before, and as it is staged.
    fn logs_of(&self, entity: &Entity) -> Result<[Option<Log>; 2]> {
        let [old, new] = self.sides(&log_path(&self.place.name, entity))?;
        let [before, after] = &self.archives;
        let log = |archives: &TreeArchives, bytes: Option<Vec<u8>>| {
            archives.completed(&self.objects, entity, bytes.as_deref())
        };
        Ok([log(before, old)?, log(after, new)?])
    }

    /// The log of an entity as it is staged.
    pub(crate) fn log_staged(&self, entity: &Entity) -> Result<Option<Log>> {
        let [_, new] = self.logs_of(entity)?;
        Ok(new)
    }

    /// The tasks in the archives as they are staged.
    pub(crate) fn archived_tasks(&self) -> Result<BTreeSet<Id>> {
        self.archives[1].tasks(&self.objects)
    }

    /// The events of an entity's log before, and as they are staged.
    pub(crate) fn entries(&self, entity: &Entity) -> Result<(Vec<Entry>, Vec<Entry>)> {
        let [old, new] = self.logs_of(entity)?.map(|log| log.unwrap_or_default().entries);
        Ok((old, new))
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
        for tree in &self.merged {
            let item = self.objects.item(*tree, &self.place.name)?.filter(|item| item.mode == Mode::Tree);
            let log = log_in(&self.objects, item.map(|item| item.oid), entity)?;
            known.extend(log.unwrap_or_default().entries.iter().map(|entry| entry.event.id));
        }
        Ok(known)
    }

    pub(crate) fn subject<'e>(&self, entity: &'e Entity) -> Result<Subject<'e>> {
        let [old, new] = self.logs_of(entity)?;
        let has_log = new.is_some();
        let mut subject = Subject::new(&self.place.name, entity, new.unwrap_or_default());
        subject.yaml = Ok(self.staged_bytes(&subject.yaml_path)?);
        // A task that is archived as a whole has no files.
        let is_file = self.staged_bytes(&subject.log_path)?.is_some();
        (subject.has_log, subject.compares) = (has_log, is_file);
        subject.before = old.unwrap_or_default();
        subject.known = self.known(entity, &subject.before.entries)?;
        Ok(subject)
    }

    /// The staged files by path below the store, also those of tasks and agents.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, Item)> {
        self.changes.values().filter_map(|change| Some((self.below(&change.path), change.new?)))
    }

    /// The precedence that staged roles give.
    fn brought_precedence(&self) -> Result<Vec<PrecedenceOf<'_>>> {
        let Some(bytes) = self.staged_bytes(&shown(&self.place.name, ROLES))? else { return Ok(Vec::new()) };
        let roles = std::str::from_utf8(&bytes).ok().and_then(|text| yaml::read(text).ok());
        let rights = Rights(Some(roles.unwrap_or_default()));
        Ok(vec![Box::new(move |agent| {
            let (_, log) = self.entries(&Entity::Agent(agent.to_owned()))?;
            Ok(rights.precedence(agent, fold_agent(agent, &log).0.role.as_deref()))
        })])
    }

    /// The settings that are staged, where they can be read.
    pub(crate) fn settings_staged(&self) -> Result<Option<Settings>> {
        let path = shown(&self.place.name, CONFIG);
        let text = self.staged_bytes(&path)?.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(text.map(|text| config::combine(&[SettingsFile::of_store(path, text)]).0))
    }
}

/// The archives of a commit, and with the staged changes.
fn archives(
    objects: &Objects,
    tree: Option<Oid>,
    changes: &BTreeMap<String, Change>,
    store: &str,
) -> Result<[TreeArchives; 2]> {
    let folder = tree.map(|tree| objects.item(tree, &shown(store, ARCHIVE))).transpose()?.flatten();
    let items = match folder {
        Some(Item { mode: Mode::Tree, oid }) => objects.items(oid)?,
        _ => BTreeMap::new(),
    };
    let before: BTreeMap<String, Oid> =
        items.into_iter().map(|(name, item)| (format!("{ARCHIVE}/{name}"), item.oid)).collect();
    let mut after = before.clone();
    for change in changes.values() {
        let below = change.path.strip_prefix(store).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
        if is_archive(below) {
            match change.new {
                Some(item) => drop(after.insert(below.to_owned(), item.oid)),
                None => drop(after.remove(below)),
            }
        }
    }
    Ok([TreeArchives::of(before), TreeArchives::of(after)])
}

/// Reads a log that git keeps.
pub(crate) fn read(bytes: Option<&[u8]>) -> Result<Log> {
    Log::read(bytes.unwrap_or_default()).map_err(|e| Error::new(Code::Git, format!("cannot read a staged log: {e}")))
}
