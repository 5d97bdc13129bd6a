//! `review`: what the commits of a branch do to the plan, and what of it breaks a rule.
//!
//! Both sides are read from git: the commit the branch began at, and its head. Where it began at several, what any of them holds is
//! not the branch's doing. What was wrong before the branch began is not
//! the branch's doing and is left out.
//! Leaves to others: the findings (`engine::lint`), and how the report is shown.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::diff::{self, ChangedTask};
use super::page::Page;
use crate::engine::commit::hand_edits::record;
use crate::engine::context::Workspace;
use crate::engine::lint::{
    TaskLinks, across, broken_between, differences, drop_explained, dropped_between, line_of, redacted_texts, states,
    values, values_of,
};
use crate::engine::view::history::{self, PlanAt, began_at, united};
use crate::engine::view::messages::messages_between;
use crate::engine::view::{read, related};
use crate::env::{Env, outside};
use crate::error::{Error, Result};
use crate::git::{self, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, Severity};
use crate::model::id::{Id, quoted};
use crate::model::query::{FailOn, Review};
use crate::model::task::{Status, Task};
use crate::reports::change::{Kind, TaskChange, between};
use crate::reports::extent::Extent;
use crate::reports::inbox::SentMessage;
use crate::reports::list::List;
use crate::reports::review::{Matter, matter};
use crate::rules::fold::fold;
use crate::rules::readiness::BlockerRules;
use crate::store::config::MAX_CONFIG;
use crate::store::entity::placed;
use crate::store::layout::{LOG, STORE, TOP_FILES, task_dir};

/// Most findings that are listed unless all are asked for; they are counted all the same.
const MOST_FINDINGS: usize = 100;

/// What a branch does to the plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReviewReport {
    /// The tasks that it changes, those first that a reviewer must decide.
    #[serde(flatten)]
    pub list: List<ChangedTask>,
    /// The commit that the branch is compared with.
    pub base: String,
    /// The newest commit of the branch.
    pub head: String,
    /// The commit that the branch began at.
    pub merge_base: String,
    /// The range as it was asked for.
    pub range: String,
    /// What it does, in numbers.
    pub summary: Summary,
    /// Which of the conditions that fail a review are met.
    pub failed: Vec<FailOn>,
    /// Files of settings that it changes.
    pub settings: Vec<SettingsChange>,
    /// Messages that agents sent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<SentMessage>,
    /// What breaks a rule and did not before; the first few of many.
    pub findings: Vec<Finding>,
    /// The names of tasks that are mentioned and not among the items.
    pub names: BTreeMap<Id, Name>,
}

/// What a branch does, in numbers.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// Tasks that it changes.
    pub tasks: usize,
    /// Tasks that it creates.
    pub created: usize,
    /// Tasks that it completes.
    pub completed: usize,
    /// Tasks that it completes or completed before, and that await the review of another agent.
    #[serde(skip_serializing_if = "is_zero")]
    pub awaiting_review: usize,
    /// Tasks whose status it changes otherwise.
    pub moved: usize,
    /// Things that a reviewer must decide.
    pub decide: usize,
    /// Checks that were skipped by force.
    pub forced: usize,
    /// Leases that were overridden.
    pub overrides: usize,
    /// Criteria that were dropped, reworded or marked unmet.
    pub acceptance: usize,
    /// Changes of what a task is.
    pub scope: usize,
    /// Changes of settings and roles.
    pub settings: usize,
    /// Values that lost to a concurrent one.
    pub lost: usize,
    /// Tasks that lost events.
    pub missing: usize,
    /// Errors among the findings.
    pub errors: usize,
    /// Findings.
    pub findings: usize,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A file of settings that a branch changes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SettingsChange {
    /// Its path.
    pub path: String,
    /// The keys that differ.
    pub keys: Vec<SettingChange>,
    /// The side on which it cannot be read: `base` or `head`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<&'static str>,
}

/// A key of a file of settings that a branch changes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SettingChange {
    /// The key.
    pub key: String,
    /// Its value at the base; `null` for none.
    pub from: Option<Value>,
    /// Its value at the head; `null` for none.
    pub to: Option<Value>,
}

/// What a task is called.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Name {
    /// Its handle.
    pub handle: String,
    /// Its title; `null` where it is on neither side.
    pub title: Option<String>,
}

/// `review`
pub fn review(ws: &Workspace, q: &Review) -> Result<ReviewReport> {
    let objects = history::objects(ws)?;
    let (base, head) = read_range(&objects, &q.range)?;
    let began = began_at(&objects, base, head)?;
    let befores = began.iter().map(|began| history::plan_at_commit(ws, *began)).collect::<Result<Vec<PlanAt>>>()?;
    let after = history::plan_at_commit(ws, head)?;
    let mut touched = BTreeSet::new();
    for before in &befores {
        touched.extend(before.candidates(&after)?);
    }
    let mut changes = Vec::new();
    for task in &touched {
        let old = befores.iter().map(|before| before.entries(*task)).collect::<Result<Vec<_>>>()?;
        changes.extend(between(*task, &united(old), &after.entries(*task)?));
    }
    let broken = broken_between(ws, &objects, base, &began, head)?;
    let plans_before = began.iter().map(|began| plan_of(ws, &objects, *began)).collect::<Result<Vec<_>>>()?;
    let (began, before) = (began[0], &befores[0]);
    let mut findings = new_findings(ws, before, &after, &touched, broken)?;
    let settings = settings(ws, &objects, began, head)?;
    changes.sort_by_cached_key(|change| (weight(change, &findings), change.task));
    let mut summary = summary(&changes, &findings, &settings);
    let failed: Vec<FailOn> = q.fail_on.iter().copied().filter(|on| fails(*on, &summary)).collect();
    // What a completion needs is said by the settings of the base.
    if !history::settings_at(ws, &objects, base)?.review.required {
        changes.iter_mut().for_each(|change| change.unreviewed = false);
    }
    summary.awaiting_review = changes.iter().filter(|change| change.unreviewed).count();
    let list = page(ws, q, &changes)?;
    if !q.all {
        findings.truncate(MOST_FINDINGS);
    }
    let names = names(ws, q, before, &after, &findings, &list.items)?;
    Ok(ReviewReport {
        list,
        base: base.to_string(),
        head: head.to_string(),
        merge_base: began.to_string(),
        range: q.range.clone(),
        summary,
        failed,
        settings,
        messages: messages_between(&objects, &plans_before, plan_of(ws, &objects, head)?)?,
        findings,
        names,
    })
}

/// The folder of the plan in a commit.
fn plan_of(ws: &Workspace, objects: &Objects, commit: Oid) -> Result<Option<Oid>> {
    let item = objects.item(objects.commit(commit)?.tree, &ws.store.name)?;
    Ok(item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
}

/// `review` where no store can be opened because the branch that is checked out has dropped it; `None` where that is not why.
///
/// Errors: `ERR_NOT_FOUND` for a revision that is none, `ERR_GIT` where history cannot be read, `ERR_IO`.
pub fn review_dropped(env: &Env, q: &Review) -> Result<Option<ReviewReport>> {
    let cwd = env.cwd();
    let Some(repo) = git::discover(cwd)? else { return Ok(None) };
    let objects = repo.objects_with(env)?;
    let (base, head) = read_range(&objects, &q.range)?;
    let began = began_at(&objects, base, head)?[0];
    let here = outside::canonical(cwd).map_err(|e| Error::io("find the folder", cwd, &e))?;
    for folder in here.ancestors().filter_map(|folder| folder.strip_prefix(&repo.work_dir).ok()) {
        let findings = dropped_between(&objects, &folder.join(STORE).display().to_string(), began, head)?;
        if findings.is_empty() {
            continue;
        }
        let summary = summary(&[], &findings, &[]);
        let failed: Vec<FailOn> = q.fail_on.iter().copied().filter(|on| fails(*on, &summary)).collect();
        return Ok(Some(ReviewReport {
            list: List::whole(Vec::new()),
            base: base.to_string(),
            head: head.to_string(),
            merge_base: began.to_string(),
            range: q.range.clone(),
            summary,
            failed,
            settings: Vec::new(),
            messages: Vec::new(),
            findings,
            names: BTreeMap::new(),
        }));
    }
    Ok(None)
}

/// The tasks of a page, each with what there is to decide about it.
fn page(ws: &Workspace, q: &Review, changes: &[TaskChange]) -> Result<List<ChangedTask>> {
    let mut page = Page::new(ws, q.limit, q.all);
    let from = match q.cursor.as_deref().filter(|cursor| *cursor != START) {
        None => 0,
        Some(text) => {
            let last = changes.iter().position(|change| change.task.to_string() == text);
            let unknown = || {
                Error::usage(format!("{} is no cursor of this review", quoted(text)))
                    .hint("use next_cursor of the previous answer, and ask for the same range")
            };
            last.ok_or_else(unknown)? + 1
        }
    };
    let mut last = q.cursor.clone().unwrap_or_else(|| START.into());
    let mut next = None;
    for change in &changes[from..] {
        let view = diff::view(ws, change, Extent::of(q.all), |single| matter(change, single))?;
        let view = ChangedTask { awaits_review: change.unreviewed, ..view };
        if !page.push(view) {
            next = Some(last);
            break;
        }
        last = change.task.to_string();
    }
    Ok(page.finish(changes.len() as u64, next))
}

/// What the tasks are called that findings and dependencies name and that are not among the items themselves.
fn names(
    ws: &Workspace,
    q: &Review,
    before: &PlanAt,
    after: &PlanAt,
    found: &[Finding],
    items: &[ChangedTask],
) -> Result<BTreeMap<Id, Name>> {
    let shown: BTreeSet<Id> = items.iter().map(|item| item.task).collect();
    let changes = items.iter().flat_map(|item| item.changes.iter().map(|change| &change.entry.change));
    let ends = changes.flat_map(|change| {
        let hangs = change.field == "parent";
        let edges = [&change.from, &change.to];
        edges.into_iter().flat_map(move |edge| match edge {
            Value::String(id) if hangs => vec![id.as_str()],
            edge => [&edge["from"], &edge["to"]].into_iter().filter_map(Value::as_str).collect(),
        })
    });
    let ends = ends.filter_map(|id| id.parse().ok()).take(if q.all { usize::MAX } else { MOST_FINDINGS });
    let wanted: BTreeSet<Id> = found.iter().filter_map(|f| f.task).chain(ends).collect();
    let mut names = BTreeMap::new();
    for id in wanted.into_iter().filter(|id| !shown.contains(id)) {
        let (new, old) = (fold(id, &after.entries(id)?).0, fold(id, &before.entries(id)?).0);
        let title = [new, old].into_iter().find(|task| task.version > 0).map(|task| task.fields.title);
        names.insert(id, Name { handle: read::handle(ws, id)?, title });
    }
    Ok(names)
}

/// The cursor of a page that took nothing yet.
const START: &str = "start";

/// The keys of `config.toml` and `roles.yml`, and the lines of git's own files, that the branch changes.
fn settings(ws: &Workspace, objects: &Objects, began: Oid, head: Oid) -> Result<Vec<SettingsChange>> {
    let mut changed = Vec::new();
    for name in TOP_FILES {
        let path = ws.store.shown(name);
        let read = |commit: Oid| -> Result<Option<Vec<u8>>> {
            match objects.item(objects.commit(commit)?.tree, &path)? {
                None => Ok(None),
                Some(item) if item.mode == Mode::Submodule || objects.size(item.oid)? > MAX_CONFIG => {
                    Ok(Some(b"\0".to_vec()))
                }
                Some(item) => objects.blob(item.oid).map(Some),
            }
        };
        let (old, new) = (read(began)?, read(head)?);
        if old == new {
            continue;
        }
        let (before, after) = (values_of(name, old.as_deref()), values_of(name, new.as_deref()));
        let mut view = SettingsChange { path, keys: Vec::new(), unreadable: None };
        match (before, after) {
            (Some(before), Some(after)) => {
                let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                let differ = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
                let value = |side: &BTreeMap<String, Value>, name: &str| side.get(name).cloned();
                let change = |name: &String| SettingChange {
                    key: name.clone(),
                    from: value(&before, name),
                    to: value(&after, name),
                };
                view.keys = differ.map(change).collect();
            }
            (_, after) => view.unreadable = Some(if after.is_none() { "head" } else { "base" }),
        }
        changed.push(view);
    }
    Ok(changed)
}

/// The two commits of `BASE..HEAD`; a side that is left out is what is checked out.
fn read_range(objects: &Objects, range: &str) -> Result<(Oid, Oid)> {
    let (base, head) = match range.split_once("...").or_else(|| range.split_once("..")) {
        Some((base, head)) => (base, head),
        None => (range, ""),
    };
    let named = |name: &str| objects.commit_named(if name.is_empty() { "HEAD" } else { name });
    if base.is_empty() && head.is_empty() {
        return Err(Error::usage(format!("{} names no revisions", quoted(range)))
            .hint("write BASE..HEAD, such as main..my-branch"));
    }
    Ok((named(base)?, named(head)?))
}

/// What a reviewer must look at first comes first: what breaks a rule or passed one, then changes of the agreement, then
/// what lost, then what is finished or moved, then what is new.
fn weight(change: &TaskChange, findings: &[Finding]) -> u8 {
    let most = change.changes.iter().filter_map(|c| matter(change, c)).min();
    let moved = change.changes.iter().any(|c| c.change == Kind::Status);
    match most {
        _ if findings.iter().any(|f| f.task == Some(change.task)) || change.gone || change.missing > 0 => 0,
        Some(Matter::Override | Matter::Forced) => 1,
        Some(Matter::Acceptance) => 2,
        Some(Matter::Scope) => 3,
        None if !change.lost.is_empty() => 4,
        None if change.created => 7,
        None if moved && change.status.is_finished() => 5,
        None if moved => 6,
        None => 8,
    }
}

fn summary(changes: &[TaskChange], findings: &[Finding], settings: &[SettingsChange]) -> Summary {
    let count = |is: &dyn Fn(&&TaskChange) -> bool| changes.iter().filter(is).count();
    let moved = |c: &&TaskChange| c.changes.iter().any(|c| c.change == Kind::Status);
    let matters: Vec<Matter> =
        changes.iter().flat_map(|task| task.changes.iter().filter_map(|c| matter(task, c))).collect();
    let of = |wanted: Matter| matters.iter().filter(|m| **m == wanted).count();
    let lost = changes.iter().map(|c| c.lost.len()).sum::<usize>();
    let missing = count(&|c| c.gone || c.missing > 0);
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    // What an agent registers with is a finding, since no key of a file says so.
    let registered = findings.iter().filter(|f| f.rule == Rule::RulesChanged).count();
    Summary {
        tasks: changes.len(),
        created: count(&|c| c.created),
        completed: count(&|c| moved(c) && c.status == Status::Completed),
        awaiting_review: 0,
        moved: count(&|c| moved(c) && c.status != Status::Completed),
        decide: findings.len() + settings.len() + missing + matters.len() + lost,
        forced: of(Matter::Forced),
        overrides: of(Matter::Override),
        acceptance: of(Matter::Acceptance),
        scope: of(Matter::Scope),
        settings: settings.len() + registered,
        lost,
        missing,
        errors,
        findings: findings.len(),
    }
}

/// Whether a review with these counts fails by what was asked for.
fn fails(on: FailOn, summary: &Summary) -> bool {
    let any = |counts: &[usize]| counts.iter().any(|count| *count > 0);
    match on {
        FailOn::Never => false,
        FailOn::Error => any(&[summary.errors, summary.missing]),
        FailOn::Warning => any(&[summary.findings, summary.missing]),
        FailOn::Override => any(&[summary.overrides, summary.forced]),
        FailOn::Acceptance => any(&[summary.acceptance]),
        FailOn::Scope => any(&[summary.scope, summary.acceptance]),
        FailOn::Settings => any(&[summary.settings]),
        FailOn::Lost => any(&[summary.lost]),
        FailOn::Any => any(&[summary.decide]),
    }
}

/// Tasks as they are on one side: those that the branch touches, and what must be known of others to judge them.
#[derive(Default)]
struct Side {
    tasks: BTreeMap<Id, TaskLinks>,
    /// The readable files of those that are touched.
    texts: BTreeMap<Id, String>,
}

/// What is odd at the head and was not at the beginning.
fn new_findings(
    ws: &Workspace,
    before: &PlanAt,
    after: &PlanAt,
    touched: &BTreeSet<Id>,
    broken: Vec<Finding>,
) -> Result<Vec<Finding>> {
    let (mut old, mut new) = (Side::default(), Side::default());
    let mut found = new.look_at(ws, after, touched)?;
    let mut had = old.look_at(ws, before, touched)?;
    if mark_related(ws, (before, &mut old), (after, &mut new), touched)? {
        found.extend(new.together(ws));
        had.extend(old.together(ws));
    }
    drop_explained(&mut found, &broken);
    let known: BTreeSet<(Rule, Option<Id>, &str)> = had.iter().map(|f| (f.rule, f.task, f.message.as_str())).collect();
    // A branch cannot switch off a rule for its own review.
    let severities = before.severities()?;
    let mut found: Vec<Finding> = found
        .into_iter()
        .filter(|f| !known.contains(&(f.rule, f.task, f.message.as_str())))
        .chain(broken)
        .filter_map(|f| severities.judge(f))
        .collect();
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| (a.task, a.rule).cmp(&(b.task, b.rule))));
    Ok(found)
}

/// Whether the branch changes what tasks are to each other. Then both sides learn of all the tasks for which something may
/// follow from that, and of what it takes to judge those.
fn mark_related(
    ws: &Workspace,
    (before, old): (&PlanAt, &mut Side),
    (after, new): (&PlanAt, &mut Side),
    touched: &BTreeSet<Id>,
) -> Result<bool> {
    let is_stirred = |id: &Id| old.tasks.get(id) != new.tasks.get(id);
    let stirred: BTreeSet<Id> = touched.iter().copied().filter(is_stirred).collect();
    if stirred.is_empty() {
        return Ok(false);
    }
    let mut related = related::related(ws, before, after, touched)?;
    for side in [&*old, &*new] {
        related.add(side.tasks.values().flat_map(|task| task.edges().iter().copied()));
    }
    // Which edge of a circle does not count may change with any edge of it.
    let mut judged = related.around(&stirred);
    judged.extend(related.on_cycles());
    let apply = |ids: &BTreeSet<Id>, old: &mut Side, new: &mut Side| -> Result<()> {
        for id in ids.iter().filter(|id| !touched.contains(id)) {
            // It is the same on both sides.
            let entries = after.entries(*id)?;
            old.apply(*id, &entries);
            new.apply(*id, &entries);
        }
        Ok(())
    };
    apply(&judged, old, new)?;
    let own = judged.iter().flat_map(|id| [old.tasks.get(id), new.tasks.get(id)]).flatten();
    let mut others: BTreeSet<Id> = own.flat_map(TaskLinks::named).collect();
    // A task below a completed one says so itself.
    let is_completed =
        |id: &Id| [&*old, &*new].iter().any(|side| side.tasks.get(id).is_some_and(TaskLinks::is_completed));
    others.extend(related.around(&judged.iter().copied().filter(is_completed).collect()));
    apply(&others.difference(&judged).copied().collect(), old, new)?;
    Ok(true)
}

impl Side {
    /// Adds a task. Returns it whole, with the findings about its events.
    fn apply(&mut self, id: Id, entries: &[Entry]) -> (Option<Task>, Vec<Finding>) {
        let (task, findings) = fold(id, entries);
        let task = Some(task).filter(|task| task.version > 0);
        self.tasks.extend(task.as_ref().map(|task| (id, TaskLinks::of(task, entries))));
        (task, findings)
    }

    /// Adds tasks as of a point. Returns the findings about each.
    fn look_at(&mut self, ws: &Workspace, past: &PlanAt, touched: &BTreeSet<Id>) -> Result<Vec<Finding>> {
        let (mut findings, lineage) = (Vec::new(), record::lineage(ws));
        for id in touched {
            let (mut log, yaml) = past.files(*id)?;
            let of_log = std::mem::take(&mut log.findings);
            let path = ws.store.shown(task_dir(*id).join(LOG));
            let (task, folded) = self.apply(*id, &log.entries);
            let own = of_log.into_iter().map(|f| {
                let line = f.line;
                f.at(path.clone(), line)
            });
            let texts = redacted_texts(&log, &path);
            findings.extend(own.chain(placed(&log, folded, &path)).chain(texts).map(|f| f.task(*id)));
            let text = String::from_utf8_lossy(yaml.as_deref().unwrap_or_default()).into_owned();
            if let Some(task) = &task {
                let at_line = |mut f: Finding| {
                    f.line = f.spot.as_ref().and_then(|spot| line_of(&text, spot));
                    f
                };
                let states = states(&ws.store.name, task, &log.entries);
                findings.extend(values(&ws.store.name, task).into_iter().chain(states).map(at_line));
            }
            // Without events a file is no task's readable file; `broken_between` reports what it is then.
            let is_archived = log.partial && yaml.is_none();
            if !log.entries.is_empty() && !is_archived {
                let path = ws.store.shown(task_dir(*id).join("task.yaml"));
                let entity = Entity::Task(*id);
                let place = past.file_place();
                let found = differences(&lineage, place, &path, &entity, &log.entries, yaml.as_deref());
                findings.extend(found.into_iter().map(|f| f.task(*id)));
            }
            self.texts.insert(*id, text);
        }
        Ok(findings)
    }

    /// The findings that follow from several tasks.
    fn together(&self, ws: &Workspace) -> Vec<Finding> {
        let at_line = |mut f: Finding| {
            let text = f.task.and_then(|task| self.texts.get(&task));
            f.line = text.zip(f.spot.as_ref()).and_then(|(text, spot)| line_of(text, spot));
            f
        };
        across(&ws.store.name, &self.tasks, BlockerRules::of(&ws.settings)).into_iter().map(at_line).collect()
    }
}
