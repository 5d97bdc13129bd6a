//! The lock that all writers of a clone share.
//!
//! It is an advisory `flock` on a file in the git folder: it binds only programs that ask for it, and the kernel releases it
//! when its holder dies. Guarantees that waiting has a deadline, and that a caller who waits in vain learns the holder.
//! Leaves to others: what is written under it.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use fs2::FileExt as _;
use serde_json::json;

use crate::env::files::{self, Dir};
use crate::env::outside;
use crate::error::{Code, Error, Result};

/// Bytes that the name of the holder may take.
const SIGNED: usize = 200;

/// The lock for all writers of a clone's store.
const STORE: &str = "locks/store.lock";

/// The lock, held until this is dropped.
#[must_use = "the lock is given back when this is dropped"]
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: String,
}

impl Lock {
    /// Takes the lock, waiting at most `wait`. Callers who wait in vain are shown `holder`.
    ///
    /// Errors: `ERR_BUSY` with the holder after the deadline, `ERR_IO` if the file cannot be created.
    pub fn take(runtime: &Dir, wait: Duration, holder: &str) -> Result<Self> {
        Self::take_at(runtime, STORE.to_owned(), wait, holder)
    }

    /// Takes a lock other than the store's, by its name: for work that may take long and must not run twice at once.
    ///
    /// Errors: as [`Lock::take`].
    pub fn take_named(runtime: &Dir, name: &str, wait: Duration, holder: &str) -> Result<Self> {
        Self::take_at(runtime, format!("locks/{name}.lock"), wait, holder)
    }

    fn take_at(runtime: &Dir, path: String, wait: Duration, holder: &str) -> Result<Self> {
        let shown = runtime.path().join(&path);
        let deadline = std::time::Instant::now() + wait;
        loop {
            let file = open(runtime, &path).map_err(|e| Error::io("open the lock", &shown, &e))?;
            if file.try_lock_exclusive().is_err() {
                let left = deadline.saturating_duration_since(std::time::Instant::now());
                wait_for(&file, left, &shown)?;
            }
            // Another process may have removed or replaced the file while we waited; then we hold a lock that no other writer
            // sees.
            let held = file.metadata().map_err(|e| Error::io("inspect the lock", &shown, &e))?;
            if outside::metadata(&shown).is_ok_and(|now| files::is_same(&held, &now)) {
                let mut lock = Lock { file, path };
                lock.sign(holder);
                return Ok(lock);
            }
        }
    }

    /// Checks that the lock is still the one that other writers would take: another process may have removed or replaced its
    /// file.
    ///
    /// Errors: `ERR_BUSY`; the holder of the new lock may be writing.
    pub fn check(&self, runtime: &Dir) -> Result<()> {
        let shown = runtime.path().join(&self.path);
        let held = self.file.metadata().map_err(|e| Error::io("inspect the lock", &shown, &e))?;
        if outside::metadata(&shown).is_ok_and(|now| files::is_same(&held, &now)) {
            return Ok(());
        }
        Err(Error::new(Code::Busy, format!("{} was removed while it was held; nothing was written", shown.display()))
            .hint("run the same command again"))
    }

    /// Releases a lock whose name is hardly used again, and removes its file: those who wait for it see that, and make another.
    pub fn retire(self, runtime: &Dir) {
        // A file that stays takes a few bytes.
        let _ = runtime.remove(&self.path);
    }

    /// Notes the holder of the lock. Only messages of other processes need it, so a failure is ignored.
    fn sign(&mut self, holder: &str) {
        let mut words = format!("{holder} (process {})", std::process::id());
        words.truncate(words.floor_char_boundary(SIGNED));
        // Padded, so that nothing is left of a longer name; truncating the file is slower than all else here.
        let _ = self.file.write_all_at(format!("{words:<SIGNED$}\n").as_bytes(), 0);
    }
}

fn open(runtime: &Dir, path: &str) -> std::io::Result<File> {
    match runtime.open_rw(path, 0o666) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            runtime.make_dir("locks")?;
            runtime.open_rw(path, 0o666)
        }
        other => other,
    }
}

/// Waits in a thread of its own, so that the kernel queues us and the deadline still holds.
fn wait_for(file: &File, wait: Duration, shown: &Path) -> Result<()> {
    if wait.is_zero() {
        return Err(busy(file, wait, shown));
    }
    let waiting = file.try_clone().map_err(|e| Error::io("wait for the lock", shown, &e))?;
    let (send, receive) = mpsc::channel();
    let queue = move || {
        let outcome = waiting.lock_exclusive();
        if send.send(outcome).is_err() {
            // The caller no longer waits: the lock must not outlive the call.
            let _ = fs2::FileExt::unlock(&waiting);
        }
    };
    std::thread::Builder::new().spawn(queue).map_err(|e| Error::io("wait for the lock", shown, &e))?;
    match receive.recv_timeout(wait) {
        Ok(outcome) => outcome.map_err(|e| Error::io("take the lock", shown, &e)),
        Err(_) => Err(busy(file, wait, shown)),
    }
}

fn busy(file: &File, wait: Duration, shown: &Path) -> Error {
    let mut holder = String::new();
    if let Ok(mut reading) = file.try_clone() {
        let _ = reading.rewind();
        let _ = reading.take(SIGNED as u64).read_to_string(&mut holder);
    }
    let holder = holder.trim();
    let who = if holder.is_empty() { "another process" } else { holder };
    Error::new(
        Code::Busy,
        format!("{who} holds {} for longer than {} ms; nothing was written", shown.display(), wait.as_millis()),
    )
    .with(json!({ "holder": holder, "lock": shown.display().to_string() }))
    .hint("run the same command again; the lock frees itself when its holder ends")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests set the stage by hand")]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_times_out_and_learns_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let first = Lock::take(&dir, Duration::ZERO, "ada").unwrap();
        let refused = Lock::take(&dir, Duration::from_millis(5), "bob").unwrap_err();
        assert_eq!(refused.code, Code::Busy);
        assert!(refused.message.contains("ada"), "{}", refused.message);
        drop(first);
        let _second = Lock::take(&dir, Duration::from_secs(5), "bob").unwrap();
    }

    #[test]
    fn a_lock_file_that_was_replaced_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let first = Lock::take(&dir, Duration::ZERO, "ada").unwrap();
        std::fs::remove_file(folder.path().join(STORE)).unwrap();
        let second = Lock::take(&dir, Duration::ZERO, "bob").unwrap();
        assert_eq!(first.check(&dir).unwrap_err().code, Code::Busy);
        second.check(&dir).unwrap();
    }
}
