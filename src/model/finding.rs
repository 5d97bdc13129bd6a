//! Findings: problems in the files that reading tolerates and reports.
//!
//! Guarantees that a finding has a stable code, a severity, and the place as far as it is known. Each rule has a page with
//! its meaning and its fix.
//! Leaves to others: how a finding is printed.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Code, Error};
use crate::model::id::Id;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Tolerated; repaired by the next write if possible.
    Warning,
    /// Stops a commit.
    Error,
}

impl Severity {
    /// Its name in JSON, in words, in SARIF and in the workflows of GitHub.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// The severity that the settings give a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It is not checked.
    Off,
    /// It is reported and stops nothing.
    Warning,
    /// It stops a commit.
    Error,
}

/// Whether the settings may change the severity of a rule. A rule for lost or contradictory data is always an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Configurable {
    No,
    Yes,
}

/// How `lint --fix` repairs a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Its files are rendered again from its log.
    Render,
    /// A hand edit is recorded as events.
    Record,
    /// A task is created from a file.
    Create,
    /// In a way of its own, or not at all.
    Other,
}

impl Repair {
    /// Whether the repair records the words of a person, so that the rules may refuse it.
    pub fn may_be_refused(self) -> bool {
        matches!(self, Repair::Record | Repair::Create)
    }
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $severity:ident, $hold:ident, $repair:ident, $fix:literal;)*) => {
        /// The rules of lint: their meaning, severity and fix.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[doc = $doc])+ $name,)* }

        impl Rule {
            /// All rules.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Rule::$name => $code,)* }
            }

            /// The default severity.
            pub fn severity(self) -> Severity {
                match self { $(Rule::$name => Severity::$severity,)* }
            }

            /// How to fix it.
            pub fn fix(self) -> &'static str {
                match self { $(Rule::$name => $fix,)* }
            }

            /// Its meaning, in a sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Rule::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// Its page, in Markdown: what it means, why it matters, an example, how to fix it.
            pub fn page(self) -> &'static str {
                match self { $(Rule::$name => include_str!(concat!("rules/", $code, ".md")),)* }
            }

            /// How `lint --fix` repairs it.
            pub fn repair(self) -> Repair {
                match self { $(Rule::$name => Repair::$repair,)* }
            }

            fn hold(self) -> Configurable {
                match self { $(Rule::$name => Configurable::$hold,)* }
            }
        }
    };
}

rules! {
    /// The last line of a log has no newline and is not an event: a write was cut short.
    LogTorn = "log-torn", Warning, Yes, Render, "the next change of this task repairs it, or run agentpm lint --fix";
    /// A line of a log cannot be read as an event.
    LogLine = "log-line", Error, No, Other, "restore the line from git history; nothing was deleted";
    /// A log contains conflict markers of git.
    LogMarkers = "log-markers", Warning, Yes, Render, "both sides are read; agentpm resolve removes the markers";
    /// A log contains bytes that are tolerated but not canonical: CRLF, a byte-order mark, blank lines, no newline at the
    /// end.
    LogForm = "log-form", Warning, Yes, Render, "agentpm lint --fix rewrites it in canonical form";
    /// The same event occurs twice in a log.
    LogDuplicate = "log-duplicate", Warning, Yes, Render, "agentpm lint --fix removes the copy";
    /// An archive is not sorted, or holds a task that belongs elsewhere.
    ArchiveForm = "archive-form", Warning, Yes, Render, "agentpm resolve sorts it, or brings the task back";
    /// A log or an archive still holds a text that was redacted.
    TextRedacted = "text-redacted", Error, No, Other, "agentpm resolve removes it; git history may still hold it";
    /// Two different events have one id; neither counts.
    EventConflict = "event-id-conflict", Error, No, Other, "restore the true line from git history; agentpm never chooses between them";
    /// An event names another entity than the log that contains it.
    EventMisplaced = "event-misplaced", Error, No, Other, "agentpm resolve moves it to the log of the entity it names";
    /// An event's payload does not make sense; it has no effect.
    EventIneffective = "event-ineffective", Warning, Yes, Other, "the event stays without effect; agentpm log shows it";
    /// An event's type is not known to this version.
    EventUnknown = "event-unknown", Warning, Yes, Other, "use a newer agentpm to see its effect; it is kept byte for byte";
    /// An event's Lamport time is out of bounds; it is kept without effect.
    EventQuarantined = "event-quarantined", Error, No, Other, "its writer's clock is broken or forged; the event stays without effect";
    /// A change was made under a lease that had been lost; it has no effect.
    EventFenced = "event-fenced", Warning, Yes, Other, "the value of the later lease holder counts; make the change again if it is still wanted";
    /// An event's wall-clock time is far off.
    EventTime = "event-time", Warning, Yes, Other, "order does not depend on it; set the writer's clock";
    /// A log does not begin with TaskCreated.
    LogHeadless = "log-headless", Error, No, Other, "restore the missing lines from git history";
    /// An event follows another that is not in the log: a line was lost.
    LogGap = "log-gap", Error, No, Other, "agentpm resolve restores it if this clone has it; otherwise fetch the branch that has it";
    /// An event names no parents, or parents that come after it.
    EventParents = "event-parents", Error, No, Other, "remove the event from the branch; make the change again with a command";
    /// A task folder has no log.
    LogMissing = "log-missing", Error, No, Other, "agentpm lint --fix restores it from the commit that is checked out; otherwise restore events.jsonl from git history";
    /// Acknowledged events are in the journal of this clone and in no file yet.
    EventsPending = "events-pending", Warning, Yes, Other, "agentpm resolve writes them into the files";
    /// A task folder has no task.yaml.
    YamlMissing = "task-yaml-missing", Warning, Yes, Render, "agentpm lint --fix writes it from its log";
    /// A task.yaml cannot be read.
    YamlInvalid = "task-yaml-invalid", Error, No, Other, "repair it by hand, or restore it from git; its log still holds the task";
    /// A task.yaml was rendered from fewer events than its log has now.
    YamlStale = "task-yaml-stale", Warning, Yes, Render, "agentpm lint --fix renders it again from its log";
    /// A task.yaml contains conflict markers of git.
    YamlConflict = "task-yaml-conflict", Error, No, Render, "agentpm resolve records hand edits in it and renders it from its log, or reports what it may not record";
    /// A task.yaml was rendered from other events than its log has now, after a merge that took one file and not the other.
    YamlAstray = "task-yaml-astray", Error, No, Render, "agentpm resolve keeps the log's value; if the other one is newer, write it again with agentpm task update";
    /// A task.yaml has a value that is in none of its events.
    YamlEdited = "task-yaml-edited", Error, No, Record, "agentpm lint --fix records the edit as events, or reports what it may not change";
    /// A task.yaml has the right contents in another form: another order of keys, other quotes.
    YamlForm = "task-yaml-form", Warning, Yes, Render, "agentpm lint --fix writes the canonical form";
    /// A task.yaml contains a comment, which no event can hold.
    YamlComment = "task-yaml-comment", Warning, Yes, Record, "agentpm lint --fix keeps it as a note; with --drop-comments it is removed";
    /// A hand-written file below tasks is not recorded as a task yet.
    TaskNew = "task-new", Error, No, Create, "agentpm lint --fix records it as a task, or reports what does not fit";
    /// The files of a task were removed, but the commit that is checked out has them.
    TaskDeleted = "task-deleted", Error, No, Other, "agentpm lint --fix restores it; with --deleted cancelled or --deleted archived it also ends the task";
    /// A task.yaml has a field that this version does not know.
    YamlField = "task-yaml-field", Warning, Yes, Record, "use a newer agentpm, or move the value into metadata";
    /// A value is not one that a command would accept.
    FieldValue = "field-value", Error, Yes, Other, "agentpm task update sets it to an allowed value";
    /// A folder, file or link that does not belong in a store.
    OddFile = "odd-file", Error, Yes, Other, "check what it is, then move it out of the store";
    /// A file is in the wrong folder for its id.
    PathMismatch = "path-mismatch", Error, No, Other, "move the folder to tasks/<last character but one>/<last character>/<ULID>";
    /// A relationship names a task that does not exist here.
    DanglingReference = "dangling-reference", Error, Yes, Other, "merge the branch with the other task, or run agentpm task unrelate";
    /// Blocking relationships form a cycle; the latest edge does not count.
    CycleBlocks = "cycle-blocks", Error, No, Other, "remove one of the edges with agentpm task unblock";
    /// Parents form a cycle; the latest edge does not count.
    CycleParents = "cycle-parents", Error, No, Other, "give one of the tasks another parent with agentpm task update --parent";
    /// A task has more than one parent; the latest counts.
    SeveralParents = "several-parents", Warning, Yes, Other, "agentpm task update --parent resolves it";
    /// A task in progress has no owner.
    OwnerMissing = "owner-missing", Error, Yes, Other, "run agentpm claim to take it, or agentpm lease acquire and agentpm release to open it";
    /// Two agents took a task without seeing each other; the later in order has it.
    SeveralOwners = "several-owners", Warning, Yes, Other, "the other agent takes other work; agentpm conflicts ID shows who took it when";
    /// A value lost to a concurrent one because its author has the lower precedence in roles.yml.
    Overruled = "overruled", Warning, Yes, Other, "accept it with agentpm conflicts keep EVENT, or discuss it: agentpm thread open";
    /// Two unfinished tasks have the same key of the same plan.
    PlanKeyDoubled = "plan-key-doubled", Warning, Yes, Other, "keep the older one, which follows the plan: agentpm cancel of the other";
    /// A task is recorded as blocked although all its blockers are finished; it counts as open.
    BlockedFreely = "blocked-without-blocker", Warning, Yes, Other, "agentpm resolve records that it is open; so does the next change of it";
    /// A task is completed although a blocker or child of it is unfinished, or a criterion of it unmet.
    CompletedEarly = "completed-early", Error, Yes, Other, "finish the others or mark the criteria, run agentpm task reopen, or record the override with --force";
    /// A closed task was opened again by a plain change of its status, which gives no reason.
    OpenedPlainly = "opened-without-reason", Error, Yes, Other, "leave the event out of the branch; agentpm undo of it restores the end, and agentpm task reopen gives a reason";
    /// A commit would add a change under a lease that another agent holds now, or acquired later.
    LeaseLost = "lease-lost", Error, No, Other, "remove the task's files from this commit; agentpm claim acquires the task again if it is free";
    /// An event of the base commit is missing, or has other bytes.
    LogRewritten = "log-rewritten", Error, No, Other, "restore the line from git history; a log only grows, and agentpm undo reverts the effect of an event";
    /// An event's author lacks the right to it, by the roles of the base commit.
    NotPermitted = "not-permitted", Error, No, Other, "let an agent with the right make the change; roles.yml of the base must grant a right first";
    /// A branch changes roles.yml, config.toml, .gitattributes, .gitignore or the role of an agent: the rules by which
    /// changes are checked.
    RulesChanged = "rules-changed", Warning, Yes, Other, "check which agent gains what before you merge it; agentpm review shows the keys";
    /// A file of the plan is in conflict in git's index.
    IndexUnmerged = "index-unmerged", Error, No, Other, "agentpm resolve renders it from the logs and adds it";
    /// A branch completes a task and changes nothing but the plan.
    CompletedWithoutCode = "completed-without-code", Warning, Yes, Other, "commit the code on the same branch, if the task asked for any";
    /// A task is in progress or completed although its blocker, or a child of it, was rejected and is open again.
    BuiltOnRejected = "built-on-rejected", Warning, Yes, Other, "wait until the rejected task is completed again, then check this one; agentpm task reopen opens it again";
    /// The agent that completed a task accepted it itself, where another agent must review it.
    ReviewOwnWork = "review-own-work", Warning, Yes, Other, "another agent reviews it: agentpm task verify ID --accept";
    /// A staged file is one that another agent's task in progress claims.
    FilesClaimed = "files-claimed", Warning, Yes, Other, "leave the file to that agent, or agree with it; agentpm show of the task names its files";
    /// The Agentpm-Lease trailer of a commit names a lease that was never granted, or had been lost.
    LeaseTrailer = "lease-trailer", Error, Yes, Other, "see the history with agentpm log; the present holder decides whether to keep the commit";
    /// An event has no signature, but roles.yml requires one.
    SignatureMissing = "signature-missing", Error, No, Other, "make the change again in a clone that has the agent's key; AGENTPM_KEY names its file";
    /// An event's signature was not made by its agent for this line: it is forged, altered or copied.
    SignatureWrong = "signature-wrong", Error, No, Other, "restore the true line from git history; find out who changed it";
    /// A line of config.toml or roles.yml has no effect.
    ConfigKey = "config-key", Warning, Yes, Other, "correct or remove the key";
    /// roles.yml grants something to an agent that is not registered and has written no event.
    AgentUnregistered = "agent-unregistered", Warning, Yes, Other, "register it with agentpm agent register --name NAME, or correct the name in roles.yml";
    /// config.toml or roles.yml cannot be read.
    ConfigInvalid = "config-invalid", Error, No, Other, "correct the file with an editor";
    /// config.toml is missing, so that the defaults apply.
    ConfigMissing = "config-missing", Warning, Yes, Other, "restore it from git history; agentpm init writes one with the defaults";
    /// The store was written by an older version.
    StoreOlder = "store-older", Error, No, Other, "agentpm migrate rewrites it in the format of this program, in one commit";
    /// The store was written by a newer version.
    StoreNewer = "store-newer", Error, No, Other, "use a newer agentpm to write to this store";
}

impl Rule {
    /// The rule with this code.
    pub fn of(code: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.code() == code)
    }

    /// Whether the settings may change its severity. Rules for lost or contradictory data stay errors.
    pub fn is_configurable(self) -> bool {
        self.hold() == Configurable::Yes
    }
}

/// The part of a readable file that a finding is about, by which its line is found in the checked bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Spot {
    /// A key at the top of the file.
    Key(String),
    /// A relationship.
    Edge(Id),
}

impl JsonSchema for Rule {
    fn schema_name() -> Cow<'static, str> {
        "Rule".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let codes: Vec<&str> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        json_schema!({ "type": "string", "enum": codes })
    }
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Why a hand edit cannot be recorded: the error of the command that would make the same change.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Refusal {
    /// The code of the error.
    #[schemars(with = "String")]
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The facts behind it, including the key and the allowed values.
    pub details: Value,
    /// What to do next.
    pub hint: Option<String>,
}

impl Refusal {
    /// Whether it applies to every agent: no right and no lease would change it.
    pub fn is_for_everybody(&self) -> bool {
        !matches!(
            self.code,
            Code::Unauthorized | Code::LeaseRequired | Code::LeaseHeld | Code::LeaseExpired | Code::LeaseLost
        )
    }
}

/// One problem, with its place and its fix.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// The rule.
    #[serde(rename = "code")]
    #[schemars(with = "String")]
    pub rule: Rule,
    /// The severity.
    pub severity: Severity,
    /// The problem, as text.
    pub message: String,
    /// The path of the file, below the work tree's top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The line in that file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The commit concerned, abbreviated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The task concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The event concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Id>,
    /// How to fix it (the key `mend` of the JSON form).
    #[serde(rename = "mend")]
    pub fix: Cow<'static, str>,
    /// Why the hand edit concerned cannot be recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Box<Refusal>>,
    /// The part of the file, until the line is known.
    #[serde(skip)]
    pub spot: Option<Spot>,
}

/// The most findings of one rule in one file that a report lists; the rest are counted.
const MAX_ALIKE: usize = 20;

/// Truncates many findings of one rule in one file: the first few, and a last one that counts the rest.
pub fn limit_alike(findings: Vec<Finding>) -> Vec<Finding> {
    let mut counts: HashMap<(Rule, Option<String>), usize> = HashMap::new();
    for finding in &findings {
        *counts.entry((finding.rule, finding.path.clone())).or_default() += 1;
    }
    // Listing one more costs no more than counting it.
    counts.retain(|(_, path), count| path.is_some() && *count > MAX_ALIKE + 1);
    let mut named: HashMap<(Rule, Option<String>), usize> = HashMap::new();
    let few = |finding: Finding| {
        let kind = (finding.rule, finding.path.clone());
        let Some(count) = counts.get(&kind) else { return Some(finding) };
        let named = named.entry(kind).or_default();
        *named += 1;
        match (*named).cmp(&(MAX_ALIKE + 1)) {
            Ordering::Less => Some(finding),
            Ordering::Equal => {
                let message = format!("{} more findings of this rule in this file", count - MAX_ALIKE);
                Some(Finding { message, line: None, event: None, spot: None, refusal: None, ..finding })
            }
            Ordering::Greater => None,
        }
    };
    findings.into_iter().filter_map(few).collect()
}

impl Finding {
    /// A finding with the rule's own severity, without a place.
    pub fn new(rule: Rule, message: impl Into<String>) -> Self {
        Finding {
            rule,
            severity: rule.severity(),
            message: message.into(),
            path: None,
            line: None,
            commit: None,
            task: None,
            event: None,
            fix: Cow::Borrowed(rule.fix()),
            refusal: None,
            spot: None,
        }
    }

    /// Sets the severity for the place where it was found.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Adds the task.
    #[must_use]
    pub fn task(mut self, task: Id) -> Self {
        self.task = Some(task);
        self
    }

    /// Adds the event.
    #[must_use]
    pub fn event(mut self, event: Id) -> Self {
        self.event = Some(event);
        self
    }

    /// Adds the part of the file.
    #[must_use]
    pub fn on(mut self, spot: Spot) -> Self {
        self.spot = Some(spot);
        self
    }

    /// Adds the file, and the line if it is known.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>, line: Option<usize>) -> Self {
        self.path = Some(path.into());
        self.line = line;
        self
    }
}

/// A fix that `--fix` did not apply.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct SkippedFix {
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The code of the refusal, if a rule refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub code: Option<Code>,
    /// What was not done, and why.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl SkippedFix {
    /// The refusal of a rule, with what it prevented.
    pub fn of(e: &Error, what: &str) -> Self {
        let hint = e.hint.as_ref().map(ToString::to_string);
        SkippedFix { code: Some(e.code), message: format!("{what}{}", e.message), hint, ..SkippedFix::default() }
    }
}
