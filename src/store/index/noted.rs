//! Which events of the logs are known to have arrived through the journal: so that what git brought past it is found without
//! reading logs and journals again that did not change.
//!
//! Guarantees that a log that was read again since is looked through again. Like all of the index it can be deleted at any
//! moment; then every log is looked through once more.
//! Leaves to others: the journal, and what an event means.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::Index;
use super::rows::id_of;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::store::database::{failed, is_unwritable};

/// What is known of the log of an entity.
#[derive(Clone, Debug, Default)]
pub struct NotedLog {
    /// The mark of the file as it was looked through, where the index does not keep it.
    pub mark: String,
    /// The events that arrived through the journal.
    pub ids: BTreeSet<Id>,
}

/// What was found by looking through journal and logs.
#[derive(Clone, Debug, Default)]
pub struct NotedChange {
    /// How far the journal had been read before; `None` if all of it was read.
    pub from: Option<String>,
    /// How far it is read now.
    pub to: String,
    /// What is known now, by entity.
    pub logs: Vec<(String, NotedLog)>,
    /// The tasks whose logs hold no other event, with the times at which they were read.
    pub clean: Vec<(Id, i64)>,
}

impl Index {
    /// The tasks whose logs may hold events that did not arrive through the journal, with the times at which they were read.
    ///
    /// Errors: `ERR_IO` if the index cannot be read, as for all questions.
    pub fn unnoted(&self) -> Result<Vec<(Id, i64)>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<Vec<(Id, i64)>> {
            let mut statement = db.prepare_cached("SELECT task, read_at FROM unnoted ORDER BY task")?;
            statement.query_map([], |row| Ok((id_of(row, 0)?, row.get(1)?)))?.collect()
        };
        ask().map_err(failed)
    }

    /// How far the journal was read when the logs were looked through last.
    pub fn noted_to(&self) -> Result<Option<String>> {
        let ask = self.db.query_row("SELECT value FROM meta WHERE name = 'noted'", [], |row| row.get(0)).optional();
        ask.map_err(failed)
    }

    /// What is known of the log of an entity.
    pub fn noted(&self, entity: &str) -> Result<NotedLog> {
        let ask = || {
            let mut statement = self.db.prepare_cached("SELECT mark, ids FROM noted WHERE entity = ?1")?;
            let row = |row: &rusqlite::Row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            statement.query_row([entity], row).optional()
        };
        let found = ask().map_err(failed)?;
        Ok(found.map_or_else(NotedLog::default, |(mark, ids)| NotedLog {
            mark,
            // Ids that this program wrote.
            ids: ids.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect(),
        }))
    }

    /// The logs of which an event with one of these ids arrived through the journal.
    pub fn noted_with(&self, ids: &BTreeSet<Id>) -> Result<Vec<(Id, Entity)>> {
        let wanted: BTreeMap<String, Id> = ids.iter().map(|id| (id.to_string(), *id)).collect();
        let ask = || {
            let mut found = Vec::new();
            let mut statement = self.db.prepare_cached("SELECT entity, ids FROM noted")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let of_log = row.get_ref(1)?.as_str().unwrap_or_default();
                for id in of_log.split_ascii_whitespace().filter_map(|id| wanted.get(id)) {
                    let entity: Option<Entity> = row.get_ref(0)?.as_str().ok().and_then(|text| text.parse().ok());
                    found.extend(entity.map(|entity| (*id, entity)));
                }
            }
            Ok(found)
        };
        ask().map_err(failed)
    }

    /// Saves what was found, unless another process was faster. If that fails, it is found again the next time.
    ///
    /// Errors: `ERR_IO` if the index is damaged.
    pub fn save_noted(&self, change: &NotedChange) -> Result<()> {
        let save = || -> rusqlite::Result<()> {
            let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
            let known: Option<String> =
                tx.query_row("SELECT value FROM meta WHERE name = 'noted'", [], |row| row.get(0)).optional()?;
            if known != change.from {
                return Ok(());
            }
            for (entity, log) in &change.logs {
                let ids = log.ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
                tx.prepare_cached("INSERT OR REPLACE INTO noted VALUES(?1,?2,?3)")?
                    .execute(params![entity, log.mark, ids])?;
            }
            for (task, read_at) in &change.clean {
                tx.prepare_cached("DELETE FROM unnoted WHERE task = ?1 AND read_at = ?2")?
                    .execute(params![task.to_string(), read_at])?;
            }
            tx.execute("INSERT OR REPLACE INTO meta VALUES('noted', ?1)", [&change.to])?;
            tx.commit()
        };
        match save() {
            Err(e) if is_unwritable(&e) => {
                tracing::debug!(error = %e, "what arrived could not be noted in the index");
                Ok(())
            }
            other => other.map_err(failed),
        }
    }
}
