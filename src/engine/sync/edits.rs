//! Records hand edits that were committed: in this clone, or by another user who pushed an edited file.
//!
//! Guarantees that a committed edit is recorded like any hand edit, after the events it follows, or stays in the file with a
//! reason. Merging commits never overwrites it.
//! Leaves to others: how an edit is judged (`engine::commit::hand_edits::record`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Sync;
use super::publish::Upstream;
use crate::engine::commit::hand_edits::new_files;
use crate::engine::commit::hand_edits::preview::{self, HandWork};
use crate::engine::commit::hand_edits::record::{self, Comments, Draft, HandEdit};
use crate::engine::commit::hand_edits::removed_files;
use crate::engine::commit::write;
use crate::engine::repair::RestoredTask;
use crate::engine::view::history::Place;
use crate::engine::view::read;
use crate::env::parallel;
use crate::error::{Error, Result};
use crate::git::{Mode, Oid};
use crate::model::event::{Entity, Entry, MAX_CLOCK};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::job::Deleted;
use crate::rules::copies::is_hand_edit;
use crate::store::edited::{Readable, split};
use crate::store::entity::{read_log, read_yaml};
use crate::store::layout::{LOG, entity_below, task_dir};
use crate::store::log::{Log, absent};
use crate::store::merge::merge;
use crate::store::project::{project_log, render};

/// Something written by hand that was recorded, or would be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EditRecorded {
    /// The task; absent in a preview of a new file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The file.
    pub path: String,
    /// The changed fields, for display.
    pub what: String,
}

/// Something written by hand that was not recorded, or would not be. It stays in its file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct EditRefused {
    /// The task; absent for a new file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The file.
    pub path: String,
    /// The line, if the refusal is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The key, if the refusal is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The code of the refusal.
    pub code: &'static str,
    /// The reason.
    pub message: String,
    /// The allowed values, if they can be listed.
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

/// The hand edits that were, or would be, recorded or refused.
#[derive(Default)]
pub(crate) struct RecordedEdits {
    /// The recorded edits.
    pub warnings: Vec<String>,
    pub recorded: Vec<EditRecorded>,
    pub refused: Vec<EditRefused>,
    pub brought_back: Vec<RestoredTask>,
    /// Edits that stay in their files.
    pub stayed: Vec<EditedFile>,
}

impl RecordedEdits {
    fn keep(&mut self, task: Option<Id>, path: String, what: String) {
        self.recorded.push(EditRecorded { task, path, what });
    }

    fn refuse(&mut self, task: Option<Id>, path: String, e: &Error) {
        self.refused.push(EditRefused::of(task, path, e));
    }
}

const A_NEW_TASK: &str = "a new task";

/// A task's file that was edited by hand.
#[derive(Clone, Debug)]
pub(crate) struct EditedFile {
    pub id: Id,
    pub text: String,
    /// The events of its log.
    rendered: String,
    place: Place,
}

impl Sync<'_> {
    /// The edits in files that `theirs` changed since its merge base with `own`.
    pub(crate) fn edits_in(&self, own: Oid, theirs: Oid) -> Result<Vec<EditedFile>> {
        let top = |commit: Oid| self.objects.commit(commit).map(|commit| commit.tree);
        let base = self.objects.merge_base(own, theirs)?.map(top).transpose()?;
        let there = top(theirs)?;
        let folder = |tree: Oid| -> Result<Option<Oid>> {
            let item = self.objects.item(tree, &self.ws.store.name)?;
            Ok(item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
        };
        let before = base.map(folder).transpose()?.flatten();
        let (mut edits, lineage) = (Vec::new(), record::lineage(self.ws));
        for change in self.objects.changes(before, folder(there)?)? {
            let (Some((Entity::Task(id), false)), Some(item)) = (entity_below(&change.path), change.new) else {
                continue;
            };
            if !matches!(item.mode, Mode::File | Mode::Executable) {
                continue;
            }
            let Ok(text) = String::from_utf8(self.objects.blob(item.oid)?) else { continue };
            let log = self.objects.file(there, &self.ws.store.shown(task_dir(id).join(LOG)))?.unwrap_or_default();
            let entries = Log::of(&log).entries;
            let (entity, place) = (Entity::Task(id), Place::Commit(theirs));
            let judged = lineage.judge(place, &entity, &entries, &entries, text.as_bytes());
            if matches!(judged.how, Readable::Edited(_)) {
                edits.push(EditedFile { id, text, rendered: render(&entity, &entries), place });
            }
        }
        Ok(edits)
    }

    /// Records hand edits. A refused edit stays in its file and is not committed.
    pub(crate) fn record_edits(&self, upstream: Option<&Upstream>) -> Result<RecordedEdits> {
        let mut taken = RecordedEdits::default();
        let gone = removed_files::deleted(self.ws)?;
        let (done, refused) = removed_files::restore_deleted(self.ws, &gone, Deleted::Restore)?;
        taken.brought_back.extend(gone.iter().map(|(id, removal)| RestoredTask::of(*id, removal.as_ref())));
        taken.warnings.extend(done.into_iter().chain(refused.into_iter().map(|refused| refused.message)));
        let (folders, odd) = self.ws.store.task_folders()?;
        for new in &new_files::new_files(self.ws, &folders, &odd) {
            let path = self.ws.store.shown(&new.path);
            match new_files::adopt(self.ws, new, Comments::Refuse) {
                Ok(id) => {
                    taken.warnings.push(format!("{path} was written by hand and became task {id}"));
                    taken.keep(Some(id), path, A_NEW_TASK.into());
                }
                Err(e) => {
                    taken.warnings.push(format!("{path} stays as it is and was not committed: {}", e.message));
                    taken.refuse(new.id, path, &e);
                }
            }
        }
        let edited = self.edited_here()?;
        self.record_foreign(&self.recorded_there(&edited, upstream)?)?;
        for id in edited {
            let path = self.path_of(id);
            match record::absorb(self.ws, id, Comments::Refuse) {
                Ok(what) if what.is_empty() => {}
                Ok(what) => taken.keep(Some(id), path, what),
                Err(e) => {
                    let entity = Entity::Task(id);
                    let text = read_yaml(&self.ws.store, &entity).ok().flatten().unwrap_or_default();
                    let rendered = render(&entity, &read_log(&self.ws.store, &entity)?.entries);
                    let text = String::from_utf8(text).ok();
                    taken.stayed.extend(text.map(|text| EditedFile { id, text, rendered, place: Place::WorkTree }));
                    let (handle, why) = (read::handle(self.ws, id)?, &e.message);
                    let warning = format!("the edit of task {handle} stays in its file and was not committed: {why}");
                    taken.warnings.push(warning);
                    taken.refuse(Some(id), path, &e);
                }
            }
        }
        Ok(taken)
    }

    /// Previews [`Sync::record_edits`], with the events that it would record.
    pub(crate) fn preview_edits(
        &self,
        upstream: Option<&Upstream>,
    ) -> Result<(RecordedEdits, BTreeMap<Entity, Vec<Entry>>)> {
        let mut taken = RecordedEdits::default();
        let mut back = BTreeMap::new();
        for (id, removal) in removed_files::deleted(self.ws)? {
            taken.warnings.push(format!("the files of task {id} were removed; sync would restore them"));
            taken.brought_back.push(RestoredTask::of(id, removal.as_ref()));
            back.extend(removal.map(|removal| (Entity::Task(id), removal.log)));
        }
        let (folders, odd) = self.ws.store.task_folders()?;
        let new_files = new_files::new_files(self.ws, &folders, &odd);
        let edited = self.edited_here()?;
        let there = self.recorded_there(&edited, upstream)?;
        let edit = |id: &Id| HandEdit { id: *id, draft: None, comments: Comments::Refuse };
        let mut written: Vec<HandWork> =
            new_files.iter().map(|new| HandWork::New(new.clone(), Comments::Refuse)).collect();
        written.extend(edited.iter().map(|id| HandWork::Edit(edit(id), there.get(id).cloned())));
        let preview = preview::preview(self.ws, &written)?;
        let mut outcomes = preview.outcomes.into_iter();
        for (new, outcome) in new_files.iter().zip(outcomes.by_ref()) {
            let path = self.ws.store.shown(&new.path);
            match outcome {
                Ok(_) => {
                    taken.warnings.push(format!("{path} was written by hand; sync would first create a task from it"));
                    taken.keep(new.id, path, A_NEW_TASK.into());
                }
                Err(e) => {
                    taken.warnings.push(format!("{path} would stay as it is and not be committed: {}", e.message));
                    taken.refuse(new.id, path, &e);
                }
            }
        }
        for (id, outcome) in edited.into_iter().zip(outcomes) {
            let (handle, path) = (read::handle(self.ws, id)?, self.path_of(id));
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
        back.extend(preview.entries);
        Ok((taken, back))
    }

    /// The tasks with hand edits. Every file is compared with its log, since an edit may be committed already.
    fn edited_here(&self) -> Result<Vec<Id>> {
        let ws = self.ws;
        let folders = ws.store.task_folders()?.0;
        let judged = parallel::map_with(
            &folders,
            || Ok(record::lineage(ws)),
            |lineage, id| Ok(record::judge_file(ws, lineage, *id)?.is_some_and(|judged| judged.how.holds_words())),
        )?;
        Ok(folders.into_iter().zip(judged).filter(|(_, edited)| *edited).map(|(id, _)| id).collect())
    }

    /// For committed edits that another clone may have recorded: the union of the logs here and at the upstream.
    fn recorded_there(&self, edited: &[Id], upstream: Option<&Upstream>) -> Result<BTreeMap<Id, Vec<Entry>>> {
        let mut there = BTreeMap::new();
        let plan = self.plan_of(self.tip()?)?;
        let committed: Vec<Id> = edited.iter().copied().filter(|id| self.is_committed(*id, plan)).collect();
        let Some(upstream) = upstream.filter(|_| !committed.is_empty()) else { return Ok(there) };
        // A failure is reported when the plans are merged.
        let Ok(Some(theirs)) = self.fetch(upstream) else { return Ok(there) };
        let theirs = self.plan_of(theirs)?;
        for id in committed {
            let mut entries = self.entries(id, theirs)?;
            let here = read_log(&self.ws.store, &Entity::Task(id))?.entries;
            if !absent(&here, &entries).any(|entry| is_hand_edit(&entry.event)) {
                continue;
            }
            let more: Vec<Entry> = absent(&entries, &here).cloned().collect();
            entries.extend(more);
            there.insert(id, entries);
        }
        Ok(there)
    }

    /// Whether a task's file equals the committed one.
    fn is_committed(&self, id: Id, plan: Option<Oid>) -> bool {
        let bytes = read_yaml(&self.ws.store, &Entity::Task(id)).ok().flatten();
        let path = task_dir(id).join("task.yaml").display().to_string();
        let committed = plan.and_then(|plan| self.objects.file(plan, &path).ok().flatten());
        bytes.is_some() && bytes == committed
    }

    /// Adds the upstream's events to the logs of these tasks; their files are not rendered.
    fn record_foreign(&self, there: &BTreeMap<Id, Vec<Entry>>) -> Result<()> {
        if there.is_empty() {
            return Ok(());
        }
        write::under_lock(self.ws, "agentpm sync", |runtime, _, journal| {
            read::logs_were_written(self.ws);
            for (id, entries) in there {
                let entity = Entity::Task(*id);
                let log = read_log(&self.ws.store, &entity)?;
                let new: Vec<Entry> = absent(&log.entries, entries).cloned().collect();
                journal.saw(new.iter().map(|e| e.event.lamport).max().unwrap_or(0).min(MAX_CLOCK));
                project_log(&self.ws.store, &entity, log, &new, runtime)?;
            }
            journal.mark_projected(self.ws)
        })
    }

    fn path_of(&self, id: Id) -> String {
        self.ws.store.shown(task_dir(id).join("task.yaml"))
    }

    fn draft(&self, edited: &EditedFile) -> HandEdit {
        let EditedFile { id, text, place, .. } = edited;
        let current = read_yaml(&self.ws.store, &Entity::Task(*id)).ok().flatten().unwrap_or_default();
        let current = String::from_utf8_lossy(&current).into_owned();
        HandEdit {
            id: *id,
            draft: Some(Draft { text: text.clone(), current, place: *place }),
            comments: Comments::Keep,
        }
    }

    /// Records edits of fetched commits. A refused edit is written back into its file. Returns whether any was recorded.
    pub(crate) fn record_foreign_edits(&self, edits: Vec<EditedFile>, taken: &mut RecordedEdits) -> Result<bool> {
        let mut recorded = false;
        for edited in edits {
            let id = edited.id;
            let (handle, path) = (read::handle(self.ws, id)?, self.path_of(id));
            match record::record(self.ws, self.draft(&edited)) {
                Ok(what) if what.is_empty() => {}
                Ok(what) => {
                    recorded = true;
                    taken.warnings.push(format!("task {handle} came edited by hand; recorded: {what}"));
                    taken.keep(Some(id), path, what);
                }
                Err(e) => {
                    self.restore_file(&edited)?;
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

    /// Previews [`Sync::record_edits`] for the plan of a commit, with the events that it would record.
    pub(crate) fn preview_foreign_edits(
        &self,
        edits: &[EditedFile],
        new: Oid,
        taken: &mut RecordedEdits,
    ) -> Result<BTreeMap<Entity, Vec<Entry>>> {
        let plan = self.plan_of(new)?;
        let one = |edited: &EditedFile| Ok(HandWork::Edit(self.draft(edited), Some(self.entries(edited.id, plan)?)));
        let preview = preview::preview(self.ws, &edits.iter().map(one).collect::<Result<Vec<_>>>()?)?;
        for (EditedFile { id, .. }, outcome) in edits.iter().zip(preview.outcomes) {
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
        Ok(preview.entries)
    }

    /// Writes an edit back into its file, on top of the present state, unless the file has other edits.
    pub(crate) fn restore_file(&self, edited: &EditedFile) -> Result<()> {
        let EditedFile { id, text, rendered, .. } = edited;
        write::under_lock(self.ws, "agentpm sync", |_, _, _| {
            let path = task_dir(*id).join("task.yaml");
            let now = read_yaml(&self.ws.store, &Entity::Task(*id)).ok().flatten().unwrap_or_default();
            let judged = record::judge_file(self.ws, &record::lineage(self.ws), *id)?;
            if judged.is_some_and(|judged| judged.how.holds_words()) {
                return Ok(());
            }
            let merged = merge(rendered, &String::from_utf8_lossy(&now), text).text;
            let [_, edited] = split(&merged);
            let failed = |e: std::io::Error| Error::io("write", &self.ws.store.path().join(&path), &e);
            self.ws.store.dir.replace(&path, edited.as_bytes(), 0o666).map_err(failed)
        })
    }
}
