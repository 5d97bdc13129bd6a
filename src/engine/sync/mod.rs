//! `sync`: merges the plan of this branch with that of its upstream, through git.
//!
//! Guarantees that only the store's folder is committed. The user's index, stash, untracked and dirty files do not change, and
//! local commits are replayed without the work tree. Until the push succeeds, only unreferenced objects are written; a failure
//! leaves it so and names the next step. A killed sync leaves no git operation in progress, and the next run finishes it.
//! Leaves to others: how states are merged (`rules::merge`, the fold), and who may push.

pub(crate) mod checkout;
pub(crate) mod edits;
pub(crate) mod git_locks;
pub(crate) mod integrate;
pub(crate) mod invalid_paths;
pub(crate) mod leases;
pub(crate) mod publish;
pub(crate) mod resume;
pub(crate) mod snapshot;
pub(crate) mod summary;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::commit::{expiry, unblock};
use crate::engine::context::Workspace;
use crate::engine::repair::{self, RestoredTask};
use crate::engine::view::messages::{messages_between, receiver};
use crate::engine::view::{read, uncommitted};
use crate::env::files::Dir;
use crate::env::process;
use crate::error::{Code, Error, Result};
use crate::git::{Git, Objects, Oid, Repo};
use crate::model::event::{Entity, Entry};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::job;
use crate::model::plain::counted;
use crate::model::plan::PLAN_ORIGIN;
use crate::reports::inbox::SentMessage;
use crate::reports::view::ConflictEnd;
use crate::rules::held::NamedTask;
use crate::runtime::bus;
use crate::runtime::lock::Lock;
use crate::store::layout::CONFIG;

pub use edits::{EditRecorded, EditRefused};
pub use leases::{LeaseNews, LostLease};
use publish::{PushResult, Upstream};
use summary::CREATED;
pub use summary::TaskChange;

/// What `sync` did, or would do.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct SyncReport {
    /// The short name of the branch.
    pub branch: String,
    /// The remote; absent if none took part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The commit of the plan; absent if the plan had not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed: Option<String>,
    /// The commit of the branch afterwards.
    pub head: String,
    /// Whether a commit was pushed.
    pub pushed: bool,
    /// Number of pushes that lost a race before one succeeded.
    pub retries: u32,
    /// Other commits of the branch that are pushed.
    pub commits_out: usize,
    /// Number of fetched commits.
    pub commits_in: usize,
    /// Pushed tasks.
    pub outgoing: Vec<TaskChange>,
    /// Fetched tasks.
    pub incoming: Vec<TaskChange>,
    /// Messages for the caller that came in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<SentMessage>,
    /// Local values that lost to fetched ones, each with the command that restores it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LosingEdit>,
    /// Tasks whose files were removed, and which are back, or would be.
    pub brought_back: Vec<RestoredTask>,
    /// Blocked tasks that were recorded as open, since all blockers are finished.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unblocked: Vec<NamedTask>,
    /// The changes of leases.
    #[serde(skip_serializing_if = "is_unchanged")]
    pub leases: LeaseNews,
    /// Whether the plan would be committed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub would_commit: bool,
    /// Whether this is a dry run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Warnings.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Hand edits that were recorded, or would be.
    pub recorded: Vec<EditRecorded>,
    /// Refused hand edits that stay in their files, or would, with the reason.
    pub refused: Vec<EditRefused>,
    /// Fetched files with hand edits.
    #[serde(skip)]
    foreign_edits: Vec<edits::EditedFile>,
    /// The commit of a dry run, and that of the upstream.
    #[serde(skip)]
    preview: Option<(Oid, Option<Oid>)>,
}

/// A value of this side that lost, or would lose, to a concurrent one that came in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LosingEdit {
    /// The task.
    pub task: Id,
    /// Its handle.
    pub handle: String,
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub field: String,
    /// The value that loses.
    pub yours: serde_json::Value,
    /// Its author.
    pub agent: String,
    /// The value that counts.
    pub now: serde_json::Value,
    /// The author of that value.
    pub by: String,
    /// The event that loses.
    pub event: Id,
    /// What ends the conflict.
    #[serde(flatten)]
    pub end: ConflictEnd,
}

fn is_unchanged(news: &LeaseNews) -> bool {
    *news == LeaseNews::default()
}

/// The state that all steps of a sync share.
struct Sync<'a> {
    ws: &'a Workspace,
    repo: &'a Repo,
    objects: Objects,
    git: Git<'a>,
    /// The full name of the branch.
    branch: String,
    /// Whether commits are signed: if the user's settings say so, and not in a dry run.
    signs: bool,
    /// In a dry run, the events that would be recorded first.
    preview: BTreeMap<Entity, Vec<Entry>>,
    /// Hand-edited files that were reported already.
    at_hand: BTreeSet<String>,
}

/// Maximum number of commits that are counted.
const MAX_COUNTED: usize = 10_000;

/// A message without its part about unchanged files.
fn first_part(message: &str) -> &str {
    message.trim_end_matches("; nothing was changed")
}

/// The refusal of a sync, with the next safe step.
fn refusal(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(Code::Sync, message).hint(hint)
}

/// Commits the plan, merges the upstream, and pushes.
///
/// Errors: `ERR_SYNC` with the reason and the next safe step, `ERR_GIT` if git fails, `ERR_BUSY` if another sync of
/// this worktree does not end. Then branch, index and files are as they were.
pub fn sync(ws: &Workspace, options: &job::Sync) -> Result<SyncReport> {
    let repo = ws
        .repo
        .as_ref()
        .ok_or_else(|| refusal("the store lies in no git work tree", "move it into one, or copy it by other means"))?;
    let step = Duration::from_secs(ws.settings.sync.step_seconds.max(1).into());
    let runtime = ws.runtime_to_write()?;
    let _one_at_a_time = Lock::take_named(&runtime, &name_of(repo), step.saturating_mul(5), "agentpm sync")?;
    let objects = repo.objects_with(&ws.env)?;
    let git = repo.program(&ws.env, step)?.without_prompts(&objects);
    let branch = free_branch(&objects, &ws.store.name)?;
    let signs = !options.plan && objects.flag("commit.gpgSign");
    let mut sync = Sync { ws, repo, objects, git, branch, signs, preview: BTreeMap::new(), at_hand: BTreeSet::new() };
    let upstream = sync.upstream(options)?;
    sync.refuse_odd_files()?;
    sync.refuse_ignored()?;
    if !options.plan {
        sync.resume_interrupted()?;
    }
    let brought_back = if options.plan { Vec::new() } else { repair::repair_changed(ws)?.brought_back };
    let mut taken = match options.plan {
        true => {
            let (taken, preview) = sync.preview_edits(upstream.as_ref())?;
            sync.preview = preview;
            taken
        }
        false => sync.record_edits(upstream.as_ref())?,
    };
    let mut warnings = std::mem::take(&mut taken.warnings);
    sync.at_hand =
        taken.recorded.iter().map(|e| &e.path).chain(taken.refused.iter().map(|e| &e.path)).cloned().collect();
    let asks = !options.plan && !options.no_push;
    let mut leases = LeaseNews::default();
    // A failure with leases is a warning and does not prevent the exchange of the plan.
    let warn_of = |e: Error, warnings: &mut Vec<String>| warnings.push(format!("leases: {}", e.message));
    let asks = asks
        && sync.fetch_leases(&mut warnings).unwrap_or_else(|e| {
            warn_of(e, &mut warnings);
            false
        });
    if asks && let Err(e) = sync.report_ends(&mut leases, &mut warnings) {
        warn_of(e, &mut warnings);
    }
    if !options.plan {
        expiry::record_expired(ws);
    }
    // The upstream is fetched first, since another clone may have recorded the same edits.
    let settings = ws.store.dir.mark(CONFIG);
    let mut unblocked = if options.plan || upstream.is_some() { Vec::new() } else { unblock::record_unblocked(ws) };
    let mut report = sync.run(options, upstream.as_ref())?;
    // After the merge it is known what other agents did with tasks held here.
    let resolved = if asks { sync.resolve_leases(&mut leases, &mut warnings) } else { Ok(Default::default()) };
    let there = resolved.unwrap_or_else(|e| {
        warn_of(e, &mut warnings);
        Default::default()
    });
    let foreign = std::mem::take(&mut report.foreign_edits);
    let recorded = match &report.preview {
        Some((new, theirs)) => {
            let (new, theirs) = (*new, *theirs);
            let more = sync.preview_foreign_edits(&foreign, new, &mut taken)?;
            if let Some(theirs) = theirs.filter(|_| !more.is_empty()) {
                let plan = sync.plan_with(new, &more)?;
                report.outgoing = sync.task_changes(sync.plan_of(theirs)?, plan)?;
            }
            false
        }
        None => {
            let recorded = sync.record_foreign_edits(foreign, &mut taken)?;
            // Settings that came with the merge count from the next command on, and say which blockers need a review.
            if ws.store.dir.mark(CONFIG).ok() == settings.ok() {
                unblocked.extend(unblock::record_unblocked(ws));
            }
            recorded || !unblocked.is_empty() && upstream.is_some()
        }
    };
    warnings.append(&mut taken.warnings);
    for edited in std::mem::take(&mut taken.stayed) {
        sync.restore_file(&edited)?;
    }
    if recorded || !leases.confirmed.is_empty() {
        match sync.run(options, upstream.as_ref()) {
            Ok(again) => report.add_second_round(again),
            Err(e) => warnings.push(format!("the last recorded events are not pushed yet: {}", e.message)),
        }
    }
    warnings.append(&mut report.warnings);
    warnings.extend(doubled_warning(ws, &report.incoming));
    warnings.extend(uncommitted::warning(&sync.touched_outside()?, &ws.store.name));
    if !options.plan
        && let Err(e) = sync.report_lost(&report.incoming, &mut leases)
    {
        warn_of(e, &mut warnings);
    }
    if asks && let Err(e) = sync.clean_leases(there, &mut leases, &mut warnings) {
        warn_of(e, &mut warnings);
    }
    if !options.plan
        && upstream.is_some()
        && let Ok(own) = Dir::open(&ws.own_runtime_path())
    {
        bus::forget_missed(&own)?;
    }
    report.leases = leases;
    report.unblocked = named(ws, &unblocked);
    report.brought_back.extend(brought_back);
    report.brought_back.append(&mut taken.brought_back);
    (report.recorded, report.refused) = (taken.recorded, taken.refused);
    report.warnings = warnings;
    Ok(report)
}

/// Warns of keys of a plan that have a second task since these changes came. All of it has happened, so that an index that cannot
/// be read is no error.
fn doubled_warning(ws: &Workspace, incoming: &[TaskChange]) -> Option<String> {
    let created: BTreeSet<Id> = incoming.iter().filter(|one| one.what == CREATED).map(|one| one.task).collect();
    if created.is_empty() {
        return None;
    }
    let shared = read::index(ws).and_then(|index| index.shared_origins(PLAN_ORIGIN)).unwrap_or_default();
    let doubled = shared.values().filter(|tasks| tasks.iter().any(|task| created.contains(task))).count();
    let keys = if doubled == 1 { "1 key of a plan has" } else { &format!("{doubled} keys of a plan have") };
    (doubled > 0).then(|| format!("{keys} several tasks, since two clones applied the plan; agentpm lint names them"))
}

/// Tasks by handle and title. All of it has happened, so that what cannot be read is left out and is no error.
fn named(ws: &Workspace, ids: &[Id]) -> Vec<NamedTask> {
    if ids.is_empty() {
        return Vec::new();
    }
    let index = read::index(ws).ok();
    let title = |id: Id| index.as_ref().and_then(|index| index.title(id).ok().flatten()).unwrap_or_default();
    let handle = |id: Id| read::handle(ws, id).unwrap_or_else(|_| id.handle(HANDLE_MIN));
    ids.iter().map(|id| NamedTask::new(*id, handle(*id), &title(*id))).collect()
}

/// The checked-out branch, if no git operation is in progress.
fn free_branch(objects: &Objects, store: &str) -> Result<String> {
    if let Some(operation) = objects.in_progress() {
        let end = if operation == "git bisect" { "git bisect reset".into() } else { format!("{operation} --continue") };
        return Err(refusal(
            format!("{operation} is in progress; nothing was changed"),
            format!("end it first: agentpm resolve repairs the plan's files, {end} continues; then agentpm sync"),
        ));
    }
    let head = objects.head()?;
    let Some(branch) = head.branch else {
        return Err(refusal(
            "HEAD is detached: there is no branch to commit to; nothing was changed",
            "make or take a branch with git switch, then agentpm sync; the plan's files stay as they are",
        ));
    };
    if head.commit.is_none() {
        return Err(refusal(
            format!("the branch {} has no commit yet; nothing was changed", short(&branch)),
            "make the first commit (git add .agentpm; git commit), then agentpm sync",
        ));
    }
    let unmerged = objects.unmerged(store)?;
    if let Some(path) = unmerged.first() {
        return Err(refusal(
            format!("git's index holds conflicts ({path}); nothing was changed"),
            "resolve them and git add them, then agentpm sync",
        ));
    }
    Ok(branch)
}

/// The name of this worktree's sync files in the runtime folder.
fn name_of(repo: &Repo) -> String {
    format!("sync-{}", &crate::runtime::records::digest(&repo.git_dir.display().to_string())[..12])
}

fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

/// A branch's name without `refs/heads/`.
fn short(branch: &str) -> &str {
    branch.strip_prefix("refs/heads/").unwrap_or(branch)
}

impl Sync<'_> {
    /// Refuses a plan that git ignores: it would silently never be committed.
    fn refuse_ignored(&self) -> Result<()> {
        let path = self.ws.store.shown("tasks/0/0/some-task/events.jsonl");
        let args = ["check-ignore", "-v", "--no-index", "--", &path];
        let outcome = self.git.call(&args, None, Vec::new())?;
        if outcome.code != Some(0) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&outcome.stdout).into_owned();
        let rule = said.split('\t').next().unwrap_or_default().trim().to_owned();
        // A pattern with an exclamation mark negates an earlier one.
        if rule.splitn(3, ':').nth(2).is_some_and(|pattern| pattern.starts_with('!')) {
            return Ok(());
        }
        Err(refusal(
            format!(
                "git ignores {} by the rule {rule}, so the plan would never be committed; nothing was changed",
                self.ws.store.name
            ),
            "take that rule out, then agentpm sync",
        ))
    }

    fn run(&self, options: &job::Sync, upstream: Option<&Upstream>) -> Result<SyncReport> {
        let mut report = SyncReport {
            branch: short(&self.branch).to_owned(),
            remote: upstream.map(|u| u.remote.clone()),
            dry_run: options.plan,
            ..SyncReport::default()
        };
        let most = self.ws.settings.sync.retries;
        loop {
            let before = self.tip()?;
            let own = self.snapshot(before, options.plan, &mut report)?;
            let theirs = match upstream.map(|upstream| self.fetch(upstream)).transpose() {
                Err(e) if options.no_push => {
                    report.warnings.push(format!("{}; only the local plan was committed", first_part(&e.message)));
                    None
                }
                fetched => fetched?.flatten(),
            };
            if let Some(theirs) = theirs {
                self.refuse_odd_plan(before, theirs)?;
            }
            let new = match theirs {
                Some(theirs) => self.integrate(own, theirs)?,
                None => own,
            };
            self.check_move(before, own, new)?;
            if options.plan {
                self.report_changes(&mut report, before, own, theirs, new)?;
                report.foreign_edits = theirs.map_or(Ok(Vec::new()), |theirs| self.edits_in(before, theirs))?;
                report.preview = Some((new, theirs));
                return Ok(report);
            }
            let push = upstream.filter(|_| !options.no_push && theirs != Some(new));
            match push.map(|upstream| self.push(upstream, new, theirs, options)).transpose()? {
                Some(PushResult::Lost(_, Some(lock))) if report.retries >= most => {
                    return Err(git_locks::is_held_there(&lock));
                }
                Some(PushResult::Lost(why, None)) if report.retries >= most => {
                    return Err(refusal(
                        format!(
                            "other pushes came first {} times in a row ({why}); nothing was changed",
                            report.retries + 1
                        ),
                        "run agentpm sync again",
                    ));
                }
                Some(PushResult::Lost(..)) => {
                    report.retries += 1;
                    self.back_off(report.retries)?;
                    continue;
                }
                Some(PushResult::Taken) => report.pushed = true,
                None => {}
            }
            let after_push = |e: Error| Error { message: format!("the push succeeded, but {}", e.message), ..e };
            let applied = self.apply_result(before, own, new);
            if applied.map_err(|e| if report.pushed { after_push(e) } else { e })? {
                report.foreign_edits = theirs.map_or(Ok(Vec::new()), |theirs| self.edits_in(before, theirs))?;
                self.report_changes(&mut report, before, own, theirs, new)?;
                return Ok(report);
            }
            // Another process committed to this branch; the next round includes that commit.
            report.retries += 1;
            if report.retries > most {
                let pushed = if report.pushed { "the push succeeded; " } else { "" };
                return Err(refusal(
                    "the branch keeps moving under this sync",
                    format!("{pushed}run agentpm sync again when no other process changes the branch"),
                ));
            }
        }
    }

    /// The present commit of the branch.
    fn tip(&self) -> Result<Oid> {
        self.objects.reference(&self.branch).ok_or_else(|| {
            refusal(format!("the branch {} vanished", short(&self.branch)), "look at git branch, then agentpm sync")
        })
    }

    /// The plan's folder in a commit.
    fn plan_of(&self, commit: Oid) -> Result<Option<Oid>> {
        let item = self.objects.item(self.objects.commit(commit)?.tree, &self.ws.store.name)?;
        Ok(item.filter(|item| item.mode == crate::git::Mode::Tree).map(|item| item.oid))
    }

    fn report_changes(
        &self,
        report: &mut SyncReport,
        before: Oid,
        own: Oid,
        theirs: Option<Oid>,
        new: Oid,
    ) -> Result<()> {
        let (before_plan, own_plan, new_plan) = (self.plan_of(before)?, self.plan_of(own)?, self.plan_of(new)?);
        // The commits of a dry run are never published.
        report.committed = (own != before && !report.dry_run).then(|| self.objects.short(new));
        report.would_commit = own != before && report.dry_run;
        let known = match theirs {
            Some(theirs) => vec![theirs],
            None => self.objects.references("refs/remotes/")?.into_iter().map(|(_, id)| id).collect(),
        };
        report.commits_out = self.objects.walk(&[before], &known, MAX_COUNTED)?.len();
        report.commits_in =
            theirs.map_or(Ok(0), |theirs| Ok(self.objects.walk(&[theirs], &[before], MAX_COUNTED)?.len()))?;
        report.head = self.objects.short(if report.dry_run { before } else { new });
        report.outgoing = match theirs {
            Some(theirs) => self.task_changes(self.plan_of(theirs)?, new_plan)?,
            None => self.task_changes(before_plan, own_plan)?,
        };
        report.incoming = self.task_changes(own_plan, new_plan)?;
        report.lost = self.lost_edits(&report.incoming, own_plan, new_plan)?;
        report.messages = messages_between(&self.objects, &[own_plan], new_plan)?;
        if !report.messages.is_empty() {
            let me = receiver(self.ws)?;
            report.messages.retain(|message| me.is_addressed(message.to.as_deref(), message.role.as_deref()));
        }
        Ok(())
    }

    /// Waits for a random time that grows with the number of lost races.
    fn back_off(&self, lost: u32) -> Result<()> {
        let chance = self.ws.env.chance()? % 100;
        let millis = u64::from(lost.min(20)) * 5 * (chance + 1) / 50;
        process::pause(Duration::from_millis(millis));
        Ok(())
    }
}

impl SyncReport {
    /// Adds the results of a second round.
    fn add_second_round(&mut self, again: SyncReport) {
        self.committed = again.committed.or(self.committed.take());
        self.head = again.head;
        self.pushed |= again.pushed;
        self.retries += again.retries;
        self.commits_in += again.commits_in;
        for (mine, more) in [(&mut self.outgoing, again.outgoing), (&mut self.incoming, again.incoming)] {
            mine.retain(|old| more.iter().all(|new| new.task != old.task));
            mine.extend(more);
        }
        self.lost.extend(again.lost);
        self.messages.extend(again.messages);
        self.warnings.extend(again.warnings);
    }

    /// The report in one line.
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if self.would_commit {
            parts.push("would commit the plan".to_owned());
        } else if self.committed.is_some() {
            parts.push("committed the plan".to_owned());
        }
        if !self.incoming.is_empty() {
            let verb = if self.dry_run { "would come in" } else { "came in" };
            parts.push(format!("{} {verb}", counted(self.incoming.len(), "task")));
        }
        if !self.outgoing.is_empty() {
            let verb = match (self.dry_run, self.pushed) {
                (true, _) => "would go out",
                (_, true) => "went out",
                (_, false) if self.outgoing.len() == 1 => "waits to go out",
                (_, false) => "wait to go out",
            };
            parts.push(format!("{} {verb}", counted(self.outgoing.len(), "task")));
        }
        if self.commits_in > 0 {
            let verb = if self.dry_run { "would come in" } else { "came in" };
            parts.push(format!("{} {verb}", counted(self.commits_in, "commit")));
        }
        if self.commits_out > 0 {
            let verb = match (self.dry_run, self.pushed) {
                (true, _) => "would go out",
                (_, true) => "went out",
                (_, false) => "wait to go out",
            };
            parts.push(format!("{} of yours {verb}", counted(self.commits_out, "commit")));
        }
        if parts.is_empty() && self.pushed {
            parts.push("pushed existing commits".into());
        }
        if parts.is_empty() {
            parts.push("already up to date".into());
        }
        parts.join(", ")
    }
}
