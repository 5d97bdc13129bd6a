//! Objects that a partial clone (`git clone --filter=…`) left at its remote.
//!
//! Guarantees that the remote is asked only through objects opened with the git program, in few calls that together end by a
//! deadline. A remote that failed once is not asked again.
//! Leaves to others: which objects are worth fetching.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::objects::failed;
use super::{Objects, Oid, Repo};
use crate::env::Env;
use crate::error::{Code, Error, Result};

/// Deadline for all that one command fetches.
const SPAN: Duration = Duration::from_secs(60);
/// With less time left, the remote is not asked: git itself takes as long to start.
const NO_TIME: Duration = Duration::from_millis(50);

/// Fetches missing objects with the git program.
pub(super) struct Fetcher {
    pub(super) env: Env,
    pub(super) repo: Repo,
    until: Instant,
    /// Why the remote is not asked again.
    failure: RefCell<Option<Error>>,
}

impl Fetcher {
    pub(super) fn new(env: &Env, repo: &Repo) -> Self {
        let until = Instant::now() + SPAN;
        Fetcher { env: env.fork(), repo: repo.clone(), until, failure: RefCell::default() }
    }
}

impl Objects {
    /// The remote at which a partial clone left objects; `None` for any other clone.
    fn promisor(&self) -> Option<String> {
        let promises = |name: &String| self.flag(&format!("remote.{name}.promisor"));
        self.remotes().into_iter().find(promises).or_else(|| self.setting("extensions.partialClone"))
    }

    /// Whether objects may be missing because the clone is partial.
    pub fn is_partial(&self) -> bool {
        self.promisor().is_some()
    }

    /// Whether reading an object can succeed: it is here, or the remote may be asked for it.
    pub fn is_within_reach(&self, id: Oid) -> bool {
        self.fetcher.is_some() || !self.is_partial() || self.has(id)
    }

    /// The bytes of a blob; `None` if a partial clone lacks it and its remote may not be asked.
    ///
    /// Errors: as [`Objects::blob`].
    pub fn blob_within_reach(&self, id: Oid) -> Result<Option<Vec<u8>>> {
        self.is_within_reach(id).then(|| self.blob(id)).transpose()
    }

    /// Fetches, in one call, those of these objects that a partial clone left at its remote.
    ///
    /// Errors: `ERR_GIT` if they cannot be fetched, or if no program may run.
    pub fn fetch_missing(&self, ids: impl IntoIterator<Item = Oid>) -> Result<()> {
        let Some(remote) = self.promisor() else { return Ok(()) };
        let mut missing: Vec<Oid> = ids.into_iter().filter(|id| !self.has(*id)).collect();
        missing.sort_unstable();
        missing.dedup();
        let [first, ..] = missing[..] else { return Ok(()) };
        let absent = || format!("read object {first}");
        let Some(fetcher) = &self.fetcher else {
            return Err(failed(absent(), "it is not in this partial clone")
                .hint(format!("git cat-file -e {first} fetches it from {remote}")));
        };
        if let Some(e) = self.fetch_failure() {
            return Err(e);
        }
        self.fetch(fetcher, &remote, &missing).map_err(|why| {
            let count = missing.len();
            let objects = if count == 1 { "object" } else { "objects" };
            // Git gives the reason first; advice follows.
            let why = why.message.split("; ").next().unwrap_or_default();
            let message = format!("cannot fetch {count} {objects} that this partial clone left at {remote}: {why}");
            let hint = format!("make sure that git fetch {remote} works, then run the same command again");
            *fetcher.failure.borrow_mut() = Some(Error::new(Code::Git, message.clone()).hint(hint.clone()));
            Error::new(Code::Git, message).hint(hint)
        })
    }

    /// Why an earlier fetch failed.
    pub fn fetch_failure(&self) -> Option<Error> {
        let failure = self.fetcher.as_ref()?.failure.borrow();
        failure.as_ref().map(|e| Error::new(e.code, e.message.clone()).hint(e.hint.clone().unwrap_or_default()))
    }

    /// Fetches missing objects as git itself does.
    fn fetch(&self, fetcher: &Fetcher, remote: &str, missing: &[Oid]) -> Result<()> {
        if fetcher.env.var("GIT_NO_LAZY_FETCH").is_some_and(|value| value != "0") {
            return Err(Error::new(Code::Git, "GIT_NO_LAZY_FETCH forbids it"));
        }
        let left = fetcher.until.saturating_duration_since(Instant::now());
        if remote.starts_with('-') || left < NO_TIME {
            return Err(Error::new(Code::Git, "no time was left to ask the remote"));
        }
        let args = [
            "-c",
            "fetch.negotiationAlgorithm=noop",
            "fetch",
            remote,
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--recurse-submodules=no",
            "--filter=blob:none",
            "--stdin",
        ];
        let names: String = missing.iter().map(|id| format!("{id}\n")).collect();
        let git = fetcher.repo.program(&fetcher.env, left)?.without_prompts(self);
        let outcome = git.call(&args, None, names.into_bytes())?;
        git.text(&args, &outcome).map(|_| ())
    }
}
