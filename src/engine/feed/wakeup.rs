//! Wakes waiting callers when something may have changed, in this worktree or another one of the clone.
//!
//! Guarantees: whatever agentpm writes anywhere in the clone wakes (it is in the common journal), and so does git when it moves a
//! branch, checks out or changes the index here. A waiting caller looks again after a bounded time even without a wakeup.
//! Leaves to others: what changed. Caches, locks and the like do not wake.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::engine::commit::sessions;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::env::process::pause;
use crate::error::{Code, Result};
use crate::runtime::journal::JOURNAL;
use crate::store::layout::TASKS;

/// How often those who wait for work ask even where nothing woke them: a change that no watch shows is found by that point.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Least time between two questions: many changes at once are one.
const ASK_REST: Duration = Duration::from_millis(100);
/// How often a wait looks whether its caller still wants the answer.
const STILL_WANTED_EVERY: Duration = Duration::from_millis(200);

/// Wakes the caller that waits on it.
pub(crate) struct Wakeup {
    /// `None` where the system has no watches left; then the bounded wait must do.
    watcher: Option<RecommendedWatcher>,
    woken: Receiver<()>,
}

/// Which changes of files wake.
#[derive(Default)]
struct Filter {
    /// Folders in which everything is.
    folders: Vec<PathBuf>,
}

impl Filter {
    fn has(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        let named = [JOURNAL, "HEAD", "index", "packed-refs"].contains(&name);
        named || (!name.starts_with('.') && self.folders.iter().any(|folder| path.starts_with(folder)))
    }
}

impl Wakeup {
    /// Waits until woken, at most so long. Many wakings at once are one. Answers whether it was woken.
    pub fn wait(&self, most: Duration) -> bool {
        let is_woken = self.woken.recv_timeout(most).is_ok();
        if is_woken {
            while self.woken.try_recv().is_ok() {}
        } else if self.watcher.is_none() {
            // Without a watcher the channel is closed and does not wait.
            pause(most);
        }
        is_woken
    }
}

/// Wakes on changes of the journal and of what git has checked out here.
pub(crate) fn wakeup(ws: &Workspace) -> Wakeup {
    news_of(ws, Filter::default(), false)
}

/// As [`wakeup`], with leases, branches and the tasks of this worktree.
fn news_of_work(ws: &Workspace) -> Wakeup {
    let refs = ws.repo.as_ref().map(|repo| repo.common_dir.join("refs"));
    let folders = [ws.runtime_path.join("leases"), ws.store.path().join(TASKS)];
    news_of(ws, Filter { folders: folders.into_iter().chain(refs).collect() }, true)
}

fn news_of(ws: &Workspace, wanted: Filter, common: bool) -> Wakeup {
    let (wake, woken) = channel();
    let mut watched: Vec<(PathBuf, RecursiveMode)> = vec![(ws.runtime_path.clone(), RecursiveMode::NonRecursive)];
    if let Some(repo) = &ws.repo {
        watched.push((repo.git_dir.clone(), RecursiveMode::NonRecursive));
        if common && repo.common_dir != repo.git_dir {
            watched.push((repo.common_dir.clone(), RecursiveMode::NonRecursive));
        }
    }
    // A watch for each task's folder would cost thousands. Writers of tasks are seen by the journal, git by its index.
    let mode = |folder: &Path| match folder.file_name() {
        Some(name) if name == "refs" => RecursiveMode::Recursive,
        _ => RecursiveMode::NonRecursive,
    };
    watched.extend(wanted.folders.iter().map(|folder| (folder.clone(), mode(folder))));
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let wakeup = event.as_ref().map_or(true, |event| {
            !event.kind.is_access() && (event.paths.is_empty() || event.paths.iter().any(|path| wanted.has(path)))
        });
        if wakeup {
            // The receiver may be gone.
            let _ = wake.send(());
        }
    })
    .ok();
    for (folder, mode) in watched {
        if let Some(watcher) = &mut watcher
            && let Err(e) = watcher.watch(&folder, mode)
        {
            tracing::warn!(folder = %folder.display(), error = %e, "cannot be watched; polled instead");
        }
    }
    Wakeup { watcher, woken }
}

/// Asks until there is an answer or the time is over: at once, whenever something may have changed, at the moments when a
/// lease runs out or a task's time comes, and every 5 seconds in any case. `ERR_BUSY` is no answer. Ends without one soon after
/// `still_wanted` is false.
///
/// Errors: those of `ask`; `ERR_BUSY` where that was the last answer.
pub fn await_work<T>(
    ws: &Workspace,
    most: Duration,
    still_wanted: &dyn Fn() -> bool,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let start = Instant::now();
    let mut wakeup = None;
    while still_wanted() {
        let asked = Instant::now();
        let answer = ask();
        let left = most.saturating_sub(start.elapsed());
        match answer {
            Err(e) if e.code == Code::Busy && !left.is_zero() => {}
            Ok(None) if !left.is_zero() => {}
            answer => return answer,
        }
        let Some(wakeup) = &wakeup else {
            // Asked once more after this, so that nothing is missed between the question and the watch.
            wakeup = Some(news_of_work(ws));
            continue;
        };
        sessions::sign_of_life(ws);
        tracing::debug!("waiting for work");
        let moment = next_moment(ws)?.unwrap_or(ASK_EVERY);
        let until = Instant::now() + left.min(ASK_EVERY).min(moment);
        loop {
            let part = until.saturating_duration_since(Instant::now()).min(STILL_WANTED_EVERY);
            if part.is_zero() || Wakeup::wait(wakeup, part) || !still_wanted() {
                break;
            }
        }
        let rest = ASK_REST.saturating_sub(asked.elapsed());
        pause(rest.min(most.saturating_sub(start.elapsed())));
    }
    Ok(None)
}

/// How long until a lease runs out or a task's time comes, whichever is first.
fn next_moment(ws: &Workspace) -> Result<Option<Duration>> {
    let now = ws.env.now();
    let index = read::index(ws)?;
    let leases = read::live_leases(ws, &index)?.into_values().map(|lease| lease.expires_at);
    let deferred = index.briefs()?.into_iter().filter_map(|brief| brief.defer_until);
    let next = leases.chain(deferred).filter(|at| *at > now).min();
    Ok(next.map(|at| Duration::from_millis(at.since(now).unsigned_abs())))
}
