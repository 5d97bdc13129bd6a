//! Checks that events are signed by the agents that they name, if `roles.yml` requires signatures or an event has one.
//!
//! Guarantees: judges the lines themselves. An entry without text is not a forgery if a redaction removed the text. Of new events that all
//! must be signed, only a redaction by its author, or by an agent that may vouch for its key, says so. A key counts from the
//! event that registered it. For a branch, the keys that agents have at the base count, not earlier ones; a key from the branch counts
//! only if the key before it signed it. An agent without a key at the base may register its own, and sign only that with it.
//! Leaves to others: which events are new.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{LintSource, Subject};
use crate::error::Result;
use crate::model::agent::Agent;
use crate::model::event::{Entity, Entry, Event, Stamp};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, quoted};
use crate::model::signature::is_signed_by;
use crate::rules::fold::{fold, order};
use crate::store::log::Log;

/// The public keys of agents, with the events that registered them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    of: BTreeMap<String, Vec<(Stamp, String)>>,
    /// The agents that may vouch for the key of another.
    vouchers: Vec<String>,
}

/// Most of them that a message names.
const NAMED: usize = 3;

/// Which events need a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// None; an existing signature must be valid.
    Nothing,
    /// Those of agents that had a key at that time.
    OfKeyHolders,
    /// All.
    All,
}

impl Keys {
    /// Records the keys that an agent's log registers.
    pub fn accept(&mut self, agent: &str, entries: &[Entry]) {
        for entry in entries {
            self.learn(agent, entry);
        }
    }

    /// Records the key that an agent has.
    pub fn accept_present(&mut self, agent: &Agent) {
        if let Some(key) = agent.key_since.zip(agent.public_key.clone()) {
            self.of.insert(agent.name.clone(), vec![key]);
        }
    }

    /// Records the keys that an agent's log registers by events that a key of the agent itself signed.
    pub fn accept_signed(&mut self, agent: &str, entries: &[Entry]) {
        let home = Entity::Agent(agent.to_owned());
        for entry in order(&home, entries).events {
            if entry.event.author.agent == agent && is_signed_by(entry, self.of(agent)) {
                self.learn(agent, entry);
            }
        }
    }

    /// Records which of the agents with keys may vouch for others.
    pub fn let_vouch(&mut self, may_register: &dyn Fn(&str) -> Result<bool>) -> Result<()> {
        for agent in self.of.keys() {
            if may_register(agent)? {
                self.vouchers.push(agent.clone());
            }
        }
        Ok(())
    }

    /// The fix if an agent has no key that counts.
    fn way_in(&self, agent: &str) -> String {
        let who = match &self.vouchers[..] {
            [] => "an agent that may register others".to_owned(),
            some => some.iter().take(NAMED).map(|name| quoted(name)).collect::<Vec<_>>().join(" or "),
        };
        format!(
            "merge its key first, which {who} vouches for: agentpm agent register --name {agent} --public-key KEY; or its own \
             registration alone, which the reviewer then vouches for"
        )
    }

    fn learn(&mut self, agent: &str, entry: &Entry) {
        if let Some(key) = entry.event.payload.registration().and_then(|p| p.public_key.as_ref()) {
            self.of.entry(agent.to_owned()).or_default().push((entry.event.stamp(), key.clone()));
        }
    }

    fn of(&self, agent: &str) -> Vec<(&str, Id)> {
        self.of.get(agent).into_iter().flatten().map(|(since, key)| (key.as_str(), since.id)).collect()
    }

    fn had_key(&self, agent: &str, by: Stamp) -> bool {
        self.of.get(agent).into_iter().flatten().any(|(since, _)| *since < by)
    }
}

/// The findings about signatures, by the keys of the work tree. New events of a branch are judged by the keys of its base.
pub(crate) fn check(source: LintSource<'_>, subject: &Subject<'_>, found: &mut Vec<Finding>) -> Result<()> {
    let Subject { entity, log_path, log, known, .. } = subject;
    match source {
        LintSource::WorkTree(tree, _) => found.extend(judge(entity, log_path, log, known, &tree.keys, tree.asks)),
        LintSource::Index(..) | LintSource::Branch(..) | LintSource::Text(_) => {}
    }
    Ok(())
}

/// The findings about events of a log that are not among the known ones, and whose signature is missing or wrong: one for each agent, at
/// the first line.
pub(crate) fn judge(
    entity: &Entity,
    path: &str,
    log: &Log,
    known: &BTreeSet<Id>,
    keys: &Keys,
    asks: Asks,
) -> Vec<Finding> {
    if asks == Asks::Nothing && log.entries.iter().all(|entry| entry.event.sig.is_none()) {
        return Vec::new();
    }
    let redacted = redacted(entity, log, &|entry: &Event, redaction: &Event| {
        let by = &redaction.author.agent;
        asks != Asks::All || known.contains(&redaction.id) || *by == entry.author.agent || keys.vouchers.contains(by)
    });
    let mut found: BTreeMap<(Rule, &str), (usize, &Entry, usize)> = BTreeMap::new();
    for (n, entry) in log.entries.iter().enumerate() {
        let event = &entry.event;
        if known.contains(&event.id) || (redacted.contains(&event.id) && event.is_redacted()) {
            continue;
        }
        let agent = event.author.agent.as_str();
        let rule = match event.sig {
            Some(_) if is_signed_by(entry, keys.of(agent)) => continue,
            // A signature cannot be verified without a key, which is an error only if all events must be signed.
            Some(_) if keys.of(agent).is_empty() && (asks != Asks::All || registers_itself(entry)) => continue,
            Some(_) => Rule::SignatureWrong,
            None if asks == Asks::All || (asks == Asks::OfKeyHolders && keys.had_key(agent, event.stamp())) => {
                Rule::SignatureMissing
            }
            None => continue,
        };
        found.entry((rule, agent)).or_insert((n, entry, 0)).2 += 1;
    }
    let finding = |((rule, agent), (n, entry, count)): ((Rule, &str), (usize, &Entry, usize))| {
        let event = &entry.event;
        let (name, has_key) = (quoted(agent), !keys.of(agent).is_empty());
        let what = match (event.sig.is_some(), has_key) {
            (false, _) => format!("{name} did not sign it"),
            (true, true) => format!("the signature is not that of {name} over this line"),
            (true, false) => {
                format!("{name} has no key there, and one that comes with the branch vouches for nothing in it")
            }
        };
        let more = if count > 1 { format!("; the same for {} more events here", count - 1) } else { String::new() };
        let message = format!("{} {} of {entity}: {what}{more}", event.payload.kind(), event.id);
        let mut finding = Finding::new(rule, message).event(event.id).at(path, log.lines.get(n).copied());
        if asks == Asks::All && !has_key {
            finding.fix = keys.way_in(agent).into();
        }
        finding
    };
    found.into_iter().map(finding).collect()
}

/// Whether an agent registers its own key, and signs the event with it.
fn registers_itself(entry: &Entry) -> bool {
    let key = entry.event.payload.registration().and_then(|p| p.public_key.as_deref());
    let is_own = entry.event.entity == Entity::Agent(entry.event.author.agent.clone());
    is_own && key.is_some_and(|key| is_signed_by(entry, [(key, entry.event.id)]))
}

/// The context entries of a task whose text a redaction removed that `covers` them.
fn redacted(entity: &Entity, log: &Log, covers: &dyn Fn(&Event, &Event) -> bool) -> BTreeSet<Id> {
    let mut redactions: BTreeMap<Id, Vec<&Event>> = BTreeMap::new();
    for event in log.entries.iter().map(|entry| &entry.event) {
        if let Some(redacted) = event.payload.redacts() {
            redactions.entry(redacted).or_default().push(event);
        }
    }
    let Some(id) = entity.task().filter(|_| !redactions.is_empty()) else { return BTreeSet::new() };
    let (task, _) = fold(id, &log.entries);
    let is_covered = |event: &&Event| {
        let of = redactions.get(&event.id).into_iter().flatten();
        task.context.get(&event.id).is_some_and(|entry| entry.redacted) && of.into_iter().any(|one| covers(event, one))
    };
    log.entries.iter().map(|entry| &entry.event).filter(is_covered).map(|event| event.id).collect()
}
