//! The socket of the server in the file system.
//!
//! Guarantees that the socket is in a folder that only its owner writes, that a lock and not a guess decides whether another server
//! uses it, and that nothing but a dead socket of this user is replaced.
//! Leaves to others: the connections on it (`connection`).

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engine::Workspace;
use crate::env::files::{Dir, Kind};
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::runtime::lock::Lock;

/// The name of the socket in the runtime folder.
const SOCKET: &str = "agentpm.sock";
/// The longest path of a socket, in bytes.
const MAX_PATH: usize = 107;

/// A socket in use, removed when this is dropped.
pub struct Bound {
    dir: Dir,
    name: String,
    inode: u64,
    _lock: Lock,
}

impl Drop for Bound {
    fn drop(&mut self) {
        let is_ours = self.dir.mark(&self.name).ok().flatten().is_some_and(|mark| mark.inode == self.inode);
        if is_ours {
            // A dead socket that stays is replaced by the next server.
            let _ = self.dir.remove(&self.name);
        }
    }
}

/// The path of the socket: that of `AGENTPM_SOCKET`, or a name in the runtime folder of the clone.
///
/// Errors: `ERR_USAGE` for a path that is longer than the system allows.
pub fn place(ws: &Workspace) -> Result<PathBuf> {
    let given = ws.env.var("AGENTPM_SOCKET").map(|path| ws.env.cwd().join(path));
    let path = given.unwrap_or_else(|| ws.runtime_path().join(SOCKET));
    let length = path.as_os_str().as_bytes().len();
    if length > MAX_PATH {
        return Err(Error::usage(format!(
            "the path of the socket has {length} bytes; the system allows {MAX_PATH}: {}",
            path.display()
        ))
        .hint("set AGENTPM_SOCKET to a shorter path in a folder of your own, such as $XDG_RUNTIME_DIR/agentpm.sock"));
    }
    Ok(path)
}

/// Binds the socket.
///
/// Errors: `ERR_BUSY` where another server uses it, `ERR_UNAUTHORIZED` where the folder or what is in the socket's place is not to
/// be trusted, `ERR_IO`.
pub fn bind(ws: &Workspace, path: &Path) -> Result<(Bound, UnixListener)> {
    let failed = |e: std::io::Error| Error::io("bind", path, &e);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Error::usage(format!("{} is no path of a socket", path.display())));
    };
    if outside::metadata(folder).is_err() {
        outside::make_private_dirs(folder).map_err(failed)?;
    }
    let dir = Dir::open(folder).map_err(|e| {
        Error::io("open the folder of the socket", folder, &e)
            .hint("name a folder in AGENTPM_SOCKET, and no link to one")
    })?;
    if !dir.is_our_own().map_err(failed)? {
        return Err(distrusted(format!("other users can write the folder of the socket, {}", folder.display())));
    }
    let is_shared = ws.repo.as_ref().is_some_and(|repo| repo.shared_mode() != 0);
    if folder == ws.runtime_path() && !is_shared {
        dir.make_private().map_err(failed)?;
    }
    let lock = Lock::take_named(&dir, name, Duration::ZERO, "agentpm serve").map_err(|e| match e.code {
        Code::Busy => in_use(path),
        _ => e,
    })?;
    remove_dead(&dir, name, path)?;
    let listener = dir.bind_socket(name).map_err(failed)?;
    let inode = dir.mark(name).map_err(failed)?.map_or(0, |mark| mark.inode);
    Ok((Bound { dir, name: name.to_owned(), inode, _lock: lock }, listener))
}

/// Removes the socket of a server that died. No server of ours is alive: the caller holds the lock.
fn remove_dead(dir: &Dir, name: &str, path: &Path) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("inspect", path, &e);
    match dir.kind(name).map_err(failed)? {
        None => return Ok(()),
        Some(Kind::Other) if outside::is_of_another_user(path) => {
            return Err(distrusted(format!("{} belongs to another user", path.display())));
        }
        Some(Kind::Other) if outside::is_socket(path) => {}
        Some(Kind::Other | Kind::File | Kind::Dir | Kind::Link) => {
            return Err(distrusted(format!("{} is in the place of the socket and is none", path.display())));
        }
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(in_use(path)),
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => dir.remove(name).map_err(failed),
        Err(e) => Err(failed(e)),
    }
}

fn in_use(path: &Path) -> Error {
    Error::new(Code::Busy, format!("another server uses the socket {}", path.display()))
        .hint("use that server, or stop it with SIGTERM; AGENTPM_SOCKET names another socket")
}

fn distrusted(what: String) -> Error {
    Error::new(Code::Unauthorized, what)
        .hint("set AGENTPM_SOCKET to a path in a folder of your own: mkdir -m 700 FOLDER")
}
