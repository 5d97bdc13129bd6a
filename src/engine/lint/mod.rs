//! `lint`: runs one sequence of checks over a source of the plan.
//!
//! Guarantees: each check is listed once, and reads every source in the same form (`source`). What follows from several tasks is checked
//! at the end.
//! Leaves to others: how a finding is repaired (`fix`).

pub(crate) mod across;
#[cfg(feature = "bus")]
pub(crate) mod arriving;
pub(crate) mod base;
pub(crate) mod changed;
mod claimed;
mod completed;
mod doubled;
pub(crate) mod dropped;
mod false_drops;
pub(crate) mod fence;
pub(crate) mod files;
pub(crate) mod fix;
pub(crate) mod indexed;
pub(crate) mod lines;
pub(crate) mod missing;
pub(crate) mod others;
pub(crate) mod permitted;
pub(crate) mod readable;
pub(crate) mod refusals;
pub(crate) mod repeated;
pub(crate) mod rewritten;
pub(crate) mod signed;
pub(crate) mod source;
pub(crate) mod staged;
pub(crate) mod stdin;
pub(crate) mod task;
pub(crate) mod together;
pub(crate) mod trailers;
pub(crate) mod vanished;
pub(crate) mod work_tree;

pub use dropped::{lint_dropped, lint_no_folder};
pub use fix::Fix;
pub use staged::lint_staged;
pub use stdin::lint_text;

pub(crate) use across::{TaskLinks, across};
pub(crate) use base::{broken_between, drop_explained};
pub(crate) use changed::values_of;
pub(crate) use dropped::dropped_between;
pub(crate) use lines::line_of;
pub(crate) use readable::differences;
pub(crate) use staged::Staging;
pub(crate) use task::{completed_by_force, redacted_texts, states, values};

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use self::base::Branch;
use self::doubled::plan_key;
use self::fence::Suspect;
use self::permitted::Gate;
use self::repeated::own_ids;
use self::source::{LintSource, Subject};
use self::work_tree::WorkTree;
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::commit::hand_edits::{dry_run, record};
use crate::engine::context::Workspace;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule, Severity, SkippedFix, limit_alike};
use crate::model::id::Id;
use crate::model::settings::LintSettings;
use crate::store::entity::MAX_YAML;

/// The report of `lint`.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct LintReport {
    /// Worst first, then by path.
    pub findings: Vec<Finding>,
    /// How many findings are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// How many tasks were checked.
    pub checked: usize,
    /// What `--fix` repaired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<String>,
    /// What `--fix` could not do, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<SkippedFix>,
}

impl LintReport {
    /// Applies the severities of the settings to the findings of so many checked tasks, sorts and counts them.
    fn of(findings: Vec<Finding>, checked: usize, settings: &LintSettings) -> Self {
        let mut findings: Vec<Finding> = limit_alike(findings).into_iter().filter_map(|f| settings.judge(f)).collect();
        findings.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)))
        });
        let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
        LintReport { errors, warnings: findings.len() - errors, checked, findings, ..LintReport::default() }
    }
}

/// A check, by what it needs.
enum Check {
    /// One task or agent of any source.
    Entity(fn(LintSource<'_>, &Subject<'_>, &mut Vec<Finding>) -> Result<()>),
    /// The plan of any source, with what was found in all tasks and agents.
    Plan(fn(LintSource<'_>, &mut Found) -> Result<()>),
    /// The work tree alone.
    WorkTree(fn(&WorkTree<'_>, &mut Found) -> Result<()>),
    /// Git's index alone.
    Index(fn(&Staging<'_>, &mut Found) -> Result<()>),
    /// A branch alone.
    Branch(fn(&Branch<'_>, &Gate<'_>, &mut Found) -> Result<()>),
}

/// All checks, in the order in which they run; those of entities run before the others.
const CHECKS: &[Check] = &[
    Check::Entity(missing::check),
    Check::Entity(files::check_folder),
    Check::Entity(rewritten::check),
    Check::Entity(task::check),
    Check::Entity(signed::check),
    Check::Entity(readable::check),
    Check::Entity(permitted::check),
    Check::WorkTree(files::check_settings),
    Check::WorkTree(doubled::check),
    Check::Plan(missing::check_pending),
    Check::Index(staged::check_unmerged),
    Check::Plan(files::check),
    Check::Index(fence::check),
    Check::Plan(repeated::check),
    Check::Branch(changed::check),
    Check::Plan(across::check),
    Check::Branch(trailers::check),
    Check::Branch(completed::check),
    Check::Branch(false_drops::check),
    Check::Plan(lines::check),
];

/// The findings of a run so far, with what the checks of the plan need of the tasks and agents.
#[derive(Default)]
pub(crate) struct Found {
    pub findings: Vec<Finding>,
    /// The events of each log that belong there.
    ids: Vec<(Entity, Vec<Id>)>,
    /// A list: a map for each of a hundred thousand tasks takes ten times as much memory.
    links: Vec<(Id, TaskLinks)>,
    /// Unfinished tasks of plans, by plan and key.
    plan_keys: Vec<(String, Id)>,
    /// The rights that tasks require.
    required_rights: BTreeSet<String>,
    /// With roles: the agents that are registered, and the authors of events.
    agents: BTreeSet<String>,
    suspects: Vec<Suspect>,
}

impl Found {
    /// Adds what the checks of the plan need of one task or agent.
    fn add(&mut self, source: LintSource<'_>, subject: &Subject<'_>) {
        match source {
            LintSource::WorkTree(tree, _) => {
                let entries = &subject.log.entries;
                if tree.ws.rights.0.is_some() {
                    let mut authors: Vec<&str> = entries.iter().map(|entry| &*entry.event.author.agent).collect();
                    authors.extend(if let Entity::Agent(name) = subject.entity { Some(&**name) } else { None });
                    authors.sort_unstable();
                    authors.dedup();
                    self.agents.extend(authors.into_iter().map(str::to_owned));
                }
                self.ids.push((subject.entity.clone(), own_ids(subject.entity, entries)));
                if let Some(task) = subject.task.as_ref().filter(|_| subject.has_log) {
                    self.links.push((task.id, TaskLinks::of(task, entries)));
                    self.required_rights.extend(task.fields.need_perm.clone());
                    self.plan_keys.extend(plan_key(task).map(|key| (key, task.id)));
                }
            }
            LintSource::Index(..) => self.suspects.extend(fence::suspects(subject)),
            LintSource::Branch(..) | LintSource::Text(_) => {}
        }
    }

    fn merge(&mut self, other: Found) {
        self.findings.extend(other.findings);
        self.ids.extend(other.ids);
        self.links.extend(other.links);
        self.plan_keys.extend(other.plan_keys);
        self.required_rights.extend(other.required_rights);
        self.agents.extend(other.agents);
        self.suspects.extend(other.suspects);
    }
}

/// Runs all checks over a source.
///
/// Errors: those of reading the source.
pub(crate) fn run(source: LintSource<'_>) -> Result<Found> {
    let (entities, mut found) = (source.entities(), Found::default());
    match source {
        LintSource::WorkTree(tree, _) => {
            let progress = Progress::of("judging tasks", entities.len());
            let own_lineage = || Ok(record::lineage(tree.ws));
            let parts = parallel::fold_with(&entities, own_lineage, |lineage, found: &mut Found, entity| {
                progress.step();
                found.merge(check_entity(LintSource::WorkTree(tree, lineage), entity)?);
                Ok(())
            })?;
            parts.into_iter().for_each(|part| found.merge(part));
        }
        LintSource::Index(..) | LintSource::Branch(..) | LintSource::Text(_) => {
            entities.iter().try_for_each(|entity| check_entity(source, entity).map(|one| found.merge(one)))?;
        }
    }
    if let LintSource::WorkTree(tree, _) = source {
        // A removed task is reported itself; relationships with it are not dangling.
        found.links.extend(tree.committed.iter().map(|(id, task)| (*id, TaskLinks::from(task))));
        found.links.extend(tree.dropped.iter().map(|id| (*id, TaskLinks::dropped())));
        found.required_rights.extend(tree.committed.values().filter_map(|task| task.fields.need_perm.clone()));
    }
    for check in CHECKS {
        match (check, source) {
            (Check::Plan(check), _) => check(source, &mut found)?,
            (Check::WorkTree(check), LintSource::WorkTree(tree, _)) => check(tree, &mut found)?,
            (Check::Index(check), LintSource::Index(staging, _)) => check(staging, &mut found)?,
            (Check::Branch(check), LintSource::Branch(branch, gate)) => check(branch, gate, &mut found)?,
            (Check::Entity(_) | Check::WorkTree(_) | Check::Index(_) | Check::Branch(_), _) => {}
        }
    }
    Ok(found)
}

fn check_entity(source: LintSource<'_>, entity: &Entity) -> Result<Found> {
    let (subject, mut found) = (source.subject(entity)?, Found::default());
    for check in CHECKS {
        if let Check::Entity(check) = check {
            check(source, &subject, &mut found.findings)?;
        }
    }
    found.add(source, &subject);
    let text = String::from_utf8_lossy(subject.yaml().unwrap_or_default());
    for finding in &mut found.findings {
        finding.task = finding.task.or(entity.task());
        finding.line = finding.line.or_else(|| line_of(&text, finding.spot.as_ref()?));
    }
    match source {
        LintSource::Index(..) => found.findings.iter_mut().for_each(set_severity_in_commit),
        // An editor shows the findings of the file alone.
        LintSource::Text(text) => {
            let path = text.store.shown(text.below);
            found.findings.retain(|finding| finding.path.as_ref() == Some(&path));
        }
        LintSource::WorkTree(..) | LintSource::Branch(..) => {}
    }
    Ok(found)
}

/// Raises the severity of what the next write would repair in a work tree: a commit is read elsewhere.
fn set_severity_in_commit(finding: &mut Finding) {
    if matches!(finding.rule, Rule::LogMarkers | Rule::YamlMissing | Rule::YamlStale) {
        finding.severity = Severity::Error;
    }
}

/// Checks the whole store.
///
/// Errors: `ERR_IO` where the disk fails; what is wrong with the store itself is a finding.
pub fn lint(ws: &Workspace) -> Result<LintReport> {
    let (tree, lineage) = (WorkTree::open(ws)?, record::lineage(ws));
    Ok(LintReport::of(findings_of(&tree, &lineage)?, tree.count(), &ws.settings.lint))
}

/// All findings of a work tree before the settings apply, with the refusals of its hand edits.
fn findings_of(tree: &WorkTree<'_>, lineage: &Lineage<'_>) -> Result<Vec<Finding>> {
    let (ws, findings) = (tree.ws, run(LintSource::WorkTree(tree, lineage))?.findings);
    let dry_run = if refusals::any(&findings) { dry_run::start(ws) } else { None };
    let Some(dry_run) = dry_run else { return Ok(findings) };
    let text = |finding: &Finding| {
        let below = finding.path.as_deref()?.strip_prefix(&ws.store.name)?.strip_prefix('/')?;
        ws.store.dir.read(below, MAX_YAML).ok()
    };
    Ok(refusals::add_refusals(&dry_run, findings, &text))
}
