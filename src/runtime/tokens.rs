//! Tokens for the server, in the git folder of this clone: that of the server, and the hashes of those of agents.
//!
//! Guarantees that only their owner can read the files, and that tokens are compared in constant time.
//! Leaves to others: who may have one.

use std::fmt::Write as _;
use std::io::ErrorKind;

use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::id::check_agent_name;
use crate::runtime::records::digest;

/// The folder of the hashes, one file for each agent.
const TOKENS: &str = "tokens";
/// The file of the server's own token.
const SERVER: &str = "token";
/// The largest file, in bytes.
const MAX_TOKEN: u64 = 1_024;

fn hexadecimal(secret: [u8; 32]) -> String {
    secret.iter().fold(String::new(), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether two texts are equal, in a time that does not depend on where they differ.
fn is_equal(a: &str, b: &str) -> bool {
    // Digests have one length, and what is learned of a digest is no help in finding its text.
    let (a, b) = (digest(a), digest(b));
    std::hint::black_box(a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| all | (a ^ b))) == 0
}

/// Makes a token for an agent, in place of an earlier one: the agent's name, a dot, and 256 random bits.
///
/// Errors: `ERR_IO` if its hash cannot be written.
pub fn issue(runtime: &Dir, agent: &str, secret: [u8; 32]) -> Result<String> {
    let token = format!("{agent}.{}", hexadecimal(secret));
    let keep = || {
        runtime.make_dir(TOKENS)?;
        runtime.replace_synced(format!("{TOKENS}/{agent}"), digest(&token).as_bytes(), 0o600)
    };
    keep().map_err(|e| Error::io("write", &runtime.path().join(TOKENS).join(agent), &e))?;
    Ok(token)
}

/// Removes the token of an agent. A missing one is not an error.
///
/// Errors: `ERR_IO` if it cannot be removed.
pub fn revoke(runtime: &Dir, agent: &str) -> Result<()> {
    runtime
        .remove(format!("{TOKENS}/{agent}"))
        .map_err(|e| Error::io("remove", &runtime.path().join(TOKENS).join(agent), &e))
}

/// Whether an agent has a token.
pub fn has_token(runtime: &Dir, agent: &str) -> bool {
    runtime.mark(format!("{TOKENS}/{agent}")).is_ok_and(|mark| mark.is_some())
}

/// The agent whose token this is; `None` for one that was not issued here, or was revoked or replaced.
///
/// Errors: `ERR_IO` if the record cannot be read.
pub fn agent_of(runtime: &Dir, token: &str) -> Result<Option<String>> {
    let Some((agent, _)) = token.rsplit_once('.').filter(|(agent, _)| check_agent_name(agent).is_ok()) else {
        return Ok(None);
    };
    match runtime.read(format!("{TOKENS}/{agent}"), MAX_TOKEN) {
        Ok(hash) => {
            let known = is_equal(&String::from_utf8_lossy(&hash), &digest(token));
            Ok(known.then(|| agent.to_owned()))
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &runtime.path().join(TOKENS).join(agent), &e)),
    }
}

/// The token of the server, made from a secret where there is none.
///
/// Errors: `ERR_IO` if it cannot be read or written, `ERR_UNAUTHORIZED` if other users can read it.
pub fn server_token(runtime: &Dir, secret: impl FnOnce() -> Result<[u8; 32]>) -> Result<String> {
    if let Some(token) = known_server_token(runtime)? {
        return Ok(token);
    }
    match runtime.create_synced(SERVER, hexadecimal(secret()?).as_bytes(), 0o600) {
        // Another process was first; its token counts.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        made => made.map_err(|e| Error::io("write", &runtime.path().join(SERVER), &e))?,
    }
    known_server_token(runtime)?.ok_or_else(|| {
        Error::new(Code::Busy, "the token of the server was removed as it was made").hint("run the same command again")
    })
}

/// Whether a token is that of the server, as it is on the disk: one whose file was removed is void.
///
/// Errors: as [`server_token`].
#[cfg(feature = "server")]
pub fn is_of_server(runtime: &Dir, token: &str) -> Result<bool> {
    Ok(known_server_token(runtime)?.is_some_and(|own| is_equal(&own, token)))
}

fn known_server_token(runtime: &Dir) -> Result<Option<String>> {
    let shown = runtime.path().join(SERVER);
    let failed = |e: std::io::Error| Error::io("read", &shown, &e);
    let bytes = match runtime.read(SERVER, MAX_TOKEN) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed)?,
    };
    let token = String::from_utf8_lossy(&bytes).trim().to_owned();
    if runtime.mode(SERVER).map_err(failed)? & 0o077 != 0 || token.len() < 64 {
        return Err(Error::new(
            Code::Unauthorized,
            format!("{} must hold a token that only its owner can read", shown.display()),
        )
        .hint("remove the file; agentpm serve --print-token makes a new token"));
    }
    Ok(Some(token))
}
