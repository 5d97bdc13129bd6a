//! The plan as git's index holds it, for dry runs of staged hand edits.
//!
//! Guarantees: reads the index and nothing of the work tree. Children and dependents of tasks are read only if they are needed.
//! Leaves to others: the checks, which are the same for every source.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::permitted::RolesAt;
use super::refusals::{self, add_refusals};
use super::staged::{Staging, read};
use crate::engine::commit::hand_edits::dry_run;
use crate::engine::commit::transaction::Source;
use crate::engine::context::Workspace;
use crate::engine::context::open::Options;
use crate::engine::repair::look_after_git;
use crate::engine::view::read::one_of;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::{Error, Result};
use crate::git::Oid;
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry};
use crate::model::finding::Finding;
use crate::model::id::{Id, is_part, quoted};
use crate::rules::fold::fold;
use crate::store::entity::{LoadedTask, understand};
use crate::store::layout::{TASKS, entity_below, shown};
use crate::store::log::may_relate;

/// The children and dependents of tasks.
#[derive(Default)]
struct Around {
    children: BTreeMap<Id, BTreeSet<Id>>,
    dependents: BTreeMap<Id, BTreeSet<Id>>,
}

/// The plan of an index.
struct IndexedPlan<'a> {
    staging: &'a Staging<'a>,
    logs: OnceCell<Result<BTreeMap<Id, Oid>>>,
    around: OnceCell<Result<Around>>,
}

impl IndexedPlan<'_> {
    fn logs(&self) -> Result<&BTreeMap<Id, Oid>> {
        self.logs.get_or_init(|| self.staging.logs()).as_ref().map_err(Error::clone)
    }

    fn around(&self) -> Result<&Around> {
        self.around.get_or_init(|| self.read_around()).as_ref().map_err(Error::clone)
    }

    fn read_around(&self) -> Result<Around> {
        let mut around = Around::default();
        let above = self.staging.each_related(self.logs()?.clone(), |id, entries| {
            let task = fold(id, entries).0;
            (task.parent(), task.blockers())
        })?;
        for (id, _, above) in above {
            let Some((parent, blockers)) = above else { continue };
            parent.map(|parent| around.children.entry(parent).or_default().insert(id));
            for blocker in blockers {
                around.dependents.entry(blocker).or_default().insert(id);
            }
        }
        Ok(around)
    }
}

impl Source for IndexedPlan<'_> {
    fn load(&self, id: Id) -> Result<LoadedTask> {
        let log = self.staging.log_staged(&Entity::Task(id))?.unwrap_or_default();
        Ok(understand(&self.staging.place.name, id, log))
    }

    fn resolve(&self, reference: &Ref) -> Result<Id> {
        let text = reference.0.to_ascii_uppercase();
        let unknown = || {
            Error::not_found(format!("no task is called {} in git's index", quoted(&reference.0)))
                .hint("git add the files of that task too, where the work tree has it")
        };
        if !is_part(&text) {
            return Err(unknown());
        }
        let fits = |id: &&Id| id.to_string().starts_with(&text) || id.to_string().ends_with(&text);
        let archived = self.staging.archived_tasks()?;
        one_of(self.logs()?.keys().chain(&archived).filter(fits).copied().collect(), reference)?.ok_or_else(unknown)
    }

    fn children(&self, id: Id) -> Result<Option<Vec<Id>>> {
        Ok(Some(self.around()?.children.get(&id).into_iter().flatten().copied().collect()))
    }

    fn dependents(&self, id: Id) -> Result<Option<Vec<Id>>> {
        Ok(Some(self.around()?.dependents.get(&id).into_iter().flatten().copied().collect()))
    }
}

impl Staging<'_> {
    /// The logs of all tasks.
    pub(crate) fn logs(&self) -> Result<BTreeMap<Id, Oid>> {
        let tasks = shown(&self.place.name, TASKS);
        let mut logs = BTreeMap::new();
        for (path, oid) in self.objects.files_in_index(&self.index, &tasks)? {
            if let Some((Entity::Task(id), true)) = entity_below(&path[self.place.name.len() + 1..]) {
                logs.insert(id, oid);
            }
        }
        Ok(logs)
    }

    /// These logs, each with the result of `look` if it may hold relationships. They are read on all cores, neighbouring ones in
    /// sequence, as git packs them.
    pub(crate) fn each_related<R: Send>(
        &self,
        logs: BTreeMap<Id, Oid>,
        look: impl Fn(Id, &[Entry]) -> R + Sync,
    ) -> Result<Vec<(Id, Oid, Option<R>)>> {
        let repo = &self.place.repo;
        let mut logs = Vec::from_iter(logs);
        logs.sort_by_cached_key(|(id, _)| id.shard());
        let progress = Progress::of("reading the plan", logs.len());
        parallel::map_with(
            &logs,
            || repo.objects_for_many(),
            |objects, (id, oid)| {
                progress.step();
                let bytes = objects.blob(*oid)?;
                let entries = may_relate(&bytes).then(|| read(Some(&bytes))).transpose()?.map(|log| log.entries);
                Ok((*id, *oid, entries.map(|entries| look(*id, &entries))))
            },
        )
    }

    /// Adds the refusals of staged hand edits, as the committer would get them by the roles of the parent commit and the staged
    /// settings.
    pub(crate) fn add_refusals(
        &self,
        options: &Options,
        roles: &RolesAt<'_>,
        findings: Vec<Finding>,
    ) -> Result<Vec<Finding>> {
        // Edits are recorded in a work tree, which has to have the plan.
        let open = || Workspace::opened_with(self.env.fork(), options.clone(), look_after_git).ok();
        let opened = if refusals::any(&findings) { open() } else { None };
        let Some(ws) = opened.filter(|ws| ws.store.name == self.place.name) else { return Ok(findings) };
        let mut settings = self.settings_staged()?.unwrap_or_else(|| ws.settings.clone());
        // The user's own settings may name the agent.
        settings.agent = settings.agent.or_else(|| ws.settings.agent.clone());
        let Some(ws) = ws.under(settings, roles.rights().clone()) else { return Ok(findings) };
        let plan = IndexedPlan { staging: self, logs: OnceCell::new(), around: OnceCell::new() };
        let Some(dry_run) = dry_run::start(&ws) else { return Ok(findings) };
        let role = roles.role_of(dry_run.who())?;
        let dry_run = dry_run.of(&plan, role);
        let text = |finding: &Finding| self.staged_bytes(finding.path.as_deref()?).ok().flatten();
        Ok(add_refusals(&dry_run, findings, &text))
    }
}
