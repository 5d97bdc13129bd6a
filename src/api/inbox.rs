//! The inbox: waited for, and counted for other answers.

use std::time::{Duration, Instant};

use super::{Answer, Answered};
use crate::engine::commit::confirmation;
use crate::engine::feed::wakeup;
use crate::engine::query::{inbox, retry_on_damaged_index};
use crate::engine::{self, Workspace};
use crate::error::Result;
use crate::model::job::InboxWait;

/// How often a request that waits looks at the remote that confirms leases.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Lists what is unread as soon as there is something. When the time is over, the list is empty. A wait also ends as soon as
/// another clone has pushed something that is not here, or once it is not wanted any more.
///
/// Errors: those of the list.
pub fn wait(ws: &Workspace, asked: &InboxWait, still_wanted: &dyn Fn() -> bool) -> Result<Answered> {
    ws.choose_runtime_place();
    let most = Duration::from_millis(asked.wait.millis.unsigned_abs());
    let (mut nothing, mut looked) = (None, None::<Instant>);
    let found = wakeup::await_work(ws, most, still_wanted, || {
        let page = retry_on_damaged_index(ws, || inbox::inbox(ws, &asked.list))?;
        let is_empty = page.list.items.is_empty();
        let mut answer = Answered::of(Answer::Inbox(page));
        if !is_empty {
            return Ok(Some(answer));
        }
        if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            looked = Some(Instant::now());
            if let Some(behind) = confirmation::look_for_more(ws) {
                answer.warnings.push(behind.words());
                return Ok(Some(answer));
            }
        }
        nothing = Some(answer);
        Ok(None)
    })?;
    found.or(nothing).map_or_else(|| Ok(Answered::of(Answer::Inbox(inbox::inbox(ws, &asked.list)?))), Ok)
}

/// The answer with the number of unread items. A count that cannot be made is left out: the answer is about something else.
pub fn counted(ws: &Workspace, answered: Answered) -> Answered {
    with_count(answered, engine::inbox::count_since_last_look(ws))
}

/// As [`counted`], with what git brought.
pub fn counted_with_arrivals(ws: &Workspace, answered: Answered) -> Answered {
    with_count(answered, engine::inbox::count_with_arrivals(ws))
}

fn with_count(answered: Answered, counted: Result<Option<u64>>) -> Answered {
    let unread = counted.unwrap_or_else(|e| {
        tracing::debug!(error = %e, "unread items were not counted");
        None
    });
    Answered { unread, ..answered }
}
