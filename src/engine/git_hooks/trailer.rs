//! `trailer`: naming in a commit message the leases that the commit is made under.
//!
//! Guarantees: only where the settings ask for it; a line that is there already is not written twice; the rest of the message
//! stays as it is.
//! Leaves to others: whether the commit may be made (`lint --staged`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::engine::context::Workspace;
use crate::engine::context::open::Place;
use crate::engine::lint::Staging;
use crate::engine::view::read;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::Status;
use crate::model::trailer::Trailer;
use crate::rules::lease::Standing;

/// Longest message that is read, in bytes.
const MAX_MESSAGE: u64 = 4 * 1024 * 1024;
/// How long git may take to put lines into a message.
const DEADLINE: Duration = Duration::from_secs(20);

/// Adds the trailers to the file that holds a commit's message. Returns what was added.
///
/// Errors: `ERR_USAGE` where no agent is named, `ERR_GIT` where index or message cannot be read, `ERR_IO`.
pub fn add_trailers(ws: &Workspace, message: &Path) -> Result<Vec<Trailer>> {
    if !ws.settings.hooks.trailer {
        return Ok(Vec::new());
    }
    let repo = ws
        .repo
        .clone()
        .ok_or_else(|| Error::new(Code::Git, format!("{} lies in no git repository", ws.store.path().display())))?;
    let place = Place { repo, name: ws.store.name.clone(), runtime: None };
    let staging = Staging::open(&ws.env, &place)?;
    // A commit that is made again names the leases of its own time.
    let trailers = if staging.is_replay() { Vec::new() } else { leases_of_commit(ws, &staging)? };
    if trailers.is_empty() {
        return Ok(trailers);
    }
    let path = ws.env.cwd().join(message);
    let bytes = outside::read(&path, MAX_MESSAGE).map_err(|e| Error::io("read", &path, &e))?;
    let git = place.repo.program(&ws.env, DEADLINE)?;
    let strip = ["stripspace", "--strip-comments"];
    // A message that says nothing stops the commit, as it would without us.
    if git.text(&strip, &git.call(&strip, None, bytes)?)?.is_empty() {
        return Ok(Vec::new());
    }
    let file = path.display().to_string();
    let lines: Vec<String> = trailers.iter().map(ToString::to_string).collect();
    let mut args = vec!["interpret-trailers", "--in-place", "--no-divider", "--if-exists", "addIfDifferent"];
    for line in &lines {
        args.extend(["--trailer", line]);
    }
    args.extend(["--", &file]);
    git.ask(&args)?;
    Ok(trailers)
}

/// The leases under which the caller commits: of the tasks that the commit touches, or of all that are held where it
/// touches none of them. A lease that ended with its task is named by the event that ended it.
fn leases_of_commit(ws: &Workspace, staging: &Staging<'_>) -> Result<Vec<Trailer>> {
    let me = ws.author()?;
    let mut held = BTreeMap::new();
    let index = read::index(ws)?;
    for (task, lease) in read::live_leases(ws, &index)? {
        if matches!(read::standing(ws, &read::lease_record(ws, task, &index)?), Some(Standing::Mine(_))) {
            held.insert(task, lease.fence);
        }
    }
    let mut touched: BTreeMap<Id, u64> = BTreeMap::new();
    for entity in staging.entities() {
        let Entity::Task(task) = entity else { continue };
        let ended = |entry: &Entry| {
            let ends = matches!(&entry.event.payload, Payload::TaskStatusChanged(p) if p.to == Status::Completed);
            entry.event.fence.filter(|_| ends && entry.event.author.agent == me.agent)
        };
        let ended = staging.new_events(&entity)?.iter().filter_map(ended).max();
        if let Some(fence) = held.get(&task).copied().max(ended) {
            touched.insert(task, fence);
        }
    }
    let named = if touched.is_empty() { held } else { touched };
    named.into_iter().map(|(task, fence)| Ok(Trailer { handle: read::handle(ws, task)?, fence })).collect()
}
