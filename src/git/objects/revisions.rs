//! Resolves revisions and references, and walks through history.
//!
//! Guarantees that a shallow clone gives what it has: a common ancestor that it lacks is none.
//! Leaves to others: how a reftable is read (`reftable`).

use std::fmt;
use std::time::Duration;

use super::{Head, Objects, Oid, failed};
use crate::env::outside;
use crate::error::{Error, Result};
use crate::git::reftable::{TableRefs, Target};
use crate::git::{Git, Repo};
use crate::model::id::quoted;

/// Deadline for a question that the git program answers from this clone alone.
const QUICK: Duration = Duration::from_secs(10);
/// The longest reflog that is read, in bytes.
const MAX_REFLOG: u64 = 4 * 1024 * 1024;

impl Objects {
    /// What this worktree has checked out.
    ///
    /// Errors: `ERR_GIT` if HEAD cannot be read.
    pub fn head(&self) -> Result<Head> {
        if let Some(refs) = self.table_refs()? {
            let branch = match refs.0.get("HEAD") {
                Some(Target::Symbolic(name)) => Some(name.clone()),
                Some(Target::Object { .. }) => None,
                None => return Err(failed("read HEAD", "the reftable has none")),
            };
            return Ok(Head { branch, commit: refs.object("HEAD") });
        }
        let mut head = self.repo.head().map_err(|e| failed("read HEAD", e))?;
        let branch = head.referent_name().map(|name| name.as_bstr().to_string());
        let commit = match head.is_unborn() {
            true => None,
            false => Some(Oid(head.peel_to_commit().map_err(|e| failed("read HEAD", e))?.id)),
        };
        Ok(Head { branch, commit })
    }

    /// Resolves a revision to a commit.
    ///
    /// Errors: `ERR_NOT_FOUND` if it names none.
    pub fn commit_named(&self, revision: &str) -> Result<Oid> {
        let unknown = || {
            Error::not_found(format!("{} is not a commit", quoted(revision)))
                .hint("name a branch, a tag, a commit id, or a revision such as HEAD~2")
        };
        if revision.is_empty() || revision.starts_with('-') {
            return Err(unknown());
        }
        if let Some(repo) = &self.tables {
            return self.ask_for_commit(repo, revision)?.ok_or_else(unknown);
        }
        let id = self.repo.rev_parse_single(revision).map_err(|_| unknown())?;
        let object = id.object().map_err(|e| failed(format!("read {}", quoted(revision)), e))?;
        object.peel_to_commit().map(|commit| Oid(commit.id)).map_err(|_| unknown())
    }

    /// The commit that a reference resolves to, by its full name; `None` if there is no such reference.
    pub fn reference(&self, name: &str) -> Option<Oid> {
        if self.tables.is_some() {
            return self.table_refs().ok().flatten()?.object(name);
        }
        let mut found = self.repo.try_find_reference(name).ok().flatten()?;
        found.peel_to_id().ok().map(|id| Oid(id.detach()))
    }

    /// References below a prefix such as `refs/heads/`, with the commits they resolve to. One that resolves to none is left
    /// out.
    ///
    /// Errors: `ERR_GIT` if the references cannot be read.
    pub fn references(&self, prefix: &str) -> Result<Vec<(String, Oid)>> {
        if let Some(refs) = self.table_refs()? {
            let names = refs.0.keys().filter(|name| name.starts_with(prefix));
            return Ok(names.filter_map(|name| Some((name.clone(), refs.object(name)?))).collect());
        }
        let broken = |e: &dyn fmt::Display| failed(format!("list {prefix}"), e);
        let platform = self.repo.references().map_err(|e| broken(&e))?;
        let mut found = Vec::new();
        for reference in platform.prefixed(prefix).map_err(|e| broken(&e))? {
            let Ok(mut reference) = reference else { continue };
            let name = reference.name().as_bstr().to_string();
            if let Ok(id) = reference.peel_to_id() {
                found.push((name, Oid(id.detach())));
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The references, if they are stored as a reftable. They are read again each time, since git may have moved them.
    fn table_refs(&self) -> Result<Option<TableRefs>> {
        self.tables.as_ref().map(Repo::table_refs).transpose()
    }

    /// Resolves a revision with the git program, since its syntax depends on references and reflogs.
    fn ask_for_commit(&self, repo: &Repo, revision: &str) -> Result<Option<Oid>> {
        let wanted = format!("{revision}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
        let outcome = self.program(repo)?.call(&args, None, Vec::new())?;
        Ok(String::from_utf8_lossy(&outcome.stdout).trim().parse().ok().filter(|_| outcome.code == Some(0)))
    }

    fn program<'a>(&'a self, repo: &'a Repo) -> Result<Git<'a>> {
        let fetcher = self.fetcher.as_ref().ok_or_else(|| Error::state("the git program may not run here"))?;
        repo.program(&fetcher.env, QUICK)
    }

    /// The commits of all stashes, newest first. The reference names only the newest; its reflog names the others.
    pub fn stashes(&self) -> Vec<Oid> {
        let names = |text: &str| -> Vec<Oid> { text.lines().filter_map(|line| line.parse().ok()).collect() };
        if let Some(repo) = &self.tables {
            let asked = self.program(repo).and_then(|git| git.ask(&["rev-list", "-g", "refs/stash", "--"]));
            return asked.map(|text| names(&text)).unwrap_or_default();
        }
        let log = outside::read(&self.repo.common_dir().join("logs/refs/stash"), MAX_REFLOG).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let mut found: Vec<Oid> = text.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
        found.reverse();
        found
    }

    /// The best common ancestor of two commits; `None` if there is none, or if a shallow clone lacks it.
    ///
    /// Errors: `ERR_GIT` if history cannot be read.
    pub fn merge_base(&self, one: Oid, two: Oid) -> Result<Option<Oid>> {
        match self.repo.merge_base(one.0, two.0) {
            Ok(found) => Ok(found.map(|id| Oid(id.detach()))),
            Err(_) if self.is_shallow() => Ok(None),
            Err(e) => Err(failed("find a common ancestor", e)),
        }
    }

    /// All best common ancestors of two commits: several after criss-cross merges.
    ///
    /// Errors: `ERR_GIT` if history cannot be read.
    pub fn merge_bases(&self, one: Oid, two: Oid) -> Result<Vec<Oid>> {
        match self.repo.merge_bases_many(one.0, &[two.0]) {
            Ok(found) => Ok(found.into_iter().map(|id| Oid(id.detach())).collect()),
            Err(_) if self.is_shallow() => Ok(Vec::new()),
            Err(e) => Err(failed("find a common ancestor", e)),
        }
    }

    /// The commits that the tips reach and the hidden ones do not, newest first, at most `most`.
    ///
    /// Errors: `ERR_GIT` if history cannot be read.
    pub fn walk(&self, tips: &[Oid], hidden: &[Oid], most: usize) -> Result<Vec<Oid>> {
        use gix::revision::walk::Sorting;
        use gix::traverse::commit::simple::CommitTimeOrder;
        let known = |id: &&Oid| self.repo.find_header(id.0).is_ok();
        let walk = self
            .repo
            .rev_walk(tips.iter().map(|id| id.0))
            .with_hidden(hidden.iter().filter(known).map(|id| id.0))
            .sorting(Sorting::ByCommitTime(CommitTimeOrder::NewestFirst))
            .all()
            .map_err(|e| failed("walk through history", e))?;
        let mut found = Vec::new();
        for info in walk.take(most) {
            found.push(Oid(info.map_err(|e| failed("walk through history", e))?.id));
        }
        Ok(found)
    }

    /// The commit that the first parents of one lead back to; `None` if a shallow clone lacks it.
    ///
    /// Errors: `ERR_GIT` if history cannot be read.
    #[cfg(feature = "bus")]
    pub fn first_commit(&self, from: Oid) -> Result<Option<Oid>> {
        if self.is_shallow() {
            return Ok(None);
        }
        let mut first = from;
        while let Some(parent) = self.commit(first)?.parents.first() {
            first = *parent;
        }
        Ok(Some(first))
    }

    /// Whether the clone is shallow, so that its history ends early.
    pub fn is_shallow(&self) -> bool {
        self.repo.is_shallow().unwrap_or(false)
    }

    /// The git operation in progress, in words; `None` if there is none.
    pub fn in_progress(&self) -> Option<&'static str> {
        use gix::state::InProgress;
        // Files of other repositories are references in a reftable.
        if let Ok(Some(refs)) = self.table_refs() {
            let pending = [("CHERRY_PICK_HEAD", "git cherry-pick"), ("REVERT_HEAD", "git revert")];
            if let Some((_, words)) = pending.iter().find(|(name, _)| refs.0.contains_key(*name))
                && self.repo.state().is_none()
            {
                return Some(words);
            }
        }
        Some(match self.repo.state()? {
            InProgress::ApplyMailbox | InProgress::ApplyMailboxRebase => "git am",
            InProgress::Bisect => "git bisect",
            InProgress::CherryPick | InProgress::CherryPickSequence => "git cherry-pick",
            InProgress::Merge => "git merge",
            InProgress::Rebase | InProgress::RebaseInteractive => "git rebase",
            InProgress::Revert | InProgress::RevertSequence => "git revert",
        })
    }
}
