//! The plan as git's index holds it, for trying hand edits that are staged.
//!
//! Guarantees: reads the index and nothing of the work tree; who is around a task is looked for only where it is asked.
//! Leaves to others: what is judged.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::Staging;
use super::permitted::RolesAt;
use super::refusals::{self, add_refusals};
use super::staged::read;
use crate::engine::commit::hand_edits::dry_run;
use crate::engine::commit::transaction::Source;
use crate::engine::context::Workspace;
use crate::engine::context::open::Options;
use crate::engine::repair::look_after_git;
use crate::engine::view::read::one_of;
use crate::env::progress::Progress;
use crate::env::{Env, parallel};
use crate::error::{Error, Result};
use crate::git::Oid;
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry};
use crate::model::finding::Finding;
use crate::model::id::{Id, is_part, quoted};
use crate::model::settings::Settings;
use crate::rules::fold::fold;
use crate::store::entity::{LoadedTask, understand};
use crate::store::layout::{LOG, TASKS, entity_below, shown};
use crate::store::log::may_relate;

/// Who is around whom.
#[derive(Default)]
struct Around {
    children: BTreeMap<Id, BTreeSet<Id>>,
    dependents: BTreeMap<Id, BTreeSet<Id>>,
}

/// The plan of an index.
struct IndexedPlan<'a> {
    staging: &'a Staging<'a>,
    logs: OnceCell<BTreeMap<Id, Oid>>,
    around: OnceCell<Around>,
}

impl IndexedPlan<'_> {
    fn logs(&self) -> Result<&BTreeMap<Id, Oid>> {
        if self.logs.get().is_none() {
            // No other code sets it.
            let _ = self.logs.set(self.staging.logs()?);
        }
        Ok(self.logs.get_or_init(BTreeMap::new))
    }

    fn around(&self) -> Result<&Around> {
        if self.around.get().is_none() {
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
            // No other code sets it.
            let _ = self.around.set(around);
        }
        Ok(self.around.get_or_init(Around::default))
    }
}

impl Source for IndexedPlan<'_> {
    fn load(&self, id: Id) -> Result<LoadedTask> {
        let sides = self.staging.sides(&Entity::Task(id), Some(LOG))?;
        let bytes = sides.and_then(|sides| sides.new);
        Ok(understand(&self.staging.place.name, id, read(bytes.as_deref())?))
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
        one_of(self.logs()?.keys().filter(fits).copied().collect(), reference)?.ok_or_else(unknown)
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

    /// These logs, each with what `look` says of its events where they may hold relationships. They are read on all cores, those
    /// neighbouring ones in sequence, as git packs them.
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

    /// The same findings, with what recording the staged edits would refuse: as the committer, by the roles of the parent
    /// commit and the staged settings.
    pub(crate) fn add_refusals(
        &self,
        env: &Env,
        options: &Options,
        roles: &RolesAt<'_>,
        findings: Vec<Finding>,
    ) -> Result<Vec<Finding>> {
        // An edit is recorded in a work tree; without a plan there, it cannot be.
        let opened = if refusals::any(&findings) {
            Workspace::opened_with(env.fork(), options.clone(), look_after_git).ok()
        } else {
            None
        };
        let Some(ws) = opened.filter(|ws| ws.store.name == self.place.name) else { return Ok(findings) };
        let settings = self.settings_staged()?.map_or_else(
            || ws.settings.clone(),
            |settings| {
                // Who asks may stand in the user's own settings.
                let agent = settings.agent.clone().or_else(|| ws.settings.agent.clone());
                Settings { agent, ..settings }
            },
        );
        let Some(ws) = ws.under(settings, roles.rights().clone()) else { return Ok(findings) };
        let plan = IndexedPlan { staging: self, logs: OnceCell::new(), around: OnceCell::new() };
        let Some(dry_run) = dry_run::start(&ws) else { return Ok(findings) };
        let role = roles.role_of(dry_run.who())?;
        let dry_run = dry_run.of(&plan, role);
        let text = |finding: &Finding| self.staged_bytes(finding.path.as_deref()?).ok().flatten();
        Ok(add_refusals(&dry_run, findings, &text))
    }
}
