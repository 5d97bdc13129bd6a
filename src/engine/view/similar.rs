//! Open tasks whose title is much like that of a new one.
//!
//! Guarantees that a creation costs the same in a plan of any size: it asks the read model as it is and the end of the journal, and
//! brings neither up to date. So it can miss a task; it never fails.
//! Leaves to others: what a caller does about it.

use std::collections::BTreeSet;

use super::read;
use crate::engine::context::Workspace;
use crate::env::outside;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::search::text::folded;
use crate::rules::held::NamedTask;
use crate::runtime::journal;
use crate::store::entity::load_task;
use crate::store::index::Index;

/// Maximum number of tasks that are named.
pub(crate) const MAX_SIMILAR: usize = 3;
/// Maximum number of bytes of journal that are read for tasks that the read model does not have yet.
const MAX_BEHIND: u64 = 64 << 10;
/// Two titles are similar if at least this part of their trigrams is common to both.
const LEAST: f64 = 0.7;

/// Open tasks with a title like that of a new task, the most similar first, the new one perhaps among them.
pub(crate) fn similar(ws: &Workspace, title: &str) -> Vec<NamedTask> {
    find(ws, title).unwrap_or_else(|e| {
        tracing::debug!(error = %e, "similar tasks could not be looked for");
        Vec::new()
    })
}

fn find(ws: &Workspace, title: &str) -> Result<Vec<NamedTask>> {
    let title = Title::of(title);
    let path = ws.index_path().filter(|path| outside::metadata(path).is_ok());
    let index = path.map(|path| Index::open(Some(&path), ws.env.boot())).transpose()?;
    let mut known = index.as_ref().map_or_else(|| Ok(Vec::new()), |index| index.titles_like(&title.folded))?;
    known.extend(created_since(ws, index.as_ref())?);
    let mut likely: Vec<(f64, Id)> = known
        .into_iter()
        .map(|(id, other)| (title.likeness(&other), id))
        .filter(|(likeness, _)| *likeness >= LEAST)
        .collect();
    likely.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    likely.dedup_by_key(|(_, id)| *id);
    let mut found = Vec::new();
    for (_, id) in likely {
        let task = load_task(&ws.store, id, &[])?.task;
        // The read model may be behind.
        let is_open = task.version > 0 && !task.status.is_finished();
        if is_open && title.likeness(&task.fields.title) >= LEAST {
            found.push(NamedTask::new(id, read::handle(ws, id)?, &task.fields.title));
        }
        if found.len() > MAX_SIMILAR {
            break;
        }
    }
    Ok(found)
}

/// The tasks that this machine created after the read model was brought up to date, where that is not long ago.
fn created_since(ws: &Workspace, index: Option<&Index>) -> Result<Vec<(Id, String)>> {
    let Some(runtime) = ws.runtime() else { return Ok(Vec::new()) };
    let offset = index.map(|index| read::current_to(ws, index)).transpose()?.flatten().unwrap_or(0);
    if !(offset..=offset + MAX_BEHIND).contains(&journal::length(runtime)) {
        return Ok(Vec::new());
    }
    let (records, _) = journal::look(runtime, offset)?;
    let records = records.into_iter().filter(|record| Some(&record.commit.store) == ws.store_key());
    let created = records.flat_map(|record| record.entries).filter_map(|entry| {
        let (Entity::Task(id), Payload::TaskCreated(created)) = (entry.event.entity, entry.event.payload) else {
            return None;
        };
        Some((id, created.fields.get("title")?.as_str()?.to_owned()))
    });
    Ok(created.collect())
}

/// A title in the form in which it is compared.
struct Title {
    folded: String,
    /// In order, each once.
    trigrams: Vec<[char; 3]>,
}

impl Title {
    fn of(title: &str) -> Self {
        let folded = folded(title);
        let trigrams = trigrams(&folded);
        Title { folded, trigrams }
    }

    /// From 0 to 1: the part of the trigrams that is common to both titles.
    fn likeness(&self, other: &str) -> f64 {
        let other = folded(other);
        // Titles that differ in a number are titles of different things. It shows sooner than a difference of letters.
        if numbers(&self.folded) != numbers(&other) {
            return 0.0;
        }
        let other = trigrams(&other);
        let common = self.trigrams.iter().filter(|three| other.binary_search(three).is_ok()).count();
        let all = self.trigrams.len() + other.len();
        if all == 0 { 0.0 } else { 2.0 * common as f64 / all as f64 }
    }
}

fn words(folded: &str) -> impl Iterator<Item = &str> {
    folded.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The words with digits.
fn numbers(folded: &str) -> BTreeSet<&str> {
    words(folded).filter(|word| word.contains(|c: char| c.is_numeric())).collect()
}

fn trigrams(folded: &str) -> Vec<[char; 3]> {
    let letters: Vec<char> = format!(" {} ", words(folded).collect::<Vec<_>>().join(" ")).chars().collect();
    let mut all: Vec<[char; 3]> = letters.windows(3).map(|three| [three[0], three[1], three[2]]).collect();
    all.sort_unstable();
    all.dedup();
    all
}
