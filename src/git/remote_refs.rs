//! References at a remote that are not branches: lists them, fetches their objects, and replaces one by compare-and-swap.
//!
//! Guarantees that all questions of one command together end by a deadline. The result of a push is accepted, lost, refused,
//! not sent, or unknown. No reference of this clone moves, and none of the user's push hooks runs.
//! Leaves to others: what the references mean.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Git, Objects, Oid, words};
use crate::env::process::Outcome;
use crate::error::{Code, Error, Result};
use crate::model::id::quoted;

/// The most references that one call of git names.
const AT_ONCE: usize = 200;
/// How often references that change in the meantime are read again.
const READS: usize = 10;
/// With less time left, the remote is not asked: git itself takes as long to start.
const NO_TIME: Duration = Duration::from_millis(50);

/// A fetch that moves no reference of the user.
const FETCH: [&str; 7] = [
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-recurse-submodules",
    "--no-auto-maintenance",
    "--refmap=",
];

/// The result of a push for one reference.
#[derive(Clone, Debug, PartialEq)]
pub enum Push {
    /// The remote accepted it.
    Taken,
    /// The remote's reference had another value.
    Lost,
    /// The remote refused it, for this reason.
    Refused(String),
    /// The remote was not reached.
    NotSent(String),
    /// The remote did not answer: it may have accepted the push.
    Unknown(String),
}

/// The references of one remote.
pub struct RemoteRefs<'a> {
    git: Git<'a>,
    objects: &'a Objects,
    remote: String,
    /// Where pushes go, if that is another place than fetches: only there the result of a push is visible.
    read_from: String,
    until: Instant,
}

impl<'a> RemoteRefs<'a> {
    /// The references of the remote `name`; all questions are answered within `span`.
    ///
    /// Errors: `ERR_GIT` if this clone has no such remote.
    pub fn new(git: Git<'a>, objects: &'a Objects, name: &str, span: Duration) -> Result<Self> {
        if !objects.remotes().iter().any(|remote| remote == name) || name.starts_with('-') {
            return Err(Error::new(Code::Git, format!("this clone has no remote {}", quoted(name)))
                .hint("git remote -v shows the remotes; lease.remote in config.toml names the one that decides"));
        }
        let push_url = objects.setting(&format!("remote.{name}.pushurl"));
        let read_from = push_url.unwrap_or_else(|| name.to_owned());
        Ok(RemoteRefs {
            git: git.without_prompts(objects),
            objects,
            remote: name.to_owned(),
            read_from,
            until: Instant::now() + span,
        })
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn call(&self, args: &[&str], span: Duration) -> Result<Outcome> {
        if self.left() < NO_TIME {
            return Err(Error::new(Code::Git, "no time was left to ask the remote"));
        }
        self.git.call_within(args, span.min(self.left()))
    }

    /// The references that match a name or pattern, with their objects.
    ///
    /// Errors: `ERR_GIT` with git's message if the remote does not answer.
    pub fn list(&self, pattern: &str) -> Result<BTreeMap<String, Oid>> {
        let args = ["ls-remote", "--refs", "--end-of-options", &self.read_from, pattern];
        let outcome = self.call(&args, self.left())?;
        let text = self.git.text(&args, &outcome)?;
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        lines.map(|(oid, name)| Ok((name.to_owned(), oid.parse()?))).collect()
    }

    /// As [`RemoteRefs::list`], and fetches the objects.
    ///
    /// Errors: `ERR_GIT` with git's message if the remote does not answer, or if they change faster than they can be read.
    pub fn read(&self, pattern: &str) -> Result<BTreeMap<String, Oid>> {
        let mut last = None;
        for _ in 0..READS {
            let refs = self.list(pattern)?;
            // Objects can be fetched only by the names of references, and those may have moved or gone by now.
            last = self.fetch(&refs).err();
            if last.is_none() && refs.values().all(|oid| self.objects.has(*oid)) {
                return Ok(refs);
            }
        }
        Err(last.unwrap_or_else(|| Error::new(Code::Git, format!("{pattern} changes faster than it can be read"))))
    }

    /// Mirrors references of the remote into this clone, in one call: each pattern `from` below `to`. References that are
    /// gone there are removed here. A pattern that matches nothing is not an error.
    ///
    /// Errors: `ERR_GIT` with git's message if the remote does not answer.
    pub fn mirror(&self, patterns: &[(String, String)]) -> Result<()> {
        let specs: Vec<String> = patterns.iter().map(|(from, to)| format!("+{from}:{to}")).collect();
        let mut args = FETCH.to_vec();
        args.extend(["--prune", "--end-of-options", &self.read_from]);
        args.extend(specs.iter().map(String::as_str));
        let outcome = self.call(&args, self.left())?;
        self.git.text(&args, &outcome).map(drop)
    }

    /// The branches of the remote that this clone fetches, as patterns.
    pub fn branches(&self) -> Vec<String> {
        let specs = self.objects.settings(&format!("remote.{}.fetch", self.remote));
        let wanted = specs.iter().filter_map(|spec| spec.trim_start_matches('+').split(':').next());
        let wanted = wanted.filter(|from| from.starts_with("refs/heads/"));
        // Git accepts a pattern that matches nothing, but not a missing name.
        let pattern = |from: &str| if from.contains('*') { from.to_owned() } else { format!("{from}*") };
        let wanted: Vec<String> = wanted.map(pattern).collect();
        if wanted.is_empty() { vec!["refs/heads/*".to_owned()] } else { wanted }
    }

    fn fetch(&self, refs: &BTreeMap<String, Oid>) -> Result<()> {
        let missing: Vec<&str> =
            refs.iter().filter(|(_, oid)| !self.objects.has(**oid)).map(|(name, _)| name.as_str()).collect();
        for names in missing.chunks(AT_ONCE) {
            let mut args = FETCH.to_vec();
            args.extend(["--no-prune", "--end-of-options", &self.read_from]);
            args.extend(names);
            let outcome = self.call(&args, self.left())?;
            self.git.text(&args, &outcome)?;
        }
        Ok(())
    }

    /// Sets a reference to `new` (`None` deletes it) if it still has the value `expected` (`None`: if it does not exist).
    ///
    /// Errors: `ERR_IO` if git cannot be started.
    pub fn swap(&self, name: &str, expected: Option<Oid>, new: Option<Oid>) -> Result<Push> {
        Ok(self.push(&[(name, expected, new)])?.into_iter().next().unwrap_or(Push::Lost))
    }

    /// As [`RemoteRefs::swap`] for several references; each succeeds or fails by itself.
    ///
    /// Errors: `ERR_IO` if git cannot be started.
    pub fn push(&self, changes: &[(&str, Option<Oid>, Option<Oid>)]) -> Result<Vec<Push>> {
        let text = |oid: Option<Oid>| oid.map(|oid| oid.to_string()).unwrap_or_default();
        let leases: Vec<String> = changes
            .iter()
            .map(|(name, expected, _)| format!("--force-with-lease={name}:{}", text(*expected)))
            .collect();
        let specs: Vec<String> = changes.iter().map(|(name, _, new)| format!("{}:{name}", text(*new))).collect();
        let mut args =
            vec!["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--recurse-submodules=no"];
        args.extend(leases.iter().map(String::as_str));
        args.extend(["--end-of-options", &self.remote]);
        args.extend(specs.iter().map(String::as_str));
        if self.left() < NO_TIME {
            return Ok(vec![Push::NotSent("no time was left to ask the remote".into()); changes.len()]);
        }
        // Some time is reserved to ask for the result of a push that got no answer.
        let outcome = self.call(&args, self.left().mul_f64(0.6))?;
        Ok(changes.iter().map(|(name, ..)| push_result(&outcome, name)).collect())
    }
}

/// The result of a push for one reference.
fn push_result(outcome: &Outcome, name: &str) -> Push {
    if outcome.timed_out {
        return Push::Unknown("the remote did not answer in time".into());
    }
    let said = String::from_utf8_lossy(&outcome.stdout);
    let ending = format!(":{name}");
    // One line for each place that is pushed to: all of them must have accepted it.
    let mut lines = said.lines().filter(|line| line.split('\t').nth(1).is_some_and(|spec| spec.ends_with(&ending)));
    let first = lines.next();
    let refused = first.filter(|line| line.starts_with('!')).or_else(|| lines.find(|line| line.starts_with('!')));
    match refused.or(first) {
        Some(line) if line.starts_with('!') => {
            let why = line.rsplit('\t').next().unwrap_or_default();
            if is_race(why) { Push::Lost } else { Push::Refused(format!("{why}{}", server_words(&outcome.stderr))) }
        }
        Some(_) => Push::Taken,
        None if outcome.code == Some(0) => Push::Taken,
        None if is_race(&outcome.stderr) => Push::Lost,
        None if was_not_reached(&outcome.stderr) => Push::NotSent(words(&outcome.stderr)),
        None => Push::Unknown(words(&outcome.stderr)),
    }
}

/// What the server itself reported, after a colon; empty if it reported nothing.
pub fn server_words(stderr: &str) -> String {
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("remote: ")).map(str::trim);
    let said: Vec<&str> = lines.filter(|line| !line.is_empty()).take(4).collect();
    if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) }
}

/// Whether a refusal only means that another push was first.
pub fn is_race(why: &str) -> bool {
    [
        "fetch first",
        "non-fast-forward",
        "stale info",
        "cannot lock ref",
        "failed to update ref",
        "incorrect old value",
        "reference already exists",
        "failed to lock",
    ]
    .iter()
    .any(|said| why.contains(said))
}

/// Whether git reports that it never connected to the remote.
fn was_not_reached(stderr: &str) -> bool {
    [
        "does not appear to be a git repository",
        "Could not resolve host",
        "Connection refused",
        "Connection timed out",
        "No route to host",
        "Network is unreachable",
        "Permission denied",
        "Host key verification failed",
        "Authentication failed",
        "could not read Username",
        "Repository not found",
        "Couldn't connect to server",
    ]
    .iter()
    .any(|said| stderr.contains(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(code: i32, stdout: &str, stderr: &str) -> Outcome {
        Outcome { code: Some(code), stdout: stdout.into(), stderr: stderr.into(), timed_out: false }
    }

    #[test]
    fn each_result_of_a_push_is_distinguished() {
        let name = "refs/agentpm/leases/T";
        let came = |code, out: &str, err: &str| push_result(&outcome(code, out, err), name);
        assert_eq!(came(0, "To x\n*\tabc:refs/agentpm/leases/T\t[new reference]\nDone\n", ""), Push::Taken);
        let lost = "To x\n!\tabc:refs/agentpm/leases/T\t[rejected] (stale info)\nDone\n";
        assert_eq!(came(1, lost, "error: failed to push"), Push::Lost);
        let refused = "To x\n!\tabc:refs/agentpm/leases/T\t[remote rejected] (hook declined)\nDone\n";
        assert!(matches!(came(1, refused, "remote: not here\n"), Push::Refused(why) if why.ends_with(": not here")));
        let gone = "fatal: '/x' does not appear to be a git repository";
        assert!(matches!(came(128, "", gone), Push::NotSent(_)));
        assert!(matches!(came(128, "", "fatal: the remote end hung up unexpectedly"), Push::Unknown(_)));
        let late = Outcome { timed_out: true, ..outcome(0, "", "") };
        assert!(matches!(push_result(&late, name), Push::Unknown(_)));
    }
}
