//! The git program: for everything that moves branches, indexes and work trees, and for the network.
//!
//! Guarantees that it runs in this repository only, never prompts, and ends by a deadline. Our merge driver is set, renames
//! are never guessed, and transports that run commands are refused. Its error message is passed on.
//! Leaves to others: what is synchronised.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Objects, Repo};
use crate::env::Env;
use crate::env::process::{Call, Outcome};
use crate::error::{Code, Error, Result};

/// The git program, ready to run in one worktree.
pub struct Git<'a> {
    env: &'a Env,
    repo: &'a Repo,
    program: PathBuf,
    driver: String,
    deadline: Duration,
    ssh: Option<&'static str>,
}

/// The command by which git calls our merge driver: ancestor, ours, theirs, path, and the labels of ancestor, ours and
/// theirs. A git before 2.44 passes the labels as `%S`, `%X` and `%Y`.
pub fn driver_command(program: &Path) -> String {
    format!("{} merge-driver %O %A %B %P %S %X %Y", quoted(program))
}

/// Quotes a path as one word for a shell.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

impl Repo {
    /// The git program for this worktree; each run ends by `deadline`.
    ///
    /// Errors: `ERR_GIT` if there is no git on PATH.
    pub fn program<'a>(&'a self, env: &'a Env, deadline: Duration) -> Result<Git<'a>> {
        let program = env.find_program("git", &self.work_dir)?;
        let driver = driver_command(&env.own_program()?);
        Ok(Git { env, repo: self, program, driver, deadline, ssh: None })
    }
}

impl Git<'_> {
    /// Keeps ssh from prompting for a passphrase or a host key, unless the user configured ssh for git.
    #[must_use]
    pub fn without_prompts(mut self, objects: &Objects) -> Self {
        let set_up = ["GIT_SSH_COMMAND", "GIT_SSH"].iter().any(|name| self.env.var(name).is_some());
        if !set_up && objects.setting("core.sshCommand").is_none() {
            self.ssh = Some("ssh -o BatchMode=yes");
        }
        self
    }

    /// Runs git with these arguments, an own index file if one is named, and bytes on its standard input.
    ///
    /// Errors: `ERR_IO` if it cannot be started.
    pub fn call(&self, args: &[&str], index: Option<&Path>, input: Vec<u8>) -> Result<Outcome> {
        self.call_with(args, index, &[], input)
    }

    /// As [`Git::call`], with another deadline.
    ///
    /// Errors: `ERR_IO` if it cannot be started.
    pub fn call_within(&self, args: &[&str], deadline: Duration) -> Result<Outcome> {
        self.start(args, None, &[], Vec::new(), deadline)
    }

    /// As [`Git::call`], with more variables.
    ///
    /// Errors: `ERR_IO` if it cannot be started.
    pub fn call_with(
        &self,
        args: &[&str],
        index: Option<&Path>,
        vars: &[(&str, OsString)],
        input: Vec<u8>,
    ) -> Result<Outcome> {
        self.start(args, index, vars, input, self.deadline)
    }

    fn start(
        &self,
        args: &[&str],
        index: Option<&Path>,
        vars: &[(&str, OsString)],
        input: Vec<u8>,
        deadline: Duration,
    ) -> Result<Outcome> {
        let mut all: Vec<String> = Vec::with_capacity(args.len() + 16);
        for setting in [
            "merge.renames=false",
            "merge.directoryRenames=false",
            "diff.renames=false",
            "protocol.ext.allow=never",
            "core.editor=false",
            "advice.detachedHead=false",
            "core.quotePath=false",
            // All that is written here is UTF-8, whichever encoding the user's own commits have.
            "i18n.commitEncoding=UTF-8",
            "merge.agentpm.name=the plan's own merge",
        ] {
            all.extend(["-c".to_owned(), setting.to_owned()]);
        }
        all.extend(["-c".to_owned(), format!("merge.agentpm.driver={}", self.driver)]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut vars: Vec<(String, OsString)> =
            vars.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        vars.push(("GIT_DIR".into(), self.repo.git_dir.clone().into()));
        vars.push(("GIT_WORK_TREE".into(), self.repo.work_dir.clone().into()));
        if let Some(index) = index {
            vars.push(("GIT_INDEX_FILE".into(), index.into()));
        }
        if let Some(ssh) = self.ssh {
            vars.push(("GIT_SSH_COMMAND".into(), ssh.into()));
        }
        tracing::debug!(args = ?args, "git");
        self.env.run(Call { program: &self.program, args: all, dir: &self.repo.work_dir, vars, input, deadline })
    }

    /// Runs git and returns its output without the last newline.
    ///
    /// Errors: `ERR_GIT` with git's message if it fails or takes too long.
    pub fn ask(&self, args: &[&str]) -> Result<String> {
        let outcome = self.call(args, None, Vec::new())?;
        self.text(args, &outcome)
    }

    /// The output of a successful run.
    ///
    /// Errors: `ERR_GIT` with git's message.
    pub fn text(&self, args: &[&str], outcome: &Outcome) -> Result<String> {
        if outcome.code == Some(0) && !outcome.timed_out {
            return Ok(String::from_utf8_lossy(&outcome.stdout).trim_end_matches('\n').to_owned());
        }
        Err(self.failure(args, outcome))
    }

    /// The error for a failed run.
    pub fn failure(&self, args: &[&str], outcome: &Outcome) -> Error {
        let own = args.iter().position(|arg| *arg == "-c").map_or(0, |at| at + 2);
        let name = args.get(own).copied().unwrap_or_default();
        if outcome.timed_out {
            return Error::new(
                Code::Git,
                format!("git {name} did not end within {} s and was stopped", self.deadline.as_secs()),
            )
            .with(serde_json::json!({ "timed_out": true }));
        }
        let said = words(&outcome.stderr);
        Error::new(Code::Git, format!("git {name} failed: {said}"))
            .with(serde_json::json!({ "exit": outcome.code, "stderr": said }))
    }
}

/// The essential lines of git's message: a few, without hints and progress.
pub fn words(stderr: &str) -> String {
    let matters =
        |line: &&str| !line.is_empty() && !line.starts_with("hint:") && !line.starts_with("remote: Resolving");
    let plain = |line: &'_ str| -> String {
        let line = line.strip_prefix("error: ").or_else(|| line.strip_prefix("fatal: ")).unwrap_or(line);
        line.trim_end_matches('.').to_owned()
    };
    let lines: Vec<String> = stderr.lines().map(str::trim).filter(matters).map(plain).collect();
    let skipped = lines.len().saturating_sub(6);
    let mut said = lines.iter().take(6).cloned().collect::<Vec<_>>().join("; ");
    if skipped > 0 {
        said.push_str(&format!(" (and {skipped} more lines)"));
    }
    if said.is_empty() { "it gave no reason".into() } else { said }
}
