//! Reads an export of agentpm: one JSON document, or a record on each line.
//!
//! Guarantees that the events arrive byte for byte and are recorded as those of another replica are: what is here already
//! changes nothing, and of concurrent values the usual rules choose. Every event is checked before the first one is recorded; one
//! that cannot count is left out, and named.
//! Only some records are held at once, so a large export is recorded in parts; when it is interrupted, the same import
//! finishes it.
//! Leaves to others: writing the export (`reports::export`), and recording (`engine::feed`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::io::{BufReader, Read, Seek};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::broken_rules::{BrokenRules, LeftOutEvent};
use super::{Count, ImportReport, PlacedTask};
use crate::engine::commit::unblock;
use crate::engine::context::Workspace;
use crate::engine::feed::stream;
use crate::engine::lint::TaskLinks;
use crate::engine::view::read;
use crate::env::progress::Progress;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, Severity};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::plain::first_of;
use crate::reports::export::ours;
use crate::rules::fold::{fold, fold_agent};
use crate::store::archive;
use crate::store::entity::read_log;

/// The word for the format.
pub(super) const FORMAT: &str = "jsonl";
/// How many events are recorded at once.
const AT_ONCE: usize = 20_000;
/// Most tasks that one warning names.
const MAX_NAMED: usize = 10;

/// A task or an agent of an export.
struct Record {
    /// The state of a task. It only repeats what the events say.
    task: Option<Value>,
    agent: Option<String>,
    events: Vec<Box<RawValue>>,
}

/// The part of a state that names its task.
#[derive(Deserialize)]
struct Named {
    id: Id,
}

/// Imports an export of agentpm.
///
/// Errors: `ERR_VALIDATION` for a text that is no export, or an event that cannot be read or whose id stands for another here;
/// then nothing was recorded. `ERR_UNAUTHORIZED` where roles count and the caller has not all rights: the events name authors
/// of their own.
pub(super) fn import(ws: &Workspace, source: &mut (impl Read + Seek), dry_run: bool) -> Result<ImportReport> {
    stream::check_may_record(ws)?;
    let mut check = Pass::new(ws, dry_run)?;
    check.read(source, |entries| stream::fresh_of(ws, entries))?;
    check.warn();
    let mut broken = std::mem::take(&mut check.broken);
    broken.add_links(ws, std::mem::take(&mut check.links))?;
    check.report.warnings.extend(broken.warnings());
    if dry_run {
        return Ok(check.report);
    }
    source.rewind().map_err(|e| Error::io("read again", "the import".as_ref(), &e))?;
    let mut pass = Pass::new(ws, dry_run)?;
    pass.progress = Some(Progress::of("importing tasks", check.report.total));
    pass.read(source, |entries| stream::record_events(ws, entries)).map_err(|e| {
        let so_far = pass.report.added.events;
        match so_far {
            0 => e,
            n => e.hint(format!("{n} events were recorded before; run the same command again to record the rest")),
        }
    })?;
    broken.record(ws)?;
    // What an edge held that is left out is free.
    unblock::record_unblocked(ws);
    pass.report.warnings = check.report.warnings;
    Ok(pass.report)
}

/// The events of entities that are new here.
type Fresh = BTreeMap<Entity, Vec<Entry>>;

/// One reading of an export.
struct Pass<'a> {
    ws: &'a Workspace,
    report: ImportReport,
    /// The events that were read and not dealt with yet.
    entries: Vec<Entry>,
    /// The tasks whose state in the file is not what their events say.
    edited: Vec<Id>,
    /// What breaks a rule.
    broken: BrokenRules,
    /// What matters to others of each task.
    links: BTreeMap<Id, TaskLinks>,
    /// The tasks that were dropped here, and are left out.
    left_out: Vec<Id>,
    /// The tasks that the record of this store names as dropped.
    dropped: BTreeSet<Id>,
    progress: Option<Progress>,
}

impl<'a> Pass<'a> {
    fn new(ws: &'a Workspace, dry_run: bool) -> Result<Self> {
        let report = ImportReport {
            format: FORMAT,
            dry_run,
            added: Count::default(),
            items: Vec::new(),
            total: 0,
            changes: Vec::new(),
            conflicts: Vec::new(),
            warnings: Vec::new(),
        };
        let archived = archive::archived(&ws.store)?;
        let dropped = archived.dropped.keys().copied().filter(|id| !read::is_there(ws, *id)).collect();
        Ok(Pass {
            ws,
            report,
            entries: Vec::new(),
            edited: Vec::new(),
            broken: BrokenRules::default(),
            links: BTreeMap::new(),
            left_out: Vec::new(),
            dropped,
            progress: None,
        })
    }

    fn read(&mut self, source: &mut impl Read, mut act: impl FnMut(Vec<Entry>) -> Result<Fresh>) -> Result<()> {
        let mut failure = None;
        let mut take = |record: Record| {
            self.take(record)?;
            if self.entries.len() < AT_ONCE {
                return Ok(());
            }
            let fresh = act(std::mem::take(&mut self.entries))?;
            self.count(&fresh);
            Ok(())
        };
        read_records(source, &mut take, &mut failure).map_err(|e| {
            failure.unwrap_or_else(|| {
                Error::validation(format!("not an export of agentpm: {e}"))
                    .hint("write it with agentpm export --format jsonl; events alone are recorded by agentpm sync push")
            })
        })?;
        let fresh = act(std::mem::take(&mut self.entries))?;
        self.count(&fresh);
        Ok(())
    }

    fn take(&mut self, record: Record) -> Result<()> {
        let Record { task, agent, events } = record;
        let entity = match (&task, agent) {
            (Some(state), None) => {
                let named = Named::deserialize(state);
                Entity::Task(named.map_err(|e| Error::validation(format!("a record names no task: {e}")))?.id)
            }
            (None, Some(name)) => Entity::Agent(name),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Error::validation("a record must hold either a task or an agent"));
            }
        };
        if let Some(id) = entity.task().filter(|id| self.dropped.contains(id)) {
            self.left_out.push(id);
            return Ok(());
        }
        let mut entries = Vec::with_capacity(events.len());
        for (n, event) in events.iter().enumerate() {
            let place = format!("event {} of {entity}", n + 1);
            let Some(entry) = stream::parse_entry(&place, event.get())? else { continue };
            if entry.event.entity != entity {
                return Err(Error::validation(format!("{place} belongs to {}", entry.event.entity)));
            }
            entries.push(entry);
        }
        let left_out = self.leave_out(&entity, &mut entries)?;
        match (&entity, task) {
            (Entity::Task(id), Some(state)) if !entries.is_empty() => self.add_task(*id, &state, &entries, left_out),
            (Entity::Task(id), Some(_)) if left_out.is_empty() => self.edited.push(*id),
            _ => self.broken.add_homeless(&entity, left_out),
        }
        self.entries.extend(entries);
        Ok(())
    }

    fn add_task(&mut self, id: Id, state: &Value, entries: &[Entry], left_out: Vec<LeftOutEvent>) {
        let is_known = read::is_there(self.ws, id);
        self.report.items.push(PlacedTask { origin: id.to_string(), id: Some(id), new: !is_known });
        self.report.total += 1;
        let task = fold(id, entries).0;
        self.links.insert(id, TaskLinks::of(&task, entries));
        let folded = ours::state(&task);
        let is_said = |(key, value): (&String, &Value)| folded.get(key) == Some(value);
        if left_out.is_empty() && !state.as_object().is_some_and(|said| said.iter().all(is_said)) {
            self.edited.push(id);
        }
        self.broken.add_task(&task, entries, left_out);
        self.progress.iter().for_each(Progress::step);
    }

    /// Takes out the events that cannot count in a log, with those that follow them.
    ///
    /// Errors: `ERR_IO` if the log here cannot be read.
    fn leave_out(&self, entity: &Entity, entries: &mut Vec<Entry>) -> Result<Vec<LeftOutEvent>> {
        let mut left_out = Vec::new();
        if faults(entity, entries.iter()).is_empty() {
            return Ok(left_out);
        }
        // What the export lacks may be here.
        let here = read_log(&self.ws.store, entity)?.entries;
        let known: HashSet<Id> = here.iter().map(|entry| entry.event.id).collect();
        entries.sort_by_key(|entry| entry.event.stamp());
        loop {
            let faults = faults(entity, here.iter().chain(entries.iter()));
            let is_headless = faults.iter().any(|fault| fault.rule == Rule::LogHeadless);
            let of_events = faults.into_iter().filter_map(|fault| Some((fault.event?, fault.message)));
            let mut reasons: BTreeMap<Id, String> = of_events.filter(|(id, _)| !known.contains(id)).collect();
            for entry in &*entries {
                let parent = entry.event.parents.iter().find(|parent| reasons.contains_key(parent));
                let reason = match parent {
                    Some(parent) => format!("it follows {parent}, which is left out"),
                    None if is_headless => "no event creates the task".to_owned(),
                    None => continue,
                };
                reasons.entry(entry.event.id).or_insert(reason);
            }
            let left = entries.extract_if(.., |entry| reasons.contains_key(&entry.event.id)).map(|entry| {
                let id = entry.event.id;
                LeftOutEvent { id, line: entry.line, reason: reasons[&id].clone() }
            });
            let before = left_out.len();
            left_out.extend(left);
            if left_out.len() == before {
                return Ok(left_out);
            }
        }
    }

    /// Names the tasks whose state was edited in the file, and those that were dropped here.
    fn warn(&mut self) {
        for (what, tasks) in [
            ("the state in the file is not what the events say, and the events count", &self.edited),
            ("left out, because it was dropped from the archives here", &self.left_out),
        ] {
            if tasks.is_empty() {
                continue;
            }
            let names = tasks.iter().map(|id| format!("task {id}"));
            self.report.warnings.push(format!("{what}: {}", first_of(names, MAX_NAMED, tasks.len())));
        }
    }

    fn count(&mut self, fresh: &Fresh) {
        let added = &mut self.report.added;
        for payload in fresh.values().flatten().map(|entry| &entry.event.payload) {
            added.events += 1;
            added.tasks += usize::from(matches!(payload, Payload::TaskCreated(_)));
            added.relationships += usize::from(matches!(payload, Payload::RelationshipAdded(_)));
            added.progress += usize::from(matches!(payload, Payload::ProgressItemAdded(_)));
            added.context += usize::from(matches!(payload, Payload::ContextAdded(_)));
        }
    }
}

/// The errors of lint about single events of a log, and about one that nothing creates.
fn faults<'e>(entity: &Entity, entries: impl Iterator<Item = &'e Entry>) -> Vec<Finding> {
    let mut findings = match entity {
        Entity::Task(id) => fold(*id, entries).1,
        Entity::Agent(name) => fold_agent(name, entries).1,
        // Its events stay on the machine that wrote them.
        Entity::Session(_) => Vec::new(),
    };
    findings.retain(|finding| finding.rule.severity() == Severity::Error);
    findings
}

/// Receives a record.
type Take<'a> = &'a mut dyn FnMut(Record) -> Result<()>;

/// Gives `take` each record of a text. A failure of `take` is left in `failure`.
fn read_records(
    source: &mut impl Read,
    take: Take<'_>,
    failure: &mut Option<Error>,
) -> std::result::Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(256 * 1024, source));
    // Text follows as long as this is not its end.
    while json.end().is_err() {
        Top { take, failure }.deserialize(&mut json)?;
    }
    Ok(())
}

/// An object of the text: a whole document, or one record.
struct Top<'a, 'f> {
    take: Take<'a>,
    failure: &'f mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document or a record of an export")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let (mut is_document, mut task, mut agent, mut events) = (false, None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "format" => {
                    let name: String = map.next_value()?;
                    if name != ours::NAME {
                        return Err(A::Error::custom(format!("its format is {name:?}")));
                    }
                    is_document = true;
                }
                "version" => {
                    let version: u64 = map.next_value()?;
                    if version > ours::VERSION {
                        return Err(A::Error::custom(format!("version {version} needs a newer agentpm")));
                    }
                }
                "agents" | "tasks" => {
                    is_document = true;
                    map.next_value_seed(Records { take: self.take, failure: self.failure })?;
                }
                "task" => task = Some(map.next_value()?),
                "agent" => agent = Some(map.next_value()?),
                "events" => events = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match events {
            Some(events) => (self.take)(Record { task, agent, events }).map_err(|e| {
                *self.failure = Some(e);
                A::Error::custom("the record is refused")
            }),
            None if is_document => Ok(()),
            None => Err(A::Error::custom("an object holds no events")),
        }
    }
}

/// A list of records.
struct Records<'a, 'f> {
    take: Take<'a>,
    failure: &'f mut Option<Error>,
}

impl<'de> DeserializeSeed<'de> for Records<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while seq.next_element_seed(Top { take: self.take, failure: self.failure })?.is_some() {}
        Ok(())
    }
}
