//! The record of tasks whose events were dropped from the archives.
//!
//! Guarantees that a dropped task stays known by its id: a reference to it is no error, and nothing waits for it. A line of the record
//! holds the tasks that one archive lost at one time, with a digest of their lines, and what they were called where they came from.
//! Leaves to others: what is dropped (`compact`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::event::Event;
use crate::model::id::Id;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::event_rules::status_of;
use crate::store::layout::{DROPPED, Store};

/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = 64 * 1024 * 1024;

/// What one archive lost at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedTasks {
    /// The path of the archive, below the store.
    pub archive: String,
    /// When they were dropped.
    pub at: Time,
    /// Who dropped them.
    pub by: String,
    /// The number of their events.
    pub events: usize,
    /// The bytes of their lines.
    pub bytes: u64,
    /// The SHA-256 of their lines, in hexadecimal.
    pub sha256: String,
    /// The tasks.
    pub tasks: Vec<Id>,
    /// Those that came from elsewhere, by `<format>/<id>` of their source, so that no import creates them again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub origins: BTreeMap<String, Id>,
}

/// Whether a drop at this time explains that these events of a task are gone. A task that was opened again after it, in another clone,
/// stays, and if its files are gone later, they were removed otherwise.
pub fn explains<'e>(at: Time, events: impl IntoIterator<Item = &'e Event>) -> bool {
    let opens = |event: &Event| status_of(event).is_some_and(|status| status != Status::Archived);
    !events.into_iter().any(|event| event.at > at && opens(event))
}

/// The lines of the record, as they stand; none if there is no record.
///
/// Errors: `ERR_IO` if it cannot be read.
pub fn lines(store: &Store) -> Result<Vec<String>> {
    match store.dir.read(DROPPED, MAX_RECORD) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || crate::env::files::is_no_regular_file(&e) => {
            Ok(Vec::new())
        }
        Err(e) => Err(Error::io("read", &store.path().join(DROPPED), &e)),
    }
}

/// The tasks of the record, and when each was dropped last. Lint reports a line that cannot be read.
///
/// Errors: as [`lines`].
pub fn tasks(store: &Store) -> Result<BTreeMap<Id, Time>> {
    Ok(tasks_in(&lines(store)?.join("\n")))
}

/// The tasks of the record whose origin begins like this, by the rest of the origin.
///
/// Errors: as [`lines`].
pub fn origins(store: &Store, begin: &str) -> Result<BTreeMap<String, Id>> {
    let all = lines(store)?.into_iter().filter_map(|line| read_line(&line)).flat_map(|dropped| dropped.origins);
    Ok(all.filter_map(|(origin, id)| Some((origin.strip_prefix(begin)?.to_owned(), id))).collect())
}

/// The tasks that a record names, and when each was dropped last.
pub fn tasks_in(text: &str) -> BTreeMap<Id, Time> {
    let mut tasks = BTreeMap::new();
    for dropped in text.lines().filter_map(read_line) {
        for id in dropped.tasks {
            let last = tasks.entry(id).or_insert(dropped.at);
            *last = dropped.at.max(*last);
        }
    }
    tasks
}

/// One line of a record; `None` if it is none.
pub fn read_line(line: &str) -> Option<DroppedTasks> {
    serde_json::from_str(line).ok()
}
