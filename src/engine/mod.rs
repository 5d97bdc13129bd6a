//! The engine: files, locks, rules and reports joined with a clock and an actor.
//!
//! Guarantees one write path (`commit`) and one read path (`view`); its modules use one another without cycles.
//! Leaves to others: through which interface a request came.

pub(crate) mod bus;
pub(crate) mod commit;
pub(crate) mod context;
pub(crate) mod exec;
pub(crate) mod feed;
pub(crate) mod git_hooks;
pub(crate) mod import;
pub(crate) mod inbox;
pub(crate) mod lint;
pub(crate) mod migrate;
#[cfg(test)]
mod power_loss;
pub(crate) mod query;
pub(crate) mod repair;
pub(crate) mod sync;
pub(crate) mod view;

pub use self::commit::answer::Reply;
pub use self::commit::compact::{CompactReport, DropReport, LeftTask};
pub use self::commit::hand_edits::record::{Comments, absorb_text};
pub use self::commit::write::execute;
pub use self::context::open::Options;
pub use self::context::{OpenStore, Request, Workspace};
pub use self::exec::{WorkEnd, WorkOrder};
pub use self::git_hooks::driver::{MergeInput, merge_driver, textconv};
pub use self::git_hooks::hooks::{Driver, install_hooks};
pub use self::git_hooks::init::{InitReport, init};
pub use self::lint::base::lint_since;
pub use self::lint::fix::lint_fix;
pub use self::lint::{Fix, LintReport, lint, lint_dropped, lint_no_folder, lint_staged, lint_text};
pub use self::migrate::{MigrationReport, migrate_by};
pub use self::query::{Drawing, Exported, review_dropped};
pub use self::repair::recover::{Restored, Selection, UnreachableEvents};
pub use self::repair::{RepairReport, RepairedEntity, RestoredTask};
pub use self::sync::{EditRecorded, EditRefused, LeaseNews, LostLease, SyncReport, TaskChange};
pub use self::view::read::index;
pub use crate::model::job::Deleted;
pub use crate::reports::schema;

use crate::env::Env;
use crate::error::Result;

/// Does what no command does by itself: closes sessions that have been silent for too long, and records that threads are past their
/// time to live.
///
/// Errors: those of any change.
pub fn keep_house(ws: &Workspace) -> Result<()> {
    commit::expiry::record_expired(ws);
    commit::sessions::close_silent(ws)
}

/// Opens the nearest store of the work tree, or the one that is named. Settings that cannot be read are findings, and the
/// defaults count in their place; roles that cannot be read permit nothing. Where what they say could forbid it, changes are
/// refused.
///
/// Errors: `ERR_NO_STORE`, `ERR_GIT` where the repository is not to be trusted, `ERR_CORRUPT` for a store that is no folder.
pub fn open(env: Env, options: Options) -> Result<Workspace> {
    Workspace::opened_with(env, options, repair::look_after_git)
}
