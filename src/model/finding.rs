//! Findings: oddities that reading steps around and names.
//!
//! Promises: a finding has a stable code, a severity, and as much of a place as is known; each rule has a page that says what
//! it means and how it is mended.
//! Refuses to know: how it is printed.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Code, Error};
use crate::model::id::Id;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Tolerated; healed by the next write where that is possible.
    Warning,
    /// Stops a commit.
    Error,
}

/// What the settings may make of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It is not looked for.
    Off,
    /// It is told and stops nothing.
    Warning,
    /// It stops a commit.
    Error,
}

/// Whether the settings may change how bad a rule is. What means lost or contradictory data is an error for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Firm,
    Free,
}

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $severity:ident, $hold:ident, $fix:literal;)*) => {
        /// The rules of lint: what may be found, how bad it is and how to mend it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[doc = $doc])+ $name,)* }

        impl Rule {
            /// All rules.
            pub const ALL: &[Rule] = &[$(Rule::$name),*];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Rule::$name => $code,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Rule::$name => Severity::$severity,)* }
            }

            /// What to do about it.
            pub fn fix(self) -> &'static str {
                match self { $(Rule::$name => $fix,)* }
            }

            /// What it means, in a sentence.
            pub fn summary(self) -> &'static str {
                match self { $(Rule::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// Its page, in Markdown: what it means, why it matters, an example, how to mend it.
            pub fn page(self) -> &'static str {
                match self { $(Rule::$name => include_str!(concat!("rules/", $code, ".md")),)* }
            }

            fn hold(self) -> Hold {
                match self { $(Rule::$name => Hold::$hold,)* }
            }
        }
    };
}

rules! {
    /// The last line of a log has no newline and is no event: a write was cut short.
    LogTorn = "log-torn", Warning, Free, "the next change of this task mends it, or run agentpm lint --fix";
    /// A line of a log cannot be read as an event.
    LogLine = "log-line", Error, Firm, "restore the line from git history; nothing was deleted";
    /// A log holds conflict markers of git.
    LogMarkers = "log-markers", Warning, Free, "both sides are read; agentpm resolve removes the markers";
    /// A log holds bytes that are tolerated but not canonical: CRLF, a byte-order mark, blank lines, no newline at the end.
    LogForm = "log-form", Warning, Free, "agentpm lint --fix rewrites it in its plain form";
    /// The same event stands in a log twice.
    LogDuplicate = "log-duplicate", Warning, Free, "agentpm lint --fix removes the copy";
    /// Two different events have one id; neither counts.
    EventConflict = "event-id-conflict", Error, Firm, "restore the true line from git history; agentpm never chooses between them";
    /// An event names another entity than the log it stands in.
    EventMisplaced = "event-misplaced", Error, Firm, "agentpm resolve moves it to the log of the entity it names";
    /// An event's payload does not make sense; it has no effect.
    EventIneffective = "event-ineffective", Warning, Free, "the event stays without effect; agentpm log shows it";
    /// An event's type is not known to this version.
    EventUnknown = "event-unknown", Warning, Free, "use a newer agentpm to see its effect; it is kept byte for byte";
    /// An event's Lamport time is out of bounds; it is kept without effect.
    EventQuarantined = "event-quarantined", Error, Firm, "its writer's clock is broken or forged; the event stays without effect";
    /// A change was made under a lease that had been lost; it has no effect.
    EventFenced = "event-fenced", Warning, Free, "the value of the later lease holder stands; make the change again if it is still wanted";
    /// An event's wall-clock time is far off.
    EventTime = "event-time", Warning, Free, "order does not depend on it; set the writer's clock";
    /// A log does not begin with TaskCreated.
    LogHeadless = "log-headless", Error, Firm, "restore the missing lines from git history";
    /// An event follows another that is not in the log: a line was lost.
    LogGap = "log-gap", Error, Firm, "agentpm resolve brings it back where this clone knows it; else fetch the branch that has it";
    /// An event names no parents, or such as come after it.
    EventParents = "event-parents", Error, Firm, "leave the event out of the branch; make the change again with a command";
    /// A task folder has no log.
    LogMissing = "log-missing", Error, Firm, "agentpm lint --fix brings it back from the commit that is checked out; else restore events.jsonl from git history";
    /// Acknowledged events stand in the journal of this clone and in no file yet.
    EventsPending = "events-pending", Warning, Free, "agentpm resolve writes them into the files";
    /// A task folder has no task.yaml.
    YamlMissing = "task-yaml-missing", Warning, Free, "agentpm lint --fix writes it from its log";
    /// A task.yaml cannot be read.
    YamlInvalid = "task-yaml-invalid", Error, Firm, "repair it by hand, or take it from git; its log still holds the task";
    /// A task.yaml was written from fewer events than its log holds now.
    YamlStale = "task-yaml-stale", Warning, Free, "agentpm lint --fix writes it again from its log";
    /// A task.yaml holds conflict markers of git.
    YamlConflict = "task-yaml-conflict", Error, Firm, "agentpm resolve records edits by hand in it and settles it from its log, or names what it may not record";
    /// A task.yaml was written by a program from other events than its log holds: after a merge that took one file and not the other.
    YamlAstray = "task-yaml-astray", Error, Firm, "agentpm resolve keeps the log's value; where the other one is newer, write it again with agentpm task update";
    /// A task.yaml says something that its events do not.
    YamlEdited = "task-yaml-edited", Error, Firm, "agentpm lint --fix records the edit as events, or names what it may not change";
    /// A task.yaml says the right thing in another form: another order of keys, other quotes.
    YamlForm = "task-yaml-form", Warning, Free, "agentpm lint --fix writes the canonical form";
    /// A task.yaml holds a comment, which has no place in events.
    YamlComment = "task-yaml-comment", Warning, Free, "agentpm lint --fix keeps it as a note; with --drop-comments it is dropped";
    /// A file beneath tasks that no event tells of yet: a task that somebody wrote by hand.
    TaskNew = "task-new", Error, Firm, "agentpm lint --fix makes a task of it, or names what does not fit";
    /// The files of a task were removed, though the commit that is checked out has them.
    TaskDeleted = "task-deleted", Error, Firm, "agentpm lint --fix brings it back; --deleted cancelled or archived records that it is done with";
    /// A task.yaml holds a field that this version does not know.
    YamlField = "task-yaml-field", Warning, Free, "use a newer agentpm, or move the value into metadata";
    /// A value is not one that a command would accept.
    FieldValue = "field-value", Error, Free, "agentpm task update sets it to an allowed value";
    /// A folder, file or link that does not belong into a store.
    OddFile = "odd-file", Error, Free, "remove it with your own tools after looking at it";
    /// A file lies in the wrong folder for the id it holds.
    PathMismatch = "path-mismatch", Error, Firm, "move the folder to tasks/<last character but one>/<last character>/<ULID>";
    /// A relationship names a task that does not exist here.
    DanglingReference = "dangling-reference", Error, Free, "bring the other task in, or agentpm task unrelate";
    /// Blocking relationships form a circle; the latest edge does not count.
    CycleBlocks = "cycle-blocks", Error, Firm, "agentpm task unblock one of the edges";
    /// Parents form a circle; the latest edge does not count.
    CycleParents = "cycle-parents", Error, Firm, "agentpm task update --parent of one of the tasks";
    /// A task has more than one parent; the latest counts.
    SeveralParents = "several-parents", Warning, Free, "agentpm task update --parent settles it";
    /// A task in progress has no owner.
    OwnerMissing = "owner-missing", Error, Free, "agentpm release or agentpm lease acquire gives it a clear state";
    /// Two agents took a task without seeing each other; the later in order has it.
    SeveralOwners = "several-owners", Warning, Free, "the other one takes other work; agentpm conflicts ID shows who took it when";
    /// A task is blocked though all its blockers are finished; it counts as open.
    BlockedFreely = "blocked-without-blocker", Warning, Free, "agentpm resolve records that it is open; so does the next change of it";
    /// A task is completed though a blocker or child of it is unfinished.
    CompletedEarly = "completed-early", Error, Free, "finish the others, agentpm task reopen it, or record the override with --force";
    /// A commit would add a change that was made under a lease which another holds by now, or was granted after it.
    LeaseLost = "lease-lost", Error, Firm, "leave the task's files out of this commit; agentpm claim takes the task again where it is free";
    /// An event of the commit that is built upon is gone, or has other bytes.
    LogRewritten = "log-rewritten", Error, Firm, "restore the line from git history; a log only grows, agentpm undo takes an effect back";
    /// An event was written by an agent that has no right to it, by the roles of the commit that it comes on top of.
    NotPermitted = "not-permitted", Error, Firm, "let an agent that may do it make the change; who may is for roles.yml of the base to say first";
    /// A branch changes roles.yml, config.toml, .gitattributes, .gitignore or the role of an agent: the rules by which changes are judged.
    RulesChanged = "rules-changed", Warning, Free, "look at who gains what before you merge it; agentpm review shows the keys";
    /// A file of the plan is in conflict in git's index.
    IndexUnmerged = "index-unmerged", Error, Firm, "agentpm resolve settles it from the logs and adds it";
    /// An Agentpm-Lease line of a commit message names a lease that was never granted, or had been lost.
    LeaseTrailer = "lease-trailer", Error, Free, "look at agentpm log of the task; whoever holds it now decides what becomes of the commit";
    /// An event has no signature though roles.yml asks for one.
    SignatureMissing = "signature-missing", Error, Firm, "make the change again in a clone that has the agent's key; AGENTPM_KEY names its file";
    /// An event's signature is not that of the agent it names over the line as it stands: forged, altered or copied.
    SignatureWrong = "signature-wrong", Error, Firm, "restore the true line from git history; ask whose change it is";
    /// A line of config.toml or roles.yml has no meaning.
    ConfigKey = "config-key", Warning, Free, "correct or remove the key";
    /// config.toml or roles.yml cannot be read.
    ConfigInvalid = "config-invalid", Error, Firm, "correct the file with an editor";
    /// config.toml is missing, so that the defaults count.
    ConfigMissing = "config-missing", Warning, Free, "bring it back from git history; agentpm init writes one with the defaults";
    /// The store was written by a newer version.
    StoreNewer = "store-newer", Error, Firm, "use a newer agentpm to write to this store";
}

impl Rule {
    /// The rule of this code.
    pub fn of(code: &str) -> Option<Rule> {
        Rule::ALL.iter().copied().find(|rule| rule.code() == code)
    }

    /// Whether the settings may make another severity of it. Rules that mean lost or contradictory data stay errors.
    pub fn is_configurable(self) -> bool {
        self.hold() == Hold::Free
    }
}

/// The part of a readable file that a finding is about, from which its line is found in the bytes that were judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Spot {
    /// A key at the top of the file.
    Key(String),
    /// A relationship.
    Edge(Id),
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// Why a hand edit cannot be recorded, as the command would say it that makes the change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// The code of the error.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// The facts behind it, among them the key and what it may hold.
    pub details: Value,
    /// What to do next.
    pub hint: Option<String>,
}

impl Refusal {
    /// Whether it stands whoever asks: no right and no lease of somebody would change it.
    pub fn is_for_everybody(&self) -> bool {
        !matches!(
            self.code,
            Code::Unauthorized | Code::LeaseRequired | Code::LeaseHeld | Code::LeaseExpired | Code::LeaseLost
        )
    }
}

/// One oddity, where it is and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which rule.
    #[serde(rename = "code")]
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// What is odd, in words.
    pub message: String,
    /// Path of the file, below the work tree's top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Line in that file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The commit concerned, in short.
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
    /// Why a hand edit that it is about cannot be recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Box<Refusal>>,
    /// Where in its file it is, until the line is known.
    #[serde(skip)]
    pub spot: Option<Spot>,
}

/// Most findings of one rule in one file that a report names; the rest are counted.
const MAX_ALIKE: usize = 20;

/// The same findings, but of many of one rule in one file the first few and a last one that counts the rest.
pub fn few_of_a_kind(findings: Vec<Finding>) -> Vec<Finding> {
    let mut counts: HashMap<(Rule, Option<String>), usize> = HashMap::new();
    for finding in &findings {
        *counts.entry((finding.rule, finding.path.clone())).or_default() += 1;
    }
    // One more than named costs no more than counting it would.
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
    /// A finding of the rule's own severity, with no place yet.
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

    /// The same, as bad as it is where it was found.
    #[must_use]
    pub fn as_bad_as(mut self, severity: Severity) -> Self {
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

    /// Adds the file, and the line where it is known.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>, line: Option<usize>) -> Self {
        self.path = Some(path.into());
        self.line = line;
        self
    }
}

/// Something that `--fix` was to do and did not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Refused {
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The code of the refusal, where a rule refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What was not done, and why.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Refused {
    /// A refusal of a rule, with what it kept from being done.
    pub fn of(e: &Error, what: &str) -> Self {
        let hint = e.hint.as_ref().map(ToString::to_string);
        Refused { code: Some(e.code), message: format!("{what}{}", e.message), hint, ..Refused::default() }
    }
}
