//! Whether events are signed by whom they name, where `roles.yml` asks for that or a signature is there.
//!
//! Guarantees: judged by the lines as they stand; an entry whose text was redacted is no forgery, as long as nothing else takes its
//! place. A key counts from the event that registered it on. Of a commit that a branch is held against the keys count that its agents
//! have there, not those they had; a key that comes with the branch counts only where the key before it signed for it. An agent
//! without a key there may bring in its own, and sign just that with it.
//! Leaves to others: which events are new, and where keys were read.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::model::agent::Agent;
use crate::model::event::{Entity, Entry, Stamp};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, quoted};
use crate::model::payload::Payload;
use crate::rules::fold::{fold, order};
use crate::rules::signature::is_signed_by;
use crate::store::log::Log;

/// The public keys of agents, with the events that registered them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    of: BTreeMap<String, Vec<(Stamp, String)>>,
    /// Those that may vouch for the key of another agent.
    vouchers: Vec<String>,
}

/// Most agents that are named as those who may vouch.
const NAMED: usize = 3;

/// Which events need a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// None; one that is there must be good.
    Nothing,
    /// Those of agents that had a key by that point.
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

    /// Notes which of the agents that have keys may vouch for others.
    pub fn let_vouch(&mut self, may_register: &dyn Fn(&str) -> Result<bool>) -> Result<()> {
        for agent in self.of.keys() {
            if may_register(agent)? {
                self.vouchers.push(agent.clone());
            }
        }
        Ok(())
    }

    /// What to do where an agent has no key that counts.
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
        let (Payload::AgentRegistered(p) | Payload::AgentUpdated(p)) = &entry.event.payload else { return };
        if let Some(key) = &p.public_key {
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

/// The events of a log that are not among the known ones and whose signature is missing or wrong. Each log names an agent once
/// for each, at the first line.
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
    let redacted = redacted(entity, log);
    let mut found: BTreeMap<(Rule, &str), (usize, &Entry, usize)> = BTreeMap::new();
    for (n, entry) in log.entries.iter().enumerate() {
        let event = &entry.event;
        if known.contains(&event.id) || (redacted.contains(&event.id) && event.is_redacted()) {
            continue;
        }
        let agent = event.author.agent.as_str();
        let rule = match event.sig {
            Some(_) if is_signed_by(entry, keys.of(agent)) => continue,
            // Whose key is not known here cannot be held to it, unless all must be.
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
        let what = match rule {
            Rule::SignatureWrong if keys.of(agent).is_empty() => {
                format!(
                    "{} has no key there, and one that comes with the branch vouches for nothing in it",
                    quoted(agent)
                )
            }
            Rule::SignatureWrong => {
                format!("the signature is not that of {} over this line", quoted(agent))
            }
            _ => format!("{} did not sign it", quoted(agent)),
        };
        let more = if count > 1 { format!("; the same for {} more events here", count - 1) } else { String::new() };
        let message = format!("{} {} of {entity}: {what}{more}", event.payload.kind(), event.id);
        let mut finding = Finding::new(rule, message).event(event.id).at(path, log.lines.get(n).copied());
        if asks == Asks::All && keys.of(agent).is_empty() {
            finding.fix = keys.way_in(agent).into();
        }
        entity.task().map_or(finding.clone(), |id| finding.task(id))
    };
    found.into_iter().map(finding).collect()
}

/// Whether an agent brings in its own key, and signs that with it.
fn registers_itself(entry: &Entry) -> bool {
    let (Payload::AgentRegistered(p) | Payload::AgentUpdated(p)) = &entry.event.payload else { return false };
    let own = entry.event.entity == Entity::Agent(entry.event.author.agent.clone());
    own && p.public_key.as_deref().is_some_and(|key| is_signed_by(entry, [(key, entry.event.id)]))
}

/// The context entries of a task that a redaction took the text from; one that came before its entry took nothing.
fn redacted(entity: &Entity, log: &Log) -> BTreeSet<Id> {
    let any = log.entries.iter().any(|entry| matches!(entry.event.payload, Payload::ContextRedacted(_)));
    let Some(id) = entity.task().filter(|_| any) else { return BTreeSet::new() };
    let (task, _) = fold(id, &log.entries);
    task.context.values().filter(|entry| entry.redacted).map(|entry| entry.id).collect()
}
