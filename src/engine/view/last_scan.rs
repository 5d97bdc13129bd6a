//! Remembers what the last scan of the store covered, next to the index of each worktree.
//!
//! Guarantees that a missing, stale or unreadable note only causes another scan.
//! Leaves to others: the scan itself (`removed_commits`, `engine::repair`).

use crate::engine::context::Workspace;
use crate::env::outside;
use crate::git::{Oid, Repo};

/// Maximum number of scanned commits that are remembered.
const REMEMBERED: usize = 16;

/// The state of the repository at the last scan.
#[derive(Debug, Default)]
pub(crate) struct LastScan {
    /// The mark of git's index.
    pub mark: String,
    /// The commit of HEAD.
    pub last: Option<Oid>,
    /// Commits whose files contain every event of their history.
    pub whole: Vec<Oid>,
}

fn path_of(ws: &Workspace) -> Option<std::path::PathBuf> {
    ws.index_path().map(|path| path.with_extension("seen"))
}

pub(crate) fn read(ws: &Workspace) -> Option<LastScan> {
    let path = path_of(ws)?;
    // Reading a pipe could block.
    outside::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    let bytes = outside::read(&path, 4096).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    let mark = lines.next()?.to_owned();
    let last = lines.next().and_then(|line| line.parse().ok());
    Some(LastScan { mark, last, whole: lines.filter_map(|line| line.parse().ok()).collect() })
}

/// Remembers a scan. If that fails, the next command scans again.
pub(crate) fn note(ws: &Workspace, is_whole: bool) {
    let (Some(repo), Some(path)) = (&ws.repo, path_of(ws)) else { return };
    let mut whole = read(ws).unwrap_or_default().whole;
    let head = repo.objects().and_then(|objects| objects.head()).ok().and_then(|head| head.commit);
    if let Some(head) = head.filter(|_| is_whole) {
        whole.retain(|known| *known != head);
        whole.insert(0, head);
        whole.truncate(REMEMBERED);
    }
    let line = |oid: &Oid| format!("\n{oid}");
    let last = head.map_or_else(|| "\n-".to_owned(), |head| line(&head));
    let text = mark_text(repo) + &last + &whole.iter().map(line).collect::<String>();
    let kept = outside::write(&path, text.as_bytes());
    kept.unwrap_or_else(|e| tracing::debug!(error = %e, "the scan could not be remembered"));
}

/// Changes whenever git writes its index.
pub(crate) fn mark_text(repo: &Repo) -> String {
    let mark = repo.index_mark();
    format!("{} {} {}", mark.size, mark.mtime, mark.inode)
}
