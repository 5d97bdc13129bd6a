//! `lint`: all findings of a store.
//!
//! Guarantees: reads the files themselves and trusts no cache; what follows from several tasks is checked over all of them at
//! the end.
//! Leaves to others: how a finding is repaired (`fix`), and what git holds (`staged`, `base`).

pub(crate) mod across;
pub(crate) mod base;
pub(crate) mod changed;
pub(crate) mod commits;
pub(crate) mod dropped;
pub(crate) mod fence;
pub(crate) mod fix;
pub(crate) mod indexed;
pub(crate) mod invalid_paths;
pub(crate) mod lines;
pub(crate) mod permitted;
pub(crate) mod readable;
pub(crate) mod refusals;
pub(crate) mod repeated;
pub(crate) mod rewritten;
pub(crate) mod signed;
pub(crate) mod staged;
pub(crate) mod stdin;
pub(crate) mod task;
pub(crate) mod together;
pub(crate) mod trailers;
pub(crate) mod vanished;

pub use dropped::{lint_dropped, lint_no_folder};
pub use fix::Fix;
pub use staged::lint_staged;
pub use stdin::lint_text;

pub(crate) use across::{TaskLinks, across};
pub(crate) use changed::values_of;
pub(crate) use dropped::dropped_between;
pub(crate) use lines::line_of;
pub(crate) use readable::FileAndLog;
pub(crate) use staged::Staging;
pub(crate) use task::{completed_by_force, values};

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use self::invalid_paths::is_temporary;
use self::lines::{point_out, repeats_log_finding};
use self::repeated::own_ids;
use self::signed::{Asks, Keys};
use self::task::several_owners;
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::commit::hand_edits::{dry_run, new_files, record, removed_files};
use crate::engine::context::{Workspace, check_settings};
use crate::engine::view::history::Place;
use crate::engine::view::{pending, read};
use crate::env::files::Mark;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::{Code, Result};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, Severity, SkippedFix, limit_alike};
use crate::model::id::Id;
use crate::model::settings::LintSettings;
use crate::model::yaml::render_task;
use crate::store::config::MAX_CONFIG;
use crate::store::entity::{MAX_YAML, is_odd, load_agent, load_task, read_yaml, yaml_path};
use crate::store::layout::{LOG, home, task_dir};
use crate::store::log::Log;
use crate::store::yaml;

/// What lint found.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct LintReport {
    /// Worst first, then by path.
    pub findings: Vec<Finding>,
    /// How many findings are errors.
    pub errors: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// How many tasks were looked at.
    pub checked: usize,
    /// What `--fix` repaired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fixed: Vec<String>,
    /// What `--fix` could not do, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<SkippedFix>,
}

/// What is kept of a task until all were looked at: what it is to others, and the right that it needs.
type TaskSummary = (TaskLinks, Option<String>);

impl LintReport {
    /// Judges by the settings, sorts and counts what was found in so many tasks.
    fn of(findings: Vec<Finding>, checked: usize, settings: &LintSettings) -> Self {
        let mut findings: Vec<Finding> = limit_alike(findings).into_iter().filter_map(|f| settings.judge(f)).collect();
        findings.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)))
        });
        let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
        LintReport {
            errors,
            warnings: findings.len() - errors,
            checked,
            findings,
            fixed: Vec::new(),
            refused: Vec::new(),
        }
    }
}

/// Checks the whole store.
///
/// Errors: `ERR_IO` where the disk fails; what is wrong with the store itself is a finding.
pub fn lint(ws: &Workspace) -> Result<LintReport> {
    let (findings, checked) = look_and_try(ws)?;
    Ok(LintReport::of(findings, checked, &ws.settings.lint))
}

/// As `look`, with what recording the hand edits would refuse.
fn look_and_try(ws: &Workspace) -> Result<(Vec<Finding>, usize)> {
    let (findings, checked) = look(ws)?;
    let dry_run = if refusals::any(&findings) { dry_run::start(ws) } else { None };
    let Some(dry_run) = dry_run else { return Ok((findings, checked)) };
    let text = |finding: &Finding| {
        let below = finding.path.as_deref()?.strip_prefix(&ws.store.name)?.strip_prefix('/')?;
        ws.store.dir.read(below, MAX_YAML).ok()
    };
    Ok((refusals::add_refusals(&dry_run, findings, &text), checked))
}

/// All findings, before the settings apply, and how many tasks were checked.
fn look(ws: &Workspace) -> Result<(Vec<Finding>, usize)> {
    let mut findings = ws.findings.clone();
    findings.extend(pending::left_behind_found(ws)?);
    findings.extend(invalid_paths::tracked_local(ws));
    findings.extend(invalid_paths::tracked_repositories(ws));
    findings.extend(invalid_paths::odd_at_top(ws)?);
    let (folders, odd) = match ws.store.task_folders() {
        // What stands in the folder's place was named just above.
        Err(e) if e.code == Code::Corrupt && findings.iter().any(|f| f.rule == Rule::OddFile) => Default::default(),
        other => other?,
    };
    let new_files = new_files::new_files(ws, &folders, &odd);
    findings.extend(new_files.iter().map(|new| new_files::new_file_finding(ws, new)));
    let deleted = removed_files::deleted(ws)?;
    let removed = deleted.iter().filter(|(id, _)| folders.binary_search(id).is_err());
    findings.extend(removed.map(|(id, removal)| removed_files::deleted_found(ws, *id, removal.as_ref())));
    let is_new = |path: &Path| new_files.iter().any(|new| new.path.starts_with(path));
    let strange = odd.into_iter().filter(|(path, _)| !is_temporary(path) && !is_new(path));
    findings.extend(strange.map(|(path, kind)| invalid_paths::odd(ws, &path, kind)));
    let pending = read::pending(ws)?;
    // What is new has no log yet.
    let unlogged: BTreeSet<Id> = new_files.iter().filter_map(|new| new.id).collect();
    let (keys, asks) = (keys_here(ws)?, asks_signatures(ws));
    let progress = Progress::of("judging tasks", folders.len());
    let seen = parallel::map_with(
        &folders,
        || Ok(record::lineage(ws)),
        |lineage, id| {
            progress.step();
            let more = pending.get(&Entity::Task(*id)).map_or(&[][..], Vec::as_slice);
            let (entity, ids) = (Entity::Task(*id), RefCell::default());
            let (found, kept) = look_at(ws, lineage, *id, more, unlogged.contains(id), &|path, log| {
                *ids.borrow_mut() = own_ids(&entity, &log.entries);
                signed::judge(&entity, path, log, &BTreeSet::new(), &keys, asks)
            })?;
            let kept = kept.map(|(tied, right)| (*id, tied, right));
            Ok((found, kept, (entity, ids.into_inner())))
        },
    )?;
    let (mut tasks, mut asked, mut ids) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for (found, kept, of_log) in seen {
        findings.extend(found);
        ids.push(of_log);
        if let Some((id, tied, right)) = kept {
            tasks.insert(id, tied);
            asked.extend(right);
        }
    }
    // What points at a removed task is not what is wrong.
    for (id, task) in removed_files::committed(ws, &deleted)? {
        tasks.insert(id, TaskLinks::from(&task));
        asked.extend(task.fields.need_perm);
    }
    findings.extend(invalid_paths::odd_among_agents(ws)?);
    for name in read::agent_names(ws)? {
        let (_, log, odd) = load_agent(&ws.store, &name)?;
        findings.extend(odd);
        let entity = Entity::Agent(name);
        let path = home(&entity).map(|(folder, _)| ws.store.shown(folder.join(LOG))).unwrap_or_default();
        findings.extend(signed::judge(&entity, &path, &log, &BTreeSet::new(), &keys, asks));
        ids.push((entity.clone(), own_ids(&entity, &log.entries)));
        if !pending.contains_key(&entity) {
            findings.extend(readable_here(ws, &record::lineage(ws), &entity, &log.entries));
        }
    }
    if let Ok(text) = String::from_utf8(ws.store.dir.read("roles.yml", MAX_CONFIG).unwrap_or_default())
        && let Ok(roles) = yaml::read(&text)
    {
        let asked = asked.iter().map(String::as_str).collect();
        findings.extend(check_settings::unasked(&ws.store.shown("roles.yml"), &text, &roles, &asked));
    }
    findings.extend(repeated::among(&ws.store.name, &ids));
    findings.extend(across(&ws.store.name, &tasks, &|id| was_forced(ws, id)));
    Ok((lines::located(ws, limit_alike(findings)), folders.len()))
}

fn keys_here(ws: &Workspace) -> Result<Keys> {
    let mut keys = Keys::default();
    for name in read::agent_names(ws)? {
        keys.accept(&name, &load_agent(&ws.store, &name)?.1.entries);
    }
    Ok(keys)
}

/// Older history needs no signature: only who had a key is held to it.
fn asks_signatures(ws: &Workspace) -> Asks {
    let required = ws.rights.0.as_ref().is_some_and(|roles| roles.require_signatures);
    if required { Asks::OfKeyHolders } else { Asks::Nothing }
}

/// All findings of one task by itself, with events that are not in its log yet; and what is kept of one that has events.
fn look_at(
    ws: &Workspace,
    lineage: &Lineage<'_>,
    id: Id,
    more: &[Entry],
    is_new: bool,
    signatures: &dyn Fn(&str, &Log) -> Vec<Finding>,
) -> Result<(Vec<Finding>, Option<TaskSummary>)> {
    let mark = mark_of_log(ws, id);
    let loaded = load_task(&ws.store, id, more)?;
    let mut findings = loaded.findings;
    findings.extend(signatures(&ws.store.shown(task_dir(id).join(LOG)), &loaded.log));
    findings.extend(invalid_paths::odd_in_task(ws, id)?);
    if loaded.log.entries.is_empty() && loaded.log.foreign.is_empty() {
        if !is_new {
            let path = ws.store.shown(task_dir(id).join(LOG));
            findings.push(Finding::new(Rule::LogMissing, format!("task {id} has no log")).task(id).at(path, None));
        }
        return Ok((findings, None));
    }
    // Most files are what their log says; that is seen without folding it once more.
    let is_whole = |bytes: Vec<u8>| bytes == render_task(&loaded.task).as_bytes();
    if more.is_empty() && !read_yaml(&ws.store, &Entity::Task(id)).ok().flatten().is_some_and(is_whole) {
        let mut found = readable_at_rest(ws, lineage, id, &loaded.log.entries, mark)?;
        found.retain(|found| !repeats_log_finding(found, &findings));
        findings.extend(found.into_iter().map(|found| found.task(id)));
    }
    findings.extend(values(&ws.store.name, &loaded.task));
    findings.extend(several_owners(&ws.store.name, &loaded.task, &loaded.log.entries));
    let tied = TaskLinks::of(&loaded.task, &loaded.log.entries);
    Ok((findings, Some((tied, loaded.task.fields.need_perm))))
}

/// As `readable_here`, read again where another process may have written between the two reads.
fn readable_at_rest(
    ws: &Workspace,
    lineage: &Lineage<'_>,
    id: Id,
    entries: &[Entry],
    mark: Option<Mark>,
) -> Result<Vec<Finding>> {
    let entity = Entity::Task(id);
    let mut found = readable_here(ws, lineage, &entity, entries);
    let mut looked = entries.len();
    for _ in 0..20 {
        if found.is_empty() || mark_of_log(ws, id) == mark && read::pending(ws)?.is_empty() {
            break;
        }
        let now = load_task(&ws.store, id, &[])?.log.entries;
        // A log that is as it was before the look was so at it.
        if now.len() == looked && read::pending(ws)?.is_empty() {
            break;
        }
        found = readable_here(ws, lineage, &entity, &now);
        looked = now.len();
    }
    Ok(found)
}

/// Size, times and inode of a log; `None` where it cannot be looked at.
fn mark_of_log(ws: &Workspace, id: Id) -> Option<Mark> {
    ws.store.dir.mark(task_dir(id).join(LOG)).ok().flatten()
}

/// How a readable file of the work tree differs from what its log says.
fn readable_here(ws: &Workspace, lineage: &Lineage<'_>, entity: &Entity, entries: &[Entry]) -> Vec<Finding> {
    let Some(path) = yaml_path(entity).map(|path| ws.store.shown(path)) else { return Vec::new() };
    let bytes = match read_yaml(&ws.store, entity) {
        Ok(bytes) => bytes,
        Err(e) if is_odd(&e) => {
            return vec![Finding::new(Rule::OddFile, format!("not a regular file: {e}")).at(path, None)];
        }
        Err(e) => {
            return vec![Finding::new(Rule::YamlInvalid, format!("it cannot be read: {e}")).at(path, None)];
        }
    };
    FileAndLog { place: Place::WorkTree, path, entity, entries, bytes: bytes.as_deref() }.findings(lineage)
}

/// Whether a completion says itself that it passed a check.
fn was_forced(ws: &Workspace, id: Id) -> bool {
    load_task(&ws.store, id, &[]).is_ok_and(|loaded| completed_by_force(&loaded.log.entries))
}
