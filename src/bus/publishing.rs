//! The direction outwards: what the journal has is published.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Bridge, FIRST_REST, fingerprint, lock, unreachable};
use crate::engine::Workspace;
use crate::engine::bus::outgoing::{Outbox, Outgoing, Watching};
use crate::error::{Code, Error, Result};
use crate::nats::{EventStream, Published, Sent, Trouble};

/// Most events that are on their way at once.
const AT_ONCE: usize = 500;
/// How often the journal is looked at even where nothing woke the bridge.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long publishing waits until what the stream has at first was taken in. What others published before need not be sent again.
const HEAD_START: Duration = Duration::from_secs(10);

impl Bridge {
    /// Publishes until the bridge is to end.
    pub(super) fn keep_publishing(&self, stream: &EventStream<'_>) -> Result<()> {
        self.wait_until_caught_up();
        let (mut rest, mut watching) = (FIRST_REST, None);
        while !self.is_stopping() {
            match self.publish_news(stream, &mut watching) {
                Ok(Ok(())) => {
                    rest = FIRST_REST;
                    if let Some(Watching { wakeup, .. }) = &watching {
                        wakeup.wait(LOOK_EVERY);
                    }
                }
                failed => {
                    let why = match failed {
                        Ok(outcome) => outcome.err().map(|trouble| trouble.0).unwrap_or_default(),
                        Err(e) => e.message,
                    };
                    tracing::warn!(why, "nothing is published on the bus");
                    self.note_trouble(|record| record.cannot_publish = Some(why));
                    self.rest(&mut rest);
                }
            }
        }
        Ok(())
    }

    /// Waits until what the stream has at first was taken in, but not for long.
    pub(super) fn wait_until_caught_up(&self) {
        let mut waited = Duration::ZERO;
        while !self.caught_up.load(Ordering::SeqCst) && waited < HEAD_START && !self.is_stopping() {
            crate::env::process::pause(super::NAP);
            waited += super::NAP;
        }
    }

    /// Publishes everything that the journal has.
    pub(super) fn publish_all(&self, stream: &EventStream<'_>) -> Result<()> {
        self.publish_news(stream, &mut None)?.map_err(|trouble| unreachable(&trouble))
    }

    fn publish_news(&self, stream: &EventStream<'_>, watching: &mut Option<Watching>) -> Result<Result<(), Trouble>> {
        let ws = self.workspace()?;
        match watching {
            Some(watching) => watching.look(&ws)?,
            None => *watching = Some(Watching::begin(&ws)?),
        }
        let (from, made) = {
            let record = self.record();
            (record.published_to, record.stream.clone())
        };
        let outbox = Outbox::after(&ws, &self.subjects, from, |event| lock(&self.received).has(&event))?;
        if outbox.events.is_empty() {
            self.note_published(&outbox, 0, &made)?;
        }
        let mut done = 0;
        while done < outbox.events.len() && !self.is_stopping() {
            let some = &outbox.events[done..outbox.events.len().min(done + AT_ONCE)];
            let messages = self.messages(&ws, &outbox, some)?;
            let (published, trouble) = stream.publish(&messages);
            let own = messages.iter().zip(&published).map(|(sent, _)| fingerprint(&sent.subject, &sent.payload));
            lock(&self.sent).note_all(own);
            let too_large = published.iter().filter(|one| **one == Published::TooLarge).count() as u64;
            let last =
                published.iter().filter_map(|one| if let Published::Kept(at) = one { Some(*at) } else { None }).max();
            done += published.len();
            self.report().published += published.len() as u64 - too_large;
            self.note(|record| {
                record.too_large += too_large;
                if record.stream == made {
                    record.last = record.last.max(last.unwrap_or(0));
                }
            })?;
            self.note_published(&outbox, done, &made)?;
            if let Some(trouble) = trouble {
                return Ok(Err(trouble));
            }
        }
        Ok(Ok(()))
    }

    fn messages(&self, ws: &Workspace, outbox: &Outbox, some: &[Outgoing]) -> Result<Vec<Sent>> {
        let message = |out: &Outgoing| {
            let entry = outbox.line(out).map_err(|e| {
                let place = format!("event {} of {}", out.id, ws.store.name);
                Error::new(Code::Corrupt, format!("{place} cannot be read: {}", e.message))
            })?;
            let chance = lock(&self.env).chance()?;
            Ok(Sent {
                subject: out.subject.clone(),
                id: out.id.to_string(),
                spare_id: Some(format!("{}-{chance:016x}", out.id)),
                payload: entry.line.as_bytes().to_vec(),
                more: out.more,
            })
        };
        some.iter().map(message).collect()
    }

    /// Notes how far the journal is published, unless the stream was replaced meanwhile: then it is published from its beginning.
    fn note_published(&self, outbox: &Outbox, done: usize, made: &str) -> Result<()> {
        self.note(|record| {
            if let Some(to) = outbox.position_after(done).filter(|_| record.stream == made) {
                record.published_to = Some(to);
                record.cannot_publish = None;
            }
        })
    }
}
