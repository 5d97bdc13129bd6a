//! The direction inwards: the messages of the stream are recorded, or refused.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Bridge, FIRST_REST, fingerprint, lock, unreachable};
use crate::engine::Workspace;
use crate::engine::bus::incoming::{self, Message};
use crate::error::Result;
use crate::model::subject::Landmark;
use crate::nats::{EventStream, Received, StreamFacts, Trouble};
use crate::runtime::{bus, journal};

/// Most messages that are recorded at once.
const AT_ONCE: usize = 200;
/// How long one request waits for a message.
const WAIT: Duration = Duration::from_secs(1);
/// How long the rest of a command's events is waited for.
const FOR_THE_REST: Duration = Duration::from_secs(2);
/// How often the stream is looked at: whether it is still the same, and what it dropped.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Messages that are not dealt with yet.
#[derive(Default)]
struct Inbox {
    messages: Vec<Message>,
    /// The last message that was read.
    read_to: Option<Landmark>,
    since: Option<Instant>,
    /// Nothing more can come.
    is_all: bool,
}

impl Inbox {
    /// Whether nothing more is waited for before they are recorded.
    fn is_due(&self) -> bool {
        let waits_too_long = self.is_all || self.since.is_some_and(|since| since.elapsed() > FOR_THE_REST);
        self.read_to.is_some()
            && (waits_too_long || self.messages.len() > AT_ONCE || incoming::is_whole(&self.messages))
    }
}

impl Bridge {
    /// Takes in messages until the bridge is to end.
    pub(super) fn keep_taking(&self, stream: &mut EventStream<'_>) -> Result<()> {
        let (mut inbox, mut rest, mut looked) = (Inbox::default(), FIRST_REST, Some(Instant::now()));
        let mut journal = None;
        while !self.is_stopping() {
            let taken = self.take_more(stream, &mut inbox, &mut looked);
            let taken = taken.and_then(|taken| self.look_at_waiting(&mut journal).map(|()| taken));
            let noted = taken.and_then(|taken| match taken {
                Ok(()) => self.note(|record| record.cannot_take = None).map(Ok),
                Err(trouble) => Ok(Err(trouble)),
            });
            let why = match noted {
                Ok(Ok(())) => {
                    rest = FIRST_REST;
                    continue;
                }
                Ok(Err(Trouble(why))) => why,
                Err(e) => e.message,
            };
            // What was read is read again: the stream may be another one.
            inbox = Inbox::default();
            stream.reset();
            looked = None;
            self.cannot_take(&why);
            self.rest(&mut rest);
        }
        Ok(())
    }

    fn take_more(
        &self,
        stream: &mut EventStream<'_>,
        inbox: &mut Inbox,
        looked: &mut Option<Instant>,
    ) -> Result<Result<(), Trouble>> {
        if looked.is_none_or(|looked| looked.elapsed() > LOOK_EVERY) {
            // Before the server is asked: meanwhile this bridge publishes.
            let (seen, known) = self.seen();
            match stream.facts(known) {
                Ok(facts) => self.look(&facts, seen, stream, inbox)?,
                Err(trouble) => return Ok(Err(trouble)),
            }
            *looked = Some(Instant::now());
        }
        if let Err(trouble) = self.read(stream, inbox, WAIT) {
            return Ok(Err(trouble));
        }
        self.record_due(inbox)?;
        if inbox.messages.is_empty() && self.has_caught_up() {
            self.caught_up.store(true, Ordering::SeqCst);
        }
        Ok(Ok(()))
    }

    fn has_caught_up(&self) -> bool {
        let record = self.record();
        record.taken_to >= record.last
    }

    /// Takes in everything that the stream has now.
    pub(super) fn take_all(&self, stream: &mut EventStream<'_>) -> Result<()> {
        let mut inbox = Inbox::default();
        self.look_at_waiting(&mut None)?;
        loop {
            let read = self.read(stream, &mut inbox, Duration::ZERO).map_err(|trouble| unreachable(&trouble))?;
            if read == 0 {
                inbox.is_all = true;
                return self.record_due(&mut inbox);
            }
            self.record_due(&mut inbox)?;
        }
    }

    /// Reads more messages. Returns how many.
    fn read(&self, stream: &mut EventStream<'_>, inbox: &mut Inbox, wait: Duration) -> Result<usize, Trouble> {
        let from = inbox.read_to.map_or(self.record().taken_to, |read_to| read_to.sequence) + 1;
        let received = stream.read(from, AT_ONCE, wait)?;
        let Some(last) = received.last() else { return Ok(0) };
        let read = received.len();
        inbox.read_to = Some(Landmark { sequence: last.sequence, at: last.at });
        inbox.since.get_or_insert_with(Instant::now);
        inbox.messages.extend(received.into_iter().filter_map(|message| self.unless_own(message)));
        Ok(read)
    }

    /// A message with an event, unless this bridge published it.
    fn unless_own(&self, message: Received) -> Option<Message> {
        let Received { sequence, subject, payload, more, id, .. } = message;
        // Its header does not count: it is whatever its sender says.
        let is_own = lock(&self.sent).has(&fingerprint(&subject, &payload));
        if self.subjects.is_announcement(&subject) {
            if subject == self.subjects.settings() {
                *lock(&self.settings_elsewhere) = String::from_utf8(payload).ok();
            }
            return None;
        }
        (!is_own).then_some(Message { sequence, subject, payload, more, id })
    }

    /// Looks again at the events that wait, if the journal has changed since the last look: git may have brought their parents, or
    /// them.
    fn look_at_waiting(&self, journal: &mut Option<u64>) -> Result<()> {
        if self.report().waiting == 0 {
            return Ok(());
        }
        let ws = self.workspace()?;
        let length = || ws.runtime().map_or(0, journal::length);
        if *journal != Some(length()) {
            self.take(&ws, &[])?;
            *journal = Some(length());
        }
        Ok(())
    }

    fn take(&self, ws: &Workspace, messages: &[Message]) -> Result<()> {
        let taken = incoming::take(ws, &self.subjects, messages)?;
        let mut report = self.report();
        report.taken += taken.recorded as u64;
        report.refused += taken.refused as u64;
        report.waiting = taken.waiting as u64;
        lock(&self.received).note_all(taken.accepted);
        Ok(())
    }

    fn record_due(&self, inbox: &mut Inbox) -> Result<()> {
        let Some(read_to) = inbox.read_to.filter(|_| inbox.is_due()) else { return Ok(()) };
        if !inbox.messages.is_empty() {
            self.take(&self.workspace()?, &inbox.messages)?;
        }
        *inbox = Inbox::default();
        let now = lock(&self.env).now();
        self.note(|record| {
            record.taken_to = record.taken_to.max(read_to.sequence);
            record.last = record.last.max(read_to.sequence);
            record.landmark = record.landmark.max(Some(read_to));
            record.seen_at = Some(now);
            record.cannot_take = None;
        })
    }

    /// Compares the stream with the one that was known, and begins again where it is another one.
    fn look(&self, facts: &StreamFacts, seen: u64, stream: &mut EventStream<'_>, inbox: &mut Inbox) -> Result<()> {
        if self.adopt(facts, seen)? {
            *inbox = Inbox::default();
            stream.reset();
        }
        Ok(())
    }

    /// The last message that was seen, and the last whose time is known, by which a stream that was set back is known.
    pub(super) fn seen(&self) -> (u64, Option<Landmark>) {
        let record = self.record();
        (record.last, record.landmark)
    }

    /// Notes what is known of the stream. Returns whether it is another one than before, or was set back, as by a backup: it ends
    /// before what was the last message when the server had not been asked yet, or has another one where the landmark stood. Then it
    /// is read from its first message, and filled again from the journal.
    pub(super) fn adopt(&self, facts: &StreamFacts, seen: u64) -> Result<bool> {
        let now = lock(&self.env).now();
        let (mut is_other, mut missed) = (false, 0);
        self.note(|record| {
            is_other = record.stream != facts.made || facts.is_other || facts.last < seen.max(record.taken_to);
            if is_other {
                record.stream.clone_from(&facts.made);
                (record.taken_to, record.published_to) = (0, None);
            } else if record.taken_to > 0 && facts.first > record.taken_to + 1 {
                missed = facts.first - record.taken_to - 1;
                record.taken_to = facts.first - 1;
            }
            record.last = if is_other { facts.last } else { record.last.max(facts.last) };
            record.landmark = if is_other { facts.landmark } else { record.landmark.max(facts.landmark) };
            record.differs.clone_from(&facts.differs);
            record.seen_at = Some(now);
        })?;
        if missed > 0 {
            bus::add_missed(&self.own, missed)?;
        }
        if is_other {
            lock(&self.sent).forget();
            lock(&self.received).forget();
        }
        Ok(is_other)
    }
}
