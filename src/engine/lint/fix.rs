//! `lint --fix`: repairs what has only one possible repair.
//!
//! Guarantees: a hand edit is not overwritten before it is recorded; if it cannot be recorded, its finding says why.
//! Leaves to others: the checks.

use std::collections::{BTreeMap, BTreeSet};

use super::refusals::set_refusal;
use super::source::LintSource;
use super::work_tree::WorkTree;
use super::{LintReport, run};
use crate::engine::commit::hand_edits::new_files;
use crate::engine::commit::hand_edits::record::{self, Comments};
use crate::engine::commit::hand_edits::removed_files;
use crate::engine::commit::unblock::{self, UNBLOCKED};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::{lint, repair};
use crate::error::{Error, Result};
use crate::model::event::Entity;
use crate::model::finding::{Finding, Repair, Rule, SkippedFix};
use crate::model::id::Id;
use crate::model::job::Deleted;
use crate::store::layout::{entity_below, is_in_archives};

/// The choices of the user for `lint --fix`.
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
    let found = || -> Result<LintReport> {
        let (tree, lineage) = (WorkTree::open(ws)?, record::lineage(ws));
        Ok(LintReport::of(run(LintSource::WorkTree(&tree, &lineage))?.findings, 0, &ws.settings.lint))
    };
    let mut before = found()?;
    // Files in conflict come first: their hand edits are recorded, not overwritten.
    let torn = |f: &&Finding| matches!(f.rule, Rule::YamlConflict | Rule::YamlInvalid);
    let torn: BTreeSet<Id> = before.findings.iter().filter(torn).filter_map(|f| f.task).collect();
    if !torn.is_empty() {
        let healed = repair::repair_tasks(ws, torn)?;
        fixed.extend(healed.items.iter().map(|item| format!("{}: {}", item.entity, item.did.join("; "))));
        refused.extend(healed.left.into_iter().map(|message| SkippedFix { message, ..SkippedFix::default() }));
        before = found()?;
    }
    for finding in before.findings.iter().filter(|f| f.rule.repair() == Repair::Record) {
        if let (Some(id), Some(path)) = (finding.task, &finding.path) {
            match record::absorb_in_words(ws, id, how.comments) {
                Ok(all) => fixed.extend(all.into_iter().map(|(task, did)| format!("task {task}: {did}"))),
                Err(e) => drop(kept.insert(path.clone(), e)),
            }
        }
    }
    let entity = |path: &str| Some(entity_below(path.strip_prefix(&ws.store.name)?.strip_prefix('/')?)?.0);
    let outdated = before.findings.iter().filter(|f| f.rule.repair() == Repair::Render);
    let outdated: BTreeSet<Entity> = outdated.filter_map(|f| entity(f.path.as_deref()?)).collect();
    if !outdated.is_empty() {
        fixed.extend(render_again(ws, &outdated)?);
    }
    if before.findings.iter().any(|f| f.rule.repair() == Repair::Render && is_of_archive(ws, f)) {
        let repaired = repair::sort_archives(ws)?;
        fixed.extend(repaired.archives.iter().map(|path| format!("{}: sorted", ws.store.shown(path))));
        fixed.extend(repaired.items.iter().map(|item| format!("{}: {}", item.entity, item.did.join("; "))));
    }
    fixed.extend(unblock::record_unblocked(ws).iter().map(|id| format!("task {id}: {UNBLOCKED}")));
    let mut after = lint::lint(ws)?;
    after.fixed = fixed;
    let of_edits = |f: &&mut Finding| f.rule.repair().may_be_refused();
    for finding in after.findings.iter_mut().filter(of_edits) {
        // The dry run usually found the same refusal.
        if let Some(e) = finding.path.as_ref().and_then(|path| kept.remove(path))
            && finding.refusal.is_none()
        {
            set_refusal(finding, &e);
        }
    }
    refused.extend(kept.into_iter().map(|(path, e)| SkippedFix { path: Some(path), ..SkippedFix::of(&e, "") }));
    after.refused = refused;
    Ok(after)
}

fn is_of_archive(ws: &Workspace, finding: &Finding) -> bool {
    let below = finding.path.as_deref().and_then(|path| path.strip_prefix(&ws.store.name)?.strip_prefix('/'));
    below.is_some_and(is_in_archives)
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
