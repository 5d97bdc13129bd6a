//! `lint --base`: besides all that `lint` looks at, whether the plan only grew since a revision, and whether the commits since
//! then were made under leases that held.
//!
//! Guarantees: a branch cannot switch off a rule for itself: the severities are those of the revision's settings. The logs are held against the commit from which this branch set out, so that what the revision got meanwhile is
//! not missed here, or against all of them where there are several; the leases are held against the revision itself.
//! The new events are held against the roles that the revision itself has, and an id that it has is no new event's. They are judged
//! by what they do to the logs as they will be once the branch is merged.
//! What its commits hold and the tip lacks is judged with it.
//! Leaves to others: which right an event asks for (`rules::rights`).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::changed::{config_changed, lines_changed, roles_changed};
use super::commits::registered;
use super::permitted::RolesAt;
use super::repeated::{NewEvents, own_ids};
use super::rewritten::{otherwise, rewritten};
use super::signed::{self, Asks, Keys};
use super::vanished::VanishedEvents;
use super::{LintReport, trailers};
use crate::engine::context::Workspace;
use crate::engine::lint;
use crate::engine::view::history::{self, PlanAt, began_at, united};
use crate::engine::view::{read, sparse};
use crate::error::Result;
use crate::git::{Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name};
use crate::store::config::MAX_CONFIG;
use crate::store::entity::read_log;
use crate::store::layout::{AGENTS, LOG, home};
use crate::store::log::Log;

/// Says what changed in a file between two states of it.
type Compare = fn(&str, Option<&[u8]>, Option<&[u8]>) -> Option<Finding>;

/// Checks the whole store, and what happened to it since a revision.
///
/// Errors: `ERR_NOT_FOUND` for a revision that is none, `ERR_GIT` where history cannot be read, `ERR_IO`.
pub fn lint_since(ws: &Workspace, base: &str) -> Result<LintReport> {
    let objects = history::objects(ws)?;
    let (base, head) = (objects.commit_named(base)?, objects.commit_named("HEAD")?);
    let began = began_at(&objects, base, head)?;
    let (mut findings, checked) = lint::look_and_try(ws)?;
    let (at_base, here) = (history::plan_at_commit(ws, base)?, history::plan_at(ws, None)?);
    let (mut changed, mut gone) = (BTreeSet::new(), BTreeMap::new());
    for at in &began {
        let at_began = history::plan_at_commit(ws, *at)?;
        let differ = at_began.candidates(&here)?;
        let found = rewritten_since(ws, &objects, *at, &at_began, &here, &differ)?;
        gone.extend(found.into_iter().map(|finding| ((finding.path.clone(), finding.message.clone()), finding)));
        // What differs from the revision changed here or there.
        changed.extend(differ.into_iter().chain(at_began.candidates(&at_base)?));
    }
    findings.extend(gone.into_values());
    findings.extend(trailers::judge(ws, &objects, base, head)?);
    let top = objects.commit(base)?.tree;
    let mut roles = RolesAt::read(&objects, Some(top), &ws.store.name, &base.short(), ws.env.now())?;
    roles.judge_precedence(base, head, ws.rights.0.is_some())?;
    let logs = |name: String| Ok((name.clone(), read_log(&ws.store, &Entity::Agent(name))?.entries));
    let agents = read::agents(ws)?.into_iter().map(|agent| logs(agent.name)).collect::<Result<Vec<_>>>()?;
    let vanished = VanishedEvents::between(ws, &objects, base, head)?;
    let registered = registered(&agents, &vanished);
    roles.accept_new_keys(&registered);
    let mut keys = Keys::default();
    for (name, entries) in &registered {
        keys.accept(name, entries);
    }
    let more = news_since(ws, &objects, base, (&here, &changed), &roles, &vanished, &keys)?;
    // What the whole store was found to hold is not said twice.
    let is_new = |f: &Finding| {
        let is_reported = |known: &Finding| {
            let rewritten = (known.rule, f.rule) == (Rule::LogRewritten, Rule::EventConflict);
            known.event == f.event && (known.rule == f.rule || rewritten)
        };
        f.event.is_none() || !findings.iter().any(is_reported)
    };
    let more: Vec<Finding> = more.into_iter().filter(is_new).collect();
    findings.extend(more);
    findings.extend(rules_changed_since(ws, &objects, base, &began, &roles)?);
    Ok(LintReport::of(findings, checked, &history::severities_at(ws, &objects, base)?))
}

/// The events that the revision does not have: those that its roles do not permit, and those whose id it has otherwise.
fn news_since(
    ws: &Workspace,
    objects: &Objects,
    base: Oid,
    (here, changed): (&PlanAt<'_>, &BTreeSet<Id>),
    roles: &RolesAt<'_>,
    vanished: &VanishedEvents,
    keys: &Keys,
) -> Result<Vec<Finding>> {
    let mut entities: BTreeSet<Entity> = changed.iter().copied().map(Entity::Task).collect();
    entities.extend(read::agents(ws)?.into_iter().map(|agent| Entity::Agent(agent.name)));
    entities.extend(vanished.entities().cloned());
    let (top, mut findings) = (objects.commit(base)?.tree, Vec::new());
    let at_base = |entity: &Entity| -> Result<Vec<Entry>> {
        let path = home(entity).map(|(folder, _)| ws.store.shown(folder.join(LOG)));
        let bytes = path.map(|path| objects.file(top, &path)).transpose()?.flatten();
        Ok(Log::of(&bytes.unwrap_or_default()).entries)
    };
    let other = |other: &Entity| Ok(united([vanished.with(other, entries_now(ws, here, other)?), at_base(other)?]));
    let (fresh, mut had) = (RefCell::new(NewEvents::default()), BTreeMap::new());
    for entity in &entities {
        let Some((folder, _)) = home(entity) else { continue };
        let path = ws.store.shown(folder.join(LOG));
        let before = at_base(entity)?;
        let known: BTreeSet<Id> = before.iter().map(|entry| entry.event.id).collect();
        let log = log_now(ws, here, entity)?;
        had.extend(own_ids(entity, &before).into_iter().map(|id| (id, entity.clone())));
        let judge = |whole: &Log| {
            fresh.borrow_mut().record(entity, whole, &known);
            let mut found = otherwise(entity, &path, &before, whole);
            found.extend(roles.judge(entity, &path, &merged(whole, &before, &known), &known, &other)?);
            // What the tip itself has is judged with the whole store.
            if !roles.any() && whole.entries.len() > log.entries.len() {
                found.extend(signed::judge(entity, &path, whole, &known, keys, Asks::Nothing));
            }
            Ok(found)
        };
        findings.extend(vanished.judge(entity, &path, (&log, &before), &judge)?);
    }
    findings.extend(fresh.borrow().repeated(&ws.store.name, &had));
    Ok(findings)
}

/// What the branch changes in the rules themselves.
fn rules_changed_since(
    ws: &Workspace,
    objects: &Objects,
    base: Oid,
    began: &[Oid],
    roles: &RolesAt<'_>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, changed) in [
        ("roles.yml", roles_changed as Compare),
        ("config.toml", config_changed as Compare),
        (".gitattributes", lines_changed as Compare),
        (".gitignore", lines_changed as Compare),
    ] {
        let (path, new) = (ws.store.shown(name), ws.store.dir.read(name, MAX_CONFIG).ok());
        let at = |commit: &Oid| objects.file(objects.commit(*commit)?.tree, &path);
        if began.len() > 1 && at(&base)? == new {
            continue;
        }
        let olds = began.iter().map(at).collect::<Result<Vec<_>>>()?;
        if let Some(old) = olds.into_iter().find(|old| *old != new) {
            findings.extend(changed(&path, old.as_deref(), new.as_deref()));
        }
    }
    for name in read::agent_names(ws)? {
        let entity = Entity::Agent(name);
        let Some((folder, _)) = home(&entity) else { continue };
        let (log, path) = (read_log(&ws.store, &entity)?, ws.store.shown(folder.join(LOG)));
        let Entity::Agent(name) = entity else { continue };
        findings.extend(roles.agent_changed(&name, &path, &log)?);
    }
    Ok(findings)
}

/// A log with what was acknowledged and is not in the file yet, which comes after what is.
fn log_now(ws: &Workspace, here: &PlanAt<'_>, entity: &Entity) -> Result<Log> {
    let entries = entries_now(ws, here, entity)?;
    Ok(Log { entries, lines: read_log(&ws.store, entity)?.lines, ..Log::default() })
}

fn rewritten_since(
    ws: &Workspace,
    objects: &Objects,
    began: Oid,
    before: &PlanAt<'_>,
    here: &PlanAt<'_>,
    changed: &BTreeSet<Id>,
) -> Result<Vec<Finding>> {
    let now = |entity: &Entity| entries_now(ws, here, entity);
    let mut findings = Vec::new();
    let mut look = |entity: &Entity, before: &[Entry]| -> Result<()> {
        let Some((folder, _)) = home(entity) else { return Ok(()) };
        let log = log_now(ws, here, entity)?;
        let found = rewritten(entity, &ws.store.shown(folder.join(LOG)), before, &log, &now)?;
        findings.extend(found.into_iter().map(|finding| match entity {
            Entity::Task(id) => finding.task(*id),
            _ => finding,
        }));
        Ok(())
    };
    let left_out = sparse::hidden_paths(ws);
    for task in changed.iter().filter(|task| !left_out.leaves_out(&sparse::log_path(ws, **task))) {
        look(&Entity::Task(*task), &before.entries(*task)?)?;
    }
    let top = objects.commit(began)?.tree;
    let agents = objects.item(top, &ws.store.shown(AGENTS))?.filter(|item| item.mode == Mode::Tree);
    let names = agents.map(|item| objects.items(item.oid)).transpose()?.unwrap_or_default().into_keys();
    for name in names.filter(|name| check_agent_name(name).is_ok()) {
        let bytes = objects.file(top, &ws.store.shown(format!("{AGENTS}/{name}/{LOG}")))?.unwrap_or_default();
        look(&Entity::Agent(name), &Log::of(&bytes).entries)?;
    }
    Ok(findings)
}

fn entries_now(ws: &Workspace, here: &PlanAt<'_>, entity: &Entity) -> Result<Vec<Entry>> {
    match entity {
        Entity::Task(id) => here.entries(*id),
        _ => Ok(read_log(&ws.store, entity)?.entries),
    }
}

/// A log with what the revision has of it besides, where that matters: the log holds events that are not known, and lacks some.
pub(crate) fn merged<'l>(log: &'l Log, base: &[Entry], known: &BTreeSet<Id>) -> Cow<'l, Log> {
    let here: BTreeSet<Id> = log.entries.iter().map(|entry| entry.event.id).collect();
    if here.is_subset(known) || base.iter().all(|entry| here.contains(&entry.event.id)) {
        return Cow::Borrowed(log);
    }
    let entries = united([log.entries.clone(), base.to_vec()]);
    Cow::Owned(Log { entries, lines: log.lines.clone(), ..Log::default() })
}
