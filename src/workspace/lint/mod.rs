//! `lint`: everything that is odd about a store.
//!
//! Promises: reads the files themselves and trusts no cache; what follows from several tasks is checked over all of them at
//! the end.
//! Refuses to know: how anything is mended (`fix`), and what git holds (`staged`, `base`).

mod across;
mod base;
mod changed;
mod commits;
mod dropped;
mod fence;
mod fix;
mod indexed;
mod lines;
mod odd;
mod permitted;
mod readable;
mod repeated;
mod rewritten;
mod signed;
mod staged;
mod stdin;
mod task;
mod together;
mod trailers;
mod tried;
mod vanished;

pub use dropped::{lint_dropped, lint_no_folder};
pub use fix::Fix;
pub use staged::lint_staged;
pub use stdin::lint_text;

pub(super) use across::{Tied, across};
pub(super) use changed::values_of;
pub(super) use dropped::dropped_between;
pub(super) use lines::line_of;
pub(super) use readable::Beside;
pub(super) use staged::Staging;
pub(super) use task::{completed_by_force, values};

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use self::lines::{point_out, repeats_log_finding};
use self::odd::is_temporary;
use self::repeated::own_ids;
use self::signed::{Asks, Keys};
use self::task::several_owners;
use super::Workspace;
use super::hand_edits::lineage::Lineage;
use crate::env::apart;
use crate::env::files::Mark;
use crate::env::progress::Progress;
use crate::error::{Code, Result};
use crate::model::event::{Entity, Entry};
use crate::model::finding::Refused;
use crate::model::finding::{Finding, Rule, Severity, few_of_a_kind};
use crate::model::id::Id;
use crate::model::settings::LintSettings;
use crate::model::yaml::render_task;
use crate::store::config::MAX_CONFIG;
use crate::store::entity::{MAX_YAML, is_odd, load_agent, load_task, read_yaml, yaml_path};
use crate::store::layout::{LOG, home, task_dir};
use crate::store::log::Log;
use crate::store::yaml;
use crate::workspace::check_settings;
use crate::workspace::past::Place;

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
    /// What `--fix` could not do, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// What is kept of a task until all were looked at: what it is to others, and the right that it needs.
type Kept = (Tied, Option<String>);

impl LintReport {
    /// Judges by the settings, sorts and counts what was found in so many tasks.
    fn of(findings: Vec<Finding>, checked: usize, settings: &LintSettings) -> Self {
        let mut findings: Vec<Finding> =
            few_of_a_kind(findings).into_iter().filter_map(|f| settings.judge(f)).collect();
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

impl Workspace {
    /// Checks the whole store.
    ///
    /// Errors: `ERR_IO` where the disk fails; what is wrong with the store itself is a finding.
    pub fn lint(&self) -> Result<LintReport> {
        let (findings, checked) = self.look_and_try()?;
        Ok(LintReport::of(findings, checked, &self.settings.lint))
    }

    /// As `look`, with what recording the hand edits would refuse.
    fn look_and_try(&self) -> Result<(Vec<Finding>, usize)> {
        let (findings, checked) = self.look()?;
        let trial = if tried::any(&findings) { self.trial() } else { None };
        let Some(trial) = trial else { return Ok((findings, checked)) };
        let text = |finding: &Finding| {
            let below = finding.path.as_deref()?.strip_prefix(&self.store.name)?.strip_prefix('/')?;
            self.store.dir.read(below, MAX_YAML).ok()
        };
        Ok((tried::tried(&trial, findings, &text), checked))
    }

    /// All that is odd, whatever the settings make of it, and how many tasks were looked at.
    fn look(&self) -> Result<(Vec<Finding>, usize)> {
        let mut findings = self.findings.clone();
        findings.extend(self.left_behind_found()?);
        findings.extend(self.tracked_local());
        findings.extend(self.tracked_repositories());
        findings.extend(self.odd_at_top()?);
        let (folders, odd) = match self.store.task_folders() {
            // What stands in the folder's place was named just above.
            Err(e) if e.code == Code::Corrupt && findings.iter().any(|f| f.rule == Rule::OddFile) => Default::default(),
            other => other?,
        };
        let newcomers = self.newcomers(&folders, &odd);
        findings.extend(newcomers.iter().map(|new| self.newcomer_found(new)));
        let deleted = self.deleted()?;
        let removed = deleted.iter().filter(|(id, _)| folders.binary_search(id).is_err());
        findings.extend(removed.map(|(id, removal)| self.deleted_found(*id, removal.as_ref())));
        let is_new = |path: &Path| newcomers.iter().any(|new| new.path.starts_with(path));
        let strange = odd.into_iter().filter(|(path, _)| !is_temporary(path) && !is_new(path));
        findings.extend(strange.map(|(path, kind)| self.odd(&path, kind)));
        let pending = self.pending()?;
        // What is new has no log yet.
        let unlogged: BTreeSet<Id> = newcomers.iter().filter_map(|new| new.id).collect();
        let (keys, asks) = (self.keys_here()?, self.asks_signatures());
        let progress = Progress::of("judging tasks", folders.len());
        let seen = apart::each_with(
            &folders,
            || Ok(self.lineage()),
            |lineage, id| {
                progress.step();
                let more = pending.get(&Entity::Task(*id)).map_or(&[][..], Vec::as_slice);
                let (entity, ids) = (Entity::Task(*id), RefCell::default());
                let (found, kept) = self.look_at(lineage, *id, more, unlogged.contains(id), &|path, log| {
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
        for (id, task) in self.committed(&deleted)? {
            tasks.insert(id, Tied::from(&task));
            asked.extend(task.fields.need_perm);
        }
        findings.extend(self.odd_among_agents()?);
        for name in self.agent_names()? {
            let (_, log, odd) = load_agent(&self.store, &name)?;
            findings.extend(odd);
            let entity = Entity::Agent(name);
            let path = home(&entity).map(|(folder, _)| self.store.shown(folder.join(LOG))).unwrap_or_default();
            findings.extend(signed::judge(&entity, &path, &log, &BTreeSet::new(), &keys, asks));
            ids.push((entity.clone(), own_ids(&entity, &log.entries)));
            if !pending.contains_key(&entity) {
                findings.extend(self.readable_here(&self.lineage(), &entity, &log.entries));
            }
        }
        if let Ok(text) = String::from_utf8(self.store.dir.read("roles.yml", MAX_CONFIG).unwrap_or_default())
            && let Ok(roles) = yaml::read(&text)
        {
            let asked = asked.iter().map(String::as_str).collect();
            findings.extend(check_settings::unasked(&self.store.shown("roles.yml"), &text, &roles, &asked));
        }
        findings.extend(repeated::among(&self.store.name, &ids));
        findings.extend(across(&self.store.name, &tasks, &|id| self.was_forced(id)));
        Ok((self.located(few_of_a_kind(findings)), folders.len()))
    }

    fn keys_here(&self) -> Result<Keys> {
        let mut keys = Keys::default();
        for name in self.agent_names()? {
            keys.take_in(&name, &load_agent(&self.store, &name)?.1.entries);
        }
        Ok(keys)
    }

    /// Older history needs no signature: only who had a key is held to it.
    fn asks_signatures(&self) -> Asks {
        let required = self.rights.0.as_ref().is_some_and(|roles| roles.require_signatures);
        if required { Asks::OfKeyHolders } else { Asks::Nothing }
    }

    /// All that is odd about one task by itself, with events that are not in its log yet; and what is kept of one that has events.
    fn look_at(
        &self,
        lineage: &Lineage<'_>,
        id: Id,
        more: &[Entry],
        is_new: bool,
        signatures: &dyn Fn(&str, &Log) -> Vec<Finding>,
    ) -> Result<(Vec<Finding>, Option<Kept>)> {
        let mark = self.mark_of_log(id);
        let loaded = load_task(&self.store, id, more)?;
        let mut findings = loaded.findings;
        findings.extend(signatures(&self.store.shown(task_dir(id).join(LOG)), &loaded.log));
        findings.extend(self.odd_in_task(id)?);
        if loaded.log.entries.is_empty() && loaded.log.foreign.is_empty() {
            if !is_new {
                let path = self.store.shown(task_dir(id).join(LOG));
                findings.push(Finding::new(Rule::LogMissing, format!("task {id} has no log")).task(id).at(path, None));
            }
            return Ok((findings, None));
        }
        // Most files are what their log says; that is seen without folding it once more.
        let is_whole = |bytes: Vec<u8>| bytes == render_task(&loaded.task).as_bytes();
        if more.is_empty() && !read_yaml(&self.store, &Entity::Task(id)).ok().flatten().is_some_and(is_whole) {
            let mut found = self.readable_at_rest(lineage, id, &loaded.log.entries, mark)?;
            found.retain(|found| !repeats_log_finding(found, &findings));
            findings.extend(found.into_iter().map(|found| found.task(id)));
        }
        findings.extend(values(&self.store.name, &loaded.task));
        findings.extend(several_owners(&self.store.name, &loaded.task, &loaded.log.entries));
        let tied = Tied::of(&loaded.task, &loaded.log.entries);
        Ok((findings, Some((tied, loaded.task.fields.need_perm))))
    }

    /// As `readable_here`, looked at again where somebody may have been writing between our two looks.
    fn readable_at_rest(
        &self,
        lineage: &Lineage<'_>,
        id: Id,
        entries: &[Entry],
        mark: Option<Mark>,
    ) -> Result<Vec<Finding>> {
        let entity = Entity::Task(id);
        let mut found = self.readable_here(lineage, &entity, entries);
        let mut looked = entries.len();
        for _ in 0..20 {
            if found.is_empty() || self.mark_of_log(id) == mark && self.pending()?.is_empty() {
                break;
            }
            let now = load_task(&self.store, id, &[])?.log.entries;
            // A log that is as it was before the look was so at it.
            if now.len() == looked && self.pending()?.is_empty() {
                break;
            }
            found = self.readable_here(lineage, &entity, &now);
            looked = now.len();
        }
        Ok(found)
    }

    /// Size, times and inode of a log; `None` where it cannot be looked at.
    fn mark_of_log(&self, id: Id) -> Option<Mark> {
        self.store.dir.mark(task_dir(id).join(LOG)).ok().flatten()
    }

    /// How a readable file of the work tree differs from what its log says.
    fn readable_here(&self, lineage: &Lineage<'_>, entity: &Entity, entries: &[Entry]) -> Vec<Finding> {
        let Some(path) = yaml_path(entity).map(|path| self.store.shown(path)) else { return Vec::new() };
        let bytes = match read_yaml(&self.store, entity) {
            Ok(bytes) => bytes,
            Err(e) if is_odd(&e) => {
                return vec![Finding::new(Rule::OddFile, format!("not a regular file: {e}")).at(path, None)];
            }
            Err(e) => {
                return vec![Finding::new(Rule::YamlInvalid, format!("it cannot be read: {e}")).at(path, None)];
            }
        };
        Beside { place: Place::WorkTree, path, entity, entries, bytes: bytes.as_deref() }.findings(lineage)
    }

    /// Whether a completion says itself that it passed a check.
    fn was_forced(&self, id: Id) -> bool {
        load_task(&self.store, id, &[]).is_ok_and(|loaded| completed_by_force(&loaded.log.entries))
    }
}
