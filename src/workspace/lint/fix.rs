//! `lint --fix`: mending what can be mended without a choice.
//!
//! Promises: nothing a person wrote is drawn over; what cannot be recorded says why.
//! Refuses to know: how oddities are found.

use std::collections::{BTreeMap, BTreeSet};

use super::LintReport;
use crate::error::{Error, Result};
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name};
use crate::store::edited::{FORM, Readable, compare};
use crate::store::entity::{load_task, read_yaml};
use crate::store::layout::AGENTS;
use crate::store::project::project;
use crate::workspace::Workspace;
use crate::workspace::absorb::Comments;
use crate::workspace::deleted::Deleted;

/// How `lint --fix` goes about what needs a word from the person.
#[derive(Clone, Copy, Debug)]
pub struct Fix {
    /// What becomes of comments in files that are written anew.
    pub comments: Comments,
    /// What becomes of tasks whose files were removed.
    pub deleted: Deleted,
}

impl Workspace {
    /// Mends what can be mended without a choice, then checks again: logs get their plain form, readable files are written
    /// from their logs, and hand edits become events where the rules allow it.
    ///
    /// Errors: as [`Workspace::lint`], and `ERR_BUSY` or `ERR_IO` where nothing can be written.
    pub fn lint_fix(&self, how: Fix) -> Result<LintReport> {
        let (mut fixed, mut refused) = self.bring_back_deleted(&self.deleted()?, how.deleted)?;
        let (folders, odd) = self.store.task_folders().unwrap_or_default();
        let mut kept: BTreeMap<String, Error> = BTreeMap::new();
        for new in self.newcomers(&folders, &odd) {
            match self.adopt(&new, how.comments) {
                Ok(id) => fixed.push(format!("{}: made task {id} of it", self.store.shown(&new.path))),
                Err(e) => drop(kept.insert(self.store.shown(&new.path), e)),
            }
        }
        let mut before = self.lint()?;
        // What git left in conflict first: edits within it are recorded, not written over.
        let torn = |f: &&Finding| matches!(f.rule, Rule::YamlConflict | Rule::YamlInvalid);
        let torn: BTreeSet<Id> = before.findings.iter().filter(torn).filter_map(|f| f.task).collect();
        if !torn.is_empty() {
            let healed = self.heal_tasks(torn)?;
            fixed.extend(healed.items.iter().map(|item| format!("{}: {}", item.entity, item.did.join(", "))));
            refused.extend(healed.left);
            before = self.lint()?;
        }
        for finding in before.findings.iter().filter(|f| is_hand_edit(f.rule)) {
            if let (Some(id), Some(path)) = (finding.task, &finding.path) {
                match self.absorb(id, how.comments) {
                    Ok(what) if what.is_empty() => fixed.push(format!("task {id}: its edit was recorded already")),
                    Ok(what) => fixed.push(format!("task {id}: recorded the edit of {what}")),
                    Err(e) => drop(kept.insert(path.clone(), e)),
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
        for finding in after.findings.iter_mut().filter(|f| is_hand_edit(f.rule) || f.rule == Rule::TaskNew) {
            if let Some(e) = finding.path.as_ref().and_then(|path| kept.remove(path)) {
                tell_refusal(finding, &e);
            }
        }
        refused.extend(kept.into_values().map(|e| e.message));
        after.refused = refused;
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
                        match bytes.as_ref().map(|bytes| (bytes, compare(entity, &log.entries, bytes))) {
                            Some((_, Readable::Edited(what))) => what != FORM,
                            Some((bytes, Readable::Conflicted)) => {
                                !self.edits_in_conflict(*id, &log.entries, bytes)?.is_empty()
                            }
                            _ => false,
                        }
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
}

/// Whether a finding is of words that a person wrote into a task's file.
fn is_hand_edit(rule: Rule) -> bool {
    matches!(rule, Rule::YamlEdited | Rule::YamlField | Rule::YamlComment)
}

/// Says in a finding why the edit it is about was not recorded, and what would be.
fn tell_refusal(finding: &mut Finding, e: &Error) {
    let hint = e.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
    let place = finding.path.as_deref().map(|path| format!("{path}:")).unwrap_or_default();
    // The finding itself says where it is.
    let why = e.message.strip_prefix(&place).map_or(e.message.as_str(), |rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':').trim_start()
    });
    finding.message = format!("{}; not recorded: {}: {why}{hint}", finding.message, e.code.as_str());
    finding.line = e.details["line"].as_u64().map(|line| line as usize).or(finding.line);
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
