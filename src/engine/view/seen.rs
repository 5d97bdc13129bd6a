//! What was looked through already, kept with the index of each worktree.
//!
//! Guarantees: a note that is missing, old or unreadable only means that the next command looks once more.
//! Leaves to others: what is looked for.

use crate::engine::context::Workspace;
use crate::env::files;
use crate::git::{Oid, Repo};

/// How many commits are remembered as looked through.
const REMEMBERED: usize = 16;

/// What was known when the store was last looked through, kept with the index of each worktree.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The mark of git's index.
    pub mark: String,
    /// What was checked out.
    pub last: Option<Oid>,
    /// Commits whose files are known to hold every event of their history.
    pub whole: Vec<Oid>,
}

fn seen_path(ws: &Workspace) -> Option<std::path::PathBuf> {
    ws.index_path().map(|path| path.with_extension("seen"))
}

pub(crate) fn seen(ws: &Workspace) -> Option<Seen> {
    let path = seen_path(ws)?;
    // Anything but a file could keep us waiting.
    files::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    let bytes = files::read_outside(&path, 4096).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let mark = lines.next()?.to_owned();
    let last = lines.next().and_then(|line| line.parse().ok());
    Some(Seen { mark, last, whole: lines.filter_map(|line| line.parse().ok()).collect() })
}

/// Remembers what was looked through. Where that cannot be kept, the next command looks once more.
pub(crate) fn note_seen(ws: &Workspace, is_whole: bool) {
    let (Some(repo), Some(path)) = (&ws.repo, seen_path(ws)) else { return };
    let mut whole = seen(ws).unwrap_or_default().whole;
    let head = repo.objects().and_then(|objects| objects.head()).ok().and_then(|head| head.commit);
    if let Some(head) = head.filter(|_| is_whole) {
        whole.retain(|known| *known != head);
        whole.insert(0, head);
        whole.truncate(REMEMBERED);
    }
    let line = |oid: &Oid| format!("\n{oid}");
    let last = head.map_or_else(|| "\n-".to_owned(), |head| line(&head));
    let text = mark_text(repo) + &last + &whole.iter().map(line).collect::<String>();
    let kept = files::write_outside(&path, text.as_bytes());
    kept.unwrap_or_else(|e| tracing::debug!(error = %e, "no note of what was seen"));
}

/// Changes whenever git writes its index.
pub(crate) fn mark_text(repo: &Repo) -> String {
    let mark = repo.index_mark();
    format!("{} {} {}", mark.size, mark.mtime, mark.inode)
}
