//! The one write path and the one read path: files, locks, rules and reports joined with a clock and an actor.
//!
//! Promises: every change goes through [`Workspace::execute`]; reading takes no lock and writes nothing below the work tree.
//! Refuses to know: through which door a command came.

mod agents_md;
mod branches;
mod check_settings;
mod confirm;
mod driver;
mod elsewhere;
mod events;
mod hand_edits;
mod heal;
mod hooks;
pub mod import;
mod init;
mod keys;
mod known;
mod lint;
mod lost_events;
mod news;
mod open;
mod past;
mod pending;
mod plan;
mod project;
mod query;
mod read;
mod recover;
mod related;
mod remote;
mod removed_commits;
mod runtime_place;
mod seen;
mod sessions;
mod sparse;
mod stage;
mod stream;
mod sync;
mod trailer;
mod unblock;
mod work;
mod write;

pub use crate::reports::schema;
pub use driver::{MergeInput, merge_driver, textconv};
pub use hand_edits::record::Comments;
pub use hand_edits::removed_files::Deleted;
pub use heal::{BroughtBackTask, Healed, HealedEntity};
pub use hooks::{Driver, install_hooks};
pub use init::{InitReport, init};
pub use lint::{Fix, LintReport, lint_dropped, lint_no_folder, lint_staged, lint_text};
pub use open::Options;
pub use query::{Drawing, review_dropped, task_schema};
pub use recover::{BroughtBack, Unheld, Wanted};
pub use sync::{EditRecorded, EditRefused, LeaseNews, LostLease, SyncOptions, SyncReport, TaskChange};
pub use work::{WorkEnd, WorkOrder};
pub use write::Reply;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::env::Env;
use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::git::Repo;
use crate::model::finding::Finding;
use crate::model::settings::Settings;
use crate::rules::roles::Rights;
use crate::runtime::journal::Journal;
use crate::runtime::worktree::StoreKey;
use crate::store::layout::Store;

/// A step under the lock, before a change.
pub type AfterGit = fn(&Workspace, &mut Journal<'_>, &Dir) -> Result<()>;

/// An opened store, with everything around it.
pub struct Workspace {
    /// Clock, chance, environment.
    pub env: Env,
    /// The store's files.
    pub store: Store,
    /// The repository around it; `None` for a store that was named and lies in none.
    pub repo: Option<Repo>,
    /// The settings in force.
    pub settings: Settings,
    /// What was odd about the settings.
    pub findings: Vec<Finding>,
    /// Why no change is made: what the settings or roles that cannot be read might forbid.
    unsafe_to_change: Option<Error>,
    /// Who may do what.
    pub rights: Rights,
    options: Options,
    /// Where runtime state lies; the folder may not exist yet.
    runtime_path: PathBuf,
    /// That place came with a commit, so that nothing of it is opened; `runtime_path` leads nowhere then.
    runtime_tracked: bool,
    /// The runtime folder, where it exists.
    runtime: Option<Dir>,
    /// How the journal names this store, once that was looked up.
    store_key: OnceLock<StoreKey>,
    /// What was put right by the way and must be told, whatever becomes of what was asked.
    notices: Mutex<Vec<String>>,
    /// Repairs what git left of the plan, before a change and under its lock.
    after_git: AfterGit,
}

impl Workspace {
    /// Opens the nearest store of the work tree, or the one that is named. Settings that cannot be read are findings, and the
    /// defaults count in their place; roles that cannot be read permit nothing. Where what they say could forbid it, changes are
    /// refused.
    ///
    /// Errors: `ERR_NO_STORE`, `ERR_GIT` where the repository is not to be trusted, `ERR_CORRUPT` for a store that is no folder.
    pub fn open(env: Env, options: Options) -> Result<Self> {
        Self::opened_with(env, options, heal::look_after_git)
    }

    /// The remote that confirms leases, by name; `None` where none is set.
    pub fn lease_remote(&self) -> Option<&str> {
        Some(self.settings.lease.remote.as_str()).filter(|name| !name.is_empty())
    }

    /// Notes something that was put right by the way.
    fn notice(&self, what: String) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if !notices.contains(&what) {
            notices.push(what);
        }
    }

    /// What was put right by the way since this was asked last, in words; to be told with a refusal too.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
