//! All settings, with their defaults.
//!
//! Guarantees that every key of `config.toml` is a field here, so that the schema, the defaults and the warning about an
//! unknown key cannot diverge. No setting that counts in a store names a command, a path outside the store or a URL.
//! Leaves to others: where a value came from.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::Duration;
use crate::model::finding::{Finding, Level, Severity};

/// All settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    /// The version of the store's format.
    pub format: u64,
    /// The agent, if neither `--agent` nor `AGENTPM_AGENT` names it.
    pub agent: Option<String>,
    /// Leases.
    pub lease: LeaseSettings,
    /// What is handed out.
    pub claim: ClaimSettings,
    /// Reviews of completed tasks.
    pub review: ReviewSettings,
    /// Sessions.
    pub session: SessionSettings,
    /// Threads.
    pub thread: ThreadSettings,
    /// Commands that run under a lease.
    pub work: WorkSettings,
    /// Compaction.
    pub compact: CompactSettings,
    /// Locks.
    pub lock: LockSettings,
    /// Runtime state: journal, locks, leases, sessions.
    pub runtime: RuntimeSettings,
    /// How `next` ranks tasks.
    pub score: ScoreSettings,
    /// The output of lists.
    pub list: ListSettings,
    /// How `sync` communicates with a remote.
    pub sync: SyncSettings,
    /// The message bus.
    pub bus: BusSettings,
    /// Which other branches count when work is chosen.
    pub branches: BranchSettings,
    /// The behaviour of the hooks that `init --hooks` installs.
    pub hooks: HookSettings,
    /// The severity of lint rules.
    pub lint: LintSettings,
    /// Saved queries by name. `ready-sync = "status:open label:sync sort:score"` is used as
    /// `agentpm task list --query @ready-sync`.
    pub query: BTreeMap<String, String>,
}

/// `[lease]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseSettings {
    /// Duration of a lease, in seconds.
    pub ttl_seconds: u32,
    /// Whether a change needs a lease even for a task without an owner.
    pub required: bool,
    /// The git name of the remote that confirms leases, such as `origin`; `bus` for the message bus; none if empty.
    pub remote: String,
    /// Deadline for the remote to answer all questions of one command, in seconds.
    pub remote_seconds: u32,
    /// Whether work that the remote does not confirm is refused.
    pub confirmed_only: bool,
}

/// The value of `lease.remote` that stands for the message bus.
pub const BUS: &str = "bus";

/// `[claim]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClaimSettings {
    /// How many claims may end without completion before a task is parked; 0 for any number.
    pub max_attempts: u32,
    /// What a task waits for that another one blocks.
    pub blockers: BlockerEnd,
    /// What happens to a claim of a task whose files overlap with those of another agent's task in progress.
    pub overlap: Overlap,
    /// How much lower the score may be of a task that `next` prefers to one whose files overlap.
    pub overlap_margin: f64,
}

/// What a task waits for that another one blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockerEnd {
    /// Until its blockers are completed or cancelled.
    #[default]
    Completed,
    /// Until the completions are also on the default branch of the remote, as it was last fetched. Without a remote, or one whose
    /// default branch is not known, a completion suffices.
    Landed,
}

/// What happens to a claim of a task whose files overlap with work in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// Overlaps are not looked for.
    Off,
    /// The claim is made, with a warning.
    #[default]
    Warn,
    /// The claim is refused.
    Refuse,
}

/// `[review]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ReviewSettings {
    /// Whether the tasks that wait for a completed one wait until another agent than the one that completed it accepts it.
    pub required: bool,
    /// A right that a reviewer needs besides `verify`; none if empty.
    pub need_perm: String,
    /// The least precedence of a reviewer; any if absent.
    pub need_precedence: Option<i64>,
}

/// `[compact]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CompactSettings {
    /// How many days after it was archived a task moves into an archive.
    pub retention_days: u32,
}

/// `[session]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionSettings {
    /// How long a session may be silent before it is closed, in seconds.
    pub limit_seconds: u32,
}

/// `[thread]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ThreadSettings {
    /// How long a thread may stay open, such as `24h`, if `--ttl` does not say it.
    pub ttl: Duration,
    /// What happens to a thread that is open longer.
    pub on_expiry: OnExpiry,
    /// The agent to which threads of a task without an owner are escalated; none if empty.
    pub escalate_to: String,
}

/// What happens to a thread that is past its time to live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// It is escalated to the owner of the task, or else to `escalate_to`.
    #[default]
    Escalate,
    /// The proposal of the author of highest precedence is accepted; without one that applies, the thread is escalated.
    AcceptHighest,
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
    /// How long a writer waits for others, in milliseconds.
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

/// `[score]`: score = priority × `priority` + age + depth × `depth` + due. The age is hours since creation × `age_hour`, at most
/// `age_cap`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ScoreSettings {
    /// Weight of one step of priority.
    pub priority: f64,
    /// Weight of one hour of age.
    pub age_hour: f64,
    /// Maximum points for age; 0 is no maximum. Without one, a plan older than a few days ignores priorities.
    pub age_cap: f64,
    /// Weight of each task in the longest chain that waits for this one.
    pub depth: f64,
    /// Points for a task that is overdue.
    pub overdue: f64,
    /// Points for a task that is due within a day.
    pub due_soon: f64,
}

/// `[list]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ListSettings {
    /// Maximum size of a list's output, in bytes, by default.
    pub max_bytes: u32,
}

/// `[sync]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyncSettings {
    /// How long one step may take (fetching, pushing, a hook, a signature), in seconds.
    pub step_seconds: u32,
    /// How often a push that lost a race is retried.
    pub retries: u32,
}

/// `[bus]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BusSettings {
    /// The name of the plan on the bus; if empty, one that the first commit of the repository determines.
    pub plan: String,
    /// The number of servers that keep each message of a stream that is made.
    pub replicas: usize,
    /// The address of the server, such as `nats://localhost:4222`. Only read from `~/.agentpm/config.toml`.
    pub url: String,
    /// A file with credentials for the server. Only read from `~/.agentpm/config.toml`.
    pub creds: String,
}

/// The settings that count only in the user's own file: a store must not say where a program connects, or which file it reads.
pub const USERS_ONLY: [(&str, &str); 2] = [("bus", "url"), ("bus", "creds")];

/// `[branches]`: a task that is taken or finished on one of these is not offered here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BranchSettings {
    /// Whether local branches count.
    pub local: bool,
    /// Whether remote-tracking branches count. The branches of `lease.remote` always count, as of the last claim.
    pub remote: bool,
    /// Number of days after its last commit in which a branch counts.
    pub active_days: u32,
}

/// `[hooks]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HookSettings {
    /// Whether a commit message names the leases under which the commit was made: `Agentpm-Lease: <handle>@<fence>`.
    pub trailer: bool,
}

/// `[lint]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LintSettings {
    /// The severity of a rule, by its code: off, warning or error. Rules for lost or contradictory data stay errors.
    pub severity: BTreeMap<String, Level>,
}

impl LintSettings {
    /// The finding with the severity that the settings give it; `None` if the rule is off.
    pub fn judge(&self, finding: Finding) -> Option<Finding> {
        // If no agent may record an edit, it would stay in the file unreported.
        let stays = finding.refusal.as_ref().is_some_and(|refusal| refusal.is_for_everybody());
        let level = self.severity.get(finding.rule.code()).filter(|_| finding.rule.is_configurable() && !stays);
        match level {
            None => Some(finding),
            Some(Level::Off) => None,
            Some(Level::Warning) => Some(finding.with_severity(Severity::Warning)),
            Some(Level::Error) => Some(finding.with_severity(Severity::Error)),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            format: 1,
            agent: None,
            lease: LeaseSettings::default(),
            claim: ClaimSettings::default(),
            review: ReviewSettings::default(),
            session: SessionSettings::default(),
            thread: ThreadSettings::default(),
            work: WorkSettings::default(),
            compact: CompactSettings::default(),
            lock: LockSettings::default(),
            runtime: RuntimeSettings::default(),
            score: ScoreSettings::default(),
            list: ListSettings::default(),
            sync: SyncSettings::default(),
            bus: BusSettings::default(),
            branches: BranchSettings::default(),
            hooks: HookSettings::default(),
            lint: LintSettings::default(),
            query: BTreeMap::new(),
        }
    }
}

impl Default for BusSettings {
    fn default() -> Self {
        BusSettings { plan: String::new(), replicas: 1, url: String::new(), creds: String::new() }
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

impl Default for ClaimSettings {
    fn default() -> Self {
        ClaimSettings { max_attempts: 5, blockers: BlockerEnd::Completed, overlap: Overlap::Warn, overlap_margin: 1.0 }
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

impl Default for ThreadSettings {
    fn default() -> Self {
        ThreadSettings {
            ttl: Duration { millis: 86_400_000 },
            on_expiry: OnExpiry::default(),
            escalate_to: String::new(),
        }
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

impl Default for CompactSettings {
    fn default() -> Self {
        CompactSettings { retention_days: 90 }
    }
}

impl CompactSettings {
    /// The retention in milliseconds.
    pub fn retention_ms(&self) -> i64 {
        i64::from(self.retention_days) * 86_400_000
    }
}

impl Default for LockSettings {
    fn default() -> Self {
        LockSettings { wait_ms: 20_000 }
    }
}

impl Default for ScoreSettings {
    fn default() -> Self {
        ScoreSettings { priority: 1.0, age_hour: 0.1, age_cap: 5.0, depth: 0.5, overdue: 5.0, due_soon: 2.0 }
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
