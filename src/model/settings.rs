//! What can be set, with its defaults.
//!
//! Promises: every key of `config.toml` is a field here, so that the schema, the defaults and the warning about an unknown
//! key cannot drift apart. Nothing here names a command, a path outside the store or a URL.
//! Refuses to know: where a value came from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::finding::{Finding, Level, Severity};

/// All settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// Version of the store's format.
    pub format: u64,
    /// Who is asking, where neither `--agent` nor `AGENTPM_AGENT` says it.
    pub agent: Option<String>,
    /// Leases.
    pub lease: LeaseSettings,
    /// Sessions.
    pub session: SessionSettings,
    /// Commands that run under a lease.
    pub work: WorkSettings,
    /// Locks.
    pub lock: LockSettings,
    /// Runtime state: journal, locks, leases, sessions.
    pub runtime: RuntimeSettings,
    /// How `next` chooses.
    pub score: ScoreSettings,
    /// What lists print.
    pub list: ListSettings,
    /// How `sync` talks to a remote.
    pub sync: SyncSettings,
    /// Which other branches count when work is chosen.
    pub branches: BranchSettings,
    /// What the hooks do that `init --hooks` installs.
    pub hooks: HookSettings,
    /// How bad the rules of lint are.
    pub lint: LintSettings,
    /// Saved queries, by their names: `ready-sync = "status:open label:sync sort:score"` is asked for as
    /// `agentpm task list --query @ready-sync`.
    pub query: BTreeMap<String, String>,
}

/// `[lease]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseSettings {
    /// Time to live of a lease, in seconds.
    pub ttl_seconds: u32,
    /// Whether a change needs a lease even of a task that is nobody's.
    pub required: bool,
    /// The remote that confirms leases, by its name in git, such as `origin`; none where empty.
    pub remote: String,
    /// How long the remote may take over the questions of one command, in seconds.
    pub remote_seconds: u32,
    /// Whether work is refused that the remote does not confirm.
    pub confirmed_only: bool,
}

/// `[session]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionSettings {
    /// How long nothing may be heard of a session before it counts as silent and is closed, in seconds.
    pub limit_seconds: u32,
}

/// `[work]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WorkSettings {
    /// How long a command whose lease is lost may take to end after it was asked to, in seconds.
    pub grace_seconds: u32,
}

/// `[lock]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LockSettings {
    /// How long a writer waits for the others, in milliseconds.
    pub wait_ms: u32,
}

/// `[runtime]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RuntimeSettings {
    /// Where a clone keeps its runtime state. The first change of a clone decides; later the state stays where it is.
    pub place: RuntimePlace,
}

/// A place for runtime state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuntimePlace {
    /// `agentpm/` in the git folder that all worktrees of the clone share.
    #[default]
    Git,
    /// `.local/` in the store: for a git folder that cannot be written. Worktrees then do not share leases.
    Worktree,
}

/// `[score]`: score = priority × `priority` + hours since creation × `age_hour` + depth × `depth`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScoreSettings {
    /// Weight of a step of priority.
    pub priority: f64,
    /// Weight of an hour of age.
    pub age_hour: f64,
    /// Weight of a task in the longest chain that waits for this one.
    pub depth: f64,
}

/// `[list]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListSettings {
    /// Most bytes a list prints unless asked for more.
    pub max_bytes: u32,
}

/// `[sync]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyncSettings {
    /// How long one step may take (fetching, pushing, a hook, a signature), in seconds.
    pub step_seconds: u32,
    /// How often a push that lost a race is tried again.
    pub retries: u32,
}

/// `[branches]`: a task that is taken or finished on one of these is not handed out here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BranchSettings {
    /// Whether local branches count.
    pub local: bool,
    /// Whether remote-tracking branches count. The branches of `lease.remote` count in any case, as a claim last saw them.
    pub remote: bool,
    /// Days after its last commit in which a branch counts.
    pub active_days: u32,
}

/// `[hooks]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HookSettings {
    /// Whether a commit message names the leases the commit was made under: `Agentpm-Lease: <handle>@<fence>`.
    pub trailer: bool,
}

/// `[lint]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LintSettings {
    /// How bad a rule is, by its code: off, warning or error. Rules that mean lost or contradictory data stay errors.
    pub severity: BTreeMap<String, Level>,
}

impl LintSettings {
    /// A finding as bad as the settings say; `None` for what they do not want to hear of.
    pub fn judge(&self, finding: Finding) -> Option<Finding> {
        // What nobody may record would stand there for ever, unheard.
        let stays = finding.refusal.as_ref().is_some_and(|refusal| refusal.is_for_everybody());
        let level = self.severity.get(finding.rule.code()).filter(|_| finding.rule.is_configurable() && !stays);
        match level {
            None => Some(finding),
            Some(Level::Off) => None,
            Some(Level::Warning) => Some(finding.as_bad_as(Severity::Warning)),
            Some(Level::Error) => Some(finding.as_bad_as(Severity::Error)),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            format: 1,
            agent: None,
            lease: LeaseSettings::default(),
            session: SessionSettings::default(),
            work: WorkSettings::default(),
            lock: LockSettings::default(),
            runtime: RuntimeSettings::default(),
            score: ScoreSettings::default(),
            list: ListSettings::default(),
            sync: SyncSettings::default(),
            branches: BranchSettings::default(),
            hooks: HookSettings::default(),
            lint: LintSettings::default(),
            query: BTreeMap::new(),
        }
    }
}

impl Default for LeaseSettings {
    fn default() -> Self {
        LeaseSettings {
            ttl_seconds: 600,
            required: false,
            remote: String::new(),
            remote_seconds: 15,
            confirmed_only: false,
        }
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        SessionSettings { limit_seconds: 900 }
    }
}

impl SessionSettings {
    /// The limit in milliseconds.
    pub fn limit_ms(&self) -> i64 {
        i64::from(self.limit_seconds) * 1_000
    }
}

impl Default for WorkSettings {
    fn default() -> Self {
        WorkSettings { grace_seconds: 10 }
    }
}

impl Default for BranchSettings {
    fn default() -> Self {
        BranchSettings { local: true, remote: true, active_days: 30 }
    }
}

impl Default for LockSettings {
    fn default() -> Self {
        LockSettings { wait_ms: 20_000 }
    }
}

impl Default for ScoreSettings {
    fn default() -> Self {
        ScoreSettings { priority: 1.0, age_hour: 0.1, depth: 0.5 }
    }
}

impl Default for ListSettings {
    fn default() -> Self {
        ListSettings { max_bytes: 7_500 }
    }
}

impl Default for SyncSettings {
    fn default() -> Self {
        SyncSettings { step_seconds: 60, retries: 100 }
    }
}
