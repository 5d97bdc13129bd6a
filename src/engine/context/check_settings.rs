//! What `roles.yml` grants to a name that no agent has or can have, or as a right that nothing asks for.
//!
//! Guarantees: a right that only the project defines is not reported once a task asks for it.
//! Leaves to others: whether the file can be read, and who should have which right.

use std::collections::BTreeSet;

use super::open::other_format;
use crate::model::finding::{Finding, Rule};
use crate::model::id::{check_agent_name, quoted};
use crate::model::suggest::slip;
use crate::rules::roles::{Roles, Verb};
use crate::store::config::{self, SettingsFile};
use crate::store::layout::ROLES;
use crate::store::place::{not_text, not_utf8};
use crate::store::yaml;

/// Names that no agent can have, and rights that are a slip of the pen for one.
pub(crate) fn slips(path: &str, text: &str, roles: &Roles) -> Vec<Finding> {
    let no_agent = roles.agents.keys().filter_map(|name| {
        let why = check_agent_name(name).err()?.message;
        Some(found(
            Rule::ConfigKey,
            path,
            text,
            name,
            format!("it grants something to a name that no agent can have: {why}"),
        ))
    });
    let meant = words(roles).into_iter().filter_map(|word| {
        let verb = meant(word)?;
        Some(found(Rule::ConfigKey, path, text, word, format!("{} permits no command; {verb} is meant?", quoted(word))))
    });
    no_agent.chain(meant).collect()
}

/// Rights of the project's own that no task asks for.
pub(crate) fn unasked(path: &str, text: &str, roles: &Roles, asked: &BTreeSet<&str>) -> Vec<Finding> {
    let idle = words(roles).into_iter().filter(|word| meant(word).is_none() && !asked.contains(word));
    idle.map(|word| {
        let said = format!("{} permits no command, and no task has it as need_perm", quoted(word));
        found(Rule::ConfigKey, path, text, word, said)
    })
    .collect()
}

/// Agents that are granted something and are not among the known ones.
pub(crate) fn unregistered(path: &str, text: &str, roles: &Roles, known: &BTreeSet<String>) -> Vec<Finding> {
    let names = roles.agents.keys().filter(|name| check_agent_name(name).is_ok() && !known.contains(*name));
    names
        .map(|name| {
            let near = slip(name, known.iter().map(String::as_str)).map(|near| format!("; {near} is meant?"));
            let said =
                format!("no agent {name} is registered, and none has written an event{}", near.unwrap_or_default());
            found(Rule::AgentUnregistered, path, text, name, said)
        })
        .collect()
}

/// The words that are no rights of this program.
fn words(roles: &Roles) -> BTreeSet<&str> {
    let grants = roles.agents.values().chain(roles.roles.values());
    let words = grants.flat_map(|grant| &grant.perms).map(String::as_str);
    words.filter(|word| Verb::ALL.iter().all(|verb| verb.as_str() != *word)).collect()
}

fn meant(word: &str) -> Option<&'static str> {
    slip(word, Verb::ALL.iter().map(|verb| verb.as_str()))
}

fn found(rule: Rule, path: &str, text: &str, word: &str, said: String) -> Finding {
    let line = text.lines().position(|line| line.contains(word)).map(|n| n + 1);
    Finding::new(rule, said).at(path, line)
}

/// What is odd about the bytes of config.toml or roles.yml.
pub(crate) fn settings(path: &str, below: &str, bytes: &[u8]) -> Vec<Finding> {
    let invalid = |why: String, line| vec![Finding::new(Rule::ConfigInvalid, why).at(path, line)];
    let Ok(text) = std::str::from_utf8(bytes) else {
        return invalid(not_text(bytes), not_utf8(bytes).map(|(line, _)| line));
    };
    match below {
        ROLES => match yaml::read::<Roles>(text) {
            Ok(roles) => slips(path, text, &roles),
            Err(why) => invalid(why.clone(), yaml::line_in(&why)),
        },
        _ => {
            let (settings, mut findings) = config::combine(&[SettingsFile::of_store(path.to_owned(), text.to_owned())]);
            findings.extend(other_format(path, text, &settings));
            findings
        }
    }
}
