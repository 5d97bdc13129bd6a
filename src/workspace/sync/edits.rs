//! Hand edits that lie in commits: of this clone, or of others who committed and pushed a file as they had edited it.
//!
//! Promises: an edit that comes with a commit is recorded like any hand edit, by the heads at its own foot, or stands in the file
//! with a reason; bringing commits together never draws over it.
//! Refuses to know: how an edit is judged (`workspace::absorb`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::Sync;
use super::publish::Upstream;
use crate::error::{Error, Result};
use crate::git::{Mode, Oid};
use crate::model::event::{Entity, Entry, MAX_CLOCK};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::yaml::is_as_written;
use crate::rules::decide::edit::recordings;
use crate::store::edited::{FORM, Readable, compare, heads};
use crate::store::entity::{read_log, read_yaml};
use crate::store::layout::{LOG, task_dir};
use crate::store::log::Log;
use crate::store::project::project_log;
use crate::store::yaml;
use crate::workspace::absorb::{Comments, HandEdit};
use crate::workspace::deleted::Deleted;
use crate::workspace::foresee::Written;
use crate::workspace::heal::{BroughtBackTask, entity_below};

/// Something written by hand that was recorded, or would be.
#[derive(Clone, Debug, Serialize)]
pub struct EditRecorded {
    /// The task; of a new file one is only known once it is recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The file.
    pub path: String,
    /// What was changed, in words.
    pub what: String,
}

/// Something written by hand that was not recorded, or would not be. It stays in its file.
#[derive(Clone, Debug, Serialize)]
pub struct EditRefused {
    /// The task; absent for a new file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The file.
    pub path: String,
    /// The line it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The key it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The code of the refusal.
    pub code: &'static str,
    /// Why.
    pub message: String,
    /// What would be allowed, where that can be listed.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub allowed: Value,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl EditRefused {
    fn of(task: Option<Id>, path: String, e: &Error) -> Self {
        EditRefused {
            task,
            path,
            line: e.details["line"].as_u64(),
            key: e.details["key"].as_str().map(str::to_owned),
            code: e.code.as_str(),
            message: e.message.clone(),
            allowed: e.details["allowed"].clone(),
            hint: e.hint.as_ref().map(ToString::to_string),
        }
    }
}

/// What became, or would become, of what was written by hand.
#[derive(Default)]
pub(super) struct TakenIn {
    /// In words.
    pub warnings: Vec<String>,
    pub recorded: Vec<EditRecorded>,
    pub refused: Vec<EditRefused>,
    pub brought_back: Vec<BroughtBackTask>,
    /// Edits that stay in their files.
    pub stayed: Vec<Edited>,
}

impl TakenIn {
    fn keep(&mut self, task: Option<Id>, path: String, what: String) {
        self.recorded.push(EditRecorded { task, path, what });
    }

    fn refuse(&mut self, task: Option<Id>, path: String, e: &Error) {
        self.refused.push(EditRefused::of(task, path, e));
    }
}

const A_NEW_TASK: &str = "a new task";

/// The text of a task's file, as somebody edited it.
pub(super) type Edited = (Id, String);

impl Sync<'_> {
    /// The edits in files that `theirs` changed since it parted from `own`.
    pub(super) fn edits_in(&self, own: Oid, theirs: Oid) -> Result<Vec<Edited>> {
        let top = |commit: Oid| self.objects.commit(commit).map(|commit| commit.tree);
        let base = self.objects.merge_base(own, theirs)?.map(top).transpose()?;
        let there = top(theirs)?;
        let folder = |tree: Oid| -> Result<Option<Oid>> {
            let item = self.objects.item(tree, &self.ws.store.name)?;
            Ok(item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
        };
        let before = base.map(folder).transpose()?.flatten();
        let mut edits = Vec::new();
        for change in self.objects.changes(before, folder(there)?)? {
            let (Some((Entity::Task(id), false)), Some(item)) = (entity_below(&change.path), change.new) else {
                continue;
            };
            if !matches!(item.mode, Mode::File | Mode::Executable) {
                continue;
            }
            let Ok(text) = String::from_utf8(self.objects.blob(item.oid)?) else { continue };
            if is_as_written(&text) == Some(true) {
                continue;
            }
            let log = self.objects.file(there, &self.ws.store.shown(task_dir(id).join(LOG)))?.unwrap_or_default();
            let entries = Log::read(&log[..]).unwrap_or_default().entries;
            if matches!(compare(&Entity::Task(id), &entries, text.as_bytes()), Readable::Edited(what) if what != FORM) {
                edits.push((id, text));
            }
        }
        Ok(edits)
    }

    /// Records what was edited by hand. What the rules do not allow stays in its file and is not committed.
    pub(super) fn take_in_edits(&self, upstream: Option<&Upstream>) -> Result<TakenIn> {
        let mut taken = TakenIn::default();
        let gone = self.ws.deleted()?;
        let (done, refused) = self.ws.bring_back_deleted(&gone, Deleted::Restore)?;
        taken.brought_back.extend(gone.iter().map(|(id, removal)| BroughtBackTask::of(*id, removal.as_ref())));
        taken.warnings.extend(done.into_iter().chain(refused.into_iter().map(|refused| refused.message)));
        let (folders, odd) = self.ws.store.task_folders()?;
        for new in &self.ws.newcomers(&folders, &odd) {
            let path = self.ws.store.shown(&new.path);
            match self.ws.adopt(new, Comments::Refuse) {
                Ok(id) => {
                    taken.warnings.push(format!("{path} was written by hand and is now task {id}"));
                    taken.keep(Some(id), path, A_NEW_TASK.into());
                }
                Err(e) => {
                    taken.warnings.push(format!("{path} stays as it is and was not committed: {}", e.message));
                    taken.refuse(new.id, path, &e);
                }
            }
        }
        let edited = self.edited_here()?;
        self.hear_of(&self.recorded_there(&edited, upstream)?)?;
        for id in edited {
            let path = self.path_of(id);
            match self.ws.absorb(id, Comments::Refuse) {
                Ok(what) if what.is_empty() => {}
                Ok(what) => taken.keep(Some(id), path, what),
                Err(e) => {
                    let text = read_yaml(&self.ws.store, &Entity::Task(id)).ok().flatten().unwrap_or_default();
                    taken.stayed.extend(String::from_utf8(text).ok().map(|text| (id, text)));
                    let (handle, why) = (self.ws.handle(id)?, &e.message);
                    let warning = format!("the edit of task {handle} stays in its file and was not committed: {why}");
                    taken.warnings.push(warning);
                    taken.refuse(Some(id), path, &e);
                }
            }
        }
        Ok(taken)
    }

    /// What [`Sync::take_in_edits`] would do, with the events that it would record.
    pub(super) fn foresee_edits(&self, upstream: Option<&Upstream>) -> Result<(TakenIn, BTreeMap<Entity, Vec<Entry>>)> {
        let mut taken = TakenIn::default();
        let mut back = BTreeMap::new();
        for (id, removal) in self.ws.deleted()? {
            taken.warnings.push(format!("the files of task {id} were removed; sync would bring them back"));
            taken.brought_back.push(BroughtBackTask::of(id, removal.as_ref()));
            back.extend(removal.map(|removal| (Entity::Task(id), removal.log)));
        }
        let (folders, odd) = self.ws.store.task_folders()?;
        let newcomers = self.ws.newcomers(&folders, &odd);
        let edited = self.edited_here()?;
        let there = self.recorded_there(&edited, upstream)?;
        let edit = |id: &Id| HandEdit { id: *id, draft: None, comments: Comments::Refuse };
        let mut written: Vec<Written> =
            newcomers.iter().map(|new| Written::New(new.clone(), Comments::Refuse)).collect();
        written.extend(edited.iter().map(|id| Written::Edit(edit(id), there.get(id).cloned())));
        let foreseen = self.ws.foresee(&written)?;
        let mut outcomes = foreseen.outcomes.into_iter();
        for (new, outcome) in newcomers.iter().zip(outcomes.by_ref()) {
            let path = self.ws.store.shown(&new.path);
            match outcome {
                Ok(_) => {
                    taken.warnings.push(format!("{path} was written by hand; sync would make a task of it first"));
                    taken.keep(new.id, path, A_NEW_TASK.into());
                }
                Err(e) => {
                    taken.warnings.push(format!("{path} would stay as it is and not be committed: {}", e.message));
                    taken.refuse(new.id, path, &e);
                }
            }
        }
        for (id, outcome) in edited.into_iter().zip(outcomes) {
            let (handle, path) = (self.ws.handle(id)?, self.path_of(id));
            match outcome {
                Ok((_, what)) if what.is_empty() => {}
                Ok((_, what)) => {
                    taken
                        .warnings
                        .push(format!("task {handle} was edited by hand; sync would record that first: {what}"));
                    taken.keep(Some(id), path, what);
                }
                Err(e) => {
                    let why = &e.message;
                    taken
                        .warnings
                        .push(format!("the edit of task {handle} would stay in its file and not be committed: {why}"));
                    taken.refuse(Some(id), path, &e);
                }
            }
        }
        back.extend(foreseen.entries);
        Ok((taken, back))
    }

    /// The tasks whose files say something that their events do not. An edit may have been committed as it is; so every file is
    /// asked, which its sum makes cheap.
    fn edited_here(&self) -> Result<Vec<Id>> {
        let mut edited = Vec::new();
        for id in self.ws.store.task_folders()?.0 {
            if self.ws.holds_words(id)? {
                edited.push(id);
            }
        }
        Ok(edited)
    }

    /// Of edits that lie in commits of this branch: the logs here and at the upstream together, where somebody else recorded the
    /// same edit there meanwhile.
    fn recorded_there(&self, edited: &[Id], upstream: Option<&Upstream>) -> Result<BTreeMap<Id, Vec<Entry>>> {
        let mut there = BTreeMap::new();
        let plan = self.plan_of(self.tip()?)?;
        let committed: Vec<(Id, String)> =
            edited.iter().filter_map(|id| Some((*id, self.committed_text(*id, plan)?))).collect();
        let Some(upstream) = upstream.filter(|_| !committed.is_empty()) else { return Ok(there) };
        // What cannot be asked now is told where the plan is brought together.
        let Ok(Some(theirs)) = self.fetch(upstream) else { return Ok(there) };
        let theirs = self.plan_of(theirs)?;
        for (id, text) in committed {
            let mut entries = self.entries(id, theirs)?;
            let heads = yaml::read_value(&text).ok().as_ref().and_then(heads).unwrap_or_default();
            if recordings(&entries, &heads).is_empty() {
                continue;
            }
            let known: BTreeSet<Id> = entries.iter().map(|entry| entry.event.id).collect();
            let here = read_log(&self.ws.store, &Entity::Task(id))?.entries;
            entries.extend(here.into_iter().filter(|entry| !known.contains(&entry.event.id)));
            there.insert(id, entries);
        }
        Ok(there)
    }

    /// The text of a task's file, where it is as it was committed.
    fn committed_text(&self, id: Id, plan: Option<Oid>) -> Option<String> {
        let bytes = read_yaml(&self.ws.store, &Entity::Task(id)).ok().flatten()?;
        let committed =
            self.objects.file(plan?, &task_dir(id).join("task.yaml").display().to_string()).ok().flatten()?;
        String::from_utf8(bytes).ok().filter(|text| text.as_bytes() == committed)
    }

    /// Brings what the upstream knows into the logs of these tasks; their files stay as they are.
    fn hear_of(&self, there: &BTreeMap<Id, Vec<Entry>>) -> Result<()> {
        if there.is_empty() {
            return Ok(());
        }
        self.ws.under_lock("agentpm sync", |runtime, _, journal| {
            self.ws.logs_were_written();
            for (id, entries) in there {
                let entity = Entity::Task(*id);
                let log = read_log(&self.ws.store, &entity)?;
                let known: BTreeSet<Id> = log.entries.iter().map(|entry| entry.event.id).collect();
                let new: Vec<Entry> = entries.iter().filter(|e| !known.contains(&e.event.id)).cloned().collect();
                journal.saw(new.iter().map(|e| e.event.lamport).max().unwrap_or(0).min(MAX_CLOCK));
                project_log(&self.ws.store, &entity, log, &new, runtime)?;
            }
            journal.mark_projected(&self.ws.store.dir)
        })
    }

    fn path_of(&self, id: Id) -> String {
        self.ws.store.shown(task_dir(id).join("task.yaml"))
    }

    fn draft(&self, id: Id, text: &str) -> HandEdit {
        let current = read_yaml(&self.ws.store, &Entity::Task(id)).ok().flatten().unwrap_or_default();
        let draft = Some((text.to_owned(), String::from_utf8_lossy(&current).into_owned()));
        HandEdit { id, draft, comments: Comments::Keep }
    }

    /// Records edits that came with commits. One that is not allowed is put into the file, where it stood. Says whether any was
    /// recorded.
    pub(super) fn record_edits(&self, edits: Vec<Edited>, taken: &mut TakenIn) -> Result<bool> {
        let mut recorded = false;
        for (id, text) in edits {
            let (handle, path) = (self.ws.handle(id)?, self.path_of(id));
            match self.ws.record(self.draft(id, &text)) {
                Ok(what) if what.is_empty() => {}
                Ok(what) => {
                    recorded = true;
                    taken.warnings.push(format!("task {handle} came edited by hand; recorded: {what}"));
                    taken.keep(Some(id), path, what);
                }
                Err(e) => {
                    self.put_back(id, &text)?;
                    let why = &e.message;
                    taken.warnings.push(format!(
                        "task {handle} came edited by hand; the edit stands in its file and was not recorded: {why}"
                    ));
                    taken.refuse(Some(id), path, &e);
                }
            }
        }
        Ok(recorded)
    }

    /// What [`Sync::record_edits`] would do once the plan is that of a commit, with the events that it would record.
    pub(super) fn foresee_foreign(
        &self,
        edits: &[Edited],
        new: Oid,
        taken: &mut TakenIn,
    ) -> Result<BTreeMap<Entity, Vec<Entry>>> {
        let plan = self.plan_of(new)?;
        let one = |(id, text): &Edited| Ok(Written::Edit(self.draft(*id, text), Some(self.entries(*id, plan)?)));
        let foreseen = self.ws.foresee(&edits.iter().map(one).collect::<Result<Vec<_>>>()?)?;
        for ((id, _), outcome) in edits.iter().zip(foreseen.outcomes) {
            let (handle, path) = (id.handle(HANDLE_MIN), self.path_of(*id));
            match outcome {
                Ok((_, what)) if what.is_empty() => {}
                Ok((_, what)) => {
                    taken.warnings.push(format!("task {handle} comes edited by hand; sync would record: {what}"));
                    taken.keep(Some(*id), path, what);
                }
                Err(e) => {
                    let why = &e.message;
                    taken.warnings.push(format!(
                        "task {handle} comes edited by hand; the edit would stand in its file and not be recorded: {why}"
                    ));
                    taken.refuse(Some(*id), path, &e);
                }
            }
        }
        Ok(foreseen.entries)
    }

    /// Puts an edit into its file again, unless somebody else's words are there by now.
    pub(super) fn put_back(&self, id: Id, text: &str) -> Result<()> {
        self.ws.under_lock("agentpm sync", |_, _, _| {
            let path = task_dir(id).join("task.yaml");
            let now = read_yaml(&self.ws.store, &Entity::Task(id)).ok().flatten().unwrap_or_default();
            if std::str::from_utf8(&now).is_ok_and(|now| is_as_written(now) == Some(true)) {
                let failed = |e: std::io::Error| Error::io("write", &self.ws.store.path().join(&path), &e);
                self.ws.store.dir.replace(&path, text.as_bytes(), 0o666).map_err(failed)?;
            }
            Ok(())
        })
    }
}
