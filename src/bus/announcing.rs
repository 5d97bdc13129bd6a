//! The direction outwards for all that is no event: offers of ready tasks, unread items, and the news that settings changed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Bridge, FIRST_REST, lock};
use crate::engine::bus::announce::{Announced, Item, News, fetch_upstream, upstream_settings};
use crate::engine::bus::outgoing::{Wakeup, wakeup};
use crate::engine::feed::stream::git_mark;
use crate::env::files::Mark;
use crate::env::process::pause;
use crate::error::Result;
use crate::model::id::Id;
use crate::nats::{EventStream, OfferQueue, Sent, Trouble};
use crate::runtime::journal::JOURNAL;

/// How often a bridge looks for a stop and for news of others.
const NAP: Duration = Duration::from_secs(1);
/// How often it looks at the plan even where nothing changed: a lease may have run out, a task's time may have come.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After a look the bridge rests so many times as long as the look took.
const REST: u32 = 4;

/// When it was looked, at which marks of the journal and of git.
type Looked = (Instant, Option<Mark>, Option<(Mark, String)>);

/// What the last look found.
#[derive(Default)]
struct Known {
    announced: Announced,
    /// The tasks whose offers this bridge made, or may have made: the answer of the server may be lost.
    offered: BTreeSet<Id>,
    has_queue: bool,
    looked: Option<Looked>,
    wakeup: Option<Wakeup>,
}

impl Bridge {
    /// Announces until the bridge is to end.
    pub(super) fn keep_announcing(&self, queue: &OfferQueue<'_>, stream: &EventStream<'_>) -> Result<()> {
        self.wait_until_caught_up();
        let (mut rest, mut known) = (FIRST_REST, Known::default());
        while !self.is_stopping() {
            let begun = Instant::now();
            let why = match self.announce(queue, stream, &mut known) {
                Ok(Ok(())) => {
                    rest = FIRST_REST;
                    pause((begun.elapsed() * REST).min(NAP));
                    match &known.wakeup {
                        Some(wakeup) => {
                            wakeup.wait(NAP);
                        }
                        None => pause(NAP),
                    }
                    continue;
                }
                Ok(Err(Trouble(why))) => why,
                Err(e) => e.message,
            };
            // A queue that the server lost is made again.
            known.has_queue = false;
            tracing::warn!(why, "nothing is announced on the bus");
            self.rest(&mut rest);
        }
        Ok(())
    }

    fn announce(
        &self,
        queue: &OfferQueue<'_>,
        stream: &EventStream<'_>,
        known: &mut Known,
    ) -> Result<Result<(), Trouble>> {
        let ws = self.workspace()?;
        if !known.has_queue {
            if let Err(trouble) = queue.make(self.subjects.all_ready()) {
                return Ok(Err(trouble));
            }
            known.has_queue = true;
        }
        known.wakeup.get_or_insert_with(|| wakeup(&ws));
        let announced = lock(&self.settings_elsewhere).take();
        if let Some(theirs) = announced.filter(|theirs| self.record().settings != *theirs) {
            tracing::info!(digest = theirs, "settings or roles changed in another clone; fetching");
            fetch_upstream(&ws)?;
        }
        let journal = ws.runtime().and_then(|runtime| runtime.mark(JOURNAL).ok().flatten());
        let git = git_mark(&ws);
        let is_same = |(at, was, git_was): &Looked| at.elapsed() < LOOK_EVERY && *was == journal && *git_was == git;
        if known.looked.as_ref().is_some_and(is_same) {
            return Ok(Ok(()));
        }
        let (news, announced) = known.announced.look(&ws, &self.subjects)?;
        let is_over = |task: &Id| !announced.is_ready(*task);
        if let Err(trouble) = self.send_news(queue, stream, &news, is_over, &mut known.offered) {
            return Ok(Err(trouble));
        }
        known.announced = announced;
        known.looked = Some((Instant::now(), journal, git));
        let settings = upstream_settings(&ws)?.unwrap_or_default();
        let before = self.record().settings.clone();
        if before == settings {
            return Ok(Ok(()));
        }
        if !before.is_empty() {
            let payload = settings.as_bytes().to_vec();
            let (subject, id) = (self.subjects.settings(), format!("settings {settings}"));
            let news = Sent { subject, id, spare_id: None, payload, more: 0 };
            if let (_, Some(trouble)) = stream.publish(&[news]) {
                return Ok(Err(trouble));
            }
        }
        self.note(|record| record.settings = settings)?;
        Ok(Ok(()))
    }

    fn send_news(
        &self,
        queue: &OfferQueue<'_>,
        stream: &EventStream<'_>,
        news: &News,
        is_over: impl Fn(&Id) -> bool,
        offered: &mut BTreeSet<Id>,
    ) -> Result<(), Trouble> {
        for task in offered.iter().filter(|task| is_over(task)) {
            queue.withdraw(&self.subjects.ready(*task))?;
        }
        offered.retain(|task| !is_over(task));
        for (task, cause) in &news.ready {
            let is_first_try = offered.insert(*task);
            // At a second try, the offer that stands is that of the first one.
            if !queue.offer(self.subjects.ready(*task), cause)? && is_first_try {
                offered.remove(task);
            }
        }
        let sent = |item: &Item| Sent {
            subject: item.subject.clone(),
            id: item.id.clone(),
            spare_id: None,
            payload: item.json.clone(),
            more: 0,
        };
        match stream.publish(&news.items.iter().map(sent).collect::<Vec<_>>()) {
            (_, Some(trouble)) => Err(trouble),
            (_, None) => Ok(()),
        }
    }
}
