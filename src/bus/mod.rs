//! `agentpm bus`: the bridge between a worktree and the stream of its plan on a NATS server.
//!
//! Guarantees that one bridge serves a worktree, that every acknowledged event is published and every message of the stream dealt
//! with, in order, and that both go on where they were after any stop of the bridge or the server. Nothing is lost if the bridge does
//! not run: the journal keeps what is to be published, the stream what is to be taken in, and git brings all of it too.
//! Leaves to others: what arrives and how it is judged (`engine::bus`), and the protocol (`nats`).

mod announcing;
mod publishing;
mod recent;
mod taking;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::recent::Recent;
use crate::engine::context::bus::{address, own_runtime, subjects};
use crate::engine::{self, Options, Workspace};
use crate::env::files::Dir;
use crate::env::process::pause;
use crate::env::{Env, process};
use crate::error::{Code, Error, Result};
use crate::model::id::Id;
use crate::model::subject::Subjects;
use crate::nats::{Address, Connection, EventStream, Limits, OfferQueue, PATIENCE, Trouble};
use crate::runtime::bus::{self, BridgeRecord};
use crate::runtime::lock::Lock;

/// The shortest and the longest time before something that failed is tried again.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(10);
/// How long one look for a stop of the bridge is apart from the next.
const NAP: Duration = Duration::from_millis(50);

/// What a stream that a bridge makes may hold.
#[derive(Clone, Debug)]
pub struct StreamLimits {
    /// Maximum size in bytes; 0 for any.
    pub bytes: u64,
    /// Maximum age of a message; zero for any.
    pub age: Duration,
    /// On how many servers each message is kept, if the caller says it.
    pub replicas: Option<usize>,
    /// Whether a full stream refuses new messages instead of dropping old ones.
    pub refuse_when_full: bool,
}

/// What a bridge connects, and how.
#[derive(Clone, Debug)]
pub struct Bridging {
    /// The address of the server, if the caller says it.
    pub url: Option<String>,
    /// The file with the credentials, if the caller says it.
    pub creds: Option<PathBuf>,
    /// What a stream that the bridge makes may hold.
    pub limits: StreamLimits,
    /// Whether to end once everything is published and taken in.
    pub once: bool,
}

/// Where a bridge leads.
#[derive(Clone, Debug, Serialize)]
pub struct Bridged {
    /// The address of the server, without secrets.
    pub server: String,
    /// The name of the plan.
    pub plan: String,
    /// The name of the stream.
    pub stream: String,
    /// What distinguishes the stream from the one that the bridge would have made.
    pub differs: Vec<String>,
}

/// What a bridge did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BridgeReport {
    /// The name of the plan.
    pub plan: String,
    /// Events that were published.
    pub published: u64,
    /// Events that were recorded here.
    pub taken: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Events that wait until their parents arrive.
    pub waiting: u64,
}

/// What both directions of a bridge share.
struct Bridge {
    env: Mutex<Env>,
    options: Options,
    subjects: Subjects,
    own: Dir,
    stop: Arc<AtomicBool>,
    record: Mutex<BridgeRecord>,
    report: Mutex<BridgeReport>,
    /// The messages that this bridge published lately.
    sent: Mutex<Recent<Fingerprint>>,
    /// The events of the stream that are in the plan. No id of a message that was not accepted counts: anyone may have written it.
    received: Mutex<Recent<Id>>,
    /// The last digest of settings that another bridge announced.
    settings_elsewhere: Mutex<Option<String>>,
    /// Whether everything that the stream had at first was taken in.
    caught_up: AtomicBool,
}

/// Connects a worktree with its stream, until a signal ends it or, where that is asked for, until everything is exchanged. Calls
/// `ready` once the stream is known.
///
/// Errors: `ERR_USAGE` if no server is named, `ERR_VALIDATION` for an address that is none, `ERR_INVALID_STATE` if the stream does not
/// take the subjects of the plan, `ERR_BUSY` if another bridge serves this worktree, `ERR_SYNC` if everything was to be
/// exchanged and the server does not answer; those of opening a store.
pub fn bridge(env: Env, options: Options, bridging: &Bridging, ready: impl FnOnce(&Bridged)) -> Result<BridgeReport> {
    let ws = engine::open(env.fork(), options.clone())?;
    let address = address(&ws, bridging.url.as_deref(), bridging.creds.as_deref())?.ok_or_else(|| {
        Error::usage("the address of the bus is not known")
            .hint("give --url nats://HOST:4222, set AGENTPM_BUS_URL, or set url under [bus] in ~/.agentpm/config.toml")
    })?;
    let subjects = subjects(&ws)?;
    let own = own_runtime(&ws)?;
    let _only = Lock::take_named(&own, "bus", Duration::ZERO, "agentpm bus").map_err(|e| match e.code {
        Code::Busy => Error::new(Code::Busy, "another bridge serves this worktree already"),
        _ => e,
    })?;
    let mut record = bus::read(&own).unwrap_or_default();
    if record.plan != subjects.plan() {
        record = BridgeRecord { plan: subjects.plan().to_owned(), ..BridgeRecord::default() };
    }
    let waiting = bus::waiting(&own)?;
    let waiting = (waiting.found.len() + waiting.damaged.len()) as u64;
    let report = BridgeReport { plan: record.plan.clone(), waiting, ..BridgeReport::default() };
    let bridge = Bridge {
        env: Mutex::new(env),
        options,
        subjects,
        own,
        stop: process::ends_on_signal()?,
        record: Mutex::new(record),
        report: Mutex::new(report),
        sent: Mutex::default(),
        received: Mutex::default(),
        settings_elsewhere: Mutex::default(),
        caught_up: AtomicBool::new(false),
    };
    let StreamLimits { bytes, age, replicas, refuse_when_full } = bridging.limits;
    let replicas = replicas.unwrap_or(ws.settings.bus.replicas);
    bridge
        .run(&address, &Limits { bytes, age, replicas, refuse_when_full }, bridging.once, ready)
        .inspect_err(|e| bridge.cannot_take(&e.message))?;
    Ok(bridge.report().clone())
}

impl Bridge {
    fn run(&self, address: &Address, limits: &Limits, once: bool, ready: impl FnOnce(&Bridged)) -> Result<()> {
        let Some(connection) = self.until_done(once, || Connection::open(address, PATIENCE))? else { return Ok(()) };
        let name = self.subjects.stream("EVENTS");
        let stream = || EventStream::new(&connection, name.clone(), self.subjects.all_events(), limits.clone());
        let mut incoming = stream();
        let (seen, known) = self.seen();
        let Some(facts) = self.until_done(once, || incoming.facts(known))? else { return Ok(()) };
        if !facts.lacks.is_empty() {
            let lacks = facts.lacks.join(" and ");
            return Err(Error::state(format!("the stream {name} does not take {lacks}"))
                .hint("add these subjects to the stream, as with nats stream edit, and start the bridge again"));
        }
        self.adopt(&facts, seen)?;
        let (server, plan) = (address.shown(), self.subjects.plan().to_owned());
        ready(&Bridged { server, plan, stream: name.clone(), differs: facts.differs });
        if once {
            self.take_all(&mut incoming)?;
            self.publish_all(&stream())?;
            self.take_all(&mut incoming)?;
            return self.note(|record| (record.cannot_take, record.cannot_publish) = (None, None));
        }
        let queue = OfferQueue::new(&connection, self.subjects.stream("READY"));
        std::thread::scope(|scope| {
            let publishing = scope.spawn(|| {
                let _ending = Ending(&self.stop);
                self.keep_publishing(&stream())
            });
            let announcing = scope.spawn(|| {
                let _ending = Ending(&self.stop);
                self.keep_announcing(&queue, &stream())
            });
            let took = {
                let _ending = Ending(&self.stop);
                self.keep_taking(&mut incoming)
            };
            let others = [publishing, announcing]
                .map(|other| other.join().unwrap_or_else(|_| Err(Error::new(Code::Io, "the bridge failed inside"))));
            others.into_iter().fold(took, Result::and)
        })
    }

    /// Repeats what failed, after longer and longer rests; `None` if the bridge is to end.
    ///
    /// Errors: `ERR_SYNC` if it is to be tried only once.
    fn until_done<T>(&self, once: bool, mut attempt: impl FnMut() -> Result<T, Trouble>) -> Result<Option<T>> {
        let mut rest = FIRST_REST;
        while !self.is_stopping() {
            match attempt() {
                Ok(done) => return Ok(Some(done)),
                Err(trouble) if once => return Err(unreachable(&trouble)),
                Err(trouble) => self.cannot_take(&trouble.0),
            }
            self.rest(&mut rest);
        }
        Ok(None)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Waits, and doubles the next wait. Many bridges that lost one server must not come back at once.
    fn rest(&self, rest: &mut Duration) {
        let most = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX).max(1);
        let chance = lock(&self.env).chance().unwrap_or(0);
        let mut left = Duration::from_millis(most / 2 + chance % (most / 2 + 1));
        while !left.is_zero() && !self.is_stopping() {
            let nap = NAP.min(left);
            pause(nap);
            left -= nap;
        }
        *rest = (*rest * 2).min(LONGEST_REST);
    }

    /// The store, as its settings and roles are now.
    fn workspace(&self) -> Result<Workspace> {
        let env = lock(&self.env).fork();
        engine::open(env, self.options.clone())
    }

    fn record(&self) -> MutexGuard<'_, BridgeRecord> {
        lock(&self.record)
    }

    fn report(&self) -> MutexGuard<'_, BridgeReport> {
        lock(&self.report)
    }

    /// Changes the record and saves it.
    fn note(&self, change: impl FnOnce(&mut BridgeRecord)) -> Result<()> {
        let mut record = self.record();
        let before = record.clone();
        change(&mut record);
        if *record == before {
            return Ok(());
        }
        // What could not be saved is not known, so that it is done, and noted, again.
        bus::write(&self.own, &record).inspect_err(|_| *record = before)
    }

    fn cannot_take(&self, why: &str) {
        tracing::warn!(why, "nothing is taken from the bus");
        self.note_trouble(|record| record.cannot_take = Some(why.to_owned()));
    }

    /// Notes why something failed. It is tried again whether the note can be saved or not, as on a full disk.
    fn note_trouble(&self, change: impl FnOnce(&mut BridgeRecord)) {
        if let Err(e) = self.note(change) {
            tracing::warn!(why = e.message, "the record of the bridge could not be saved");
        }
    }
}

/// Ends the bridge once one of its threads ends, also by a panic: the others would wait for it forever.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Distinguishes a message from every other one.
type Fingerprint = [u8; 32];

fn fingerprint(subject: &str, payload: &[u8]) -> Fingerprint {
    Sha256::new().chain_update(subject).chain_update([0]).chain_update(payload).finalize().into()
}

fn unreachable(trouble: &Trouble) -> Error {
    Error::new(Code::Sync, format!("not everything was exchanged with the bus: {}", trouble.0))
        .hint("run the same command again when the server answers; nothing is lost meanwhile")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_ends_the_bridge() {
        let stop = AtomicBool::new(false);
        let ended = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _ending = Ending(&stop);
                panic!("inside");
            });
            thread.join()
        });
        assert!(ended.is_err() && stop.load(Ordering::SeqCst));
    }
}
