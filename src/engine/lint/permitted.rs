//! Whether the authors of new events had the rights to write them, by the roles of the commit that the events come on top of.
//!
//! Guarantees: a branch cannot give itself a right: `roles.yml` and what agents registered as count as the commit has them. Roles
//! that cannot be read permit nothing, as they do to a command. Each log names an agent and a right once, at the first line.
//! Leaves to others: which right an event asks for (`rules::rights`), and which events are new.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::changed::role_taken;
use super::signed::{self, Asks, Keys};
use crate::engine::view::history::{built_upon, united};
use crate::error::Result;
use crate::git::{Item, Mode, Objects, Oid};
use crate::model::agent::Agent;
use crate::model::event::{Entity, Entry, Event};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::model::payload::{AgentRegistered, Payload};
use crate::model::time::Time;
use crate::rules::fold::fold_agent;
use crate::rules::rights::{Needs, RightsCheck, Times};
use crate::rules::roles::{Rights, Roles, Verb};
use crate::store::config::{MAX_CONFIG, combine};
use crate::store::layout::{AGENTS, LOG, shown};
use crate::store::log::Log;
use crate::store::yaml;

/// What a branch set out with.
struct Fork<'a> {
    /// The roles where it began, and those that it merged since.
    began: Vec<RolesAt<'a>>,
    /// It has roles itself.
    brings: bool,
}

/// The roles of a commit.
pub(crate) struct RolesAt<'a> {
    objects: &'a Objects,
    store: String,
    tree: Option<Oid>,
    /// How messages name the commit.
    name: String,
    rights: Rights,
    readable: bool,
    known: RefCell<BTreeMap<String, Agent>>,
    /// What the precedence in events is held against besides; `None` where it is not judged.
    fork: Option<Fork<'a>>,
    /// The keys that agents had by that point, and those registered since under these.
    keys: Keys,
    /// The time of the look, and the silence after which work may be taken over by the settings of the commit.
    times: Times,
}

impl<'a> RolesAt<'a> {
    /// Reads the roles of a tree; before there is any commit everybody may do everything.
    pub fn read(objects: &'a Objects, tree: Option<Oid>, store: &str, name: &str, now: Time) -> Result<Self> {
        let mut at = Self::rights_at(objects, tree, store, name, now)?;
        at.keys = at.read_keys()?;
        Ok(at)
    }

    /// The same without keys.
    fn rights_at(objects: &'a Objects, tree: Option<Oid>, store: &str, name: &str, now: Time) -> Result<Self> {
        let item = tree.map(|tree| objects.item(tree, &shown(store, "roles.yml"))).transpose()?.flatten();
        let (rights, readable) = match item {
            None => (Rights(None), true),
            Some(item) => match roles_in(objects, item)? {
                Some(roles) => (Rights(Some(roles)), true),
                None => (Rights(Some(Roles::default())), false),
            },
        };
        let path = shown(store, "config.toml");
        let text = tree.map(|tree| objects.file(tree, &path)).transpose()?.flatten().map(String::from_utf8);
        let settings = combine(&[(path, text.and_then(std::result::Result::ok).unwrap_or_default())]).0;
        let times = Times { now, silence: settings.session.limit_ms() };
        let (known, fork, keys) = (RefCell::default(), None, Keys::default());
        let (store, name) = (store.to_owned(), name.to_owned());
        Ok(RolesAt { objects, store, tree, name, rights, readable, known, fork, keys, times })
    }

    /// Holds the precedence in the events of a branch against these roles too: those that it began with, or merged since.
    pub fn judge_precedence(&mut self, base: Oid, head: Oid, brings: bool) -> Result<()> {
        let (mut began, mut seen) = (Vec::new(), BTreeSet::new());
        for commit in built_upon(self.objects, base, head)? {
            let tree = self.objects.commit(commit)?.tree;
            let file = self.objects.item(tree, &shown(&self.store, "roles.yml"))?.map(|item| item.oid);
            let agents = self.objects.item(tree, &shown(&self.store, AGENTS))?.map(|item| item.oid);
            if seen.insert((file, agents)) {
                began.push(Self::rights_at(self.objects, Some(tree), &self.store, "", self.times.now)?);
            }
        }
        self.fork = Some(Fork { began, brings });
        Ok(())
    }

    fn precedence(&self, agent: &str) -> Result<Option<i64>> {
        Ok(self.rights.precedence(agent, self.role_of(agent)?.as_deref()))
    }

    /// Whether an event records what these roles give its author, or those did that its branch began with: these are no fault of
    /// its author, but count no more than these.
    fn is_precedence_true(&self, event: &Event) -> Result<bool> {
        let (Some(fork), agent) = (&self.fork, &event.author.agent) else { return Ok(true) };
        let (given, base) = (event.precedence, self.precedence(agent)?);
        // One that is lower takes nothing from others: main may have raised it since, and a rebase brings the event behind that.
        if given == base || base.is_some_and(|base| given.unwrap_or(0) <= base) || (base.is_none() && given == Some(0))
        {
            return Ok(true);
        }
        if base.is_none() && fork.brings {
            return Ok(true);
        }
        for began in &fork.began {
            if began.precedence(agent)? == given && given.is_none_or(|given| base.is_none_or(|base| given <= base)) {
                return Ok(true);
            }
        }
        Ok(false)
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
            keys.accept_present(&self.agent(&name)?);
        }
        keys.let_vouch(&|agent| self.may(agent, &[Verb::Register]))?;
        Ok(keys)
    }

    /// Records what agents registered since, as far as their own keys signed it.
    pub fn accept_new_keys(&mut self, agents: &[(String, Vec<Entry>)]) {
        for (name, entries) in agents {
            self.keys.accept_signed(name, entries);
        }
    }

    /// What a branch changes of an agent: its key, and what it may do. `log` is its log on the branch.
    pub fn agent_changed(&self, name: &str, path: &str, log: &Log) -> Result<Vec<Finding>> {
        let before = self.agent(name)?;
        let after = fold_agent(name, &united([log.entries.clone(), self.log_of(name)?.entries])).0;
        let said = |entry: &&Entry, is: &dyn Fn(&AgentRegistered) -> bool| match &entry.event.payload {
            Payload::AgentRegistered(p) | Payload::AgentUpdated(p) => is(p),
            _ => false,
        };
        let last = |is: &dyn Fn(&AgentRegistered) -> bool| log.entries.iter().rev().find(|entry| said(entry, is));
        let roles = self.roles().and_then(|roles| {
            let words = role_taken(roles, name, before.role.as_deref(), after.role.as_deref())?;
            Some((words, last(&|p| p.role == after.role)))
        });
        let key = after.public_key.as_deref().filter(|key| before.public_key.as_deref() != Some(key)).map(|key| {
            let by = last(&|p| p.public_key.as_deref() == Some(key));
            let what = if before.public_key.is_some() { "another key" } else { "a key" };
            let who = by.map_or("an agent that is not named", |entry| &entry.event.author.agent);
            (format!("{} registers {what} for {}: {key}", quoted(who), quoted(name)), by)
        });
        let found = |(words, by): (String, Option<&Entry>)| {
            let line = by.and_then(|entry| log.line_of(entry.event.id));
            Finding::new(Rule::RulesChanged, words).at(path, line)
        };
        Ok(roles.into_iter().chain(key).map(found).collect())
    }

    /// The events of a log that are not among the known ones and were not permitted, or not signed where that is asked for.
    /// The log holds all known events, also those that the others' authors could not know: what is judged is what the log becomes.
    /// `other` gives the logs of other tasks.
    pub fn judge(
        &self,
        entity: &Entity,
        path: &str,
        log: &Log,
        known: &BTreeSet<Id>,
        other: &dyn Fn(&Entity) -> Result<Vec<Entry>>,
    ) -> Result<Vec<Finding>> {
        let (mut ungranted, mut false_ones, mut unfit) = (Vec::new(), Vec::new(), Vec::new());
        let new = || log.entries.iter().map(|entry| &entry.event).enumerate().filter(|(_, e)| !known.contains(&e.id));
        for (n, event) in new() {
            if !self.is_precedence_true(event)? {
                false_ones.push((n, event));
            }
        }
        let not_permitted = |words: String, n: usize, event: &Event| {
            let finding = Finding::new(Rule::NotPermitted, words).event(event.id).at(path, log.lines.get(n).copied());
            match entity {
                Entity::Task(id) => finding.task(*id),
                _ => finding,
            }
        };
        let and_more = |found: usize, so: &str| match found {
            0 | 1 => String::new(),
            more => format!("; so {so} {} more", more - 1),
        };
        let mut found = Vec::new();
        if let Some((n, event)) = false_ones.first() {
            let (agent, kind) = (quoted(&event.author.agent), event.payload.kind());
            let number =
                |given: Option<i64>| given.map_or_else(|| "no precedence".into(), |n| format!("precedence {n}"));
            let (given, has) = (number(event.precedence), number(self.precedence(&event.author.agent)?));
            let more = and_more(false_ones.len(), "do");
            let words = format!(
                "{agent} has {has} by the roles of {}, and {kind} {} of {entity} records {given}{more}",
                self.name, event.id
            );
            found.push(not_permitted(words, *n, event));
        }
        if !self.any() || new().next().is_none() {
            return Ok(found);
        }
        // What cannot be read is not finished and came from no import.
        let others = |id: Id| other(&Entity::Task(id)).unwrap_or_default();
        let asked = RightsCheck::of(entity, &log.entries, known, self.times, &others);
        let mut unmade = Vec::new();
        let mut breaches: BTreeMap<(&str, Verb), (usize, &Event, usize)> = BTreeMap::new();
        for (n, event) in new() {
            let agent = event.author.agent.as_str();
            if let Some(granted) = asked.ungranted(event) {
                ungranted.push((n, event, granted));
            }
            if let Some((taker, needs)) = asked.taken_by(event)
                && let Some(missed) = self.missed(taker, needs)?
            {
                unfit.push((
                    n,
                    event,
                    format!("{} takes {entity} by {}, which needs {missed}", quoted(taker), event.id),
                ));
            }
            unmade.extend(asked.unmade(event).map(|words| (n, event, words)));
            for any in asked.by(event) {
                let Some(usual) = any.first().copied() else { continue };
                if !self.may(agent, &any)? {
                    breaches.entry((agent, usual)).or_insert((n, event, 0)).2 += 1;
                }
            }
        }
        found.extend(breaches.into_iter().map(|((agent, verb), (n, event, count))| {
            not_permitted(self.words(entity, agent, verb, event, count), n, event)
        }));
        if let Some((n, event, words)) = unfit.first() {
            let words = format!("{words} by the roles of {}{}", self.name, and_more(unfit.len(), "it is with"));
            found.push(not_permitted(words, *n, event));
        }
        if let Some((n, event, what)) = unmade.first() {
            let (agent, kind, more) = (quoted(&event.author.agent), event.payload.kind(), and_more(unmade.len(), "do"));
            let words = format!("{agent} {what} by {kind} {}, which no command does{more}", event.id);
            found.push(not_permitted(words, *n, event));
        }
        if let Some((n, event, granted)) = ungranted.first() {
            let (agent, kind, fence) = (quoted(&event.author.agent), event.payload.kind(), event.fence.unwrap_or(0));
            let more = and_more(ungranted.len(), "do");
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

    /// What an agent lacks of what a task needs.
    fn missed(&self, agent: &str, needs: &Needs) -> Result<Option<String>> {
        let role = self.role_of(agent)?;
        let perm = needs.perm.as_ref().filter(|perm| !self.rights.has_perm(agent, role.as_deref(), perm));
        let least = needs.precedence.filter(|least| !self.rights.has_precedence(agent, role.as_deref(), *least));
        let perm = perm.map(|perm| format!("the right {}", quoted(perm)));
        Ok(perm.or_else(|| least.map(|least| format!("precedence {least}"))))
    }

    fn log_of(&self, agent: &str) -> Result<Log> {
        let path = shown(&self.store, format!("{AGENTS}/{agent}/{LOG}"));
        let tree = self.tree.filter(|_| check_agent_name(agent).is_ok());
        let bytes = tree.map(|tree| self.objects.file(tree, &path)).transpose()?.flatten().unwrap_or_default();
        Ok(Log::of(&bytes))
    }

    /// The role an agent had registered with by that point.
    pub fn role_of(&self, agent: &str) -> Result<Option<String>> {
        self.agent(agent).map(|agent| agent.role)
    }

    /// An agent as it was by that point.
    fn agent(&self, name: &str) -> Result<Agent> {
        if let Some(known) = self.known.borrow().get(name) {
            return Ok(known.clone());
        }
        let agent = fold_agent(name, &self.log_of(name)?.entries).0;
        self.known.borrow_mut().insert(name.to_owned(), agent.clone());
        Ok(agent)
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
