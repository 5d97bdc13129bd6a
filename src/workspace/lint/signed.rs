//! Whether events are signed by whom they name, where `roles.yml` asks for that or a signature is there.
//!
//! Promises: judged by the lines as they stand; an entry whose text was redacted is no forgery. A key counts from the event that
//! registered it on.
//! Refuses to know: which events are new, and where keys were read.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::event::{Entity, Entry, Stamp};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, quoted};
use crate::model::payload::Payload;
use crate::rules::signature::is_signed_by;
use crate::store::log::Log;

/// The public keys of agents, with the events that registered them.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys(BTreeMap<String, Vec<(Stamp, String)>>);

/// Which events need a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// None; one that is there must be good.
    Nothing,
    /// Those of agents that had a key by then.
    OfKeyHolders,
    /// All.
    All,
}

impl Keys {
    /// Takes in the keys that an agent's log registers; where `trusted` is given, only by events that these keys signed.
    pub fn take_in(&mut self, agent: &str, entries: &[Entry], trusted: Option<&Keys>) {
        for entry in entries {
            let key = match &entry.event.payload {
                Payload::AgentRegistered(p) | Payload::AgentUpdated(p) => p.public_key.clone(),
                _ => None,
            };
            let is_good = |keys: &Keys| is_signed_by(entry, keys.of(&entry.event.author.agent));
            if let Some(key) = key.filter(|_| trusted.is_none_or(is_good)) {
                self.0.entry(agent.to_owned()).or_default().push((entry.event.stamp(), key));
            }
        }
    }

    fn of(&self, agent: &str) -> impl Iterator<Item = &str> {
        self.0.get(agent).into_iter().flatten().map(|(_, key)| key.as_str())
    }

    fn had_key(&self, agent: &str, by: Stamp) -> bool {
        self.0.get(agent).into_iter().flatten().any(|(since, _)| *since < by)
    }
}

/// The events of a log that are not among the known ones and whose signature is missing or wrong. Each log names an agent once
/// for each, at the first line.
pub(super) fn judge(
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
    let names = |entry: &Entry| match &entry.event.payload {
        Payload::ContextRedacted(p) => Some(p.entry),
        _ => None,
    };
    let redacted: BTreeSet<Id> = log.entries.iter().filter_map(names).collect();
    let mut found: BTreeMap<(Rule, &str), (usize, &Entry, usize)> = BTreeMap::new();
    for (n, entry) in log.entries.iter().enumerate() {
        let event = &entry.event;
        if known.contains(&event.id) || redacted.contains(&event.id) {
            continue;
        }
        let agent = event.author.agent.as_str();
        let rule = match event.sig {
            Some(_) if is_signed_by(entry, keys.of(agent)) => continue,
            // Whose key is not known here cannot be held to it, unless all must be.
            Some(_) if asks != Asks::All && keys.of(agent).next().is_none() => continue,
            Some(_) => Rule::SignatureWrong,
            None if asks == Asks::All || (asks == Asks::OfKeyHolders && keys.had_key(agent, event.stamp())) => {
                Rule::SignatureMissing
            }
            None => continue,
        };
        found.entry((rule, agent)).or_insert((n, entry, 0)).2 += 1;
    }
    let tell = |((rule, agent), (n, entry, count)): ((Rule, &str), (usize, &Entry, usize))| {
        let event = &entry.event;
        let what = match rule {
            Rule::SignatureWrong => format!("the signature is not that of {} over this line", quoted(agent)),
            _ => format!("{} did not sign it", quoted(agent)),
        };
        let more = if count > 1 { format!("; so it is with {} more events here", count - 1) } else { String::new() };
        let message = format!("{} {} of {entity}: {what}{more}", event.payload.kind(), event.id);
        let finding = Finding::new(rule, message).event(event.id).at(path, log.lines.get(n).copied());
        entity.task().map_or(finding.clone(), |id| finding.task(id))
    };
    found.into_iter().map(tell).collect()
}
