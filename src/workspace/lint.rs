//! `lint`: everything that is odd about a store, and `--fix`: mending what can be mended without a choice.
//!
//! Reads the files themselves and trusts no cache. What follows from several tasks is checked over all of them at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::Workspace;
use crate::env::files::Kind;
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, Severity};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task, TaskType};
use crate::rules::fields::{self, PRIORITY};
use crate::rules::graph::{Edge, on_circles, void_edges};
use crate::rules::lost::{is_forked, lost};
use crate::store::edited::{FORM, Readable, compare};
use crate::store::entity::{is_odd, load_agent, load_task, read_yaml, yaml_path};
use crate::store::layout::{AGENTS, LOCAL, LOG, TASKS, task_dir};
use crate::store::project::project;

/// What lint found.
#[derive(Debug, Default, Serialize)]
pub struct LintReport {
    /// Worst first, then by path.
    pub findings: Vec<Finding>,
    /// How many findings are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// How many tasks were looked at.
    pub checked: usize,
    /// What `--fix` mended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<String>,
}

impl Workspace {
    /// Checks the whole store.
    ///
    /// Errors: `ERR_IO` where the disk fails; what is wrong with the store itself is a finding.
    pub fn lint(&self) -> Result<LintReport> {
        let mut findings = self.findings.clone();
        findings.extend(self.odd_at_top()?);
        let (folders, odd) = match self.store.task_folders() {
            // What stands in the folder's place was named just above.
            Err(e) if e.code == crate::error::Code::Corrupt && findings.iter().any(|f| f.rule == Rule::OddFile) => {
                Default::default()
            }
            other => other?,
        };
        findings
            .extend(odd.into_iter().filter(|(path, _)| !is_temporary(path)).map(|(path, kind)| self.odd(&path, kind)));
        let pending = self.pending()?;
        let mut tasks = BTreeMap::new();
        for id in &folders {
            let entity = Entity::Task(*id);
            let more = pending.get(&entity).map_or(&[][..], Vec::as_slice);
            let loaded = load_task(&self.store, *id, more)?;
            findings.extend(loaded.findings.clone());
            findings.extend(self.odd_in_task(*id)?);
            if loaded.log.entries.is_empty() && loaded.log.foreign.is_empty() {
                let path = self.store.shown(task_dir(*id).join(LOG));
                findings.push(Finding::new(Rule::LogMissing, format!("task {id} has no log")).task(*id).at(path, None));
                continue;
            }
            if more.is_empty() {
                findings.extend(self.readable_at_rest(*id, &loaded.log.entries)?.map(|f| f.task(*id)));
            }
            findings.extend(self.values(&loaded.task));
            findings.extend(self.several_owners(&loaded.task, &loaded.log.entries));
            tasks.insert(*id, loaded.task);
        }
        for agent in self.agents()? {
            let (_, log, odd) = load_agent(&self.store, &agent.name)?;
            findings.extend(odd);
            let entity = Entity::Agent(agent.name);
            if !pending.contains_key(&entity) {
                findings.extend(self.readable(&entity, &log.entries));
            }
        }
        findings.extend(self.across(&tasks, &|id| self.was_forced(id)));
        findings.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)))
        });
        let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
        Ok(LintReport {
            errors,
            warnings: findings.len() - errors,
            checked: folders.len(),
            findings,
            fixed: Vec::new(),
        })
    }

    /// Mends what can be mended without a choice, then checks again: logs get their plain form, readable files are written
    /// from their logs, and hand edits become events where the rules allow it.
    ///
    /// Errors: as [`Workspace::lint`], and `ERR_BUSY` or `ERR_IO` where nothing can be written.
    pub fn lint_fix(&self) -> Result<LintReport> {
        let before = self.lint()?;
        let mut fixed = Vec::new();
        let mut refused = Vec::new();
        for finding in before.findings.iter().filter(|f| matches!(f.rule, Rule::YamlEdited | Rule::YamlField)) {
            if let Some(id) = finding.task {
                match self.absorb(id) {
                    Ok(what) => fixed.push(format!("task {id}: recorded the edit of {what}")),
                    Err(e) => refused.push((id, e.message)),
                }
            }
        }
        let mendable: BTreeSet<Entity> = before
            .findings
            .iter()
            .filter(|f| is_mendable(f.rule))
            .filter_map(|f| f.task.map(Entity::Task).or_else(|| agent_of(f.path.as_deref()?)))
            .collect();
        if !mendable.is_empty() {
            fixed.extend(self.mend(&mendable)?);
        }
        let mut after = self.lint()?;
        after.fixed = fixed;
        for finding in &mut after.findings {
            let why = refused.iter().find(|(id, _)| finding.rule == Rule::YamlEdited && finding.task == Some(*id));
            if let Some((_, why)) = why {
                finding.message = format!("{}; not recorded: {why}", finding.message);
            }
        }
        Ok(after)
    }

    fn mend(&self, entities: &BTreeSet<Entity>) -> Result<Vec<String>> {
        self.under_lock("agentpm lint --fix", |runtime, _, _| {
        let mut fixed = Vec::new();
        for entity in entities {
            let edited = match entity {
                Entity::Task(id) => {
                    let log = load_task(&self.store, *id, &[])?.log;
                    let bytes = read_yaml(&self.store, entity).ok().flatten();
                    bytes.is_some_and(|bytes| matches!(compare(entity, &log.entries, &bytes), Readable::Edited(ref what) if what != FORM))
                }
                _ => false,
            };
            if !edited {
                project(&self.store, entity, &[], runtime)?;
                fixed.push(format!("{entity}: files written in their plain form"));
            }
        }
        Ok(fixed)
        })
    }

    /// As `readable`, looked at again where somebody may have been writing between our two looks.
    fn readable_at_rest(&self, id: Id, entries: &[Entry]) -> Result<Option<Finding>> {
        let entity = Entity::Task(id);
        let mut found = self.readable(&entity, entries);
        for _ in 0..20 {
            if found.is_none() {
                break;
            }
            let before = load_task(&self.store, id, &[])?.log.entries;
            found = self.readable(&entity, &before);
            let after = load_task(&self.store, id, &[])?.log.entries;
            if before.len() == after.len() && self.pending()?.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// How a readable file differs from what its log says.
    fn readable(&self, entity: &Entity, entries: &[Entry]) -> Option<Finding> {
        let path = self.store.shown(yaml_path(entity)?);
        let bytes = match read_yaml(&self.store, entity) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Some(Finding::new(Rule::YamlMissing, "the readable file is missing").at(path, None)),
            Err(e) if is_odd(&e) => {
                return Some(Finding::new(Rule::OddFile, format!("not a regular file: {e}")).at(path, None));
            }
            Err(e) => return Some(Finding::new(Rule::YamlInvalid, format!("it cannot be read: {e}")).at(path, None)),
        };
        judged(path, compare(entity, entries, &bytes))
    }

    /// Values and states that no command would leave behind.
    pub(super) fn values(&self, task: &Task) -> Vec<Finding> {
        let path = self.store.shown(task_dir(task.id).join("task.yaml"));
        let mut findings = Vec::new();
        let mut say =
            |rule, message: String| findings.push(Finding::new(rule, message).task(task.id).at(path.clone(), None));
        if task.fields.title.trim().is_empty() && task.created {
            say(Rule::FieldValue, "the title is empty".into());
        }
        if !PRIORITY.contains(&task.fields.priority) {
            say(Rule::FieldValue, format!("priority {} is not within -5 to 5", task.fields.priority));
        }
        if let TaskType::Other(word) = &task.fields.kind {
            say(Rule::YamlField, format!("the type {} is not known", quoted(word)));
        }
        for name in task.fields.extra.keys() {
            say(Rule::YamlField, format!("the field {} is not known", quoted(name)));
        }
        if let Some(owner) = task.owner.as_ref().filter(|owner| check_agent_name(owner).is_err()) {
            say(Rule::FieldValue, format!("the owner {} is not an agent name", quoted(owner)));
        }
        if task.status == Status::InProgress && task.owner.is_none() {
            say(Rule::OwnerMissing, "it is in progress and has no owner".into());
        }
        let parents = task.relationships.values().filter(|e| e.kind == RelationType::ParentOf).count();
        if parents > 1 {
            say(Rule::SeveralParents, format!("it has {parents} parents; the latest counts"));
        }
        findings
    }

    /// Agents who took an unfinished task without seeing each other.
    fn several_owners(&self, task: &Task, entries: &[Entry]) -> Option<Finding> {
        let owner = task.owner.as_ref().filter(|_| !task.status.is_finished() && is_forked(entries))?;
        let others: BTreeSet<String> = lost(task.id, entries)
            .into_iter()
            .filter(|edit| edit.field == "owner")
            .filter_map(|edit| edit.lost.value.as_str().map(str::to_owned))
            .filter(|other| other != owner)
            .collect();
        let others: Vec<String> = others.into_iter().map(|name| quoted(&name)).collect();
        let message = format!("{} took it too, without seeing {}, who has it", others.join(", "), quoted(owner));
        let path = self.store.shown(task_dir(task.id).join("task.yaml"));
        (!others.is_empty()).then(|| Finding::new(Rule::SeveralOwners, message).task(task.id).at(path, None))
    }

    /// What follows from several tasks.
    pub(super) fn across(&self, tasks: &BTreeMap<Id, Task>, was_forced: &dyn Fn(Id) -> bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut edges = Vec::new();
        let mut unfinished_children: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        let path = |id: Id| self.store.shown(task_dir(id).join("task.yaml"));
        for task in tasks.values() {
            for edge in task.relationships.values() {
                for other in [edge.from, edge.to] {
                    if !tasks.contains_key(&other) {
                        let message =
                            format!("{} {} names task {other}, which is not here", edge.kind.as_str(), edge.id);
                        findings
                            .push(Finding::new(Rule::DanglingReference, message).task(task.id).at(path(task.id), None));
                    }
                }
                if matches!(edge.kind, RelationType::Blocks | RelationType::ParentOf) {
                    edges.push(Edge { stamp: edge.stamp(), kind: edge.kind, from: edge.from, to: edge.to });
                }
            }
            if let Some(parent) = task.parent().filter(|_| !task.status.is_finished()) {
                unfinished_children.entry(parent).or_default().push(task.id);
            }
        }
        let void = if on_circles(&edges).is_empty() { BTreeSet::new() } else { void_edges(&edges) };
        for edge in edges.iter().filter(|edge| void.contains(&edge.stamp)) {
            let rule = if edge.kind == RelationType::Blocks { Rule::CycleBlocks } else { Rule::CycleParents };
            let message = format!(
                "{} {} from {} closes a cycle and does not count",
                edge.kind.as_str(),
                edge.stamp.id,
                edge.from
            );
            findings.push(Finding::new(rule, message).task(edge.to).at(path(edge.to), None));
        }
        for task in tasks.values() {
            let is_open = |id: &Id| tasks.get(id).is_some_and(|other| !other.status.is_finished());
            // What was opened again after this one was completed is no fault of this one.
            let was_open =
                |id: &Id| tasks.get(id).is_some_and(|other| other.stamps.get("status") < task.stamps.get("status"));
            let counts = |id: &Id| {
                task.relationships
                    .values()
                    .any(|e| e.kind == RelationType::Blocks && e.from == *id && !void.contains(&e.stamp()))
            };
            let blockers: Vec<Id> = task.blockers().into_iter().filter(|id| is_open(id) && counts(id)).collect();
            if task.status == Status::Blocked && blockers.is_empty() {
                findings.push(
                    Finding::new(Rule::BlockedFreely, "it is blocked, but nothing unfinished blocks it")
                        .task(task.id)
                        .at(path(task.id), None),
                );
            }
            let children = unfinished_children.get(&task.id).map_or(&[][..], Vec::as_slice);
            let blockers: Vec<Id> = blockers.into_iter().filter(was_open).collect();
            let children: Vec<Id> = children.iter().filter(|id| was_open(id)).copied().collect();
            if task.status == Status::Completed && !(blockers.is_empty() && children.is_empty()) && !was_forced(task.id)
            {
                let message = format!(
                    "it is completed over {} unfinished blockers and {} unfinished children",
                    blockers.len(),
                    children.len()
                );
                findings.push(Finding::new(Rule::CompletedEarly, message).task(task.id).at(path(task.id), None));
            }
        }
        findings
    }

    /// Whether a completion says itself that it passed a check.
    fn was_forced(&self, id: Id) -> bool {
        load_task(&self.store, id, &[]).is_ok_and(|loaded| completed_by_force(&loaded.log.entries))
    }

    /// What lies at the top of the store and has no business there.
    fn odd_at_top(&self) -> Result<Vec<Finding>> {
        let list =
            |dir: &crate::env::files::Dir| dir.list().map_err(|e| crate::error::Error::io("list", dir.path(), &e));
        let mut findings = Vec::new();
        for (name, kind) in list(&self.store.dir)? {
            let fits = match name.as_str() {
                "config.toml" | "roles.yml" | ".gitattributes" | ".gitignore" => kind == Kind::File,
                TASKS | AGENTS | "archive" | LOCAL => kind == Kind::Dir,
                _ => false,
            };
            if !fits && !is_temporary(Path::new(&name)) {
                findings.push(self.odd(Path::new(&name), kind));
            }
        }
        Ok(findings)
    }

    fn odd_in_task(&self, id: Id) -> Result<Vec<Finding>> {
        let folder = task_dir(id);
        let dir = self
            .store
            .dir
            .dir(&folder)
            .map_err(|e| crate::error::Error::io("open", &self.store.path().join(&folder), &e))?;
        let names = dir.list().map_err(|e| crate::error::Error::io("list", dir.path(), &e))?;
        let strange = names.into_iter().filter(|(name, kind)| {
            let fits = matches!(name.as_str(), LOG | "task.yaml");
            !(fits || (is_temporary(Path::new(name)) && *kind == Kind::File))
        });
        Ok(strange.map(|(name, kind)| self.odd(&folder.join(name), kind).task(id)).collect())
    }

    fn odd(&self, path: &Path, kind: Kind) -> Finding {
        let what = match kind {
            Kind::File => "a file",
            Kind::Dir => "a folder",
            Kind::Link => "a symbolic link",
            Kind::Other => "a device, socket or FIFO",
        };
        let misplaced =
            kind == Kind::Dir && path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.parse::<Id>().is_ok());
        let rule = if misplaced { Rule::PathMismatch } else { Rule::OddFile };
        Finding::new(rule, format!("{what} that does not belong here")).at(self.store.shown(path), None)
    }
}

/// What a readable file's standing to its log means for lint.
pub(super) fn judged(path: String, how: Readable) -> Option<Finding> {
    let finding = match how {
        Readable::Clean => return None,
        Readable::Ahead(lost) => {
            Finding::new(Rule::LogGap, format!("it was made from event {lost}, which its log does not hold"))
        }
        Readable::Stale => Finding::new(Rule::YamlStale, "it was written before its log grew"),
        Readable::Astray => Finding::new(Rule::YamlAstray, "it was not edited, but it does not follow from its log"),
        Readable::Conflicted => Finding::new(Rule::YamlConflict, "it holds conflict markers of git"),
        Readable::Edited(what) if what == FORM => Finding::new(Rule::YamlForm, "it is not in its canonical form"),
        Readable::Edited(what) if what.starts_with("it cannot be read") || what.starts_with("it is not valid") => {
            let line = line_in(&what);
            return Some(Finding::new(Rule::YamlInvalid, what).at(path, line));
        }
        Readable::Edited(what) if what.split(", ").all(fields::is_unknown) => {
            Finding::new(Rule::YamlField, format!("it holds fields that this version does not know: {what}"))
        }
        Readable::Edited(what) => Finding::new(Rule::YamlEdited, format!("it was edited by hand: {what}")),
    };
    Some(finding.at(path, None))
}

/// Whether the last completion in a log says itself that it passed a check.
pub(super) fn completed_by_force(entries: &[Entry]) -> bool {
    let last = entries.iter().filter_map(|e| match &e.event.payload {
        crate::model::payload::Payload::TaskStatusChanged(p) if p.to == Status::Completed => Some((e.event.stamp(), p)),
        _ => None,
    });
    last.max_by_key(|(stamp, _)| *stamp).is_some_and(|(_, p)| !p.forced.is_empty())
}

/// The line that a reader's message names: "… at line 3, column 7".
fn line_in(message: &str) -> Option<usize> {
    let (_, place) = message.rsplit_once("at line ")?;
    place.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|n| n.to_str()).is_some_and(crate::store::project::is_temporary)
}

fn is_mendable(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::LogTorn
            | Rule::LogMarkers
            | Rule::LogForm
            | Rule::LogDuplicate
            | Rule::YamlMissing
            | Rule::YamlStale
            | Rule::YamlAstray
            | Rule::YamlConflict
            | Rule::YamlForm
    )
}

/// The agent whose file a path is.
fn agent_of(path: &str) -> Option<Entity> {
    let mut parts = path.split('/').skip_while(|part| *part != AGENTS).skip(1);
    let name = parts.next()?;
    check_agent_name(name).ok().map(|()| Entity::Agent(name.to_owned()))
}
