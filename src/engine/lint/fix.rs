//! `lint --fix`: repairs what has only one possible repair.
//!
//! Guarantees: nothing that a person wrote is overwritten; an edit that cannot be recorded says why.
//! Leaves to others: how oddities are found.

use std::collections::{BTreeMap, BTreeSet};

use super::LintReport;
use super::refusals::{is_hand_edit, set_refusal};
use crate::engine::commit::hand_edits::new_files;
use crate::engine::commit::hand_edits::record::{self, Comments};
use crate::engine::commit::hand_edits::removed_files;
use crate::engine::commit::unblock::{self, UNBLOCKED};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::{lint, repair};
use crate::error::{Error, Result};
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule, SkippedFix};
use crate::model::id::{Id, check_agent_name};
use crate::model::job::Deleted;
use crate::store::layout::AGENTS;

/// How `lint --fix` goes about what needs a word from the person.
#[derive(Clone, Copy, Debug)]
pub struct Fix {
    /// How to treat comments in files that are rewritten.
    pub comments: Comments,
    /// How to treat tasks whose files were removed.
    pub deleted: Deleted,
}

/// Repairs what has only one possible repair, then checks again: logs get their plain form, readable files are rendered
/// from their logs, hand edits become events where the rules allow it, and tasks whose blockers are all finished open.
///
/// Errors: as `lint::lint`, and `ERR_BUSY` or `ERR_IO` where nothing can be written.
pub fn lint_fix(ws: &Workspace, how: Fix) -> Result<LintReport> {
    let (mut fixed, mut refused) = removed_files::restore_deleted(ws, &removed_files::deleted(ws)?, how.deleted)?;
    let (folders, odd) = ws.store.task_folders().unwrap_or_default();
    let mut kept: BTreeMap<String, Error> = BTreeMap::new();
    for new in new_files::new_files(ws, &folders, &odd) {
        match new_files::adopt(ws, &new, how.comments) {
            Ok(id) => fixed.push(format!("{}: made task {id} of it", ws.store.shown(&new.path))),
            Err(e) => drop(kept.insert(ws.store.shown(&new.path), e)),
        }
    }
    let found = || Ok(LintReport::of(lint::look(ws)?.0, 0, &ws.settings.lint));
    let mut before = found()?;
    // What git left in conflict first: edits within it are recorded, not written over.
    let torn = |f: &&Finding| matches!(f.rule, Rule::YamlConflict | Rule::YamlInvalid);
    let torn: BTreeSet<Id> = before.findings.iter().filter(torn).filter_map(|f| f.task).collect();
    if !torn.is_empty() {
        let healed = repair::repair_tasks(ws, torn)?;
        fixed.extend(healed.items.iter().map(|item| format!("{}: {}", item.entity, item.did.join("; "))));
        refused.extend(healed.left.into_iter().map(|message| SkippedFix { message, ..SkippedFix::default() }));
        before = found()?;
    }
    for finding in before.findings.iter().filter(|f| is_hand_edit(f.rule)) {
        if let (Some(id), Some(path)) = (finding.task, &finding.path) {
            match record::absorb_in_words(ws, id, how.comments) {
                Ok(all) => fixed.extend(all.into_iter().map(|(task, did)| format!("task {task}: {did}"))),
                Err(e) => drop(kept.insert(path.clone(), e)),
            }
        }
    }
    let outdated: BTreeSet<Entity> = before
        .findings
        .iter()
        .filter(|f| is_outdated(f.rule))
        .filter_map(|f| f.task.map(Entity::Task).or_else(|| agent_of(f.path.as_deref()?)))
        .collect();
    if !outdated.is_empty() {
        fixed.extend(render_again(ws, &outdated)?);
    }
    fixed.extend(unblock::record_unblocked(ws).iter().map(|id| format!("task {id}: {UNBLOCKED}")));
    let mut after = lint::lint(ws)?;
    after.fixed = fixed;
    let of_edits = |f: &&mut Finding| is_hand_edit(f.rule) || f.rule == Rule::TaskNew;
    for finding in after.findings.iter_mut().filter(of_edits) {
        // What recording refused was found again by trying it.
        match finding.path.as_ref().and_then(|path| kept.remove(path)) {
            Some(e) if finding.refusal.is_none() => set_refusal(finding, &e),
            _ => {}
        }
    }
    refused.extend(kept.into_iter().map(|(path, e)| SkippedFix { path: Some(path), ..SkippedFix::of(&e, "") }));
    after.refused = refused;
    Ok(after)
}

fn render_again(ws: &Workspace, entities: &BTreeSet<Entity>) -> Result<Vec<String>> {
    write::under_lock(ws, "agentpm lint --fix", |runtime, _, _| {
        let (mut fixed, lineage) = (Vec::new(), record::lineage(ws));
        for entity in entities {
            if record::project_unedited(ws, &lineage, entity, &[], runtime)? {
                fixed.push(format!("{entity}: files rendered from its log"));
            }
        }
        Ok(fixed)
    })
}

fn is_outdated(rule: Rule) -> bool {
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
