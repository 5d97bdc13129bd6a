//! The plan and the message bus: which events are published, how those of others are recorded, and how far both came.
//!
//! Guarantees that what arrives is judged like what git brings, and recorded through the one write path. The journal says what is to
//! be published, so that nothing which was acknowledged is left out.
//! Leaves to others: the connection (`nats`), and when to ask it (`bus`).

#[cfg(feature = "bus")]
pub(crate) mod address;
#[cfg(feature = "bus")]
pub(crate) mod incoming;
pub(crate) mod lag;
#[cfg(feature = "bus")]
pub(crate) mod outgoing;

#[cfg(feature = "bus")]
use crate::engine::context::Workspace;
#[cfg(feature = "bus")]
use crate::env::files::Dir;
#[cfg(feature = "bus")]
use crate::error::{Code, Error, Result};
#[cfg(feature = "bus")]
use crate::model::subject::Subjects;
#[cfg(feature = "bus")]
use crate::runtime::records::digest;

/// Digits of a name that the first commit determines.
#[cfg(feature = "bus")]
const DIGITS: usize = 20;

/// The subjects of this plan: by the name in `bus.plan`, or else by the first commit of the branch that is checked out and the place
/// of the store below it, which all clones have in common.
///
/// Errors: `ERR_INVALID_STATE` if there is no first commit; `ERR_VALIDATION` for a name that does not fit.
#[cfg(feature = "bus")]
pub(crate) fn subjects(ws: &Workspace) -> Result<Subjects> {
    if !ws.settings.bus.plan.is_empty() {
        return Subjects::of(&ws.settings.bus.plan);
    }
    let unnamed = |why: &str| {
        Error::state(format!("the plan has no name on the bus: {why}"))
            .hint("set plan = \"NAME\" under [bus] in .agentpm/config.toml, and sync it to all clones")
    };
    let repo = ws.repo.as_ref().ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
    let objects = repo.objects()?;
    let head = objects.head()?.commit.ok_or_else(|| unnamed("the branch has no commit yet"))?;
    let first = objects.first_commit(head)?.ok_or_else(|| unnamed("a shallow clone does not have the first commit"))?;
    Subjects::of(&digest(&format!("{first} {}", ws.store.name))[..DIGITS])
}

/// The folder in which the bridge of this worktree keeps its notes.
///
/// Errors: `ERR_IO` if it cannot be written.
#[cfg(feature = "bus")]
pub(crate) fn own_runtime(ws: &Workspace) -> Result<Dir> {
    ws.runtime_to_write()?;
    let path = ws.own_runtime_path();
    Dir::open(&path).map_err(|e| Error::io("open", &path, &e))
}
