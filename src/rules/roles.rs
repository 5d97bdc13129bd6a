//! Permissions, from `roles.yml`.
//!
//! Guarantees that without the file every agent may do everything, and that with it everything it does not grant is refused.
//! Leaves to others: which command needs which verb (`rules::decide`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use crate::error::{Code, Error, Result};
use crate::model::event::PRECEDENCE;
use crate::model::id::{check_agent_name, quoted};
use crate::model::thread::Thread;

/// A permission of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Create tasks.
    Create,
    /// Create children of a task.
    Split,
    /// Change fields.
    Update,
    /// Record context and progress.
    Comment,
    /// Take and release work.
    Claim,
    /// Complete tasks.
    Complete,
    /// Cancel tasks.
    Cancel,
    /// Verify results and criteria.
    Verify,
    /// Archive tasks.
    Archive,
    /// Relate and block tasks.
    Relate,
    /// Open threads.
    Discuss,
    /// Reply in threads.
    Reply,
    /// Resolve threads.
    Resolve,
    /// Override checks and leases.
    Override,
    /// Register agents.
    Register,
    /// Send messages to other agents.
    Broadcast,
    /// Everything else.
    Admin,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 17] = [
        Verb::Create,
        Verb::Split,
        Verb::Update,
        Verb::Comment,
        Verb::Claim,
        Verb::Complete,
        Verb::Cancel,
        Verb::Verify,
        Verb::Archive,
        Verb::Relate,
        Verb::Discuss,
        Verb::Reply,
        Verb::Resolve,
        Verb::Override,
        Verb::Register,
        Verb::Broadcast,
        Verb::Admin,
    ];

    /// Each of these verbs opens a task whose blockers are finished, or were finished before one was opened again.
    pub const OPENING: [Verb; 5] = [Verb::Update, Verb::Claim, Verb::Relate, Verb::Complete, Verb::Cancel];

    /// The word in `roles.yml`.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Split => "split",
            Verb::Update => "update",
            Verb::Comment => "comment",
            Verb::Claim => "claim",
            Verb::Complete => "complete",
            Verb::Cancel => "cancel",
            Verb::Verify => "verify",
            Verb::Archive => "archive",
            Verb::Relate => "relate",
            Verb::Discuss => "discuss",
            Verb::Reply => "reply",
            Verb::Resolve => "resolve",
            Verb::Override => "override",
            Verb::Register => "register",
            Verb::Broadcast => "broadcast",
            Verb::Admin => "admin",
        }
    }
}

/// The most agents and roles that a refusal names.
const MAX_NAMED: usize = 5;

/// The permissions of one agent or role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// The verbs, or the project's own words for `need_perm`.
    pub perms: Vec<String>,
    /// Which values win against concurrent ones: from -1000 to 1000.
    #[serde(deserialize_with = "precedence")]
    #[schemars(range(min = -1000, max = 1000))]
    pub precedence: i64,
}

fn precedence<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<i64, D::Error> {
    let given = i64::deserialize(deserializer)?;
    if PRECEDENCE.contains(&given) {
        return Ok(given);
    }
    let (least, most) = PRECEDENCE.into_inner();
    Err(serde::de::Error::custom(format!("a precedence of {given} is not within {least} to {most}")))
}

/// The contents of `roles.yml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Roles {
    /// By agent name.
    pub agents: BTreeMap<String, Grant>,
    /// By the role that an agent registered with.
    pub roles: BTreeMap<String, Grant>,
    /// Whether every new event must be signed by its agent's registered key; lint reports missing signatures.
    pub require_signatures: bool,
}

/// The roles of a store; `None` if there is no `roles.yml`.
#[derive(Clone, Debug, Default)]
pub struct Rights(pub Option<Roles>);

impl Rights {
    /// The permissions of an agent; `None` where everyone has all.
    pub fn perms(&self, agent: &str, role: Option<&str>) -> Option<&[String]> {
        self.0.as_ref().map(|_| self.grant(agent, role).map_or(&[][..], |grant| &grant.perms))
    }

    fn grant(&self, agent: &str, role: Option<&str>) -> Option<&Grant> {
        let roles = self.0.as_ref()?;
        roles.agents.get(agent).or_else(|| roles.roles.get(role?))
    }

    /// Refuses a verb that is not granted.
    ///
    /// Errors: `ERR_UNAUTHORIZED`.
    pub fn require(&self, agent: &str, role: Option<&str>, verb: Verb) -> Result<()> {
        if self.has_perm(agent, role, verb.as_str()) {
            return Ok(());
        }
        Err(Error::new(Code::Unauthorized, format!("{agent} may not {} here", verb.as_str()))
            .with(json!({ "agent": agent, "verb": verb }))
            .hint(format!("{}{}; nothing was written", self.who_may(verb.as_str()), self.deciding(agent, role))))
    }

    /// Which entry decides for an agent that has one of its own and a role with another; else empty. Part of a sentence.
    pub fn deciding(&self, agent: &str, role: Option<&str>) -> String {
        let Some(roles) = &self.0 else { return String::new() };
        match role.filter(|role| roles.agents.contains_key(agent) && roles.roles.contains_key(*role)) {
            Some(role) => format!("; for {agent} its entry under agents decides, in place of that of its role {role}"),
            None => String::new(),
        }
    }

    /// Whom `roles.yml` grants a right to, by its word, as part of a sentence.
    pub fn who_may(&self, perm: &str) -> String {
        let Some(roles) = &self.0 else { return "every agent may".into() };
        let has = |(_, grant): &(&String, &Grant)| grant.perms.iter().any(|p| p == perm || p == "admin");
        let plain = |name: &str| if check_agent_name(name).is_ok() { name.to_owned() } else { quoted(name) };
        let agents = roles.agents.iter().filter(has).map(|(name, _)| plain(name));
        let of_roles = roles.roles.iter().filter(has).map(|(name, _)| format!("the role {}", plain(name)));
        let mut names: Vec<String> = agents.chain(of_roles).collect();
        let more = names.len().saturating_sub(MAX_NAMED);
        names.truncate(MAX_NAMED);
        if more > 0 {
            names.push(if more == 1 { "1 other".into() } else { format!("{more} others") });
        }
        let names = match &names[..] {
            [] => "no agent".to_owned(),
            [one] => one.clone(),
            [first @ .., last] => format!("{} and {last}", first.join(", ")),
        };
        format!("roles.yml grants it to {names}")
    }

    /// Whether an agent has a right, by its word.
    pub fn has_perm(&self, agent: &str, role: Option<&str>, perm: &str) -> bool {
        self.0.is_none() || self.grant(agent, role).is_some_and(|g| g.perms.iter().any(|p| p == perm || p == "admin"))
    }

    /// The precedence of an agent, which each of its events records; `None` if there is no `roles.yml`.
    pub fn precedence(&self, agent: &str, role: Option<&str>) -> Option<i64> {
        self.0.as_ref().map(|_| self.grant(agent, role).map_or(0, |grant| grant.precedence))
    }

    /// Whether an agent's precedence is at least `least`.
    pub fn has_precedence(&self, agent: &str, role: Option<&str>, least: i64) -> bool {
        self.0.is_none() || self.grant(agent, role).is_some_and(|g| g.precedence >= least)
    }

    /// The right or the precedence that a thread requires of the agent that decides it, and that this one lacks.
    pub fn missing(&self, thread: &Thread, agent: &str, role: Option<&str>) -> Option<String> {
        let perm = thread.need_perm.as_ref().filter(|perm| !self.has_perm(agent, role, perm));
        let least = || thread.need_precedence.filter(|least| !self.has_precedence(agent, role, *least));
        perm.map(|perm| format!("the right {perm}")).or_else(|| least().map(|least| format!("precedence {least}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_every_agent_may() {
        let rights = Rights(None);
        rights.require("anyone", None, Verb::Override).unwrap();
        assert!(rights.has_precedence("anyone", None, 100));
    }

    #[test]
    fn with_a_file_only_named_agents_may() {
        let mut roles = Roles::default();
        roles.agents.insert("code_bot".into(), Grant { perms: vec!["claim".into()], precedence: 30 });
        roles.roles.insert("reviewer".into(), Grant { perms: vec!["verify".into()], precedence: 50 });
        let rights = Rights(Some(roles));
        rights.require("code_bot", None, Verb::Claim).unwrap();
        rights.require("x", Some("reviewer"), Verb::Verify).unwrap();
        let refused = rights.require("code_bot", Some("reviewer"), Verb::Verify).unwrap_err();
        assert_eq!(refused.code, Code::Unauthorized);
        assert_eq!(
            refused.hint.as_deref(),
            Some(
                "roles.yml grants it to the role reviewer; for code_bot its entry under agents decides, in place of \
                 that of its role reviewer; nothing was written"
            )
        );
        assert!(rights.require("stranger", None, Verb::Comment).is_err());
        assert!(!rights.has_precedence("code_bot", None, 31));
    }

    #[test]
    fn a_refusal_says_who_may() {
        let mut roles = Roles::default();
        let grant = |word: &str| Grant { perms: vec![word.into()], precedence: 0 };
        let who = |roles: &Roles| Rights(Some(roles.clone())).who_may("verify");
        assert_eq!(who(&roles), "roles.yml grants it to no agent");
        roles.agents.insert("ada".into(), grant("admin"));
        roles.agents.insert("bob".into(), grant("claim"));
        roles.roles.insert("reviewer".into(), grant("verify"));
        assert_eq!(who(&roles), "roles.yml grants it to ada and the role reviewer");
        roles.agents.extend((0..9).map(|n| (format!("bot-{n}"), grant("verify"))));
        assert_eq!(who(&roles), "roles.yml grants it to ada, bot-0, bot-1, bot-2, bot-3 and 6 others");
        let refused = Rights(Some(roles)).require("bob", None, Verb::Verify).unwrap_err();
        assert_eq!(*refused.details, json!({ "agent": "bob", "verb": "verify" }));
    }
}
