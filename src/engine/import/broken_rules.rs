//! What an export of agentpm may hold and a plan must not: edges that lead to no task or close a cycle, and tasks that were completed too
//! early.
//!
//! Guarantees that each is named by the ids of the source, and that what is recorded about it ends the finding of lint: the edge is
//! removed, the completion is stated as forced.
//! Leaves to others: the events of the export, which arrive unchanged (`ours`).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::lint::{TaskLinks, across, completed_by_force};
use crate::engine::view::read;
use crate::error::Result;
use crate::model::command::{Batch, Command};
use crate::model::event::Entity;
use crate::model::finding::Rule;
use crate::model::id::Id;
use crate::model::payload::{Payload, RelationshipRemoved, TaskStatusChanged, check};
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::rules::decide::Subject;
use crate::rules::graph::{Edge, void_edges};
use crate::rules::readiness::BlockerRules;
use crate::rules::stage::{Draft, Stage};
use crate::store::archive;
use crate::store::entity::{LoadedTask, load_task};

/// How many are recorded at once.
const AT_ONCE: usize = 1_000;
/// The most warnings; the rest are counted.
const MAX_WARNINGS: usize = 100;
/// Why an edge is removed, or a completion repeated.
const WHY: &str = "the import holds it, and a plan must not";

/// What breaks a rule.
#[derive(Clone, Debug)]
enum BrokenRule {
    Edge(Edge, String),
    Early(Id, String),
}

/// All that breaks a rule in an export.
pub(super) struct BrokenRules(Vec<BrokenRule>);

impl BrokenRules {
    /// Looks at the tasks of an export, and at those here that they name.
    ///
    /// Errors: `ERR_IO` if a task here cannot be read.
    pub(super) fn find(ws: &Workspace, mut links: BTreeMap<Id, TaskLinks>) -> Result<Self> {
        let imported: BTreeSet<Id> = links.keys().copied().collect();
        let archived = archive::archived(&ws.store)?;
        let named: BTreeSet<Id> = links.values().flat_map(TaskLinks::named).collect();
        for id in named.difference(&imported) {
            if read::is_there(ws, *id) {
                let known = load_task(&ws.store, *id, &[])?;
                links.insert(*id, TaskLinks::of(&known.task, &known.log.entries));
            } else if archived.dropped.contains(id) {
                links.insert(*id, TaskLinks::dropped());
            }
        }
        let edges: Vec<Edge> = imported.iter().flat_map(|id| links[id].edges()).copied().collect();
        let counts = |edge: &&Edge| matches!(edge.kind, RelationType::Blocks | RelationType::ParentOf);
        let all = links.values().flat_map(TaskLinks::edges).filter(counts).copied().collect::<Vec<_>>();
        let void = void_edges(&all);
        let mut broken = Vec::new();
        for edge in edges {
            match [edge.from, edge.to].into_iter().find(|end| !links.contains_key(end)) {
                Some(missing) => {
                    broken.push(BrokenRule::Edge(edge, format!("{missing} is not among the imported tasks")))
                }
                None if void.contains(&edge.stamp) => broken.push(BrokenRule::Edge(edge, "it closes a cycle".into())),
                None => {}
            }
        }
        let findings = across(&ws.store.name, &links, BlockerRules::of(&ws.settings)).into_iter();
        broken.extend(findings.filter(|finding| finding.rule == Rule::CompletedEarly).filter_map(|finding| {
            let id = finding.task.filter(|id| imported.contains(id) && links[id].status == Status::Completed)?;
            Some(BrokenRule::Early(id, finding.message))
        }));
        Ok(BrokenRules(broken))
    }

    /// A warning for each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let one = |broken: &BrokenRule| match broken {
            BrokenRule::Edge(edge, why) => {
                format!("{} {} {} is left out: {why}", edge.from, edge.kind.as_str(), edge.to)
            }
            BrokenRule::Early(id, what) => format!("{id}: {what}; the event says forced"),
        };
        let mut warnings: Vec<String> = self.0.iter().take(MAX_WARNINGS).map(one).collect();
        let more = self.0.len().saturating_sub(MAX_WARNINGS);
        warnings.extend((more > 0).then(|| format!("{more} more edges or completions break a rule of a plan")));
        warnings
    }

    /// Records the end of each, unless an earlier import did.
    ///
    /// Errors: those of any change.
    pub(super) fn record(&self, ws: &Workspace) -> Result<()> {
        for some in self.0.chunks(AT_ONCE) {
            let mut ends = Vec::new();
            for broken in some {
                ends.extend(end_of(ws, broken)?);
            }
            if ends.is_empty() {
                continue;
            }
            write::execute_as(ws, ws.author()?, &Command::Batch(Batch::default()), &[], None, |tx| {
                for (task, payload) in &ends {
                    tx.task(*task)?;
                    let (entity, payload) = (Entity::Task(*task), payload.clone());
                    tx.emit(Draft { entity, payload, why: Some(WHY.into()), fence: None })?;
                }
                Ok(Subject::Batch(Vec::new()))
            })?;
        }
        Ok(())
    }
}

/// What ends a broken rule; `None` if it was ended before.
fn end_of(ws: &Workspace, broken: &BrokenRule) -> Result<Option<(Id, Payload)>> {
    let id = match broken {
        BrokenRule::Edge(edge, _) => edge.kind.home(edge.from, edge.to),
        BrokenRule::Early(id, _) => *id,
    };
    let LoadedTask { task, log, .. } = load_task(&ws.store, id, &[])?;
    let payload = match broken {
        BrokenRule::Edge(edge, _) => {
            let relationship = edge.stamp.id;
            let is_there = task.relationships.contains_key(&relationship);
            is_there.then_some(Payload::RelationshipRemoved(RelationshipRemoved { relationship }))
        }
        BrokenRule::Early(..) => {
            let is_open = task.status == Status::Completed && !completed_by_force(&log.entries);
            let forced = vec![check::BLOCKERS.to_owned(), check::CHILDREN.to_owned()];
            let (from, to) = (Status::Completed, Status::Completed);
            let again = TaskStatusChanged { from, to, owner: None, changed_at: task.completed_at, forced };
            is_open.then_some(Payload::TaskStatusChanged(again))
        }
    };
    Ok(payload.map(|payload| (id, payload)))
}
