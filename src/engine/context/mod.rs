//! The open store, and who asks.
//!
//! Guarantees that the settings and roles in force are known before anything is changed.
//! Leaves to others: what lies in the store (`engine::view`), and every change of it (`engine::commit`).

#[cfg(feature = "bus")]
pub(crate) mod bus;
pub(crate) mod check_settings;
pub(crate) mod open;
pub(crate) mod runtime_place;
pub(crate) mod settings;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::env::Env;
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::git::Repo;
use crate::model::finding::Finding;
use crate::model::id::quoted;
use crate::model::settings::{BUS, Settings};
use crate::rules::roles::Rights;
use crate::runtime::journal::Journal;
use crate::runtime::worktree::StoreKey;
use crate::store::layout::Store;

/// A step under the lock, before a change.
pub type AfterGit = fn(&Workspace, &mut Journal<'_>, &Dir) -> Result<()>;

/// An open store, with everything around it. It serves any number of requests at once.
pub struct OpenStore {
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
    pub(crate) unsafe_to_change: Option<Error>,
    /// Who may do what.
    pub rights: Rights,
    /// Where runtime state lies; the folder may not exist yet.
    pub(crate) runtime_path: PathBuf,
    /// That place came with a commit, so that nothing of it is opened; `runtime_path` leads nowhere then.
    pub(crate) runtime_tracked: bool,
    /// The runtime folder, where it exists.
    pub(crate) runtime: OnceLock<Dir>,
    /// The store was named, not found.
    pub(crate) is_named: bool,
    /// How the journal names this store, once that was looked up.
    pub(crate) store_key: OnceLock<StoreKey>,
    /// The agent that git's `user.name` names, once that was looked up.
    pub(crate) user: OnceLock<Option<String>>,
    /// Repairs what git left of the plan, before a change and under its lock.
    pub(crate) after_git: AfterGit,
}

/// Who asks, as an interface says it. What is missing comes from the environment, the settings or git.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Who acts.
    pub agent: Option<String>,
    /// In which session.
    pub session: Option<String>,
    /// Ties events of one request together.
    pub correlation_id: Option<String>,
    /// Ties events of one plan together.
    pub plan_id: Option<String>,
    /// The answer to a change is all of what it changed, and not a receipt.
    pub full: bool,
    /// A change that is repeated with the same key happens once.
    pub idempotency_key: Option<String>,
    /// The caller proved with a token to be the agent, and is no other one.
    pub authenticated: bool,
}

/// An open store as one request sees it.
pub struct Workspace {
    open: Arc<OpenStore>,
    pub(crate) request: Request,
    /// What was repaired by the way, which the answer says whatever came of the request.
    notices: Mutex<Vec<String>>,
    /// How long the request has waited for the lock, in microseconds.
    lock_wait: Arc<AtomicU64>,
}

impl Deref for Workspace {
    type Target = OpenStore;

    fn deref(&self) -> &OpenStore {
        &self.open
    }
}

impl Workspace {
    pub(crate) fn new(open: OpenStore, request: Request) -> Self {
        Workspace { open: Arc::new(open), request, notices: Mutex::default(), lock_wait: Arc::default() }
    }

    /// The same store for another request, which may run at the same time in another thread.
    pub fn for_request(&self, request: Request) -> Self {
        let open = Arc::clone(&self.open);
        Workspace { open, request, notices: Mutex::default(), lock_wait: Arc::default() }
    }

    /// The same request under this correlation id.
    pub(crate) fn linked(&self, correlation_id: Option<String>) -> Self {
        let request = Request { correlation_id, ..self.request.clone() };
        Workspace { lock_wait: Arc::clone(&self.lock_wait), ..self.for_request(request) }
    }

    /// Counts a wait for the lock.
    pub(crate) fn count_lock_wait(&self, took: Duration) {
        self.env.meter().count_lock_wait(took);
        self.lock_wait.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long the request has waited for the lock, in milliseconds.
    pub(crate) fn lock_wait_ms(&self) -> f64 {
        self.lock_wait.load(Ordering::Relaxed) as f64 / 1e3
    }

    /// Refuses a caller that proved with a token to be `me` and would act for another agent. Where there are roles, they decide. Without
    /// `roles.yml` any local program may name any agent; a caller with a token of its own is its agent alone.
    ///
    /// Errors: `ERR_UNAUTHORIZED`.
    pub(crate) fn check_may_act_for(&self, me: &str, other: &str) -> Result<()> {
        if !self.request.authenticated || self.rights.0.is_some() || me == other {
            return Ok(());
        }
        let message = format!("{me} asks with its own token, which gives it nothing of {}", quoted(other));
        Err(Error::new(Code::Unauthorized, message)
            .hint("ask without that token, or give the agent the permission in roles.yml"))
    }

    /// The same store under other settings and roles; `None` while another request uses it.
    pub(crate) fn under(self, settings: Settings, rights: Rights) -> Option<Self> {
        let open = OpenStore { settings, rights, ..Arc::into_inner(self.open)? };
        Some(Workspace::new(open, self.request))
    }

    /// What confirms leases, by name: a git remote, or the message bus; `None` where none is set.
    pub fn lease_remote(&self) -> Option<&str> {
        Some(self.settings.lease.remote.as_str()).filter(|name| !name.is_empty())
    }

    /// The git remote that confirms leases, by name; `None` where none is set, or where the message bus confirms them.
    pub fn lease_git_remote(&self) -> Option<&str> {
        self.lease_remote().filter(|name| *name != BUS)
    }

    /// Notes a repair that the request made on the way.
    pub(crate) fn notice(&self, what: String) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if !notices.contains(&what) {
            notices.push(what);
        }
    }

    /// The repairs made since the last call, in words; to be reported with a refusal too.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
