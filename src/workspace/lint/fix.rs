//! `lint --fix`: mending what can be mended without a choice.
//!
//! Promises: nothing a person wrote is drawn over; what cannot be recorded says why.
//! Refuses to know: how oddities are found.

use std::collections::BTreeSet;

use super::LintReport;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::finding::Rule;
use crate::model::id::check_agent_name;
use crate::store::edited::{FORM, Readable, compare};
use crate::store::entity::{load_task, read_yaml};
use crate::store::layout::AGENTS;
use crate::store::project::project;
use crate::workspace::Workspace;

impl Workspace {
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
