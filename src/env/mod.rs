//! The seam: time, randomness, environment, files and processes enter only here.
//!
//! Guarantees that with `AGENTPM_CLOCK` and `AGENTPM_SEED` set, the same command on the same files writes the same bytes. Git
//! variables that could lead to another repository are ignored.
//! Leaves to others: what a task is.
#![expect(clippy::disallowed_methods, reason = "this is the seam through which they come in")]

pub mod child;
pub mod files;
pub mod meter;
pub mod outside;
pub mod parallel;
pub mod process;
pub mod progress;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use self::meter::Meter;
use crate::error::{Code, Error, Result};
use crate::model::id::Id;
use crate::model::time::Time;

/// Clock, randomness and environment of one program run.
pub struct Env {
    clock: Clock,
    ids: Mutex<Ids>,
    vars: BTreeMap<String, String>,
    cwd: PathBuf,
    boot: String,
    /// Instead of the system's time since its boot.
    up: Option<u64>,
    /// Shared by all copies.
    meter: Arc<Meter>,
}

enum Clock {
    System,
    Fixed(Time),
    /// A file that holds the time: a clock that several programs share and another process advances.
    File(PathBuf),
}

/// Creates ids that rise within a program run. No id predicts the next.
struct Ids {
    last: Option<(u64, u16)>,
    chance: Chance,
}

enum Chance {
    System,
    Seeded { seed: String, count: u64 },
}

impl Env {
    /// The real environment of this process.
    ///
    /// Errors: `ERR_USAGE` if `AGENTPM_CLOCK` is not a time, `ERR_IO` if the current folder is gone.
    pub fn from_process() -> Result<Self> {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let cwd = std::env::current_dir().map_err(|e| Error::io("find the current folder", ".".as_ref(), &e))?;
        Self::new(vars, cwd)
    }

    /// An environment given by the caller, for embedding and tests.
    ///
    /// Errors: `ERR_USAGE` if `AGENTPM_CLOCK` is not a time.
    pub fn new(vars: BTreeMap<String, String>, cwd: PathBuf) -> Result<Self> {
        let clock = match vars.get("AGENTPM_CLOCK") {
            None => Clock::System,
            Some(text) if text.starts_with('@') => {
                let path = PathBuf::from(&text[1..]);
                read_clock(&path).map_err(|why| Error::usage(format!("AGENTPM_CLOCK: {}: {why}", path.display())))?;
                Clock::File(path)
            }
            Some(text) => Clock::Fixed(
                text.parse().map_err(|_| Error::usage(format!("AGENTPM_CLOCK is not an RFC 3339 time: {text:?}")))?,
            ),
        };
        let chance = match vars.get("AGENTPM_SEED") {
            None => Chance::System,
            Some(seed) => Chance::Seeded { seed: seed.clone(), count: 0 },
        };
        let boot = boot_id();
        Ok(Env { clock, ids: Mutex::new(Ids { last: None, chance }), vars, cwd, boot, up: None, meter: Arc::default() })
    }

    /// The environment in another boot of the machine, so many milliseconds after it.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn in_boot(self, boot: String, up: u64) -> Self {
        Env { boot, up: Some(up), ..self }
    }

    /// The environment without some variables.
    #[must_use]
    pub fn without(mut self, names: &[&str]) -> Self {
        self.vars.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    /// A copy with its own randomness, for a dry run.
    pub fn fork(&self) -> Self {
        let clock = match &self.clock {
            Clock::System => Clock::System,
            Clock::Fixed(time) => Clock::Fixed(*time),
            Clock::File(path) => Clock::File(path.clone()),
        };
        let chance = match self.var("AGENTPM_SEED") {
            None => Chance::System,
            Some(seed) => Chance::Seeded { seed: format!("{seed}, tried"), count: 0 },
        };
        let ids = Mutex::new(Ids { last: None, chance });
        let meter = Arc::clone(&self.meter);
        let (vars, cwd, boot) = (self.vars.clone(), self.cwd.clone(), self.boot.clone());
        Env { clock, ids, vars, cwd, boot, up: self.up, meter }
    }

    /// The measurements of this process.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The time now.
    pub fn now(&self) -> Time {
        match self.clock {
            Clock::Fixed(time) => time,
            // The file could be read when the program began. If it has gone since, the system's time is as good.
            Clock::File(ref path) => read_clock(path).unwrap_or_else(|_| system_time()),
            Clock::System => system_time(),
        }
    }

    /// A new id, greater than all earlier ones of this run.
    ///
    /// Errors: `ERR_IO` if the system has no randomness.
    pub fn new_id(&self) -> Result<Id> {
        let now = u64::try_from(self.now().millis()).unwrap_or(0);
        // A poisoned lock only means that another thread panicked between two ids.
        let mut ids = self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let random = ids.chance.next()?;
        // The upper 16 random bits count up within a millisecond, so that ids made together keep their order. The lower 64
        // are random each time, so that no id predicts the next.
        let (millis, count) = match ids.last {
            Some((millis, count)) if millis >= now => match count.checked_add(1) {
                Some(next) => (millis, next),
                None => (millis + 1, 0),
            },
            _ => (now, (random >> 64) as u16 & 0x3FFF),
        };
        ids.last = Some((millis, count));
        Ok(Id::from_parts(millis, (u128::from(count) << 64) | (random & u128::from(u64::MAX))))
    }

    /// An unpredictable number.
    ///
    /// Errors: `ERR_IO` if the system has no randomness.
    pub fn chance(&self) -> Result<u64> {
        // A poisoned lock only means that another thread panicked between two numbers.
        let mut ids = self.ids.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ids.chance.next().map(|number| number as u64)
    }

    /// 32 unpredictable bytes, for a secret.
    ///
    /// Errors: `ERR_IO` if the system has no randomness.
    pub fn secret(&self) -> Result<[u8; 32]> {
        let mut secret = [0; 32];
        for eight in secret.chunks_exact_mut(8) {
            eight.copy_from_slice(&self.chance()?.to_le_bytes());
        }
        Ok(secret)
    }

    /// The rest of the names of environment variables that begin with `prefix`.
    pub fn names_after<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.vars.keys().filter_map(move |name| name.strip_prefix(prefix))
    }

    /// An environment variable, if it is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The folder the command was started in.
    pub fn cwd(&self) -> &std::path::Path {
        &self.cwd
    }

    /// Changes with every boot of the machine; empty if the system does not report it.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Milliseconds since this boot in which the machine did not sleep. No one sets this clock.
    pub fn up(&self) -> u64 {
        let since = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            u64::try_from(time.tv_sec * 1_000 + time.tv_nsec / 1_000_000).unwrap_or(0)
        };
        self.up.unwrap_or_else(since)
    }

    /// The home folder, if there is one.
    pub fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }
}

fn read_clock(path: &std::path::Path) -> std::result::Result<Time, String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    text.trim().parse().map_err(|_| format!("not an RFC 3339 time: {:?}", text.trim()))
}

fn system_time() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The system's time in nanoseconds since 1970, as files carry it.
pub fn system_nanos() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Chance {
    fn next(&mut self) -> Result<u128> {
        match self {
            Chance::System => {
                let mut bytes = [0u8; 16];
                getrandom::fill(&mut bytes)
                    .map_err(|e| Error::new(Code::Io, format!("the system gave no randomness: {e}")))?;
                Ok(u128::from_le_bytes(bytes))
            }
            Chance::Seeded { seed, count } => {
                *count += 1;
                let digest = Sha256::digest(format!("{seed}/{count}"));
                let mut bytes = [0u8; 16];
                bytes.copy_from_slice(&digest[..16]);
                Ok(u128::from_le_bytes(bytes))
            }
        }
    }
}

/// The id of this boot of the machine, or an empty text if the system does not report it.
fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(vars: &[(&str, &str)]) -> Env {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Env::new(vars, PathBuf::from("/")).unwrap()
    }

    #[test]
    fn ids_rise_even_within_one_millisecond() {
        let env = env(&[("AGENTPM_CLOCK", "2026-11-20T10:00:00Z")]);
        let ids: Vec<Id> = (0..100_000).map(|_| env.new_id().unwrap()).collect();
        assert!(ids.is_sorted());
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_seed_and_a_clock_give_the_same_ids_again() {
        let vars = [("AGENTPM_CLOCK", "2026-11-20T10:00:00Z"), ("AGENTPM_SEED", "7")];
        assert_eq!(env(&vars).new_id().unwrap(), env(&vars).new_id().unwrap());
        assert!(Env::new([("AGENTPM_CLOCK".to_owned(), "noon".to_owned())].into(), "/".into()).is_err());
    }
}
