//! The records of leases on the message bus: one subject for each task.
//!
//! Guarantees that no record is removed, so that nothing needs to be noted apart from them. A stream that was lost is filled again from
//! what the clones remember. Until the longest lease that it may have held is over, nothing is confirmed: a clone that is not there
//! yet may remember more. Only the server's clock counts for that. A stream that was set back, or whose limits may drop records, is a
//! lost one.
//! Leaves to others: what a record holds (`super`), and the protocol (`nats`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{RecordStore, StoredRecord};
use crate::engine::context::Workspace;
use crate::engine::context::bus::{address, subjects};
use crate::env::files::Dir;
use crate::error::Result;
use crate::model::agent::{MAX_TTL, RemoteRecord, RemoteState, Seen};
use crate::model::id::Id;
use crate::model::subject::{Landmark, Subjects};
use crate::model::time::Time;
use crate::nats::{self, Connection, LeaseMessage, LeaseStream, LeaseStreamFacts, PATIENCE, Replaced};
use crate::rules::confirm::{Notes, Swap, Trouble};
use crate::runtime::bus::{self, LEASE_STREAM_LIMITS, LeaseStreamRecord};
use crate::runtime::records;

/// How often a record that others change meanwhile is tried again.
const ROUNDS: usize = 20;

/// The leases of a plan on the message bus.
pub(crate) struct LeaseBus {
    stream: LeaseStream,
    subjects: Subjects,
    runtime: Dir,
}

impl LeaseBus {
    /// Connects to the bus that the environment or the user's settings name. What a lost stream held is restored, as far as this clone
    /// remembers it.
    ///
    /// Errors: why the bus cannot be asked.
    pub fn open(ws: &Workspace) -> Result<Self, Trouble> {
        let failed = |e: crate::error::Error| Trouble::Unreachable(e.message);
        let unnamed = || {
            Trouble::Unreachable(
                "no server is named: set AGENTPM_BUS_URL, or url under [bus] in ~/.agentpm/config.toml".into(),
            )
        };
        let address = address(ws, None, None).map_err(failed)?.ok_or_else(unnamed)?;
        let subjects = subjects(ws).map_err(failed)?;
        let patience = Duration::from_secs(ws.settings.lease.remote_seconds.max(1).into()).min(PATIENCE);
        let connection = Connection::open(&address, patience).map_err(unreachable)?;
        let (name, all) = (subjects.stream("LEASES"), subjects.all_leases());
        let stream = LeaseStream::new(connection, name, all, ws.settings.bus.replicas, patience);
        let runtime = ws.runtime_to_write().map_err(|e| Trouble::Refused(e.message))?;
        let leases = LeaseBus { stream, subjects, runtime };
        leases.meet()?;
        Ok(leases)
    }

    /// Compares the stream with the one that this clone knows.
    fn meet(&self) -> Result<(), Trouble> {
        let failed = |e: crate::error::Error| Trouble::Refused(e.message);
        // Before the server is asked: meanwhile other processes note what they write.
        let known = bus::lease_stream(&self.runtime, self.subjects.plan());
        let landmark = known.as_ref().and_then(|known| known.landmark);
        let facts = self.stream.facts(landmark).map_err(unreachable)?;
        let LeaseStreamFacts { made, last, landmark, is_other, loses } = facts;
        let plan = self.subjects.plan().to_owned();
        let mut now = LeaseStreamRecord { plan, made, last, landmark, begun: 0, loses };
        if !now.loses.is_empty() {
            let why = now.losses();
            // What was known of it before says later whether it lost anything.
            let noted =
                known.clone().map(|known| LeaseStreamRecord { loses: now.loses.clone(), ..known }).unwrap_or(now);
            if known.as_ref() != Some(&noted) {
                bus::write_lease_stream(&self.runtime, &noted).map_err(failed)?;
            }
            return Err(Trouble::Refused(format!("{}: {why}; {LEASE_STREAM_LIMITS}", self.stream.name())));
        }
        let is_same = |known: &LeaseStreamRecord| known.made == now.made && known.last <= last && !is_other;
        if let Some(known) = known.as_ref().filter(|known| is_same(known) && known.loses.is_empty() && known.begun > 0)
        {
            return self.note_last(known, last, landmark).map_err(failed);
        }
        // A stream that was empty lost nothing.
        let lost = known.as_ref().is_some_and(|known| known.last > 0 && !(is_same(known) && known.loses.is_empty()));
        let old = known.filter(|known| known.made == now.made).map(|known| known.begun);
        now.begun = self.begin(if lost { MAX_TTL } else { 0 }, old.filter(|_| lost))?;
        for task in records::leased_tasks(&self.runtime).map_err(failed)? {
            if let Some(seen) = records::lease(&self.runtime, task).map_err(failed)?.remote {
                self.remember(&seen.record)?;
            }
        }
        if now.begun > last {
            (now.last, now.landmark) = (now.begun, self.stream.landmark(now.begun).map_err(unreachable)?);
        }
        bus::write_lease_stream(&self.runtime, &now).map_err(failed)
    }

    /// Notes the last message that was seen, by which a stream that was set back is known.
    fn note_last(&self, known: &LeaseStreamRecord, last: u64, landmark: Option<Landmark>) -> crate::error::Result<()> {
        let (last, landmark) = (last.max(known.last), landmark.max(known.landmark));
        if (last, landmark) == (known.last, known.landmark) {
            return Ok(());
        }
        bus::write_lease_stream(&self.runtime, &LeaseStreamRecord { last, landmark, ..known.clone() })
    }

    /// Notes in the stream how long after this note nothing is confirmed, unless it says as much already. The note with the sequence
    /// number `old` is one that the stream had before it was set back, and says nothing. Returns the number of the note.
    fn begin(&self, rest: i64, old: Option<u64>) -> Result<u64, Trouble> {
        let subject = self.subjects.leases_begun();
        self.write_unless(&subject, |begun| {
            let will_do = begun.is_some_and(|begun| rest_of(begun) >= rest && old != Some(begun.sequence));
            (!will_do).then(|| rest.to_string().into_bytes())
        })
    }

    /// Restores a record that the stream may have lost, unless it has one that holds all of it.
    fn remember(&self, record: &RemoteRecord) -> Result<(), Trouble> {
        self.write_unless(&self.subjects.lease(record.task), |there| {
            let there = there.and_then(|there| serde_json::from_slice::<RemoteRecord>(&there.payload).ok());
            serde_json::to_vec(&restored(there.as_ref(), record)?).ok()
        })
        .map(drop)
    }

    /// Writes a message to a subject: what `needed` says of the last one there, unless it is `None`. Returns the sequence number of the
    /// message that is there then.
    fn write_unless(
        &self,
        subject: &str,
        needed: impl Fn(Option<&LeaseMessage>) -> Option<Vec<u8>>,
    ) -> Result<u64, Trouble> {
        for _ in 0..ROUNDS {
            let there = self.stream.last(subject).map_err(unreachable)?;
            let sequence = there.as_ref().map_or(0, |there| there.sequence);
            let Some(bytes) = needed(there.as_ref()) else { return Ok(sequence) };
            match self.stream.replace(subject, sequence, bytes) {
                Replaced::Taken(sequence) => return Ok(sequence),
                Replaced::Lost | Replaced::Unknown(_) => {}
                Replaced::Refused(why) => return Err(Trouble::Refused(why)),
                Replaced::NotSent(why) => return Err(Trouble::Unreachable(why)),
            }
        }
        Err(Trouble::Refused("other clones keep changing it".into()))
    }

    /// Replaces a record, and notes that it was the last one.
    fn put(&self, subject: &str, expected: u64, payload: Vec<u8>) -> Swap {
        match self.stream.replace(subject, expected, payload) {
            Replaced::Taken(sequence) => {
                let known = bus::lease_stream(&self.runtime, self.subjects.plan());
                let landmark = self.stream.landmark(sequence).unwrap_or_default();
                if let Some(Err(e)) = known.map(|known| self.note_last(&known, sequence, landmark)) {
                    tracing::warn!(error = %e, "the last lease on the bus could not be noted");
                }
                Swap::Taken(sequence.to_string())
            }
            Replaced::Lost => Swap::Lost,
            Replaced::Refused(why) => Swap::Refused(why),
            Replaced::NotSent(why) => Swap::NotSent(why),
            Replaced::Unknown(why) => Swap::Unknown(why),
        }
    }

    fn stored(&self, message: LeaseMessage) -> StoredRecord {
        let text = String::from_utf8(message.payload).map_err(|_| "it is no UTF-8".to_owned());
        let text = text.and_then(|text| match text.len() as u64 > super::MAX_RECORD {
            true => Err(format!("it is larger than {} bytes", super::MAX_RECORD)),
            false => Ok(text),
        });
        StoredRecord { name: message.sequence.to_string(), text, place: message.subject }
    }
}

/// What must replace the record that is `there`, so that nothing of a remembered one is lost; `None` if it lacks nothing. The higher
/// fence decides, unless the task was finished without its holder's knowledge, and each end of either one is kept.
fn restored(there: Option<&RemoteRecord>, remembered: &RemoteRecord) -> Option<RemoteRecord> {
    let Some(there) = there else { return Some(remembered.clone()) };
    let lacks = |one: &RemoteRecord, other: &RemoteRecord| other.ends.iter().any(|end| !one.ends.contains(end));
    if there.fence >= remembered.fence && !lacks(there, remembered) {
        return None;
    }
    let is_finished = |one: &RemoteRecord| one.state == RemoteState::Finished;
    // A lease whose holder had not seen the task finished does not open it again.
    let outlasts = |one, other| is_finished(one) && !is_finished(other) && lacks(other, one);
    let is_newer = outlasts(remembered, there) || (remembered.fence > there.fence && !outlasts(there, remembered));
    let (last, first) = if is_newer { (remembered, there) } else { (there, remembered) };
    let before = first.ends.iter().filter(|end| !last.ends.contains(end));
    Some(RemoteRecord {
        ends: before.chain(&last.ends).copied().collect(),
        fence: there.fence.max(remembered.fence),
        lamport: there.lamport.max(remembered.lamport),
        ..last.clone()
    })
}

/// How long nothing is confirmed after a note, in milliseconds.
fn rest_of(begun: &LeaseMessage) -> i64 {
    std::str::from_utf8(&begun.payload).ok().and_then(|text| text.parse().ok()).unwrap_or(MAX_TTL)
}

fn unreachable(trouble: nats::Trouble) -> Trouble {
    Trouble::Unreachable(trouble.0)
}

/// The sequence number that a name stands for; 0 for no record. A name that is none, as of a record of another place, is that of no
/// message.
fn sequence_of(name: Option<&str>) -> u64 {
    name.map_or(0, |name| name.parse().unwrap_or(u64::MAX))
}

impl RecordStore for &LeaseBus {
    fn all(&self) -> Result<BTreeMap<Id, StoredRecord>, Trouble> {
        let all = self.stream.all().map_err(unreachable)?;
        Ok(all.into_iter().filter_map(|one| Some((self.subjects.leased(&one.subject)?, self.stored(one)))).collect())
    }

    fn read(&mut self, task: Id) -> Result<Option<StoredRecord>, Trouble> {
        Ok(self.stream.last(&self.subjects.lease(task)).map_err(unreachable)?.map(|one| self.stored(one)))
    }

    fn swap(&mut self, task: Id, expected: Option<&str>, record: &[u8]) -> Swap {
        self.put(&self.subjects.lease(task), sequence_of(expected), record.to_vec())
    }

    fn restore(&mut self, task: Id, expected: &str, name: &str) -> Swap {
        let subject = self.subjects.lease(task);
        match self.stream.at(sequence_of(Some(name))) {
            Ok(Some(old)) if old.subject == subject => self.put(&subject, sequence_of(Some(expected)), old.payload),
            Ok(_) => Swap::Refused("the record that stood there is not to be had any more".into()),
            Err(nats::Trouble(why)) => Swap::NotSent(why),
        }
    }

    fn notes(&mut self, task: Id) -> Result<Notes, Trouble> {
        let (begun, own) =
            self.stream.last_of(&self.subjects.leases_begun(), &self.subjects.lease(task)).map_err(unreachable)?;
        let Some((begun, own)) = begun.zip(own) else {
            return Err(Trouble::Refused("the stream of leases was removed".into()));
        };
        let from = begun.at.saturating_add(rest_of(&begun));
        if own.at < from {
            let from = Time::from_millis(from);
            return Err(Trouble::Refused(format!("the bus lost its leases, and confirms none before {from}")));
        }
        Ok(Notes::default())
    }

    fn remove(&mut self, _: &[(Seen, Vec<Id>)]) -> Result<usize, Trouble> {
        Ok(0)
    }

    fn look(&self) -> Result<(), Trouble> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> Id {
        Id::from_parts(n, 0)
    }

    fn record(state: RemoteState, fence: u64, ends: &[u64]) -> RemoteRecord {
        RemoteRecord {
            v: 1,
            task: id(1),
            state,
            lease: id(fence),
            agent: format!("agent-{fence}"),
            session: None,
            clone: id(2),
            nonce: String::new(),
            fence,
            ends: ends.iter().copied().map(id).collect(),
            replaced: None,
            lamport: fence,
            expires_at: Time::from_millis(0),
            created_at: Time::from_millis(0),
            updated_at: Time::from_millis(0),
        }
    }

    #[test]
    fn a_record_is_restored_whole_and_takes_no_end_away() {
        use RemoteState::{Finished, Held, Released};
        let check = |there: (RemoteState, u64, &[u64]), old: (RemoteState, u64, &[u64])| {
            let record = |(state, fence, ends)| record(state, fence, ends);
            let got = restored(Some(&record(there)), &record(old));
            got.map(|got| (got.state, got.fence, got.agent, got.ends))
        };
        let ends = |all: &[u64]| all.iter().copied().map(id).collect::<Vec<_>>();
        let of = |n: u64| format!("agent-{n}");
        assert!(restored(None, &record(Held, 2, &[])).is_some());
        assert_eq!(check((Held, 2, &[]), (Held, 2, &[])), None);
        assert_eq!(check((Finished, 2, &[7]), (Held, 2, &[])), None);
        assert_eq!(check((Held, 4, &[7]), (Finished, 2, &[7])), None);
        assert_eq!(check((Held, 2, &[]), (Finished, 2, &[7])), Some((Finished, 2, of(2), ends(&[7]))));
        assert_eq!(check((Held, 4, &[]), (Finished, 2, &[7])), Some((Finished, 4, of(2), ends(&[7]))));
        assert_eq!(check((Released, 2, &[8]), (Held, 6, &[7])), Some((Held, 6, of(6), ends(&[8, 7]))));
        assert_eq!(check((Finished, 2, &[7]), (Held, 4, &[7])), Some((Held, 4, of(4), ends(&[7]))));
        assert_eq!(check((Finished, 2, &[7]), (Held, 4, &[])), Some((Finished, 4, of(2), ends(&[7]))));
        assert_eq!(check((Finished, 2, &[7]), (Held, 2, &[8])), Some((Finished, 2, of(2), ends(&[8, 7]))));
    }
}
