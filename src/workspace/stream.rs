//! Events as they arrive: pulling them from a cursor, watching, and taking in those of another replica.
//!
//! Promises: the cursor is the id of the last event seen; after it nothing is shown twice and nothing is missed, whether it was
//! written here or came by git. Order is that of arrival on this machine, which is the journal's.
//! Refuses to know: who looks on.
//!
//! Git brings events without telling anybody. So whoever looks on first notes in the journal what lies in the logs and is not
//! there yet, under the lock; such records are never brought into files again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Workspace;
use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Entry, MAX_CLOCK, parse_line};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::reports::view;
use crate::runtime::journal::{self, Commit};
use crate::store::entity::{load_agent, load_task};
use crate::store::project::{check_home, project, without_text};

/// How often those who watch look even where nothing woke them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Events that `sync pull` gives unless asked for more.
const DEFAULT_LIMIT: usize = 500;

impl Workspace {
    /// Events that arrived after one of them, in order of arrival; from the first on where none is named.
    ///
    /// Errors: `ERR_NOT_FOUND` where no event has that id, `ERR_BUSY` or `ERR_IO` where arrivals cannot be noted.
    pub fn pull_events(&self, since: Option<Id>, limit: Option<usize>) -> Result<Value> {
        self.note_arrivals()?;
        let events = self.events_since(since)?;
        let total = events.len();
        let shown = &events[..total.min(limit.unwrap_or(DEFAULT_LIMIT))];
        let more = shown.len() < total;
        let next = shown.last().map(|entry| entry.event.id).or(since);
        let items: Vec<Value> = shown.iter().map(view::event).collect();
        Ok(json!({ "items": items, "total": total, "truncated": more, "next_cursor": next }))
    }

    /// Takes in events of another replica: one JSON array, or one event a line. Those that are here already change nothing.
    ///
    /// Errors: `ERR_VALIDATION` naming the first event that cannot be read or whose id stands for another here; then nothing
    /// was taken in. `ERR_BUSY`, `ERR_IO`.
    pub fn push_events(&self, text: &str) -> Result<Value> {
        let entries = parse_events(text)?;
        let given = entries.len();
        self.under_lock("agentpm sync push", |runtime, _, journal| {
            self.look_after_git(journal, runtime)?;
            let fresh = self.fresh_of(entries)?;
            let all: Vec<Entry> = fresh.values().flatten().cloned().collect();
            if !all.is_empty() {
                let lamport = all.iter().map(|e| e.event.lamport).max().unwrap_or(0).min(MAX_CLOCK);
                journal.append(&all, &self.commit_line(all.len(), lamport.max(journal.lamport()), false)?)?;
                for (entity, more) in &fresh {
                    project(&self.store, entity, more, runtime)?;
                }
                journal.settle(&self.store.dir)?;
            }
            let entities: Vec<String> = fresh.keys().map(ToString::to_string).collect();
            Ok(json!({ "given": given, "taken": all.len(), "known": given - all.len(), "entities": entities }))
        })
    }

    /// Those of the events that are not here yet, by entity.
    fn fresh_of(&self, entries: Vec<Entry>) -> Result<BTreeMap<Entity, Vec<Entry>>> {
        let mut fresh: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            let entity = entry.event.entity.clone();
            let known = fresh.contains_key(&entity);
            if !known {
                check_home(&self.store, &entity)?;
            }
            fresh.entry(entity).or_default().push(entry);
        }
        for (entity, more) in &mut fresh {
            let here = self.entries_of(entity)?;
            let mut seen: BTreeMap<Id, Box<str>> = here.into_iter().map(|e| (e.event.id, e.line)).collect();
            let mut new = Vec::new();
            for entry in more.drain(..) {
                match seen.get(&entry.event.id) {
                    None => {
                        seen.insert(entry.event.id, entry.line.clone());
                        new.push(entry);
                    }
                    Some(line) if *line == entry.line || is_redacted(line, &entry) => {}
                    Some(_) => {
                        let message =
                            format!("event {} of {entity} is here already and says something else", entry.event.id);
                        return Err(Error::validation(message).hint("one of the two was altered; nothing was taken in"));
                    }
                }
            }
            *more = new;
        }
        fresh.retain(|_, more| !more.is_empty());
        Ok(fresh)
    }

    /// Calls `show` with each event that arrives after `since` (from now on where none is named), until it says that it has
    /// enough or the time is over.
    ///
    /// Errors: as [`Workspace::pull_events`].
    pub fn watch(
        &self,
        since: Option<Id>,
        until: Option<Duration>,
        mut show: impl FnMut(&Entry) -> bool,
    ) -> Result<()> {
        if until.is_some_and(|until| until.is_zero()) {
            return Ok(());
        }
        self.runtime_to_write()?;
        let news = self.news();
        let start = Instant::now();
        let mut git = self.git_mark();
        self.note_arrivals()?;
        let mut cursor = match since {
            Some(id) => Some(id),
            None => self.last_event()?,
        };
        loop {
            for entry in self.events_since(cursor)? {
                cursor = Some(entry.event.id);
                if !show(&entry) {
                    return Ok(());
                }
            }
            let left = until.map(|until| until.saturating_sub(start.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            let wait = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
            news.wait(wait);
            let now = self.git_mark();
            if now != git {
                git = now;
                self.note_arrivals()?;
            }
        }
    }

    /// Changes whenever git may have brought events.
    fn git_mark(&self) -> Option<(crate::env::files::Mark, String)> {
        self.repo.as_ref().map(|repo| (repo.index_mark(), repo.head_text()))
    }

    /// Events of this store's journal after one of them.
    fn events_since(&self, since: Option<Id>) -> Result<Vec<Entry>> {
        let Some(runtime) = Dir::open(&self.runtime_path).ok() else { return Ok(Vec::new()) };
        let root = self.root();
        let mut found = since.is_none();
        let mut events = Vec::new();
        let mut seen = BTreeSet::new();
        let mut redacted = BTreeSet::new();
        journal::each(&runtime, |record| {
            if record.commit.root != root {
                return;
            }
            for entry in record.entries {
                if let Payload::ContextRedacted(p) = &entry.event.payload {
                    redacted.insert((entry.event.entity.clone(), p.entry));
                }
                // What came here by two ways, or is noted again after a new start, has arrived once.
                if !seen.insert(entry.event.id) {
                    continue;
                }
                if found {
                    events.push(entry);
                } else if Some(entry.event.id) == since {
                    found = true;
                }
            }
        })?;
        if !found {
            let id = since.map(|id| id.to_string()).unwrap_or_default();
            return Err(Error::not_found(format!("no event {id} has arrived here"))
                .hint("leave the cursor out to begin with the first event, or take next_cursor of an earlier answer"));
        }
        // The journal still holds a text that was taken out since; nobody is given it any more.
        for entry in events.iter_mut().filter(|e| redacted.contains(&(e.event.entity.clone(), e.event.id))) {
            without_text(entry)?;
        }
        Ok(events)
    }

    fn last_event(&self) -> Result<Option<Id>> {
        Ok(self.events_since(None)?.last().map(|entry| entry.event.id))
    }

    /// Notes in the journal what lies in the logs and did not come through it.
    pub(super) fn note_arrivals(&self) -> Result<()> {
        self.under_lock("agentpm, noting what came by git", |runtime, _, journal| {
            let root = self.root();
            let mut known = BTreeSet::new();
            journal::each(runtime, |record| {
                if record.commit.root == root {
                    known.extend(record.entries.iter().map(|e| e.event.id));
                }
            })?;
            let mut arrived: Vec<Entry> = Vec::new();
            let tasks = self.store.task_folders()?.0.into_iter().map(Entity::Task);
            let agents = self.agents()?.into_iter().map(|agent| Entity::Agent(agent.name));
            for entity in tasks.chain(agents) {
                let own = |e: &Entry| e.event.entity == entity && known.insert(e.event.id);
                arrived.extend(self.entries_of(&entity)?.into_iter().filter(own));
            }
            if arrived.is_empty() {
                return Ok(());
            }
            arrived.sort_by_key(|e| e.event.stamp());
            let commit = self.commit_line(arrived.len(), journal.lamport(), true)?;
            journal.append(&arrived, &commit)?;
            journal.settle(&self.store.dir)
        })
    }

    fn commit_line(&self, n: usize, lamport: u64, arrived: bool) -> Result<Commit> {
        Ok(Commit { commit: self.env.new_id()?, n, lamport, root: self.root(), head: self.head(), arrived, key: None })
    }

    fn entries_of(&self, entity: &Entity) -> Result<Vec<Entry>> {
        Ok(match entity {
            Entity::Task(id) => load_task(&self.store, *id, &[])?.log.entries,
            Entity::Agent(name) => load_agent(&self.store, name)?.1.entries,
            Entity::Session(_) => Vec::new(),
        })
    }
}

/// Whether what is here is the pushed event without its text.
fn is_redacted(here: &str, entry: &Entry) -> bool {
    let empty = |line: &str| {
        parse_line(line).is_ok_and(|e| matches!(e.payload, Payload::ContextAdded(p) if p.content.is_empty()))
    };
    matches!(entry.event.payload, Payload::ContextAdded(_)) && (empty(here) || empty(&entry.line))
}

fn parse_events(text: &str) -> Result<Vec<Entry>> {
    let lines: Vec<String> = if text.trim_start().starts_with('[') {
        let items: Vec<Box<serde_json::value::RawValue>> =
            serde_json::from_str(text).map_err(|e| Error::validation(format!("the events are no JSON array: {e}")))?;
        items.into_iter().map(|raw| one_line(raw.get())).collect()
    } else {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let mut entries = Vec::with_capacity(lines.len());
    for (n, line) in lines.into_iter().enumerate() {
        let bad = |why: String| {
            Error::validation(format!("event {} cannot be taken in: {why}", n + 1))
                .hint("nothing was taken in; events come from agentpm sync pull, agentpm log --json or a log file")
        };
        let event = parse_line(&line).map_err(|e| bad(e.message))?;
        if event.payload.journal_only() || matches!(event.entity, Entity::Session(_)) {
            return Err(bad(format!("{} stays on the machine that wrote it", event.payload.kind())));
        }
        entries.push(Entry { event, line: line.into() });
    }
    Ok(entries)
}

/// A JSON object without the line breaks of a pretty printer; those within texts are escaped anyway.
fn one_line(raw: &str) -> String {
    if !raw.contains(['\n', '\r']) {
        return raw.to_owned();
    }
    // Values that cannot be read are refused by the reader of events.
    serde_json::from_str::<Value>(raw).map_or_else(|_| raw.replace(['\n', '\r'], " "), |value| value.to_string())
}
