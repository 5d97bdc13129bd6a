//! The remote side of a sync: choosing the upstream, fetching, pushing.
//!
//! Leaves to others: what is pushed (`integrate`).

use serde_json::json;

use super::git_locks::held;
use super::{Sync, refusal, short};
use crate::error::{Error, Result};
use crate::git::{Oid, is_race, server_words, words};
use crate::model::job;

/// The remote branch that a branch is pushed to and fetched from.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    /// The remote's name.
    pub remote: String,
    /// The full name of the branch at the remote.
    pub theirs: String,
    /// The remote-tracking reference.
    pub tracking: String,
}

/// Number of tries of a fetch that races with another one of the same clone.
const FETCHES: u32 = 30;

/// The result of a push.
pub(crate) enum PushResult {
    /// The remote accepted it.
    Taken,
    /// Another push was first: the remote's message, and the lock file that it names.
    Lost(String, Option<String>),
}

impl Sync<'_> {
    /// The upstream of the branch; `None` if there is none and nothing is pushed.
    pub(crate) fn upstream(&self, options: &job::Sync) -> Result<Option<Upstream>> {
        let branch = short(&self.branch);
        let setting = |key: &str| self.objects.setting(&format!("branch.{branch}.{key}"));
        if let (Some(remote), Some(theirs)) = (setting("remote"), setting("merge")) {
            if remote == "." {
                return Err(refusal(
                    format!("the upstream of {branch} is a branch of this clone; nothing was changed"),
                    "set one at a remote: git branch --set-upstream-to origin/main, then agentpm sync",
                ));
            }
            let tracking = self.git.ask(&["for-each-ref", "--format=%(upstream)", "--end-of-options", &self.branch])?;
            return self.named(remote, theirs, Some(tracking)).map(Some);
        }
        let remotes = self.objects.remotes();
        match &remotes[..] {
            _ if options.no_push && !options.set_upstream => Ok(None),
            [] => Err(refusal(
                "this clone has no remote; nothing was changed",
                "agentpm sync --no-push commits the plan alone; git remote add NAME URL adds a remote",
            )),
            _ if options.set_upstream && self.pushed_by_default().is_some_and(|r| remotes.contains(&r)) => {
                let remote = self.pushed_by_default().unwrap_or_default();
                self.named(remote, self.branch.clone(), None).map(Some)
            }
            [remote] if options.set_upstream => self.named(remote.clone(), self.branch.clone(), None).map(Some),
            _ if options.set_upstream && remotes.iter().any(|r| r == "origin") => {
                self.named("origin".into(), self.branch.clone(), None).map(Some)
            }
            _ if options.set_upstream => Err(refusal(
                format!("it is not clear which of the remotes {} is meant; nothing was changed", remotes.join(", ")),
                format!("git config remote.pushDefault NAME, then agentpm sync --set-upstream; or git push -u NAME {branch}"),
            )
            .with(json!({ "branch": branch, "remotes": remotes }))),
            _ => Err(refusal(
                format!("the branch {branch} has no upstream; nothing was changed"),
                format!(
                    "agentpm sync --set-upstream pushes it to {} and remembers that; agentpm sync --no-push commits alone",
                    remotes.iter().find(|r| *r == "origin").unwrap_or(&remotes[0])
                ),
            )
            .with(json!({ "branch": branch, "remotes": remotes }))),
        }
    }

    fn pushed_by_default(&self) -> Option<String> {
        self.objects.setting("remote.pushDefault")
    }

    fn named(&self, remote: String, theirs: String, tracking: Option<String>) -> Result<Upstream> {
        if remote.starts_with('-') || theirs.starts_with('-') || remote.contains("::") {
            return Err(refusal(
                format!("{} is no name of a remote", crate::model::id::quoted(&remote)),
                "look at git remote -v and the settings of the branch",
            ));
        }
        let name = theirs.strip_prefix("refs/heads/").unwrap_or(&theirs);
        let tracking = tracking.filter(|t| !t.is_empty()).unwrap_or_else(|| format!("refs/remotes/{remote}/{name}"));
        Ok(Upstream { remote, theirs, tracking })
    }

    /// Fetches the upstream; `None` if the remote does not have the branch yet.
    pub(crate) fn fetch(&self, upstream: &Upstream) -> Result<Option<Oid>> {
        let args = ["fetch", "--quiet", "--no-write-fetch-head", "--end-of-options", &upstream.remote];
        let mut outcome = self.run_with_retry(&args, None, &[])?;
        // Another worktree may fetch at the same time; only one of the two updates the reference.
        for round in 1..FETCHES {
            if outcome.timed_out || outcome.code == Some(0) || !outcome.stderr.contains("cannot lock ref") {
                break;
            }
            self.back_off(round)?;
            outcome = self.run_with_retry(&args, None, &[])?;
        }
        if outcome.timed_out || outcome.code != Some(0) {
            return Err(self.unreachable(upstream, &self.git.failure(&args, &outcome)));
        }
        let theirs = self.repo.objects()?.reference(&upstream.tracking);
        theirs.map_or(Ok(()), |theirs| self.fetch_plan(theirs))?;
        Ok(theirs)
    }

    /// Fetches, in one call, the objects of the plan that a partial clone lacks in the upstream and in the merge base.
    fn fetch_plan(&self, theirs: Oid) -> Result<()> {
        if !self.objects.is_partial() {
            return Ok(());
        }
        let (own, mut files) = (self.tip()?, Vec::new());
        for commit in [Some(own), Some(theirs), self.objects.merge_base(own, theirs)?].into_iter().flatten() {
            files.extend(self.objects.changes(None, self.plan_of(commit)?)?);
        }
        self.objects.fetch_missing(files.into_iter().filter_map(|change| Some(change.new?.oid)))
    }

    fn unreachable(&self, upstream: &Upstream, e: &Error) -> Error {
        refusal(
            format!("the remote {} could not be read: {}; nothing was changed", upstream.remote, e.message),
            "the plan is safe in this clone; agentpm sync --no-push commits it, and agentpm sync later pushes it",
        )
        .with(*e.details.clone())
    }

    /// Pushes a commit to the upstream by compare-and-swap: the upstream must still be at the fetched commit, which `new` contains.
    pub(crate) fn push(
        &self,
        upstream: &Upstream,
        new: Oid,
        theirs: Option<Oid>,
        options: &job::Sync,
    ) -> Result<PushResult> {
        let spec = format!("{new}:{}", upstream.theirs);
        let expected = theirs.map(|id| id.to_string()).unwrap_or_default();
        let expected = format!("--force-with-lease={}:{expected}", upstream.theirs);
        let args = ["push", "--porcelain", "--no-follow-tags", &expected, "--end-of-options", &upstream.remote, &spec];
        let outcome = self.git.call(&args, None, Vec::new())?;
        if outcome.timed_out {
            // The remote may have accepted it; only another request shows whether it did.
            if self.fetch(upstream).ok().flatten() == Some(new) {
                return Ok(PushResult::Taken);
            }
            return Err(refusal(
                format!("the remote {} did not answer in time; whether it took the push is not known", upstream.remote),
                "nothing was changed here; agentpm sync asks again and ends what was begun",
            )
            .with(json!({ "remote": upstream.remote, "outcome": "unknown" })));
        }
        if outcome.code == Some(0) {
            if options.set_upstream && self.objects.setting(&format!("branch.{}.merge", short(&self.branch))).is_none()
            {
                self.remember(upstream)?;
            }
            return Ok(PushResult::Taken);
        }
        let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
        let line = said.lines().find(|line| line.starts_with('!')).unwrap_or_default();
        let why = line.rsplit('\t').next().unwrap_or_default().to_owned();
        if why.contains("stale info") && theirs.is_some() && self.is_gone(upstream)? {
            let branch = upstream.theirs.strip_prefix("refs/heads/").unwrap_or(&upstream.theirs);
            return Err(refusal(
                format!("the branch {branch} is gone at the remote {}; nothing was changed", upstream.remote),
                "set another upstream with git branch --set-upstream-to, or git push it again yourself; then agentpm sync",
            ));
        }
        if is_race(&why) || (line.is_empty() && is_race(&outcome.stderr)) {
            return Ok(PushResult::Lost(why, held(&outcome.stderr).map(str::to_owned)));
        }
        if line.is_empty() && !outcome.stderr.contains("fatal:") {
            return Err(refusal(
                format!("your pre-push hook refused: {}; nothing was changed", words(&outcome.stderr)),
                "correct what it names, then agentpm sync",
            ));
        }
        if line.is_empty() {
            return Err(self.unreachable(upstream, &self.git.failure(&args, &outcome)));
        }
        let branch = upstream.theirs.strip_prefix("refs/heads/").unwrap_or(&upstream.theirs);
        Err(refusal(
            format!("the remote {} refused {branch}: {why}{}; nothing was changed", upstream.remote, server_words(&outcome.stderr)),
            "where the branch is protected, take one of your own: git switch -c plan-update, then agentpm sync --set-upstream",
        )
        .with(json!({ "remote": upstream.remote, "branch": branch, "said": words(&outcome.stderr) })))
    }

    /// Whether the branch was deleted at the remote.
    fn is_gone(&self, upstream: &Upstream) -> Result<bool> {
        let args = ["ls-remote", "--exit-code", "--end-of-options", &upstream.remote, &upstream.theirs];
        Ok(self.git.call(&args, None, Vec::new())?.code == Some(2))
    }

    fn remember(&self, upstream: &Upstream) -> Result<()> {
        let branch = short(&self.branch);
        self.git.ask(&["config", "--local", &format!("branch.{branch}.remote"), &upstream.remote])?;
        self.git.ask(&["config", "--local", &format!("branch.{branch}.merge"), &upstream.theirs]).map(|_| ())
    }
}
