//! Confirmation: how a clone agrees with a remote on who has a lease.
//!
//! The remote keeps one record a task and can do one thing: replace it if it is still the one that was expected. That decides
//! between clones whatever their clocks say. It may also refuse, or answer late or never; then what happened there is not known,
//! and is asked again, never assumed.
//!
//! Guarantees that a fence confirmed to one holder is never confirmed to another, and that no lease is confirmed to an agent that has
//! not seen the task finished. While a record stands, each change of holder raises its fence. A completion puts its event into the
//! record before it is written, and only a clone that knows the event replaces it. Records are taken away only after the floor,
//! below which no new record may begin, was raised to their fences, and after the list of finished tasks got their events; a claim
//! reads both after its record stands. So either the swap meets the finished record, or the reading meets the entry.
//! Leaves to others: git, files, and what time it really is; each clone's own clock decides only when it dares to ask.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::agent::{MAX_FENCE, MAX_TTL, RemoteRecord, RemoteState, Seen};
use crate::model::event::Author;
use crate::model::id::Id;
use crate::model::time::Time;
use crate::rules::lease::is_sound;

/// How often one question is put while others keep changing the answer.
const ROUNDS: usize = 20;

/// How much higher each confirmed grant is than what was known. One more than a clone takes that cannot ask: of two grants made by
/// the same knowledge the confirmed one then stands higher.
pub const STEP: u64 = 2;

/// How often a question is put again whose answer did not arrive.
const UNKNOWNS: usize = 2;

/// Why the remote did not confirm.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// It cannot be reached, or there is none of that name.
    Unreachable(String),
    /// It does not take such records.
    Refused(String),
    /// It was asked and did not answer: what it holds now is not known.
    Unknown(String),
}

impl Trouble {
    /// The reason in words.
    pub fn words(&self) -> String {
        match self {
            Trouble::Unreachable(why) => format!("the remote could not be asked ({why})"),
            Trouble::Refused(why) => format!("the remote refused ({why})"),
            Trouble::Unknown(why) => format!("whether the remote took it is not known ({why})"),
        }
    }
}

/// What came of replacing a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Swap {
    /// It stands there now, under this name.
    Taken(String),
    /// Another record stood there.
    Lost,
    /// The remote does not want it.
    Refused(String),
    /// The remote was not reached.
    NotSent(String),
    /// No answer in time: it may have been taken, or may be yet.
    Unknown(String),
}

/// A remote that keeps one record a task.
pub trait LeaseRemote {
    /// What stands there for a task.
    fn read(&mut self, task: Id) -> Result<Option<Seen>, Trouble>;
    /// Replaces what stands there if it is `expected`, the name of a record; nothing where `None`. The record gets a nonce that
    /// this clone notes before it is sent; a record that is read again is `ours` only with such a nonce.
    fn swap(&mut self, task: Id, expected: Option<&str>, record: &mut RemoteRecord) -> Swap;
    /// Lets the record stand again that stood there under this name, if `expected` stands there now.
    fn restore(&mut self, task: Id, expected: &str, oid: &str) -> Swap;
    /// What is noted besides the records, as of now.
    fn notes(&mut self, task: Id) -> Result<Notes, Trouble>;
}

/// What a remote keeps when records are taken away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// The floor: no record that is begun anew may have a fence of this or less.
    pub floor: u64,
    /// The events that finished the task, each time that it was, and who wrote them.
    pub finished: BTreeMap<Id, String>,
}

/// What a record is wanted for.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// To hold the task.
    Hold,
    /// To say that this event finishes it; `anyway` against a lease of another too.
    Finish {
        /// The event, which is written once the record stands.
        event: Id,
        /// Whether another's lease is no obstacle.
        anyway: bool,
    },
}

/// Which ends of a task are no obstacle to its clone.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The events of its log there.
    pub events: BTreeSet<Id>,
    /// Whether it is wanted in spite of all that happened elsewhere. The ends that are not among the events are dropped from its
    /// record then: the one who took it may go on with it as with any task.
    pub in_spite: bool,
}

impl Known {
    fn has(&self, event: Id) -> bool {
        self.in_spite || self.events.contains(&event)
    }
}

/// A record that an agent wants to stand.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The task.
    pub task: Id,
    /// What for.
    pub goal: Goal,
    /// The id the lease has, or would have.
    pub lease: Id,
    /// Who wants it, in which session.
    pub holder: Author,
    /// In which clone.
    pub clone: Id,
    /// Whether just this task is wanted: then one whose holder let it run out may be had. For an end, whether it happens under a
    /// lease that holds.
    pub explicit: bool,
    /// The greatest Lamport time that this clone has given out.
    pub lamport: u64,
    /// The least fence it may have.
    pub fence: u64,
    /// What the task's log knows.
    pub known: Known,
    /// Until when.
    pub expires_at: Time,
    /// The time now, by the clock of whoever asks.
    pub now: Time,
}

/// What the remote says to a wish.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It is agreed to, with this record.
    Confirmed(Seen),
    /// Somebody else's record stands.
    Held(Seen),
    /// What stood there was taken away, or says that it was given back.
    Gone,
    /// It did not decide.
    Unconfirmed(Trouble),
}

/// Asks for a record. `known` is what was last seen there: a guess that saves a question.
pub fn acquire(remote: &mut dyn LeaseRemote, wish: &Wish, known: Option<Seen>) -> Answer {
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
            Swap::Taken(oid) => return settled(remote, wish, seen(oid, record, wish.now)),
            Swap::Refused(why) => return Answer::Unconfirmed(Trouble::Refused(why)),
            Swap::NotSent(why) => return Answer::Unconfirmed(Trouble::Unreachable(why)),
            Swap::Lost => {}
            Swap::Unknown(why) => match look(remote, wish.task, stands.clone()) {
                Ok(Some(now)) if now.record.nonce == record.nonce => {
                    return settled(remote, wish, now);
                }
                Ok(_) if unknown == UNKNOWNS => return Answer::Unconfirmed(Trouble::Unknown(why)),
                // It may still be on its way: only another record in its place keeps it from arriving.
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
    Answer::Unconfirmed(Trouble::Refused("others keep changing it".into()))
}

const TOO_FAR: &str =
    "a fence stands there that is too far above what is known; whoever keeps the remote looks at refs/agentpm";
const AT_ITS_END: &str = "the fences of this task have run to their end";

/// A lease counts once its fence is above the floor and its clone has seen every end that the list of finished tasks names. Both are
/// read after the record stands: `sync` raises the floor and adds to the list before it takes records away. This holds for one that
/// replaced another too: that other may have been sent long ago, have been given up by its sender, and have arrived where a higher
/// one was taken away.
fn settled(remote: &mut dyn LeaseRemote, wish: &Wish, mut now: Seen) -> Answer {
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
                Ok(None) => return Answer::Unconfirmed(Trouble::Refused("its record was taken away".into())),
                Err(trouble) => return Answer::Unconfirmed(Trouble::Unknown(trouble.words())),
            },
        }
    }
    Answer::Unconfirmed(Trouble::Refused("others keep changing it".into()))
}

/// Puts an end that a record did not know of in its place, with those that it knew.
fn stays_finished(remote: &mut dyn LeaseRemote, now: Seen, (event, agent): (Id, String)) -> Answer {
    let mut over = RemoteRecord {
        state: RemoteState::Finished,
        ends: now.record.ends.iter().copied().filter(|end| *end != event).chain([event]).collect(),
        agent,
        session: None,
        // It is none of this clone's, to be taken back by none.
        clone: Id::from_parts(0, 0),
        lease: event,
        ..now.record.clone()
    };
    // Where that is not taken, the list of finished tasks says it to the next one too.
    let oid = match remote.swap(over.task, Some(&now.oid), &mut over) {
        Swap::Taken(oid) => oid,
        _ => now.oid.clone(),
    };
    Answer::Held(Seen { oid, ours: false, record: over, ..now })
}

/// Prolongs a lease whose record was seen there.
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
    Answer::Unconfirmed(Trouble::Refused("others keep changing it".into()))
}

/// Asks whether a lease is still the one that stands there, written by this very clone: by replacing its record with an equal one,
/// so that of two copies of a clone one alone is confirmed.
pub fn verify(remote: &mut dyn LeaseRemote, mine: &Seen, now: Time) -> Answer {
    renew(remote, mine.clone(), mine.record.expires_at, now, 0)
}

/// Reads whether a lease is still the one that stands there.
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

/// Says that a lease was given back. What another has put in its place meanwhile stays.
///
/// Errors: why the remote could not be told.
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
    Err(Trouble::Refused("others keep changing it".into()))
}

/// Takes back that a task is finished, which came to nothing: its event was never written. What stood there before stands again; where
/// nothing did, or it is not to be had any more, that the task was given back.
///
/// Errors: why the remote could not be told.
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
        // Where another record stands by now, its writer knew of this end, or put another in its place.
        Swap::Taken(_) | Swap::Lost => Ok(()),
        Swap::Refused(why) => Err(Trouble::Refused(why)),
        Swap::NotSent(why) => Err(Trouble::Unreachable(why)),
        Swap::Unknown(why) => Err(Trouble::Unknown(why)),
    }
}

/// What stands there now. A record that was seen before keeps the time at which that was.
fn look(remote: &mut dyn LeaseRemote, task: Id, known: Option<Seen>) -> Result<Option<Seen>, Trouble> {
    let now = remote.read(task)?;
    Ok(now.map(|now| match known.filter(|known| known.oid == now.oid) {
        Some(known) => Seen { at: known.at, ..now },
        None => now,
    }))
}

fn seen(oid: String, record: RemoteRecord, at: Time) -> Seen {
    Seen { oid, at, ours: true, over: 0, record }
}

/// A record that has seen so much of the order of events.
fn later(record: RemoteRecord, lamport: u64) -> RemoteRecord {
    RemoteRecord { lamport: record.lamport.max(lamport), ..record }
}

fn record(wish: &Wish, fence: u64, after: Option<&Seen>) -> Option<RemoteRecord> {
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

/// Whether a record is the one that this wish put there.
fn is_just(record: &RemoteRecord, wish: &Wish) -> bool {
    record.lease == wish.lease && record.state == RemoteState::Held
}

/// Whether a record may be replaced by whoever wishes for the lease.
pub fn is_free(seen: &Seen, wish: &Wish) -> bool {
    let r = &seen.record;
    let is_mine = |end| matches!(wish.goal, Goal::Finish { event, .. } if event == end);
    // An end that is not known here is in the way whatever came after it.
    if !r.ends.iter().all(|end| wish.known.has(*end) || is_mine(*end)) {
        return false;
    }
    match r.state {
        // Others had it since, by events that are not here: who knows nothing of that finishes it only under a lease that holds.
        RemoteState::Released if matches!(wish.goal, Goal::Finish { anyway: false, .. }) => {
            wish.explicit || seen.ours || r.fence <= wish.fence
        }
        RemoteState::Released => true,
        // Whoever knows that it was finished, and has it open again, may have it.
        RemoteState::Finished => !r.ends.is_empty() || wish.known.in_spite,
        RemoteState::Held if matches!(wish.goal, Goal::Finish { anyway: true, .. }) => true,
        RemoteState::Held => {
            // Within a clone its own lock and files decide about what they know. A record of this clone that they do not know was
            // sent by a command that died, or by the original that this clone is a copy of: it has to run out.
            let known = r.lease == wish.lease || r.fence.saturating_add(STEP) <= wish.fence;
            let asks_for_it = wish.explicit || wish.goal != Goal::Hold;
            (seen.ours && known) || ((seen.ours || asks_for_it) && has_run_out(seen, wish.now))
        }
    }
}

/// Whether a lease ran out: by its holder's clock, or because it stood unchanged for its whole time by the clock of whoever looks.
/// The second is for holders whose clock is years ahead.
fn has_run_out(seen: &Seen, now: Time) -> bool {
    let r = &seen.record;
    let whole = r.expires_at.since(r.updated_at).clamp(1, MAX_TTL);
    now >= r.expires_at || now.since(seen.at) >= whole
}
