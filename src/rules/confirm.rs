//! Confirmation: how a clone agrees with a remote on who has a lease.
//!
//! The remote keeps one record per task and offers one operation: replace the record if it still has the expected value. That
//! decides between clones whatever their clocks show. The remote may also refuse, answer late or never answer. Then the
//! result is unknown, and is asked for again, never assumed.
//!
//! Guarantees that a fence confirmed to one holder is never confirmed to another. Guarantees that no lease is confirmed to an
//! agent that has not seen the task finished. While a record exists, each change of holder raises its fence. A completion
//! adds its event to the record before the event is written, and only a clone that has seen the event replaces the record.
//! Records are removed only after two steps: the floor, below which no new record may begin, is raised to their fences, and
//! the list of finished tasks gets their events. A claim reads both after its record is in place. So either the swap meets
//! the finished record, or the read meets the entry.
//!
//! Leaves to others: git, files, and the real time. Each clone's own clock only decides when it tries to ask.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::agent::{MAX_FENCE, RemoteRecord, RemoteState, Seen};
use crate::model::event::Author;
use crate::model::id::Id;
use crate::model::time::Time;
use crate::rules::lease::is_sound;

/// How often one request is retried while other clones keep changing the record.
const ROUNDS: usize = 20;

/// How much a confirmed grant raises the known fence: one more than a clone that cannot ask. So of two grants from the same
/// knowledge the confirmed one is higher.
pub const STEP: u64 = 2;

/// How often a request is retried whose answer did not arrive.
const UNKNOWNS: usize = 2;

/// Why the remote did not confirm.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The remote cannot be reached, or does not exist.
    Unreachable(String),
    /// The remote refuses such records.
    Refused(String),
    /// The remote was asked and did not answer: its present state is unknown.
    Unknown(String),
}

impl Trouble {
    /// The reason as text.
    pub fn words(&self) -> String {
        match self {
            Trouble::Unreachable(why) => format!("the remote could not be asked ({why})"),
            Trouble::Refused(why) => format!("the remote refused ({why})"),
            Trouble::Unknown(why) => format!("it is not known whether the remote accepted it ({why})"),
        }
    }
}

/// The result of replacing a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Swap {
    /// The record is in place, under this name.
    Taken(String),
    /// Another record was there.
    Lost,
    /// The remote refused it.
    Refused(String),
    /// The remote was not reached.
    NotSent(String),
    /// No answer in time: the record may have been accepted, or still may be.
    Unknown(String),
}

/// A remote that keeps one record per task.
pub trait LeaseRemote {
    /// Reads the record of a task.
    fn read(&mut self, task: Id) -> Result<Option<Seen>, Trouble>;
    /// Replaces the record if its name is `expected`; `None` expects no record. The record gets a nonce that this clone notes
    /// before it is sent. A record that is read later is `ours` only with such a nonce.
    fn swap(&mut self, task: Id, expected: Option<&str>, record: &mut RemoteRecord) -> Swap;
    /// Restores the earlier record with this name, if `expected` is in place now.
    fn restore(&mut self, task: Id, expected: &str, oid: &str) -> Swap;
    /// Reads the notes that the remote keeps apart from the records.
    fn notes(&mut self, task: Id) -> Result<Notes, Trouble>;
}

/// What a remote keeps when records are removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// The floor: a new record must have a greater fence.
    pub floor: u64,
    /// The events that finished the task, with their authors.
    pub finished: BTreeMap<Id, String>,
}

/// The purpose of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// To hold the task.
    Hold,
    /// To record that this event finishes it; with `anyway` despite another agent's lease.
    Finish {
        /// The event, which is written after the record is in place.
        event: Id,
        /// Whether to ignore another agent's lease.
        anyway: bool,
    },
}

/// Which ends of a task do not prevent a lease.
#[derive(Clone, Debug, Default)]
pub struct KnownEnds {
    /// The events of the task's log in this clone.
    pub events: BTreeSet<Id>,
    /// Whether the caller wants the task despite what happened elsewhere. Its record then drops the ends that are not among
    /// the events, so that the new holder may continue as with any task.
    pub in_spite: bool,
}

impl KnownEnds {
    fn has(&self, event: Id) -> bool {
        self.in_spite || self.events.contains(&event)
    }
}

/// A record that an agent requests.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The task.
    pub task: Id,
    /// Its purpose.
    pub goal: Goal,
    /// The id of the lease.
    pub lease: Id,
    /// The agent and session that request it.
    pub holder: Author,
    /// The clone.
    pub clone: Id,
    /// Whether this task was named: then one whose holder let it expire may be taken. For an end, whether it happens under a
    /// lease that holds.
    pub explicit: bool,
    /// The greatest Lamport time that this clone has issued.
    pub lamport: u64,
    /// The lowest fence that it may have.
    pub fence: u64,
    /// What the task's log contains.
    pub known: KnownEnds,
    /// When it expires.
    pub expires_at: Time,
    /// The present time by the caller's clock.
    pub now: Time,
}

/// The answer of the remote to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is confirmed, with this record.
    Confirmed(Seen),
    /// The record of another holder is in place.
    Held(Seen),
    /// The record was removed, or is marked as released.
    Gone,
    /// The remote did not decide.
    Unconfirmed(Trouble),
}

/// Requests a record. `known` is the record that was last seen, a guess that saves a question.
pub fn acquire(remote: &mut dyn LeaseRemote, wish: &LeaseRequest, known: Option<Seen>) -> Answer {
    let mut stands = known;
    if stands.as_ref().is_some_and(|seen| !is_free(seen, wish)) {
        stands = match look(remote, wish.task, stands) {
            Ok(seen) => seen,
            Err(trouble) => return Answer::Unconfirmed(trouble),
        };
    }
    let mut unknown = 0;
    for _ in 0..ROUNDS {
        if let Some(seen) = &stands
            && !is_free(seen, wish)
        {
            return Answer::Held(seen.clone());
        }
        if stands.as_ref().is_some_and(|seen| !is_sound(seen.record.fence, wish.fence)) {
            return Answer::Unconfirmed(Trouble::Refused(TOO_FAR.into()));
        }
        let step = if wish.goal == Goal::Hold { STEP } else { 0 };
        let fence = wish.fence.max(stands.as_ref().map_or(0, |seen| seen.record.fence.saturating_add(step)));
        let record = record(wish, fence, stands.as_ref());
        let Some(mut record) = record else { return Answer::Unconfirmed(Trouble::Refused(AT_ITS_END.into())) };
        let expected = stands.as_ref().map(|seen| seen.oid.as_str());
        match remote.swap(wish.task, expected, &mut record) {
            Swap::Taken(oid) => return confirm_replaced(remote, wish, seen(oid, record, wish.now)),
            Swap::Refused(why) => return Answer::Unconfirmed(Trouble::Refused(why)),
            Swap::NotSent(why) => return Answer::Unconfirmed(Trouble::Unreachable(why)),
            Swap::Lost => {}
            Swap::Unknown(why) => match look(remote, wish.task, stands.clone()) {
                Ok(Some(now)) if now.record.nonce == record.nonce => {
                    return confirm_replaced(remote, wish, now);
                }
                Ok(_) if unknown == UNKNOWNS => return Answer::Unconfirmed(Trouble::Unknown(why)),
                // The record may still be on its way: only another record in its place prevents it from arriving.
                Ok(now) => {
                    unknown += 1;
                    stands = now;
                    continue;
                }
                Err(_) => return Answer::Unconfirmed(Trouble::Unknown(why)),
            },
        }
        stands = match look(remote, wish.task, stands) {
            Ok(seen) => seen,
            Err(trouble) => return Answer::Unconfirmed(trouble),
        };
    }
    Answer::Unconfirmed(Trouble::Refused("other clones keep changing it".into()))
}

const TOO_FAR: &str =
    "its fence is too far above the known ones; the administrator of the remote must check refs/agentpm";
const AT_ITS_END: &str = "the fences of this task are exhausted";

/// Checks a lease that is in place: it counts if its fence is above the floor and its clone has seen every end in the list of
/// finished tasks. Both are read after the record is in place, because `sync` raises the floor and extends the list before it
/// removes records. This also holds for a lease that replaced a record. That record may have been sent long ago and given up
/// by its sender, and may have arrived after a higher one was removed.
fn confirm_replaced(remote: &mut dyn LeaseRemote, wish: &LeaseRequest, mut now: Seen) -> Answer {
    if wish.goal != Goal::Hold {
        return Answer::Confirmed(now);
    }
    for _ in 0..ROUNDS {
        let Notes { floor, finished } = match remote.notes(wish.task) {
            Ok(notes) => notes,
            Err(trouble) => return Answer::Unconfirmed(Trouble::Unknown(trouble.words())),
        };
        if let Some((event, agent)) = finished.into_iter().rfind(|(event, _)| !wish.known.has(*event)) {
            return stays_finished(remote, now, (event, agent));
        }
        if now.record.fence > floor {
            return Answer::Confirmed(now);
        }
        if !is_sound(floor, wish.fence) {
            return Answer::Unconfirmed(Trouble::Refused(TOO_FAR.into()));
        }
        let Some(mut raised) = record(wish, floor.saturating_add(STEP), Some(&now)) else {
            return Answer::Unconfirmed(Trouble::Refused(AT_ITS_END.into()));
        };
        match remote.swap(wish.task, Some(&now.oid), &mut raised) {
            Swap::Taken(oid) => now = seen(oid, raised, wish.now),
            Swap::Refused(why) => return Answer::Unconfirmed(Trouble::Refused(why)),
            Swap::NotSent(why) => return Answer::Unconfirmed(Trouble::Unknown(why)),
            Swap::Lost | Swap::Unknown(_) => match look(remote, wish.task, None) {
                Ok(Some(other)) if other.ours && is_just(&other.record, wish) => now = other,
                Ok(Some(other)) => return Answer::Held(other),
                Ok(None) => return Answer::Unconfirmed(Trouble::Refused("its record was removed".into())),
                Err(trouble) => return Answer::Unconfirmed(Trouble::Unknown(trouble.words())),
            },
        }
    }
    Answer::Unconfirmed(Trouble::Refused("other clones keep changing it".into()))
}

/// Restores an end that a record omitted, in its place, with the ends that it contained.
fn stays_finished(remote: &mut dyn LeaseRemote, now: Seen, (event, agent): (Id, String)) -> Answer {
    let mut over = RemoteRecord {
        state: RemoteState::Finished,
        ends: now.record.ends.iter().copied().filter(|end| *end != event).chain([event]).collect(),
        agent,
        session: None,
        // It belongs to no clone, so that no clone undoes it.
        clone: Id::from_parts(0, 0),
        lease: event,
        ..now.record.clone()
    };
    // If that is refused, the list of finished tasks also informs the next request.
    let oid = match remote.swap(over.task, Some(&now.oid), &mut over) {
        Swap::Taken(oid) => oid,
        _ => now.oid.clone(),
    };
    Answer::Held(Seen { oid, ours: false, record: over, ..now })
}

/// Renews a lease whose record was seen.
pub fn renew(remote: &mut dyn LeaseRemote, mine: Seen, expires_at: Time, now: Time, lamport: u64) -> Answer {
    let mut stands = mine;
    for _ in 0..ROUNDS {
        let renewed = RemoteRecord { state: RemoteState::Held, expires_at, updated_at: now, ..stands.record.clone() };
        let mut wanted = later(renewed, lamport);
        match remote.swap(wanted.task, Some(&stands.oid), &mut wanted) {
            Swap::Taken(oid) => return Answer::Confirmed(seen(oid, wanted, now)),
            Swap::Refused(why) => return Answer::Unconfirmed(Trouble::Refused(why)),
            Swap::NotSent(why) => return Answer::Unconfirmed(Trouble::Unreachable(why)),
            Swap::Lost => {}
            Swap::Unknown(why) => match remote.read(wanted.task) {
                Ok(Some(now)) if now.record == wanted => return Answer::Confirmed(now),
                Ok(_) => {}
                Err(_) => return Answer::Unconfirmed(Trouble::Unknown(why)),
            },
        }
        match still_mine(remote, &stands) {
            Answer::Confirmed(now) => stands = now,
            other => return other,
        }
    }
    Answer::Unconfirmed(Trouble::Refused("other clones keep changing it".into()))
}

/// Verifies that a lease is still in place and was written by this clone: replaces its record with an equal one, so that of
/// two copies of a clone only one is confirmed.
pub fn verify(remote: &mut dyn LeaseRemote, mine: &Seen, now: Time) -> Answer {
    renew(remote, mine.clone(), mine.record.expires_at, now, 0)
}

/// Reads whether a lease is still in place.
fn still_mine(remote: &mut dyn LeaseRemote, mine: &Seen) -> Answer {
    match look(remote, mine.record.task, Some(mine.clone())) {
        Ok(Some(now)) if now.ours && now.record.lease == mine.record.lease && now.record.fence == mine.record.fence => {
            if now.record.state == RemoteState::Held {
                Answer::Confirmed(now)
            } else {
                Answer::Gone
            }
        }
        Ok(Some(now)) => Answer::Held(now),
        Ok(None) => Answer::Gone,
        Err(trouble) => Answer::Unconfirmed(trouble),
    }
}

/// Marks a lease as released. A record that has replaced it stays.
///
/// Errors: why the remote could not be updated.
pub fn release(remote: &mut dyn LeaseRemote, mine: Seen, now: Time, lamport: u64) -> Result<(), Trouble> {
    let mut stands = mine;
    for _ in 0..ROUNDS {
        let over = RemoteRecord { state: RemoteState::Released, updated_at: now, ..stands.record.clone() };
        let mut over = later(over, lamport);
        match remote.swap(over.task, Some(&stands.oid), &mut over) {
            Swap::Taken(_) => return Ok(()),
            Swap::Refused(why) => return Err(Trouble::Refused(why)),
            Swap::NotSent(why) => return Err(Trouble::Unreachable(why)),
            Swap::Lost | Swap::Unknown(_) => {}
        }
        match still_mine(remote, &stands) {
            Answer::Confirmed(now) => stands = now,
            Answer::Held(_) | Answer::Gone | Answer::Unconfirmed(Trouble::Refused(_)) => return Ok(()),
            Answer::Unconfirmed(trouble) => return Err(trouble),
        }
    }
    Err(Trouble::Refused("other clones keep changing it".into()))
}

/// Withdraws an end whose event was never written. Restores the earlier record; if there was none, or it is not available any
/// more, marks the task as released.
///
/// Errors: why the remote could not be updated.
pub fn not_finished(remote: &mut dyn LeaseRemote, mine: &Seen, now: Time) -> Result<(), Trouble> {
    let task = mine.record.task;
    let restored = mine.record.replaced.as_ref().map(|oid| remote.restore(task, &mine.oid, oid));
    let came = match restored {
        Some(Swap::Refused(_)) | None => {
            let mut free = RemoteRecord {
                state: RemoteState::Released,
                ends: mine.record.ends.split_last().map_or(Vec::new(), |(_, before)| before.to_vec()),
                replaced: None,
                updated_at: now,
                ..mine.record.clone()
            };
            remote.swap(task, Some(&mine.oid), &mut free)
        }
        Some(came) => came,
    };
    match came {
        // If another record is in place by now, its writer knew of this end or replaced it.
        Swap::Taken(_) | Swap::Lost => Ok(()),
        Swap::Refused(why) => Err(Trouble::Refused(why)),
        Swap::NotSent(why) => Err(Trouble::Unreachable(why)),
        Swap::Unknown(why) => Err(Trouble::Unknown(why)),
    }
}

/// Reads the present record. A record that was seen before keeps the time at which it was, unless the clock was set back since.
fn look(remote: &mut dyn LeaseRemote, task: Id, known: Option<Seen>) -> Result<Option<Seen>, Trouble> {
    let now = remote.read(task)?;
    Ok(now.map(|now| match known.filter(|known| known.oid == now.oid) {
        Some(known) => Seen { at: known.at.min(now.at), ..now },
        None => now,
    }))
}

fn seen(oid: String, record: RemoteRecord, at: Time) -> Seen {
    Seen { oid, at, ours: true, over: 0, record }
}

/// The record with at least this Lamport time.
fn later(record: RemoteRecord, lamport: u64) -> RemoteRecord {
    RemoteRecord { lamport: record.lamport.max(lamport), ..record }
}

fn record(wish: &LeaseRequest, fence: u64, after: Option<&Seen>) -> Option<RemoteRecord> {
    (fence < MAX_FENCE).then(|| RemoteRecord {
        lamport: wish.lamport.max(after.map_or(0, |seen| seen.record.lamport)),
        v: 1,
        task: wish.task,
        state: if wish.goal == Goal::Hold { RemoteState::Held } else { RemoteState::Finished },
        ends: {
            let ending = match wish.goal {
                Goal::Hold => None,
                Goal::Finish { event, .. } => Some(event),
            };
            let before = after.iter().flat_map(|seen| &seen.record.ends).filter(|end| wish.known.events.contains(end));
            before.filter(|end| Some(**end) != ending).copied().chain(ending).collect()
        },
        replaced: after.filter(|_| wish.goal != Goal::Hold).map(|seen| seen.oid.clone()),
        lease: wish.lease,
        agent: wish.holder.agent.clone(),
        session: wish.holder.session,
        clone: wish.clone,
        nonce: String::new(),
        fence,
        expires_at: wish.expires_at,
        created_at: wish.now,
        updated_at: wish.now,
    })
}

/// Whether a record is the one that this request wrote.
fn is_just(record: &RemoteRecord, wish: &LeaseRequest) -> bool {
    record.lease == wish.lease && record.state == RemoteState::Held
}

/// Whether a record may be replaced by the one that this request wants.
pub fn is_free(seen: &Seen, wish: &LeaseRequest) -> bool {
    let r = &seen.record;
    let is_mine = |end| matches!(wish.goal, Goal::Finish { event, .. } if event == end);
    // An end that is not known here prevents it, whatever came later.
    if !r.ends.iter().all(|end| wish.known.has(*end) || is_mine(*end)) {
        return false;
    }
    match r.state {
        RemoteState::Released => may_follow(seen, wish),
        // A clone that knows the end and has the task open again may have it.
        RemoteState::Finished => !r.ends.is_empty() || wish.known.in_spite,
        RemoteState::Held if matches!(wish.goal, Goal::Finish { anyway: true, .. }) => true,
        RemoteState::Held => {
            // Within a clone, its own lock and files decide. A record of this clone that they do not contain was sent by a
            // command that died, or by the original of a copied clone: it has to expire.
            let known = r.lease == wish.lease || r.fence.saturating_add(STEP) <= wish.fence;
            let asks_for_it = wish.explicit || wish.goal != Goal::Hold;
            let is_over = wish.now >= seen.over_at() && may_follow(seen, wish);
            (seen.ours && known) || ((seen.ours || asks_for_it) && is_over)
        }
    }
}

/// Whether what a request wants may follow a lease that is over. Others had the task by events that are not here: a clone that has not
/// seen them finishes it only under a lease that holds.
fn may_follow(seen: &Seen, wish: &LeaseRequest) -> bool {
    let finishes = matches!(wish.goal, Goal::Finish { anyway: false, .. });
    !finishes || wish.explicit || seen.ours || seen.record.fence <= wish.fence
}
