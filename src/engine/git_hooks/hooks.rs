//! What a clone of git needs to run agentpm by itself: the drivers that `init` sets, the hooks that `init --hooks` installs.
//!
//! Guarantees: settings of the clone name this very program; a hook that is there keeps every line and gets a marked section of
//! ours; doing it again changes nothing.
//! Leaves to others: what the hooks check.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::engine::context::Workspace;
use crate::env::{Env, files, outside};
use crate::error::{Code, Error, Result};
use crate::git::{self, Objects, Repo, driver_command, quoted};
use crate::store::layout::{STORE, Store};

const BEGIN: &str = "# agentpm: begin";
const END: &str = "# agentpm: end";
/// How long a call of git may take that only touches settings.
const DEADLINE: Duration = Duration::from_secs(20);
/// Longest hook that is looked at, in bytes.
const MAX_HOOK: u64 = 1024 * 1024;

/// The setting that names the merge driver.
const DRIVER: &str = "merge.agentpm.driver";

/// How a clone calls the merge driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Not at all.
    Unset,
    /// With another program, or by the command line of another version.
    Outdated,
    /// As [`init`](super::init) sets it.
    Set,
}

/// How the merge driver is set in a clone.
pub(crate) fn driver_in(env: &Env, objects: &Objects) -> Driver {
    match objects.setting(DRIVER) {
        None => Driver::Unset,
        Some(command) if env.own_program().is_ok_and(|program| command == driver_command(&program)) => Driver::Set,
        Some(_) => Driver::Outdated,
    }
}

/// How the merge driver is set in this clone; `None` where that cannot be read, or there is no clone.
pub fn driver(ws: &Workspace) -> Option<Driver> {
    let objects = ws.repo.as_ref()?.objects().ok()?;
    Some(driver_in(&ws.env, &objects))
}

/// Sets the merge driver and the diff driver in the settings of the clone. Returns the names of the settings that changed.
///
/// Errors: `ERR_GIT` where the settings cannot be read or written.
pub(crate) fn set_drivers(env: &Env, repo: &Repo) -> Result<Vec<&'static str>> {
    let program = env.own_program()?;
    let quoted = quoted(&program);
    let git = repo.program(env, DEADLINE)?;
    let known =
        git.call(&["config", "--local", "-z", "--get-regexp", r"^(merge|diff)\.agentpm\."], None, Vec::new())?;
    let known = String::from_utf8_lossy(&known.stdout).into_owned();
    let known: BTreeMap<&str, &str> = known.split('\0').filter_map(|setting| setting.split_once('\n')).collect();
    let mut changed = Vec::new();
    for (key, value) in [
        ("merge.agentpm.name", "the plan's own merge".to_owned()),
        (DRIVER, driver_command(&program)),
        // A program that was moved away must not take git diff with it.
        (
            "diff.agentpm.textconv",
            format!("f() {{ if [ -x {quoted} ]; then {quoted} textconv \"$1\"; else cat \"$1\"; fi; }}; f"),
        ),
    ] {
        if known.get(key) != Some(&value.as_str()) {
            git.ask(&["config", "--local", "--replace-all", key, &value])?;
            changed.push(key);
        }
    }
    Ok(changed)
}

/// Writes our sections into the pre-commit and commit-msg hooks of the clone. Returns the hooks that changed.
///
/// Errors: `ERR_GIT` where a hook is no shell script or a symbolic link, `ERR_IO`.
pub fn install_hooks(env: &Env) -> Result<Vec<String>> {
    let repo = git::discover(env.cwd())?
        .ok_or_else(|| Error::new(Code::Git, format!("{} is in no git work tree", env.cwd().display())))?;
    let program = quoted(&env.own_program()?);
    let git = repo.program(env, DEADLINE)?;
    let store = match Store::nearest(&repo.work_dir, env.cwd())? {
        Some(store) if store.name != STORE => format!(" --store '{}'", store.name.replace('\'', "'\\''")),
        _ => String::new(),
    };
    let mut changed = Vec::new();
    // A repository whose index and objects this program cannot read is still checked by its files.
    for hook in [before_commit(&program, &store, repo.objects().is_ok()), before_message(&program, &store)] {
        changed.extend(install_hook(&repo, &git, &hook)?);
    }
    Ok(changed)
}

/// A hook of git and our part in it.
struct Hook {
    name: &'static str,
    section: String,
    /// How a person gets the same where we may not write.
    by_hand: &'static str,
}

/// Judges what would be committed: silent where all is well, and no hindrance where the program was moved away. Where the commit
/// ends a stopped operation of git, what git merged of the plan is repaired first and staged. A merge that does not stop has no such place: git makes
/// its tree before any hook runs, and what a hook stages then would only keep git from the next merge.
fn before_commit(program: &str, store: &str, reads_index: bool) -> Hook {
    let (repair, check) = match reads_index {
        true => (
            format!(
                "agentpm_dir=$(git rev-parse --git-dir)\n  \
                 for agentpm_head in MERGE_HEAD SQUASH_MSG CHERRY_PICK_HEAD REVERT_HEAD REBASE_HEAD; do\n    \
                   if [ -e \"$agentpm_dir/$agentpm_head\" ]; then\n      \
                     {program}{store} resolve --staged --format table >/dev/null || :\n      \
                     break\n    \
                   fi\n  \
                 done\n  "
            ),
            "lint --staged",
        ),
        false => (String::new(), "lint"),
    };
    let section = format!(
        "{BEGIN}\n\
         if [ -x {program} ]; then\n  \
           {repair}\
           agentpm_said=$({program}{store} {check} --format table) || {{ printf '%s\\n' \"$agentpm_said\" >&2; exit 1; }}\n\
         else\n  \
           echo {program} 'is gone; the plan was not checked' >&2\n\
         fi\n\
         {END}\n"
    );
    let by_hand = "let the hook run agentpm lint --staged and fail where it does";
    Hook { name: "pre-commit", section, by_hand }
}

/// Names the leases in the message, where the settings ask for that; never a reason for a commit to fail.
fn before_message(program: &str, store: &str) -> Hook {
    let section = format!(
        "{BEGIN}\n\
         if [ -x {program} ]; then\n  \
           {program}{store} trailer \"$1\" >/dev/null || :\n\
         fi\n\
         {END}\n"
    );
    let by_hand = "all else is set; let the hook call agentpm trailer \"$1\" if commits are to name leases";
    Hook { name: "commit-msg", section, by_hand }
}

fn install_hook(repo: &Repo, git: &git::Git<'_>, hook: &Hook) -> Result<Option<String>> {
    let folder = repo.work_dir.join(git.ask(&["rev-parse", "--git-path", "hooks"])?);
    let path = folder.join(hook.name);
    let by_hand = |why: String| Error::new(Code::Git, why).hint(hook.by_hand);
    if outside::canonical(&folder)
        .is_ok_and(|real| real.starts_with(&repo.work_dir) && !real.starts_with(&repo.common_dir))
    {
        return Err(by_hand(format!("the hooks of this clone lie in its work tree, at {}", folder.display())));
    }
    let old = match outside::read(&path, MAX_HOOK) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| by_hand(format!("{} is no text", path.display())))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(Error::io("read", &path, &e)),
    };
    let is_off = outside::metadata(&path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 == 0);
    if is_off && !old.trim().is_empty() {
        return Err(by_hand(format!("{} is switched off (it is not executable)", path.display())));
    }
    let new =
        with_section(&old, &hook.section).ok_or_else(|| by_hand(format!("{} is no shell script", path.display())))?;
    if new == old {
        return Ok(None);
    }
    if outside::metadata(&path).is_ok_and(|m| m.is_symlink()) {
        return Err(by_hand(format!("{} is a symbolic link", path.display())));
    }
    let write = || {
        outside::make_dirs(&folder)?;
        files::Dir::open(&folder)?.replace(hook.name, new.as_bytes(), 0o755)
    };
    write().map_err(|e| Error::io("write", &path, &e))?;
    Ok(Some(path.display().to_string()))
}

/// A hook with our section after its first line; `None` for one in another language than the shell's.
fn with_section(old: &str, section: &str) -> Option<String> {
    if old.trim().is_empty() {
        return Some(format!("#!/bin/sh\n{section}"));
    }
    if let (Some(from), Some(to)) = (old.find(BEGIN), old.find(END)) {
        let rest = old[to + END.len()..].strip_prefix('\n').unwrap_or(&old[to + END.len()..]);
        return Some(format!("{}{section}{rest}", &old[..from]));
    }
    let (first, rest) = old.split_once('\n').unwrap_or((old, ""));
    let shell = first.starts_with("#!") && first.ends_with("sh");
    shell.then(|| format!("{first}\n{section}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_is_there_keeps_its_lines() {
        let section = format!("{BEGIN}\nx\n{END}\n");
        let new = with_section("#!/bin/bash\nmake check\n", &section).unwrap();
        assert_eq!(new, format!("#!/bin/bash\n{section}make check\n"));
        assert_eq!(with_section(&new, &section).unwrap(), new);
        let changed = format!("{BEGIN}\ny\n{END}\n");
        assert_eq!(with_section(&new, &changed).unwrap(), format!("#!/bin/bash\n{changed}make check\n"));
        assert_eq!(with_section("#!/usr/bin/env python3\n", &section), None);
        assert_eq!(with_section("", &section).unwrap(), format!("#!/bin/sh\n{section}"));
    }
}
