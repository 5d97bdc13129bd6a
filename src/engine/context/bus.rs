//! Where the plan is on the message bus: the server, as the caller says, or the environment, or the user's own settings, and never the
//! store; and the names that all clones have in common.

use std::path::Path;

use super::Workspace;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::model::subject::Subjects;
use crate::nats::Address;
use crate::runtime::bus;
use crate::runtime::records::digest;

/// The largest file with credentials that is read, in bytes.
const MAX_CREDS: u64 = 64 * 1024;
/// Digits of a name that the first commit determines.
const DIGITS: usize = 20;

/// The server, with the credentials; `None` where none is named.
///
/// Errors: `ERR_IO` if the credentials cannot be read, `ERR_VALIDATION` if they stand in no regular file or the address is none.
pub(crate) fn address(ws: &Workspace, url: Option<&str>, creds: Option<&Path>) -> Result<Option<Address>> {
    let own = &ws.settings.bus;
    let set = |text: &&str| !text.is_empty();
    let url =
        url.filter(set).or_else(|| ws.env.var("AGENTPM_BUS_URL").filter(set)).or(Some(own.url.as_str()).filter(set));
    let Some(url) = url else { return Ok(None) };
    let named = ws.env.var("AGENTPM_BUS_CREDS").filter(set).map(Path::new);
    let creds = creds.filter(|path| !path.as_os_str().is_empty()).or(named).map(|path| ws.env.cwd().join(path));
    // A relative path in the user's settings begins in their home, wherever agentpm runs. No shell reads a ~ there.
    let in_home = |path: &str| ws.env.home().unwrap_or_default().join(path.strip_prefix("~/").unwrap_or(path));
    let creds = creds.or_else(|| Some(own.creds.as_str()).filter(set).map(in_home));
    let creds = creds.map(|path| read(&path)).transpose()?;
    Address::new(url, creds).map(Some)
}

fn read(path: &Path) -> Result<String> {
    // To open a pipe is to wait for its writer.
    if !outside::is_file(path).map_err(|e| Error::io("read the credentials in", path, &e))? {
        return Err(Error::validation(format!("{} is no regular file; credentials are read from one", path.display())));
    }
    let bytes = outside::read(path, MAX_CREDS).map_err(|e| Error::io("read the credentials in", path, &e))?;
    String::from_utf8(bytes).map_err(|_| Error::validation(format!("{} is no UTF-8", path.display())))
}

/// The subjects of this plan: by the name in `bus.plan`, or else by the first commit of the branch that is checked out and the place
/// of the store below it, which all clones have in common. A clone notes that name, since history may be long.
///
/// Errors: `ERR_INVALID_STATE` if there is no first commit; `ERR_VALIDATION` for a name that does not fit.
pub(crate) fn subjects(ws: &Workspace) -> Result<Subjects> {
    if !ws.settings.bus.plan.is_empty() {
        return Subjects::of(&ws.settings.bus.plan);
    }
    if let Some(noted) = ws.runtime().and_then(|runtime| bus::noted_plan(runtime, &ws.store.name)) {
        return Subjects::of(&noted);
    }
    let unnamed = |why: &str| {
        Error::state(format!("the plan has no name on the bus: {why}"))
            .hint("set plan = \"NAME\" under [bus] in .agentpm/config.toml, and sync it to all clones")
    };
    let repo = ws.repo.as_ref().ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
    let objects = repo.objects()?;
    let head = objects.head()?.commit.ok_or_else(|| unnamed("the branch has no commit yet"))?;
    let first = objects.first_commit(head)?.ok_or_else(|| unnamed("a shallow clone does not have the first commit"))?;
    let name = digest(&format!("{first} {}", ws.store.name))[..DIGITS].to_owned();
    bus::note_plan(&ws.runtime_to_write()?, &ws.store.name, &name)?;
    Subjects::of(&name)
}

/// The folder in which the bridge of this worktree keeps its notes.
///
/// Errors: `ERR_IO` if it cannot be written.
pub(crate) fn own_runtime(ws: &Workspace) -> Result<Dir> {
    ws.runtime_to_write()?;
    let path = ws.own_runtime_path();
    Dir::open(&path).map_err(|e| Error::io("open", &path, &e))
}
