//! The commits of a branch, compared with the revision that it is to be merged into: the source of the gate (`lint --base`) and of
//! `review`.
//!
//! Guarantees: a branch cannot switch off a rule for itself, since severities, roles and keys are those of the revision. A log must
//! still contain what it held where the branch began, at any of several merge bases, so that what the revision gained meanwhile is not
//! missing. New events are judged by what they do to the logs as they will be once the branch is merged, and so are events that
//! its commits hold and its tip lacks.
//! Leaves to others: which right an event requires (`rules::rights`), and the work tree itself (`work_tree`).

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::dropped::dropped_between;
use super::others::PlanFacts;
use super::permitted::{Gate, PrecedenceOf, RolesAt};
use super::signed::Keys;
use super::source::{LintSource, Subject};
use super::vanished::VanishedEvents;
use super::work_tree::WorkTree;
use super::{LintReport, findings_of, run};
use crate::engine::commit::hand_edits::record;
use crate::engine::context::Workspace;
use crate::engine::view::archives::TreeArchives;
use crate::engine::view::history::{self, began_at, united};
use crate::engine::view::{read as view, sparse};
use crate::error::Result;
use crate::git::{Change, HiddenPaths, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name};
use crate::rules::fold::fold;
use crate::store::entity::read_log_with;
use crate::store::layout::{AGENTS, entity_below, home};
use crate::store::log::Log;

/// The commits that are reachable from the head and not from the base.
pub(crate) struct Branch<'a> {
    pub ws: &'a Workspace,
    pub objects: &'a Objects,
    /// The two commits.
    pub base: Oid,
    pub head: Oid,
    pub base_tree: Oid,
    pub head_tree: Oid,
    /// The trees of the commits where it began; several after merges in both directions.
    pub began: Vec<Oid>,
    tip: Tip,
    /// The archives of each tree that was looked at.
    archives: RefCell<BTreeMap<Oid, Rc<TreeArchives>>>,
    /// The tasks and agents that differ.
    pub entities: BTreeSet<Entity>,
    /// The other files that differ, by path below the store.
    pub files: BTreeMap<String, Change>,
}

/// The state that the branch is judged by.
enum Tip {
    /// The work tree, with acknowledged events that are not in its logs yet. Paths that a sparse checkout excludes are not missing.
    WorkTree { pending: BTreeMap<Entity, Vec<Entry>>, hidden: HiddenPaths },
    /// The head.
    Commit,
}

/// Checks the whole store, and its changes since a revision.
///
/// Errors: `ERR_NOT_FOUND` for an unknown revision, `ERR_GIT` where history cannot be read, `ERR_IO`.
pub fn lint_since(ws: &Workspace, base: &str) -> Result<LintReport> {
    let objects = history::objects(ws)?;
    let (base, head) = (objects.commit_named(base)?, objects.commit_named("HEAD")?);
    let (tree, lineage) = (WorkTree::open(ws)?, record::lineage(ws));
    let mut findings = findings_of(&tree, &lineage)?;
    let began = began_at(&objects, base, head)?;
    let tip = Tip::WorkTree { pending: view::pending(ws)?, hidden: sparse::hidden_paths(ws) };
    let (branch, gate) = Branch::open(ws, &objects, (base, &began, head), tip)?;
    let mut more = run(LintSource::Branch(&branch, &gate))?.findings;
    // The check of the work tree may have reported the event already.
    more.retain(|new| {
        new.event.is_none() || !findings.iter().any(|known| known.event == new.event && known.rule == new.rule)
    });
    drop_explained(&mut findings, &more);
    findings.extend(more);
    Ok(LintReport::of(findings, tree.count(), &history::settings_at(ws, &objects, base)?.lint))
}

/// Drops the findings about states that no command leads to, where the event behind one is refused itself: one cause gives one
/// finding.
pub(crate) fn drop_explained(findings: &mut Vec<Finding>, refused: &[Finding]) {
    let is_refused =
        |known: &Finding| refused.iter().any(|new| new.rule == Rule::NotPermitted && new.event == known.event);
    findings.retain(|known| !matches!(known.rule, Rule::OpenedPlainly | Rule::CompletedEarly) || !is_refused(known));
}

/// The findings about a branch that began at all of `began`, by the rules of `base`.
///
/// Errors: `ERR_GIT` where a commit cannot be read.
pub(crate) fn broken_between(
    ws: &Workspace,
    objects: &Objects,
    base: Oid,
    began: &[Oid],
    head: Oid,
) -> Result<Vec<Finding>> {
    for began in began {
        let dropped = dropped_between(objects, &ws.store.name, *began, head)?;
        if !dropped.is_empty() {
            return Ok(dropped);
        }
    }
    let (branch, gate) = Branch::open(ws, objects, (base, began, head), Tip::Commit)?;
    Ok(run(LintSource::Branch(&branch, &gate))?.findings)
}

impl<'a> Branch<'a> {
    /// Finds what differs between the commits where the branch began and its tip.
    fn open(
        ws: &'a Workspace,
        objects: &'a Objects,
        (base, began, head): (Oid, &[Oid], Oid),
        tip: Tip,
    ) -> Result<(Self, Gate<'a>)> {
        let tree = |commit: &Oid| objects.commit(*commit).map(|commit| commit.tree);
        let mut branch = Branch {
            ws,
            objects,
            base,
            head,
            base_tree: tree(&base)?,
            head_tree: tree(&head)?,
            began: began.iter().map(tree).collect::<Result<_>>()?,
            tip,
            archives: RefCell::default(),
            entities: BTreeSet::new(),
            files: BTreeMap::new(),
        };
        match branch.tip {
            Tip::WorkTree { .. } => branch.compare_with_work_tree(began)?,
            Tip::Commit => branch.compare_with_head()?,
        }
        branch.with_gate()
    }

    fn compare_with_work_tree(&mut self, began: &[Oid]) -> Result<()> {
        let (at_base, here) = (history::plan_at_commit(self.ws, self.base)?, history::plan_at(self.ws, None)?);
        for began in began {
            let at_began = history::plan_at_commit(self.ws, *began)?;
            // A task that differs from the base was changed on one of the two sides.
            let differ = at_began.candidates(&here)?.into_iter().chain(at_began.candidates(&at_base)?);
            self.entities.extend(differ.map(Entity::Task));
        }
        let mut agents = self.agents()?;
        for began in &self.began {
            agents.extend(self.agents_at(*began)?);
        }
        self.entities.extend(agents.into_iter().map(Entity::Agent));
        Ok(())
    }

    fn compare_with_head(&mut self) -> Result<()> {
        for began in &self.began {
            for change in self.objects.changes(self.store_at(*began)?, self.store_at(self.head_tree)?)? {
                let is_file = change.new.is_none_or(|item| item.mode != Mode::Submodule);
                match entity_below(&change.path).filter(|_| is_file) {
                    Some((entity, _)) => drop(self.entities.insert(entity)),
                    None => drop(self.files.insert(change.path.clone(), change)),
                }
            }
            let archived = self.archives_at(*began)?.differing(self.objects, &*self.archives_at(self.head_tree)?)?;
            self.entities.extend(archived.into_iter().map(Entity::Task));
        }
        Ok(())
    }

    /// Adds the roles and keys that its new events are judged by.
    fn with_gate(mut self) -> Result<(Self, Gate<'a>)> {
        let Branch { ws, objects, base, head, .. } = self;
        let mut brought: Vec<PrecedenceOf<'a>> = Vec::new();
        if self.is_here() && ws.rights.0.is_some() {
            brought.push(Box::new(|agent| {
                Ok(ws.rights.precedence(agent, view::agent_record(ws, agent)?.role.as_deref()))
            }));
        }
        let mut roles = RolesAt::read(objects, Some(self.base_tree), &ws.store.name, &base.short(), ws.env.now())?;
        roles.judge_precedence(base, head, brought)?;
        let vanished = VanishedEvents::between(ws, objects, base, head)?;
        self.entities.extend(vanished.entities().filter(|entity| home(entity).is_some()).cloned());
        // A registration that was removed again comes back with the commit that holds it.
        let agents = self.agents()?.into_iter().map(Entity::Agent);
        let agents: BTreeSet<Entity> = agents.chain(vanished.entities().cloned()).collect();
        let mut keys = Keys::default();
        for entity in &agents {
            let Entity::Agent(name) = entity else { continue };
            let entries = vanished.with(entity, self.log(entity)?.unwrap_or_default().entries);
            roles.keys.accept_signed(name, &entries);
            keys.accept(name, &entries);
        }
        let gate = Gate { roles, keys, vanished, new: RefCell::default(), facts: PlanFacts::default() };
        Ok((self, gate))
    }

    /// Whether the work tree is its tip.
    pub fn is_here(&self) -> bool {
        matches!(self.tip, Tip::WorkTree { .. })
    }

    /// The agents of its tip.
    pub fn agents(&self) -> Result<Vec<String>> {
        match self.tip {
            Tip::WorkTree { .. } => view::agent_names(self.ws),
            Tip::Commit => self.agents_at(self.head_tree),
        }
    }

    /// The tree of the store in that of a commit.
    pub fn store_at(&self, top: Oid) -> Result<Option<Oid>> {
        let item = self.objects.item(top, &self.ws.store.name)?.filter(|item| item.mode == Mode::Tree);
        Ok(item.map(|item| item.oid))
    }

    fn agents_at(&self, top: Oid) -> Result<Vec<String>> {
        let folder = self.objects.item(top, &self.ws.store.shown(AGENTS))?.filter(|item| item.mode == Mode::Tree);
        let names = folder.map(|item| self.objects.items(item.oid)).transpose()?.unwrap_or_default().into_keys();
        Ok(names.filter(|name| check_agent_name(name).is_ok()).collect())
    }

    fn archives_at(&self, top: Oid) -> Result<Rc<TreeArchives>> {
        if let Some(known) = self.archives.borrow().get(&top) {
            return Ok(Rc::clone(known));
        }
        let archives = TreeArchives::at(self.objects, self.store_at(top)?)?;
        let archives = Rc::new(archives.with_files_of(self.objects, &self.ws.store)?);
        self.archives.borrow_mut().insert(top, Rc::clone(&archives));
        Ok(archives)
    }

    fn log_at(&self, top: Oid, entity: &Entity) -> Result<Option<Log>> {
        self.archives_at(top)?.log(self.objects, self.store_at(top)?, entity)
    }

    /// The log of a task or an agent at its tip.
    pub fn log(&self, entity: &Entity) -> Result<Option<Log>> {
        match &self.tip {
            Tip::WorkTree { pending, .. } => {
                let pending = pending.get(entity).map_or(&[][..], Vec::as_slice);
                read_log_with(&self.ws.store, entity, pending).map(Some)
            }
            Tip::Commit => self.log_at(self.head_tree, entity),
        }
    }

    /// Whether the commits of the branch complete a task.
    pub fn commits_complete(&self, id: Id) -> Result<bool> {
        let entity = Entity::Task(id);
        let is_completed = |top: Oid| -> Result<bool> {
            let entries = self.log_at(top, &entity)?.unwrap_or_default().entries;
            Ok(fold(id, &entries).0.completed_at.is_some())
        };
        if !is_completed(self.head_tree)? {
            return Ok(false);
        }
        for began in &self.began {
            if is_completed(*began)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the branch had events of a task or an agent where it began.
    pub fn began_with(&self, entity: &Entity) -> Result<bool> {
        for began in &self.began {
            if self.log_at(*began, entity)?.is_some_and(|log| !log.entries.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The events of a task or an agent at the base.
    pub fn base_entries(&self, entity: &Entity) -> Result<Vec<Entry>> {
        Ok(self.log_at(self.base_tree, entity)?.unwrap_or_default().entries)
    }

    pub fn subject<'e>(&self, entity: &'e Entity) -> Result<Subject<'e>> {
        let log = self.log(entity)?;
        let has_log = log.is_some();
        let mut subject = Subject::new(&self.ws.store.name, entity, log.unwrap_or_default());
        subject.has_log = has_log;
        if let Tip::Commit = self.tip {
            subject.yaml = Ok(self.objects.file(self.head_tree, &subject.yaml_path)?);
        }
        let began = |top: &Oid| Ok(self.log_at(*top, entity)?.unwrap_or_default().entries);
        let began = united(self.began.iter().map(began).collect::<Result<Vec<_>>>()?);
        subject.base = self.base_entries(entity)?;
        subject.known = subject.base.iter().chain(&began).map(|entry| entry.event.id).collect();
        let is_hidden = match &self.tip {
            Tip::WorkTree { hidden, .. } => entity.task().is_some() && hidden.leaves_out(&subject.log_path),
            Tip::Commit => false,
        };
        if !is_hidden {
            subject.before.entries = began;
        }
        Ok(subject)
    }
}

/// A log merged with the base's, where that makes a difference: it has new events, and lacks some of the base.
pub(crate) fn merged<'l>(log: &'l Log, base: &[Entry], known: &BTreeSet<Id>) -> Cow<'l, Log> {
    let here: BTreeSet<Id> = log.entries.iter().map(|entry| entry.event.id).collect();
    if here.is_subset(known) || base.iter().all(|entry| here.contains(&entry.event.id)) {
        return Cow::Borrowed(log);
    }
    let entries = united([log.entries.clone(), base.to_vec()]);
    Cow::Owned(Log { entries, lines: log.lines.clone(), ..Log::default() })
}
