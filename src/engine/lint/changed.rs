//! Changes that a branch makes to the rules by which it is judged: `roles.yml`, `config.toml`, git's attributes and ignored files of the
//! store, and the roles and keys of agents.
//!
//! Guarantees: names each right that an agent gains or loses. Whether the change is wanted is for the reviewer to decide.
//! Leaves to others: what a role permits (`rules::roles`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Found;
use super::base::Branch;
use super::permitted::Gate;
use super::source::log_path;
use crate::error::Result;
use crate::git::Oid;
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule};
use crate::model::id::quoted;
use crate::rules::roles::{Grant, Roles};
use crate::store::config::MAX_CONFIG;
use crate::store::layout::{ATTRIBUTES, CONFIG, IGNORE, ROLES};
use crate::store::yaml;

/// Most changes of one file that are named one by one.
const NAMED: usize = 20;

/// Compares two states of a file.
type Compare = fn(&str, Option<&[u8]>, Option<&[u8]>) -> Option<Finding>;

/// The files with the rules.
const FILES: [(&str, Compare); 4] =
    [(ROLES, roles_changed), (CONFIG, config_changed), (ATTRIBUTES, lines_changed), (IGNORE, lines_changed)];

/// The changes of the rules. `review` lists those of the files itself, key by key.
pub(crate) fn check(branch: &Branch<'_>, gate: &Gate<'_>, found: &mut Found) -> Result<()> {
    let store = &branch.ws.store;
    for (name, compare) in FILES.iter().filter(|_| branch.is_here()) {
        let (path, new) = (store.shown(name), store.dir.read(name, MAX_CONFIG).ok());
        let at = |top: &Oid| branch.objects.file(*top, &path);
        if branch.began.len() > 1 && at(&branch.base_tree)? == new {
            continue;
        }
        let began = branch.began.iter().map(at).collect::<Result<Vec<_>>>()?;
        if let Some(old) = began.into_iter().find(|old| *old != new) {
            found.findings.extend(compare(&path, old.as_deref(), new.as_deref()));
        }
    }
    for name in branch.agents()? {
        let entity = Entity::Agent(name.clone());
        let (path, log) = (log_path(&store.name, &entity), branch.log(&entity)?.unwrap_or_default());
        found.findings.extend(gate.roles.agent_changed(&name, &path, &log)?);
    }
    Ok(())
}

/// The finding about two states of `roles.yml`; `None` if they grant the same, or if one cannot be read, which another rule
/// reports.
fn roles_changed(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> Option<Finding> {
    let found = |message: String, line| Some(Finding::new(Rule::RulesChanged, message).at(path, line));
    let Some(new) = new else {
        return old
            .and_then(|_| found("the branch takes it away: from then on everybody may do everything".into(), None));
    };
    let (said, line) = differences(&old.and_then(roles).unwrap_or_default(), &roles(new)?, new);
    match old {
        Some(_) => (!said.is_empty()).then(|| found(join_changes(&said), line)).flatten(),
        None => {
            let intro = "the branch brings it in: from then on only the named agents have rights";
            found(format!("{intro}; {}", join_changes(&said)), line)
        }
    }
}

/// The finding about two states of `config.toml`.
fn config_changed(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> Option<Finding> {
    let (before, after) = (values_of(CONFIG, old)?, values_of(CONFIG, new)?);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let shown = |value: Option<&Value>| value.map_or_else(|| "not set".to_owned(), Value::to_string);
    let differ: Vec<&String> = keys.into_iter().filter(|key| before.get(*key) != after.get(*key)).collect();
    let said: Vec<String> =
        differ.iter().map(|key| format!("{key}: {} -> {}", shown(before.get(*key)), shown(after.get(*key)))).collect();
    let line = differ.iter().find_map(|key| line_with(new?, key.rsplit('.').next()?));
    (!said.is_empty()).then(|| Finding::new(Rule::RulesChanged, join_changes(&said)).at(path, line))
}

/// The finding about two states of one of git's files, such as `.gitattributes`.
fn lines_changed(path: &str, old: Option<&[u8]>, new: Option<&[u8]>) -> Option<Finding> {
    let texts = [old, new].map(|bytes| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned());
    let [before, after] = [&texts[0], &texts[1]].map(|text| rules_of_git(text).collect::<Vec<&str>>());
    let only = |word: &str, one: &[&str], other: &[&str]| {
        let lines: Vec<&str> = one.iter().filter(|line| !other.contains(line)).copied().collect();
        lines.into_iter().map(|line| format!("{word} {}", quoted(line))).collect::<Vec<_>>()
    };
    let mut said = [only("loses", &before, &after), only("gains", &after, &before)].concat();
    if said.is_empty() && before != after {
        said.push("its lines are in another order".into());
    }
    let removed = if new.is_none() { "the branch removes it: " } else { "" };
    let line =
        texts[1].lines().position(|line| !before.contains(&line.trim())).map(|n| n + 1).filter(|_| new.is_some());
    (!said.is_empty())
        .then(|| Finding::new(Rule::RulesChanged, format!("{removed}{}", join_changes(&said))).at(path, line))
}

/// The lines of one of git's files, without comments and blank lines.
fn rules_of_git(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The rights that an agent gains and loses by registering with another role; `None` if `roles.yml` names the agent itself.
pub(crate) fn role_taken(roles: &Roles, agent: &str, old: Option<&str>, new: Option<&str>) -> Option<String> {
    if old == new || roles.agents.contains_key(agent) {
        return None;
    }
    let of = |role: Option<&str>| role.and_then(|role| roles.roles.get(role)).cloned().unwrap_or_default();
    let what = difference(&of(old), &of(new))?;
    let role = new.map_or_else(|| "no role".to_owned(), |role| format!("the role {}", quoted(role)));
    Some(format!("{} takes {role} and {what}", quoted(agent)))
}

fn roles(bytes: &[u8]) -> Option<Roles> {
    std::str::from_utf8(bytes).ok().and_then(|text| yaml::read(text).ok())
}

/// The rights that agents and roles gain and lose, in words, and the line of the first.
fn differences(old: &Roles, new: &Roles, text: &[u8]) -> (Vec<String>, Option<usize>) {
    let (mut said, mut line) = (Vec::new(), None);
    for (kind, old, new) in [("agent", &old.agents, &new.agents), ("role", &old.roles, &new.roles)] {
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let none = Grant::default();
        for name in names {
            let (before, after) = (old.get(name), new.get(name));
            if before == after {
                continue;
            }
            let what = difference(before.unwrap_or(&none), after.unwrap_or(&none));
            let what = what.unwrap_or_else(|| if after.is_some() { "is named" } else { "is named no more" }.into());
            said.push(format!("{kind} {} {what}", quoted(name)));
            line = line.or_else(|| line_with(text, name));
        }
    }
    if old.require_signatures != new.require_signatures {
        let what = if new.require_signatures { "are asked for" } else { "are asked for no more" };
        said.push(format!("signatures {what}"));
        line = line.or_else(|| line_with(text, "require_signatures"));
    }
    (said, line)
}

/// The difference between two grants, in words; `None` if they are equal.
fn difference(old: &Grant, new: &Grant) -> Option<String> {
    let set = |grant: &Grant| grant.perms.iter().cloned().collect::<BTreeSet<String>>();
    let (before, after) = (set(old), set(new));
    let list = |perms: Vec<&String>| perms.into_iter().map(|perm| quoted(perm)).collect::<Vec<_>>().join(", ");
    let mut said = Vec::new();
    for (word, perms) in
        [("gains", list(after.difference(&before).collect())), ("loses", list(before.difference(&after).collect()))]
    {
        if !perms.is_empty() {
            said.push(format!("{word} {perms}"));
        }
    }
    if old.precedence != new.precedence {
        said.push(format!("precedence {} -> {}", old.precedence, new.precedence));
    }
    (!said.is_empty()).then(|| said.join(" and "))
}

fn join_changes(said: &[String]) -> String {
    let named = said.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    match said.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

fn line_with(text: &[u8], word: &str) -> Option<usize> {
    String::from_utf8_lossy(text).lines().position(|line| line.contains(word)).map(|n| n + 1)
}

/// The values of a settings file by dotted key, or the lines of one of git's files; `None` if it cannot be read.
pub(crate) fn values_of(name: &str, bytes: Option<&[u8]>) -> Option<BTreeMap<String, Value>> {
    let text = std::str::from_utf8(bytes.unwrap_or_default()).ok()?;
    if name.starts_with(".git") {
        return Some(rules_of_git(text).map(|line| (line.to_owned(), json!(true))).collect());
    }
    let value = match name {
        _ if text.trim().is_empty() => json!({}),
        CONFIG => json!(text.parse::<toml::Table>().ok()?),
        _ => yaml::read_value(text).ok()?,
    };
    let mut flat = BTreeMap::new();
    flatten("", &value, &mut flat);
    Some(flat)
}

fn flatten(prefix: &str, value: &Value, flat: &mut BTreeMap<String, Value>) {
    match value.as_object() {
        Some(map) => {
            for (key, value) in map {
                flatten(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, value, flat);
            }
        }
        None if value.is_null() => {}
        None => {
            flat.insert(prefix.to_owned(), value.clone());
        }
    }
}
