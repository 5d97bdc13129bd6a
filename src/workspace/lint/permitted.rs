//! Whether whoever wrote the new events might, by the roles of the commit that they come on top of.
//!
//! Promises: a branch cannot give itself a right: `roles.yml` and what agents registered as count as the commit has them. Roles
//! that cannot be read permit nothing, as they do to a command. Each log names an agent and a right once, at the first line.
//! Refuses to know: which right an event asks for (`rules::rights`), and which events are new.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::signed::{self, Asks, Keys};
use crate::error::Result;
use crate::git::{Item, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry, Event};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::rules::fold::{fold, fold_agent};
use crate::rules::rights::Asked;
use crate::rules::roles::{Rights, Roles, Verb};
use crate::store::config::MAX_CONFIG;
use crate::store::layout::{AGENTS, LOG, shown};
use crate::store::log::Log;
use crate::store::yaml;

/// The roles of a commit.
pub(super) struct RolesAt<'a> {
    objects: &'a Objects,
    store: String,
    tree: Option<Oid>,
    /// How messages name the commit.
    name: String,
    rights: Rights,
    readable: bool,
    known: RefCell<BTreeMap<String, Option<String>>>,
    /// The keys that agents had by then, and those registered since under these.
    keys: Keys,
}

impl<'a> RolesAt<'a> {
    /// Reads the roles of a tree; before there is any commit everybody may do everything.
    pub fn read(objects: &'a Objects, tree: Option<Oid>, store: &str, name: impl Into<String>) -> Result<Self> {
        let item = tree.map(|tree| objects.item(tree, &shown(store, "roles.yml"))).transpose()?.flatten();
        let (rights, readable) = match item {
            None => (Rights(None), true),
            Some(item) => match roles_in(objects, item)? {
                Some(roles) => (Rights(Some(roles)), true),
                None => (Rights(Some(Roles::default())), false),
            },
        };
        let (known, keys) = (RefCell::default(), Keys::default());
        let mut at =
            RolesAt { objects, store: store.to_owned(), tree, name: name.into(), rights, readable, known, keys };
        at.keys = at.read_keys()?;
        Ok(at)
    }

    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.rights.0.is_some()
    }

    /// Who may do what.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// The roles, where there are any.
    pub fn roles(&self) -> Option<&Roles> {
        self.rights.0.as_ref()
    }

    fn read_keys(&self) -> Result<Keys> {
        let mut keys = Keys::default();
        let folder = self.tree.map(|tree| self.objects.item(tree, &shown(&self.store, AGENTS))).transpose()?.flatten();
        let Some(folder) = folder.filter(|item| self.any() && item.mode == Mode::Tree) else { return Ok(keys) };
        for name in self.objects.items(folder.oid)?.into_keys().filter(|name| check_agent_name(name).is_ok()) {
            keys.take_in(&name, &self.log_of(&name)?.entries);
        }
        Ok(keys)
    }

    /// Takes in what agents registered since, as far as their own keys signed it, or those of who might register others by then.
    pub fn heed_new_keys(&mut self, agents: &[(String, Vec<Entry>)]) -> Result<()> {
        let mut keys = self.keys.clone();
        for (name, entries) in agents {
            keys.take_in_signed(name, entries, &self.keys, &|author| self.may(author, &[Verb::Register]))?;
        }
        self.keys = keys;
        Ok(())
    }

    /// The events of a log that are not among the known ones and were not permitted, or not signed where that is asked for.
    /// `other` gives the logs of other tasks.
    pub fn judge(
        &self,
        entity: &Entity,
        path: &str,
        log: &Log,
        known: &BTreeSet<Id>,
        other: &dyn Fn(&Entity) -> Result<Vec<Entry>>,
    ) -> Result<Vec<Finding>> {
        if !self.any() || log.entries.iter().all(|entry| known.contains(&entry.event.id)) {
            return Ok(Vec::new());
        }
        // What cannot be read is not finished and came from no import.
        let task = |id: Id| fold(id, &other(&Entity::Task(id)).unwrap_or_default()).0;
        let asked = Asked::of(entity, &log.entries, known, &task);
        let mut ungranted = Vec::new();
        let mut breaches: BTreeMap<(&str, Verb), (usize, &Event, usize)> = BTreeMap::new();
        for (n, event) in log.entries.iter().map(|entry| &entry.event).enumerate() {
            if known.contains(&event.id) {
                continue;
            }
            let agent = event.author.agent.as_str();
            if let Some(granted) = asked.ungranted(event) {
                ungranted.push((n, event, granted));
            }
            for any in asked.by(event) {
                let Some(usual) = any.first().copied() else { continue };
                if !self.may(agent, &any)? {
                    breaches.entry((agent, usual)).or_insert((n, event, 0)).2 += 1;
                }
            }
        }
        let not_permitted = |words: String, n: usize, event: &Event| {
            let finding = Finding::new(Rule::NotPermitted, words).event(event.id).at(path, log.lines.get(n).copied());
            match entity {
                Entity::Task(id) => finding.task(*id),
                _ => finding,
            }
        };
        let mut found: Vec<Finding> = breaches
            .into_iter()
            .map(|((agent, verb), (n, event, count))| {
                not_permitted(self.words(entity, agent, verb, event, count), n, event)
            })
            .collect();
        if let Some((n, event, granted)) = ungranted.first() {
            let (agent, kind, fence) = (quoted(&event.author.agent), event.payload.kind(), event.fence.unwrap_or(0));
            let more =
                if ungranted.len() > 1 { format!("; so do {} more", ungranted.len() - 1) } else { String::new() };
            let words = format!(
                "{agent} writes {kind} {} of {entity} under fence {fence}, and its log grants none above {granted}{more}",
                event.id
            );
            found.push(not_permitted(words, *n, event));
        }
        let asks = if self.roles().is_some_and(|roles| roles.require_signatures) { Asks::All } else { Asks::Nothing };
        found.extend(signed::judge(entity, path, log, known, &self.keys, asks));
        Ok(found)
    }

    fn words(&self, entity: &Entity, agent: &str, verb: Verb, event: &Event, count: usize) -> String {
        let by = match self.readable {
            true => format!("by the roles of {}", self.name),
            false => format!("since the roles.yml of {} cannot be read", self.name),
        };
        let more = match count {
            0 | 1 => String::new(),
            more => format!("; so do {} more of its new events here", more - 1),
        };
        let (agent, verb, kind) = (quoted(agent), verb.as_str(), event.payload.kind());
        format!("{agent} may not {verb} {by}, and {kind} {} of {entity} asks for it{more}", event.id)
    }

    fn may(&self, agent: &str, any: &[Verb]) -> Result<bool> {
        let role = self.role_of(agent)?;
        Ok(any.iter().any(|verb| self.rights.has_perm(agent, role.as_deref(), verb.as_str())))
    }

    fn log_of(&self, agent: &str) -> Result<Log> {
        let path = shown(&self.store, format!("{AGENTS}/{agent}/{LOG}"));
        let tree = self.tree.filter(|_| check_agent_name(agent).is_ok());
        let bytes = tree.map(|tree| self.objects.file(tree, &path)).transpose()?.flatten().unwrap_or_default();
        Ok(Log::of(&bytes))
    }

    /// The role an agent had registered with by then.
    pub fn role_of(&self, agent: &str) -> Result<Option<String>> {
        if let Some(known) = self.known.borrow().get(agent) {
            return Ok(known.clone());
        }
        let role = fold_agent(agent, &self.log_of(agent)?.entries).0.role;
        self.known.borrow_mut().insert(agent.to_owned(), role.clone());
        Ok(role)
    }
}

/// The roles that a file of a commit holds; `None` where it cannot be read.
fn roles_in(objects: &Objects, item: Item) -> Result<Option<Roles>> {
    let is_file = matches!(item.mode, Mode::File | Mode::Executable);
    if !is_file || objects.size(item.oid)? > MAX_CONFIG {
        return Ok(None);
    }
    let bytes = objects.blob(item.oid)?;
    Ok(std::str::from_utf8(&bytes).ok().and_then(|text| yaml::read(text).ok()))
}
