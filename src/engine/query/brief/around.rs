//! What other tasks and other places give: the parents, what finished blockers and siblings came to, open blockers, children,
//! and later states on other branches.
//!
//! Guarantees that only the family and the blockers of the task are looked at, by the index.
//! Leaves to others: what the page has room for (`page`).

use std::collections::BTreeSet;

use super::MAX_NAMED;
use super::own::counts;
use super::page::{Draft, Kind, Section, line_of, short};
use crate::engine::context::Workspace;
use crate::engine::view::read::{self, Indexed};
use crate::error::Result;
use crate::model::context::ContextType;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::plain::code_block;
use crate::model::task::{Status, Task};
use crate::reports::view::ElsewhereState;
use crate::rules::surroundings::Neighborhood;
use crate::store::index::Index;

const PARENT: Kind = Kind { name: "parents", heading: "\n## Part of, nearest first\n", rank: 2 };
const ANCESTORS: Kind = Kind { rank: 4, ..PARENT };
const BLOCKERS_DID: Kind =
    Kind { name: "blocker_results", heading: "\n## Outcomes and decisions of finished blockers\n", rank: 3 };
const SIBLINGS_DID: Kind =
    Kind { name: "sibling_results", heading: "\n## Outcomes and decisions of finished siblings\n", rank: 8 };
const CHILDREN_DID: Kind =
    Kind { name: "child_results", heading: "\n## Outcomes and decisions of finished children\n", rank: 6 };
const BLOCKERS: Kind = Kind { name: "blockers", heading: "\n## Waits for\n\n", rank: 2 };
const WAITING: Kind = Kind { name: "waiting", heading: "\n## Waiting for it\n\n", rank: 7 };
const OPEN_CHILDREN: Kind = Kind { name: "children", heading: "\n## Children\n\n", rank: 4 };
const FINISHED_CHILDREN: Kind = Kind { rank: 7, ..OPEN_CHILDREN };
const BRANCHES: Kind = Kind { name: "branches", heading: "\n## Elsewhere, by events that are not here\n\n", rank: 4 };

/// Most finished siblings or children whose results are read, the newest of them.
const MAX_SIBLINGS: usize = 50;
/// Longest title of another task, in bytes.
const MAX_TITLE: usize = 200;

/// The tasks around one.
pub(super) type Near<'n, 'a> = Neighborhood<'n, Indexed<'a>>;

/// Handle and title of a task.
fn name(ws: &Workspace, id: Id, title: &str) -> String {
    // A handle is for reading; where its folder cannot be listed the id's end serves.
    let handle = read::handle(ws, id).unwrap_or_else(|_| id.handle(HANDLE_MIN));
    format!("{handle} {}", line_of(title, MAX_TITLE))
}

/// The task above it, the one above that, and so on.
pub(super) fn parents(ws: &Workspace, draft: &mut Draft, task: &Task, near: &mut Near, index: &Index) -> Result<()> {
    let (mut above, mut seen) = (Vec::new(), BTreeSet::from([task.id]));
    let mut next = task.parent();
    while let Some(id) = next.filter(|id| seen.insert(*id)) {
        let parent = index.task(id)?;
        next = parent.as_ref().and_then(Task::parent);
        above.push((id, parent));
    }
    let most = draft.room / 8;
    draft.list(above.into_iter().enumerate(), draft.room, |(n, (id, parent))| {
        let kind = if n == 0 { PARENT } else { ANCESTORS };
        let Some(parent) = parent else {
            return Section { kind, text: format!("\n{} (not here)\n", id.handle(HANDLE_MIN)), cut: 0 };
        };
        let status = near.status(id).ok().flatten().unwrap_or(parent.status);
        let mut text = format!("\n{} ({status})", name(ws, id, &parent.fields.title));
        let mut cut = 0;
        match &parent.fields.intent {
            Some(intent) => {
                let (intent, more) = short(intent, most);
                text.push_str(&format!(", intent:\n\n{}", code_block(&intent)));
                cut = more;
            }
            None => text.push('\n'),
        }
        if n == 0 {
            let criteria: Vec<&str> = parent.fields.acceptance.iter().map(String::as_str).collect();
            for (name, list) in
                [("criteria", criteria), ("files", parent.fields.files.iter().map(String::as_str).collect())]
            {
                if !list.is_empty() {
                    let list = list.join("; ");
                    cut += short(&list, most).1;
                    text.push_str(&format!("{name}: {}\n", line_of(&list, most)));
                }
            }
        }
        Section { kind, text, cut }
    });
    Ok(())
}

/// What the finished blockers and siblings came to: their outcomes and decisions, the shortest first.
pub(super) fn results(ws: &Workspace, draft: &mut Draft, task: &Task, index: &Index) -> Result<()> {
    let blockers = task.blockers();
    let mut siblings = task.parent().map(|parent| index.children(parent)).transpose()?.unwrap_or_default();
    siblings.retain(|id| *id != task.id && !blockers.contains(id));
    siblings.reverse();
    let mut children = index.children(task.id)?;
    children.reverse();
    for (kind, ids, most) in [
        (BLOCKERS_DID, blockers, usize::MAX),
        (CHILDREN_DID, children, MAX_SIBLINGS),
        (SIBLINGS_DID, siblings, MAX_SIBLINGS),
    ] {
        let (mut entries, mut finished) = (Vec::new(), 0);
        for (n, id) in ids.iter().enumerate() {
            if finished == most {
                draft.count(if kind.name == CHILDREN_DID.name { "children" } else { "siblings" }, ids.len() - n);
                break;
            }
            if !index.status(*id)?.is_some_and(Status::is_finished) {
                continue;
            }
            finished += 1;
            let Some(other) = index.task(*id)? else { continue };
            let name = name(ws, *id, &other.fields.title);
            let results = other
                .context
                .into_values()
                .filter(|entry| counts(entry) && matches!(entry.kind, ContextType::Outcome | ContextType::Decision));
            entries.extend(results.map(|entry| (name.clone(), entry)));
        }
        entries.sort_by_key(|(_, entry)| entry.content.len());
        let most = draft.room / 8;
        draft.list(entries.into_iter(), draft.room / 2, |(name, entry)| {
            let (content, cut) = short(&entry.content, most);
            let (word, author) = (entry.kind.as_str(), line_of(&entry.author, 100));
            Section { kind, text: format!("\n{name}, {word} by {author}:\n\n{}", code_block(&content)), cut }
        });
    }
    Ok(())
}

/// The tasks that it waits for.
pub(super) fn open_blockers(
    ws: &Workspace,
    draft: &mut Draft,
    task: &Task,
    near: &mut Near,
    index: &Index,
) -> Result<()> {
    let open: Vec<_> = near.waits(task)?.iter().map(|blocker| (blocker.id, blocker.missing.words())).collect();
    listed(ws, draft, BLOCKERS, &open, near, index)
}

/// The unfinished tasks that wait for it.
pub(super) fn waiting(ws: &Workspace, draft: &mut Draft, task: &Task, near: &mut Near, index: &Index) -> Result<()> {
    let waiting: Vec<_> = near.waiting(task.id)?.into_iter().map(|id| (id, None)).collect();
    listed(ws, draft, WAITING, &waiting, near, index)
}

/// Its children, the unfinished ones first.
pub(super) fn children(ws: &Workspace, draft: &mut Draft, task: &Task, near: &mut Near, index: &Index) -> Result<()> {
    let (mut open, mut finished) = (Vec::new(), Vec::new());
    for id in index.children(task.id)? {
        let status = index.status(id)?;
        match status.is_some_and(Status::is_finished) {
            true if read::is_open_child(ws, index, id)? => open.push((id, Some("completed, awaits review"))),
            true => finished.push((id, None)),
            false => open.push((id, None)),
        }
    }
    listed(ws, draft, OPEN_CHILDREN, &open, near, index)?;
    finished.reverse();
    listed(ws, draft, FINISHED_CHILDREN, &finished, near, index)
}

/// A line for each of the first of these tasks, with these words or else its status as it counts.
fn listed(
    ws: &Workspace,
    draft: &mut Draft,
    kind: Kind,
    tasks: &[(Id, Option<&str>)],
    near: &mut Near,
    index: &Index,
) -> Result<()> {
    // Titles are read only of what could be shown: a line has more than 20 bytes.
    let most = draft.room / 4 / 20;
    let mut lines = Vec::new();
    for (id, words) in tasks.iter().take(most) {
        let title = index.task(*id)?.map(|task| task.fields.title).unwrap_or_default();
        let words = match words {
            Some(words) => words,
            None => near.status(*id)?.map_or("not here", Status::as_str),
        };
        lines.push(format!("- {} ({words})\n", name(ws, *id, &title)));
    }
    draft.count(kind.name, tasks.len() - lines.len());
    draft.list(lines.into_iter(), draft.room / 4, |text| Section { kind, text, cut: 0 });
    Ok(())
}

/// What other worktrees and branches know of the task beyond what is here.
pub(super) fn branches(draft: &mut Draft, branches: &[ElsewhereState]) {
    draft.list(branches.iter().take(MAX_NAMED), draft.room, |place| {
        let (kind, name) = place.place();
        let by = place.owner.as_ref().map(|owner| format!(" by {}", line_of(owner, 100))).unwrap_or_default();
        let text = format!("- {kind} {}: {}{by}\n", line_of(name, MAX_TITLE), place.status);
        Section { kind: BRANCHES, text, cut: 0 }
    });
}
