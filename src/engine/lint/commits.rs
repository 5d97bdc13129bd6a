//! The checks of `lint --base` between commits: permissions, signatures, and whether the files only grew.
//!
//! Guarantees: both sides are read from git's objects; the work tree does not count. Roles and keys count as the
//! base has them.
//! Leaves to others: what a log or a readable file says (`review`), and what changed in the settings.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::base::merged;
use super::dropped::dropped_between;
use super::invalid_paths::{OWN_REPOSITORY, in_archive};
use super::permitted::RolesAt;
use super::repeated::NewEvents;
use super::rewritten::{otherwise, rewritten};
use super::signed::{self, Asks, Keys};
use super::staged::{is_place_of_new, read};
use super::trailers;
use super::vanished::VanishedEvents;
use crate::engine::commit::hand_edits::new_files;
use crate::engine::context::Workspace;
use crate::engine::view::history::united;
use crate::error::Result;
use crate::git::{Change, Item, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name};
use crate::store::layout::{AGENTS, LOG, entity_below, home, is_archive};
use crate::store::log::Log;

/// How a task comes back whose files a branch removed.
const BRING_BACK: &str = "bring the files back from the commit where the branch began; to be done with the task: agentpm task \
                          transition --status cancelled, then agentpm task archive";

/// Agents with what a branch registered for them and took back, which comes back with its commits.
pub(crate) fn registered(agents: &[(String, Vec<Entry>)], vanished: &VanishedEvents) -> Vec<(String, Vec<Entry>)> {
    let mut logs: BTreeMap<String, Vec<Entry>> = agents.iter().cloned().collect();
    for entity in vanished.entities() {
        if let Entity::Agent(name) = entity {
            let entries = logs.remove(name).unwrap_or_default();
            logs.insert(name.clone(), vanished.with(entity, entries));
        }
    }
    logs.into_iter().collect()
}

/// The top trees of the commits that a branch is judged by.
struct Trees<'a> {
    ws: &'a Workspace,
    objects: &'a Objects,
    base: Oid,
    began: Vec<Oid>,
    head: Oid,
    vanished: VanishedEvents,
    fresh: RefCell<NewEvents>,
}

/// What a branch from all of `began` to `head` does that it might not, by the rules of `base`.
///
/// Errors: `ERR_GIT` where a commit cannot be read.
pub(crate) fn broken_between(
    ws: &Workspace,
    objects: &Objects,
    base: Oid,
    began: &[Oid],
    head: Oid,
) -> Result<Vec<Finding>> {
    for began in began {
        let dropped = dropped_between(objects, &ws.store.name, *began, head)?;
        if !dropped.is_empty() {
            return Ok(dropped);
        }
    }
    let tree = |commit: Oid| objects.commit(commit).map(|commit| commit.tree);
    let vanished = VanishedEvents::between(ws, objects, base, head)?;
    let began = began.iter().map(|began| tree(*began)).collect::<Result<Vec<Oid>>>()?;
    let trees = Trees { ws, objects, base: tree(base)?, began, head: tree(head)?, vanished, fresh: RefCell::default() };
    let mut findings = trees.judge(base, head)?;
    findings.extend(trailers::judge(ws, objects, base, head)?);
    Ok(findings)
}

impl Trees<'_> {
    fn judge(&self, base: Oid, head: Oid) -> Result<Vec<Finding>> {
        let agents = self.agents()?;
        let mut roles =
            RolesAt::read(self.objects, Some(self.base), &self.ws.store.name, &base.short(), self.ws.env.now())?;
        let brings = self.objects.item(self.head, &self.ws.store.shown("roles.yml"))?.is_some();
        roles.judge_precedence(base, head, brings)?;
        let registered = registered(&agents, &self.vanished);
        roles.accept_new_keys(&registered);
        let mut keys = Keys::default();
        for (name, entries) in &registered {
            keys.accept(name, entries);
        }
        let (mut entities, mut findings) = (BTreeSet::new(), Vec::new());
        let folder = |item: &Item| item.mode == Mode::Tree;
        let store = |top: Oid| Ok(self.objects.item(top, &self.ws.store.name)?.filter(folder).map(|item| item.oid));
        let mut strays = BTreeMap::new();
        for began in &self.began {
            for change in self.objects.changes(store(*began)?, store(self.head)?)? {
                let is_file = change.new.is_none_or(|item| item.mode != Mode::Submodule);
                match entity_below(&change.path).filter(|_| is_file) {
                    Some((entity, _)) => drop(entities.insert(entity)),
                    None => drop(strays.insert(change.path.clone(), change)),
                }
            }
        }
        for change in strays.values() {
            findings.extend(self.stray(change)?);
        }
        entities.extend(self.vanished.entities().cloned());
        for entity in &entities {
            let found = self.of(entity, &roles, &keys)?;
            findings.extend(found.into_iter().map(|finding| match entity {
                Entity::Task(id) => finding.task(*id),
                _ => finding,
            }));
        }
        findings.extend(self.fresh.borrow().repeated_in(self.ws, self.objects, self.base)?);
        findings.extend(self.agents_changed(&roles, &agents)?);
        Ok(findings)
    }

    /// The agents of the head, with their events.
    fn agents(&self) -> Result<Vec<(String, Vec<Entry>)>> {
        let folder = self.objects.item(self.head, &self.ws.store.shown(AGENTS))?;
        let folder = folder.filter(|item| item.mode == Mode::Tree);
        let names: BTreeMap<_, _> =
            folder.map(|item| self.objects.items(item.oid)).transpose()?.unwrap_or_default().into_iter().collect();
        let names = names.into_keys().filter(|name| check_agent_name(name).is_ok());
        names.map(|name| Ok((name.clone(), self.log(self.head, &Entity::Agent(name))?.entries))).collect()
    }

    fn bytes(&self, tree: Oid, entity: &Entity, name: Option<&str>) -> Result<Option<Vec<u8>>> {
        let Some((folder, readable)) = home(entity) else { return Ok(None) };
        self.objects.file(tree, &self.ws.store.shown(folder.join(name.unwrap_or(readable))))
    }

    fn log(&self, tree: Oid, entity: &Entity) -> Result<Log> {
        read(self.bytes(tree, entity, Some(LOG))?.as_deref())
    }

    fn has(&self, task: Id) -> bool {
        self.log(self.head, &Entity::Task(task)).is_ok_and(|log| !log.entries.is_empty())
    }

    fn of(&self, entity: &Entity, roles: &RolesAt<'_>, keys: &Keys) -> Result<Vec<Finding>> {
        let Some((folder, readable)) = home(entity) else { return Ok(Vec::new()) };
        let path = self.ws.store.shown(folder.join(LOG));
        let logs = self.began.iter().map(|began| Ok(self.log(*began, entity)?.entries)).collect::<Result<Vec<_>>>()?;
        let old = united(logs);
        let base = self.log(self.base, entity)?.entries;
        let known: BTreeSet<Id> = base.iter().chain(&old).map(|entry| entry.event.id).collect();
        let began: BTreeSet<Id> = old.iter().map(|entry| entry.event.id).collect();
        let since: Vec<Entry> = base.iter().filter(|entry| !began.contains(&entry.event.id)).cloned().collect();
        let whole = |other: &Entity| {
            let here = self.vanished.with(other, self.log(self.head, other)?.entries);
            Ok(united([here, self.log(self.base, other)?.entries]))
        };
        let judge = |log: &Log| {
            self.fresh.borrow_mut().record(entity, log, &known);
            let mut found = otherwise(entity, &path, &since, log);
            found.extend(roles.judge(entity, &path, &merged(log, &base, &known), &known, &whole)?);
            if !roles.any() {
                found.extend(signed::judge(entity, &path, log, &known, keys, Asks::Nothing));
            }
            Ok(found)
        };
        let Some(bytes) = self.bytes(self.head, entity, Some(LOG))? else {
            let yaml = self.bytes(self.head, entity, None)?;
            let origin = |bytes: &[u8]| {
                let home = if let Entity::Task(id) = entity { Some(*id) } else { None };
                new_files::origin(bytes, home, &|task| self.has(task)).filter(|_| old.is_empty())
            };
            let mut found = match (entity, yaml) {
                (Entity::Task(id), Some(bytes)) if let Some(copy_of) = origin(&bytes) => {
                    let path = self.ws.store.shown(folder.join(readable));
                    vec![new_files::found(path, Some(*id), copy_of, &bytes)]
                }
                (_, Some(_)) => {
                    let message = format!("{entity} has no log");
                    vec![Finding::new(Rule::LogMissing, message).at(path.clone(), None)]
                }
                (_, None) if old.is_empty() => Vec::new(),
                (Entity::Task(id), None) => {
                    let message = format!("the files of task {id} are removed, and it was never closed");
                    let found = Finding::new(Rule::TaskDeleted, message).at(self.ws.store.shown(&folder), None);
                    vec![Finding { fix: BRING_BACK.into(), ..found }]
                }
                (_, None) => rewritten(entity, &path, &old, &Log::default(), &|_| Ok(Vec::new()))?,
            };
            found.extend(self.vanished.judge(entity, &path, (&Log::default(), &base), &judge)?);
            return Ok(found);
        };
        let new = read(Some(&bytes))?;
        let elsewhere = |other: &Entity| self.log(self.head, other).map(|log| log.entries);
        let mut findings = rewritten(entity, &path, &old, &new, &elsewhere)?;
        findings.extend(self.vanished.judge(entity, &path, (&new, &base), &judge)?);
        Ok(findings)
    }

    /// What the branch changes of agents.
    fn agents_changed(&self, roles: &RolesAt<'_>, agents: &[(String, Vec<Entry>)]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for (name, _) in agents {
            let path = self.ws.store.shown(format!("{AGENTS}/{name}/{LOG}"));
            findings.extend(roles.agent_changed(name, &path, &self.log(self.head, &Entity::Agent(name.clone()))?)?);
        }
        Ok(findings)
    }

    /// A file that is no task's and no agent's.
    fn stray(&self, change: &Change) -> Result<Vec<Finding>> {
        let Some(item) = change.new else { return Ok(Vec::new()) };
        let below = change.path.as_str();
        let path = self.ws.store.shown(below);
        if item.mode == Mode::Submodule {
            return Ok(vec![Finding::new(Rule::OddFile, OWN_REPOSITORY).at(path, None)]);
        }
        let is_file = matches!(item.mode, Mode::File | Mode::Executable);
        if is_file && is_archive(below) {
            return Ok(in_archive(&path, &self.objects.blob(item.oid)?));
        }
        if is_file && matches!(below, "config.toml" | "roles.yml" | ".gitattributes" | ".gitignore") {
            return Ok(Vec::new());
        }
        let is_new = is_file && new_files::is_yaml(Path::new(below)) && is_place_of_new(below);
        if is_new {
            let bytes = self.objects.blob(item.oid)?;
            if let Some(copy_of) = new_files::origin(&bytes, None, &|task| self.has(task)) {
                return Ok(vec![new_files::found(path, None, copy_of, &bytes)]);
            }
        }
        Ok(vec![Finding::new(Rule::OddFile, "a file that does not belong here").at(path, None)])
    }
}
