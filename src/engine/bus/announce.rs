//! What a bridge announces besides events: tasks that became ready, unread items of the agents of this clone, and settings or roles
//! that changed upstream.
//!
//! Guarantees the definitions that `next` and `inbox` use. An announcement is a hint: one that is lost changes no plan.
//! Leaves to others: the bus, and who may claim a task.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::context::{Request, Workspace};
use crate::engine::inbox;
use crate::error::{Error, Result};
use crate::git::Objects;
use crate::model::id::Id;
use crate::model::subject::Subjects;
use crate::runtime::records::digest;
use crate::store::layout::SETTINGS;

/// What was announced last.
#[derive(Default)]
pub(crate) struct Announced {
    /// The ready tasks, each with the id of what made it so; `None` before the first look.
    ready: Option<BTreeMap<Id, String>>,
    /// The agents and the ids of their unread items.
    unread: BTreeSet<(String, String)>,
}

/// What is to be announced.
#[derive(Default)]
pub(crate) struct News {
    /// The tasks that became ready, each with the id of what made it so.
    pub ready: Vec<(Id, String)>,
    /// The unread items of agents.
    pub items: Vec<Item>,
}

/// An unread item of an agent.
pub(crate) struct Item {
    pub subject: String,
    /// The same item has the same id whichever bridge announces it.
    pub id: String,
    pub json: Vec<u8>,
}

impl Announced {
    /// Whether a task was ready at the last look.
    pub fn is_ready(&self, task: Id) -> bool {
        self.ready.as_ref().is_some_and(|ready| ready.contains_key(&task))
    }

    /// What changed since the last look. The first look announces no ready tasks: those who wait have seen them.
    ///
    /// Errors: those of reading the plan.
    pub fn look(&self, ws: &Workspace, subjects: &Subjects) -> Result<(News, Self)> {
        let mut news = News::default();
        let ready = inbox::ready_now(ws)?;
        if let Some(before) = &self.ready {
            news.ready = inbox::newly_ready(before, &ready);
        }
        let mut unread = BTreeSet::new();
        for agent in inbox::agents_of_clone(ws)? {
            let theirs = ws.for_request(Request { agent: Some(agent.clone()), ..Request::default() });
            for item in inbox::unread(&theirs)? {
                let key = (agent.clone(), item.id.clone());
                if !self.unread.contains(&key) {
                    let json = serde_json::to_vec(&item).map_err(|e| Error::io("write", ws.store.path(), &e.into()))?;
                    let id = format!("{agent} {}", item.id);
                    news.items.push(Item { subject: subjects.inbox(&agent), id, json });
                }
                unread.insert(key);
            }
        }
        Ok((news, Announced { ready: Some(ready), unread }))
    }
}

/// A digest of the settings and roles at the upstream of the branch, as last fetched or pushed; `None` where there is no upstream.
///
/// Errors: `ERR_GIT` if the repository cannot be read.
pub(crate) fn upstream_settings(ws: &Workspace) -> Result<Option<String>> {
    let Some(repo) = &ws.repo else { return Ok(None) };
    let objects = repo.objects()?;
    let Some((remote, branch)) = upstream(&objects)? else { return Ok(None) };
    let Some(tip) = objects.reference(&format!("refs/remotes/{remote}/{branch}")) else { return Ok(None) };
    let tree = objects.commit(tip)?.tree;
    let mut names = String::new();
    for file in SETTINGS {
        let item = objects.item(tree, &format!("{}/{file}", ws.store.name))?;
        names.push_str(&format!("{file} {}\n", item.map(|item| item.oid.to_string()).unwrap_or_default()));
    }
    Ok(Some(digest(&names)))
}

/// Fetches the upstream of the branch.
///
/// Errors: `ERR_GIT` if the remote does not answer.
pub(crate) fn fetch_upstream(ws: &Workspace) -> Result<()> {
    let Some(repo) = &ws.repo else { return Ok(()) };
    let objects = repo.objects()?;
    let Some((remote, _)) = upstream(&objects)? else { return Ok(()) };
    let deadline = Duration::from_secs(ws.settings.sync.step_seconds.max(1).into());
    let git = repo.program(&ws.env, deadline)?.without_prompts(&objects);
    git.ask(&["fetch", "--quiet", "--no-write-fetch-head", "--end-of-options", &remote]).map(drop)
}

/// The remote and the branch there to which the branch that is checked out belongs.
fn upstream(objects: &Objects) -> Result<Option<(String, String)>> {
    let Some(branch) = objects.head()?.branch else { return Ok(None) };
    let branch = branch.strip_prefix("refs/heads/").unwrap_or(&branch).to_owned();
    let of = |key: &str| objects.setting(&format!("branch.{branch}.{key}"));
    let (Some(remote), Some(theirs)) = (of("remote"), of("merge")) else { return Ok(None) };
    let is_name = remote != "." && !remote.starts_with('-') && !remote.contains("::");
    let theirs = theirs.strip_prefix("refs/heads/").map(str::to_owned);
    Ok(theirs.filter(|_| is_name).map(|theirs| (remote, theirs)))
}
