//! Creates a store, or completes an existing one.
//!
//! Guarantees that what is there already stays, and that nothing is made where AGENTS.md cannot take its section.
//! Leaves to others: the settings of git (`git_hooks`), and the store itself (`context::open`).

use std::path::Path;

use serde::Serialize;

use super::agents_md;
use super::hooks::set_drivers;
use crate::engine::context::open::{Options, not_checked_out};
use crate::env::Env;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::git;
use crate::store::layout::{
    AGENTS, ATTRIBUTES, CONFIG, CONFIG_TEXT, GITATTRIBUTES, GITIGNORE, IGNORE, OLD_GITATTRIBUTES, STORE, Store, TASKS,
};

/// What `init` did.
#[derive(Clone, Debug, Serialize)]
pub struct InitReport {
    /// Path of the store.
    pub path: String,
    /// Files that were made; empty where everything was there.
    pub created: Vec<String>,
    /// Settings of the clone that were set, so that git calls the merge driver and shows logs as lines to read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub git_settings: Vec<&'static str>,
    /// Why the settings could not be set; the store works without.
    #[serde(skip)]
    pub warning: Option<String>,
}

/// Makes a store at the top of the work tree that holds the current folder, or completes the one that is there.
///
/// With a section, writes or updates it in AGENTS.md next to the store. With `drivers`, sets the
/// merge driver and the diff driver in the settings of the clone.
///
/// Errors: `ERR_GIT` outside a work tree, `ERR_CORRUPT` where something else is in the way or AGENTS.md cannot take the
/// section (then nothing is made either), `ERR_IO`.
pub fn init(env: &Env, options: &Options, section: Option<&str>, drivers: bool) -> Result<InitReport> {
    let start = options.store.as_ref().map_or_else(|| env.cwd().to_owned(), |path| env.cwd().join(path));
    let start =
        if start.file_name() == Some(STORE.as_ref()) { start.parent().unwrap_or(&start).to_owned() } else { start };
    let repo = git::discover(&start)?;
    if repo.is_none() {
        git::refuse_bare(&start, Code::Git)?;
    }
    let repo = repo.ok_or_else(|| {
        Error::new(Code::Git, format!("{} is in no git work tree", start.display()))
            .hint("run git init first, then agentpm init")
    })?;
    let top = Dir::open(&repo.work_dir).map_err(|e| Error::io("open", &repo.work_dir, &e))?;
    let place =
        if options.store.is_some() { outside::canonical(&start).unwrap_or(start) } else { repo.work_dir.clone() };
    let existing = match &options.store {
        None => Store::nearest(&repo.work_dir, env.cwd())?,
        Some(_) => Store::at(&place.join(STORE), &repo.work_dir)?,
    };
    let place_dir = existing.as_ref().and_then(|store| store.path().parent()).unwrap_or(&place).to_owned();
    let place_dir = Dir::open(&place_dir).map_err(|e| Error::io("open", &place_dir, &e))?;
    let page = section.map(|section| agents_md::draft(&place_dir, section)).transpose()?;
    let mut created = Vec::new();
    let store = match existing {
        Some(store) => store,
        None => {
            if let Some(e) = not_checked_out(&repo).filter(|_| place == repo.work_dir) {
                return Err(e);
            }
            let relative = place.strip_prefix(&repo.work_dir).unwrap_or(Path::new("")).join(STORE);
            top.make_dir(&relative).map_err(|e| Error::io("make", &repo.work_dir.join(&relative), &e))?;
            created.push(relative.display().to_string());
            Store::at(&repo.work_dir.join(&relative), &repo.work_dir)?
                .ok_or_else(|| Error::new(Code::NoStore, "the store vanished while it was made"))?
        }
    };
    for (name, text) in [(CONFIG, CONFIG_TEXT), (ATTRIBUTES, GITATTRIBUTES), (IGNORE, GITIGNORE)] {
        let missing = store.dir.kind(name).map_err(|e| Error::io("look at", store.path(), &e))?.is_none();
        let outdated = name == ATTRIBUTES
            && store
                .dir
                .read(name, 10_000)
                .is_ok_and(|bytes| OLD_GITATTRIBUTES.iter().any(|old| bytes == old.as_bytes()));
        if missing || outdated {
            store
                .dir
                .replace(name, text.as_bytes(), 0o666)
                .map_err(|e| Error::io("write", &store.path().join(name), &e))?;
            created.push(store.shown(name));
        }
    }
    for name in [TASKS, AGENTS] {
        store.dir.make_dir(name).map_err(|e| match crate::store::entity::is_odd(&e) {
            true => Error::new(Code::Corrupt, format!("{} exists and is not a folder", store.shown(name))),
            false => Error::io("make", &store.path().join(name), &e),
        })?;
    }
    if let Some(page) = page {
        created.extend(page.write(&place_dir)?);
    }
    let set = if drivers { set_drivers(env, &repo) } else { Ok(Vec::new()) };
    let (git_settings, warning) = match set {
        Ok(changed) => (changed, None),
        Err(e) => (Vec::new(), Some(format!("the merge driver of this clone was not set: {}", e.message))),
    };
    Ok(InitReport { path: store.path().display().to_string(), created, git_settings, warning })
}
