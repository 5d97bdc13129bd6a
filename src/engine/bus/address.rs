//! Where the message bus is: as the caller says, or the environment, or the user's own settings. Never the store.

use std::path::Path;

use crate::engine::context::Workspace;
use crate::env::files;
use crate::error::{Error, Result};
use crate::nats::Address;

/// The largest file with credentials that is read, in bytes.
const MAX_CREDS: u64 = 64 * 1024;

/// The server, with the credentials; `None` where none is named.
///
/// Errors: `ERR_IO` if the credentials cannot be read.
pub(crate) fn address(ws: &Workspace, url: Option<&str>, creds: Option<&Path>) -> Result<Option<Address>> {
    let own = &ws.settings.bus;
    let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let url = url.map(str::to_owned).or_else(|| ws.env.var("AGENTPM_BUS_URL").map(str::to_owned)).or(set(&own.url));
    let Some(url) = url else { return Ok(None) };
    let creds = creds.map(Path::to_owned).or_else(|| ws.env.var("AGENTPM_BUS_CREDS").map(Into::into));
    let creds = creds.or_else(|| set(&own.creds).map(Into::into)).map(|path| ws.env.cwd().join(path));
    let creds = creds.map(|path| read(&path)).transpose()?;
    Ok(Some(Address::new(url, creds)))
}

fn read(path: &Path) -> Result<String> {
    let bytes = files::read_outside(path, MAX_CREDS).map_err(|e| Error::io("read the credentials in", path, &e))?;
    String::from_utf8(bytes).map_err(|_| Error::validation(format!("{} is no UTF-8", path.display())))
}
