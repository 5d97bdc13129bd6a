//! `check`: whether other agents' tasks in progress claim some files.

use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::context::Workspace;
use crate::engine::view::claimed_files::{self, ClaimedPath, claims_of_pattern, claims_on};
use crate::engine::view::read;
use crate::env::outside;
use crate::error::{Error, Result};
use crate::model::id::quoted;
use crate::model::query::Check;

/// The tasks in progress that claim the files.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FileCheck {
    /// Each path that is claimed, with each task that claims it.
    pub claimed: Vec<ClaimedFile>,
}

/// A path that another agent's task in progress claims.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClaimedFile {
    /// The path and the claim on it.
    #[serde(flatten)]
    pub claim: ClaimedPath,
    /// The handle of the task.
    pub handle: String,
}

/// `check`
pub fn check(ws: &Workspace, q: &Check) -> Result<FileCheck> {
    let claims = claimed_files::of_others(ws, &read::index_for_write(ws)?)?;
    let mut claimed = Vec::new();
    for given in &q.paths {
        let path = from_top(ws, given)?;
        let there = outside::metadata(&ws.env.cwd().join(given));
        // A name with such characters may be that of a file.
        if there.is_err() && given.contains(['*', '?', '[']) {
            claimed.extend(claims_of_pattern(&claims, &path));
            continue;
        }
        let is_folder = given.ends_with('/') || there.is_ok_and(|there| there.is_dir());
        claimed.extend(claims_on(&claims, &path, is_folder));
    }
    let named = claimed.into_iter().map(|claim: ClaimedPath| {
        let handle = read::handle(ws, claim.claim.task)?;
        Ok(ClaimedFile { claim, handle })
    });
    Ok(FileCheck { claimed: named.collect::<Result<_>>()? })
}

/// A path as it is from the top of the work tree. The file need not exist.
fn from_top(ws: &Workspace, given: &str) -> Result<String> {
    let read = |path: &Path| outside::canonical(path).map_err(|e| Error::io("find the folder", path, &e));
    // A store outside git describes the folder that it is in.
    let top = ws.repo.as_ref().map_or_else(|| ws.store.path().parent(), |repo| Some(repo.work_dir.as_path()));
    let (top, mut path) = (read(top.unwrap_or(ws.env.cwd()))?, read(ws.env.cwd())?);
    for part in Path::new(given).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(path.pop()),
            // An absolute path replaces the folder.
            part => path.push(part),
        }
    }
    let below = path.strip_prefix(&top).ok().and_then(Path::to_str);
    below
        .map(str::to_owned)
        .ok_or_else(|| Error::usage(format!("{} is outside the work tree {}", quoted(given), top.display())))
}
