//! Dry runs of hand edits: reports the refusals that recording them would meet.
//!
//! Guarantees that the same decisions as in recording judge an edit, in a transaction that is discarded. No remote is asked. All
//! refusals of a file are reported within bounds. The effects of one file count for the next, as in recording.
//! Leaves to others: how findings are worded, and where the text came from.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Value, json};

use super::judge::Edit;
use super::lineage::Lineage;
use super::record::{self, ahead, bare_words, in_file, is_kept, placed, unreadable};
use crate::engine::commit::transaction::{PreparedIndex, Source, Transaction};
use crate::engine::context::Workspace;
use crate::engine::view::history::Place;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::agent::LeaseRecord;
use crate::model::args::Ref;
use crate::model::event::{Author, Entity, Entry};
use crate::model::id::Id;
use crate::rules::decide::edit::{self, Doc, EditResult, Misfit, begin};
use crate::rules::register::heads_of;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage as _;
use crate::store::comments::comments;
use crate::store::edited::Readable;
use crate::store::entity::{LoadedTask, load_task};

/// Maximum number of refusals of one file that are reported.
const SHOWN: usize = 10;

/// Maximum number of attempts at one file; fewer if they would process more bytes than this.
const ATTEMPTS: usize = 60;
const MOST_BYTES: usize = 24 * 1024 * 1024;

/// The result of the dry run of a file.
#[derive(Debug, Default)]
pub(crate) struct DryRunResult {
    /// The refusals, in order; empty if it would be recorded.
    pub refusals: Vec<Error>,
    /// Number of further refusals.
    pub more: usize,
    /// Whether there may be more.
    pub at_least: bool,
}

impl DryRunResult {
    fn refused(e: Error) -> Self {
        DryRunResult { refusals: vec![e], ..DryRunResult::default() }
    }
}

/// The effects of the files before.
#[derive(Default)]
struct Assumptions {
    tasks: BTreeMap<Id, LoadedTask>,
    children: BTreeMap<Id, BTreeSet<Id>>,
    dependents: BTreeMap<Id, BTreeSet<Id>>,
    leases: BTreeMap<Id, LeaseRecord>,
}

/// Starts a transaction for every attempt.
pub(crate) struct DryRun<'a> {
    ws: &'a Workspace,
    me: Author,
    runtime: Dir,
    /// The source of the plan, if it is not the work tree.
    elsewhere: Option<&'a dyn Source>,
    lineage: Lineage<'a>,
    /// The place of the texts.
    place: Place,
    /// The role of the actor, if it is not the one of the work tree.
    role: Option<Option<String>>,
    pending: OnceCell<BTreeMap<Entity, Vec<Entry>>>,
    prepared: RefCell<Option<PreparedIndex>>,
    carried: RefCell<Assumptions>,
}

/// Prepares a dry run of hand edits as the caller. `None` if the caller is not known.
pub(crate) fn start(ws: &Workspace) -> Option<DryRun<'_>> {
    let me = ws.author().ok()?;
    // Without a runtime folder there are neither leases nor keys, and git's own folder contains none either.
    let nowhere = ws.repo.as_ref().map_or_else(|| ws.store.path(), |repo| &repo.common_dir);
    let runtime = Dir::open(&ws.runtime_path).or_else(|_| Dir::open(nowhere)).ok()?;
    Some(DryRun {
        ws,
        me,
        runtime,
        elsewhere: None,
        lineage: record::lineage(ws),
        place: Place::WorkTree,
        role: None,
        pending: OnceCell::new(),
        prepared: RefCell::default(),
        carried: RefCell::default(),
    })
}

impl<'a> DryRun<'a> {
    /// The same for the plan in git's index, with the actor's role there.
    pub fn of(self, plan: &'a dyn Source, role: Option<String>) -> Self {
        DryRun { elsewhere: Some(plan), place: Place::Index, role: Some(role), ..self }
    }

    /// The agent that would record the edits.
    pub fn who(&self) -> &str {
        &self.me.agent
    }

    /// Runs the text of a task's file.
    pub fn edit(&self, id: Id, path: &str, text: &str) -> DryRunResult {
        let read = self.load(id).and_then(|loaded| {
            let (entity, entries) = (Entity::Task(id), &loaded.log.entries);
            let judged = self.lineage.judge(self.place, &entity, entries, entries, text.as_bytes());
            match &judged.how {
                Readable::Ahead(lost) => Err(ahead(id, path, *lost)),
                Readable::Invalid(why) => Err(unreadable(id, path, why.trim_start_matches("it cannot be read: "))),
                _ => Ok((judged, loaded)),
            }
        });
        let (judged, loaded) = match read {
            Ok((judged, _)) if !judged.how.holds_words() => return DryRunResult::default(),
            Ok(read) => read,
            Err(e) => return DryRunResult::refused(e),
        };
        let entries = &loaded.log.entries;
        let bare = bare_words(Some(id), path, text, &Value::Object(judged.doc.clone()));
        let size = text.len() + entries.iter().map(|entry| entry.line.len()).sum::<usize>();
        let wants_note = !judged.remarks.is_empty() && !is_kept(entries, &judged.remarks);
        let mut before = bare;
        let mut all = DryRunResult::default();
        let nothing = Edit { heads: heads_of(entries), old: Doc::new(), new: Doc::new() };
        for edit in if judged.edits.is_empty() { std::slice::from_ref(&nothing) } else { &judged.edits } {
            let mut draft = Draft { old: &edit.old, doc: edit.new.clone(), places: BTreeMap::new() };
            let placed = |misfit| placed(in_file(misfit, &judged.doc, &edit.new), Some(id), path, text);
            let tried = self.attempt_all(std::mem::take(&mut before), &mut draft, size, &placed, &|tx, doc| {
                let at = |key: &str, error| Box::new(Misfit { key: key.to_owned(), entry: None, error });
                tx.load_known(id).map_err(|e| at("id", e))?;
                tx.seen.insert(id, edit.heads.clone());
                edit::edit(tx, id, &edit.old, doc)?;
                if wants_note {
                    tx.require(Verb::Comment).map_err(|e| at("context", e))?;
                }
                Ok(())
            });
            all.refusals.extend(tried.refusals);
            all.more += tried.more;
            all.at_least |= tried.at_least;
        }
        all
    }

    /// Runs a new file; `id` is the id that its folder gives it.
    pub fn new_file(&self, id: Option<Id>, doc: &Doc, path: &str, text: &str) -> DryRunResult {
        let nothing = Doc::new();
        let mut draft = Draft { old: &nothing, doc: doc.clone(), places: BTreeMap::new() };
        let placed = |misfit| {
            let mut error = placed(misfit, id, path, text);
            error.message = error.message.replacen("the edit of ", "", 1);
            error
        };
        let value = Value::Object(doc.clone());
        let remarks = comments(text, &value);
        let mut bare = bare_words(id, path, text, &value);
        bare.iter_mut().for_each(|e| e.message = e.message.replacen("the edit of ", "", 1));
        self.attempt_all(bare, &mut draft, text.len(), &placed, &|tx, doc| {
            begin(tx, id, doc)?;
            if !remarks.is_empty() {
                let misfit = |error| Box::new(Misfit { key: "context".into(), entry: None, error });
                tx.require(Verb::Comment).map_err(misfit)?;
            }
            Ok(())
        })
    }

    /// Attempts a draft, reverting refused parts until the rest is accepted.
    fn attempt_all(
        &self,
        before: Vec<Error>,
        draft: &mut Draft<'_>,
        size: usize,
        placed: &dyn Fn(Misfit) -> Error,
        attempt: &dyn Fn(&mut Transaction, &Doc) -> EditResult,
    ) -> DryRunResult {
        let more = before.len().saturating_sub(SHOWN);
        let mut tried = DryRunResult { refusals: before.into_iter().take(SHOWN).collect(), more, at_least: false };
        let mut said = BTreeSet::new();
        for key in tried.refusals.iter().filter_map(|e| e.details["key"].as_str()) {
            draft.restore_key(key);
        }
        for _ in 0..ATTEMPTS.min(2 + MOST_BYTES / size.max(1)) {
            let mut tx = self.tx();
            let outcome = attempt(&mut tx, &draft.doc);
            self.prepared.replace(tx.prepared.take());
            let Err(misfit) = outcome else {
                if tried.refusals.is_empty() {
                    self.carry(tx);
                }
                return tried;
            };
            let Misfit { key, entry, error } = *misfit;
            let place = draft.place(&key, entry);
            let goes_on = draft.take_back(&key, entry, error.details["nearest"].as_str());
            // The same reason may refuse every key.
            if said.insert((error.code, error.message.clone())) {
                match tried.refusals.len() < SHOWN {
                    true => tried.refusals.push(placed(Misfit { key, entry: place, error })),
                    false => tried.more += 1,
                }
            }
            if !goes_on {
                return tried;
            }
        }
        tried.at_least = true;
        tried
    }

    fn tx(&self) -> Transaction<'_> {
        let elsewhere =
            if self.elsewhere.is_some() { OtherBranches::ignored(self.ws) } else { OtherBranches::new(self.ws) };
        let mut tx = Transaction::new(self.ws, &self.runtime, self.me.clone(), 0, self.prepared.take(), elsewhere);
        tx.caught_up = tx.prepared.is_some();
        tx.source = Some(self);
        tx.role.clone_from(&self.role);
        let carried = self.carried.borrow();
        tx.children.clone_from(&carried.children);
        tx.dependents.clone_from(&carried.dependents);
        tx.leases.clone_from(&carried.leases);
        tx
    }

    /// Applies the effects of a file to the files after it.
    fn carry(&self, tx: Transaction<'_>) {
        let mut carried = self.carried.borrow_mut();
        for (id, slot) in tx.tasks.into_iter().filter(|(_, slot)| slot.changed) {
            let task = Rc::unwrap_or_clone(slot.task);
            carried.tasks.insert(id, LoadedTask { task, log: slot.log, findings: Vec::new() });
        }
        (carried.children, carried.dependents, carried.leases) = (tx.children, tx.dependents, tx.leases);
    }
}

impl Source for DryRun<'_> {
    fn load(&self, id: Id) -> Result<LoadedTask> {
        if let Some(known) = self.carried.borrow().tasks.get(&id) {
            return Ok(known.clone());
        }
        if let Some(plan) = self.elsewhere {
            return plan.load(id);
        }
        if self.pending.get().is_none() {
            // No other code sets it.
            let _ = self.pending.set(read::pending(self.ws)?);
        }
        let more = self.pending.get().and_then(|pending| pending.get(&Entity::Task(id)));
        load_task(&self.ws.store, id, more.map_or(&[][..], Vec::as_slice))
    }

    fn resolve(&self, reference: &Ref) -> Result<Id> {
        let made = reference.0.parse().ok().filter(|id| self.carried.borrow().tasks.contains_key(id));
        match (made, self.elsewhere) {
            (Some(id), _) => Ok(id),
            (None, Some(plan)) => plan.resolve(reference),
            (None, None) => read::resolve(self.ws, reference),
        }
    }

    fn children(&self, id: Id) -> Result<Option<Vec<Id>>> {
        self.elsewhere.map_or(Ok(None), |plan| plan.children(id))
    }

    fn dependents(&self, id: Id) -> Result<Option<Vec<Id>>> {
        self.elsewhere.map_or(Ok(None), |plan| plan.dependents(id))
    }
}

/// A document whose refused parts are being reverted.
struct Draft<'a> {
    old: &'a Doc,
    doc: Doc,
    /// The original index of each entry of a list, after some were reverted.
    places: BTreeMap<String, Vec<usize>>,
}

impl Draft<'_> {
    /// The original index of an entry.
    fn place(&self, key: &str, entry: Option<usize>) -> Option<usize> {
        match self.places.get(key) {
            Some(places) => entry.and_then(|n| places.get(n).copied()),
            None => entry,
        }
    }

    /// Reverts an entry or a key with its consequences, or renames it to the name that is `meant`. Returns whether anything
    /// changed.
    fn take_back(&mut self, key: &str, entry: Option<usize>, meant: Option<&str>) -> bool {
        // A missing title would be refused too.
        if let Some(meant) = meant.filter(|meant| *meant == "title" && !self.doc.contains_key(*meant)) {
            let value = self.doc.shift_remove(key);
            return value.is_some_and(|value| self.doc.insert(meant.to_owned(), value).is_none());
        }
        if key == "status" {
            for follows in ["completed_at", "cancelled_at", "archived_at", "owner"] {
                self.restore_key(follows);
            }
        }
        let before = self.old.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(Value::Array(now)) = self.doc.get_mut(key) else { return self.restore_key(key) };
        let name = if key == "acceptance" { "criterion" } else { "id" };
        let same = |one: &Value, other: &Value| !one[name].is_null() && one[name] == other[name];
        match entry {
            Some(n) if n < now.len() => {
                let was = before.iter().find(|was| same(was, &now[n]));
                match was {
                    Some(was) if *was == now[n] => return self.restore_key(key),
                    Some(was) => now[n] = was.clone(),
                    None => {
                        let all = (0..now.len()).collect();
                        now.remove(n);
                        self.places.entry(key.to_owned()).or_insert(all).remove(n);
                    }
                }
                true
            }
            _ => {
                let gone: Vec<Value> =
                    before.iter().filter(|was| !now.iter().any(|now| same(was, now))).cloned().collect();
                if gone.is_empty() || gone.iter().any(|was| was["id"].is_null()) {
                    return self.restore_key(key);
                }
                now.extend(gone);
                true
            }
        }
    }

    fn restore_key(&mut self, key: &str) -> bool {
        // A new task needs a title.
        let old = self.old.get(key).cloned().or_else(|| (key == "title").then(|| json!("title")));
        if self.doc.get(key) == old.as_ref() {
            return false;
        }
        match old {
            Some(old) => drop(self.doc.insert(key.to_owned(), old)),
            None => drop(self.doc.shift_remove(key)),
        }
        true
    }
}
