//! The next task: shown, claimed, or waited for.
//!
//! Guarantees that waiting requests do not all take the lock while nothing is ready, and that a wait ends as soon as another
//! clone has pushed something that is not here.
//! Leaves to others: which task is next (`rules::decide::work`, `reports::ready`).

use std::time::{Duration, Instant};

use super::{Answer, Answered, inbox};
use crate::engine::Workspace;
use crate::engine::commit::idempotency::Key;
use crate::engine::commit::{confirmation, expiry, write};
#[cfg(feature = "bus")]
use crate::engine::feed::offers::{Turn, Turns};
use crate::engine::feed::wakeup;
use crate::engine::query::{liveness, ready, retry_on_damaged_index, reviews};
use crate::engine::view::read;
use crate::error::Result;
use crate::model::command::{Claim, Command};
use crate::model::job::NextWait;
use crate::model::query::Next;
use crate::reports::changed::Changed;

/// How often a request that waits looks at the remote that confirms leases.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Shows the best task. If nothing is ready, the data is null and the reasons are given.
///
/// Errors: `ERR_IO` where the store cannot be read.
pub fn show(ws: &Workspace, asked: &Next) -> Result<Answered> {
    if let Some(review) = review(ws, false, asked.no_reviews, asked.reviews)? {
        return Ok(review);
    }
    let (found, warnings, unread) = retry_on_damaged_index(ws, || ready::next(ws, asked))?;
    let (data, reasons) = match found {
        Ok(next) => (Answer::Next(Some(Box::new(next))), None),
        Err(reasons) => (Answer::Next(None), Some(reasons)),
    };
    with_other_sessions(ws, Answered { warnings, reasons, unread, ..Answered::of(data) })
}

/// The review that comes first, where the caller takes reviews; that there is none, where it takes no other work.
fn review(ws: &Workspace, claims: bool, no_reviews: bool, only_reviews: bool) -> Result<Option<Answered>> {
    if !no_reviews && let Some(review) = retry_on_damaged_index(ws, || reviews::next_review(ws, claims, only_reviews))?
    {
        let answered = inbox::counted(ws, Answered::of(Answer::Next(Some(Box::new(review)))));
        return with_other_sessions(ws, answered).map(Some);
    }
    if !only_reviews {
        return Ok(None);
    }
    let reasons = Some(retry_on_damaged_index(ws, || reviews::no_review(ws))?);
    Ok(Some(inbox::counted(ws, Answered { reasons, ..Answered::of(Answer::Next(None)) })))
}

/// The answer with the tasks that the caller has in progress in other sessions.
fn with_other_sessions(ws: &Workspace, mut answered: Answered) -> Result<Answered> {
    // The files were compared with the index for the answer; this asks about the tasks of one agent.
    let others = retry_on_damaged_index(ws, || liveness::other_sessions(ws, &read::index_for_write(ws)?))?;
    if let Answer::Next(Some(next)) | Answer::Changed(Changed::Claimed(next)) = &mut answered.data {
        next.reasons.other_sessions = others;
    } else if let Some(reasons) = &mut answered.reasons {
        reasons.abandoned.retain(|task| others.iter().all(|other| other.task.id != task.task));
        reasons.other_sessions = others;
    }
    Ok(answered)
}

/// Claims a task; or shows the review that comes first, where no task is named. If nothing is ready, the data is null and the reasons are given, with `explain` those of each task.
///
/// Errors: the refusals of the claim.
pub fn claim(ws: &Workspace, claim: &Claim, explain: bool) -> Result<Answered> {
    claim_keyed(ws, claim, explain, ws.request.idempotency_key.as_deref())
}

/// As [`claim`], under an idempotency key.
pub(super) fn claim_keyed(ws: &Workspace, claim: &Claim, explain: bool, key: Option<&str>) -> Result<Answered> {
    if claim.id.0.is_none()
        && let Some(review) = review(ws, true, claim.no_reviews, claim.reviews)?
    {
        return Ok(review);
    }
    // As sync and serve do: a thread that is past its time to live may withhold a task from the choice.
    if claim.id.0.is_none() {
        expiry::record_expired(ws);
    }
    let command = Command::Claim(claim.clone());
    let key = key.map(|key| Key::new(key, command.op(), &command.to_json())).transpose()?;
    let mut reply = write::execute_keyed(ws, &command, key.as_ref())?;
    let passed = std::mem::take(&mut reply.passed);
    let answered = inbox::counted(ws, Answered::from(reply));
    let reasons =
        answered.data.is_nothing().then(|| ready::nothing_claimed(ws, &passed, explain, claim.another)).transpose()?;
    let answered = Answered { reasons, ..answered };
    if claim.id.0.is_none() { with_other_sessions(ws, answered) } else { Ok(answered) }
}

/// Shows or claims the best task as soon as there is one. When the time is over, or the answer is not wanted any more, the data
/// is null: what is not wanted is not claimed.
///
/// Errors: those of [`show`] and [`claim`].
pub fn wait(ws: &Workspace, asked: &NextWait, still_wanted: &dyn Fn() -> bool) -> Result<Answered> {
    let how = &asked.how;
    let (any, explain) = (how.claim(), how.look.explain);
    ws.choose_runtime_place();
    let mut nothing: Option<Answered> = None;
    let mut looked = Instant::now();
    #[cfg(feature = "bus")]
    let mut turns = Turns::default();
    let most = Duration::from_millis(asked.wait.millis.unsigned_abs());
    let found = wakeup::await_work(ws, most, still_wanted, || {
        let is_first = nothing.is_none();
        // Only the first claim is made without a look: those that wait must not all take the lock for nothing.
        let mut answer = if how.claim && is_first { claim(ws, &any, explain)? } else { show(ws, &how.look)? };
        if how.claim && !is_first && !answer.data.is_nothing() {
            #[cfg(feature = "bus")]
            let turn = answer.data.names().is_some_and(|names| !names.is_empty()).then(|| turns.next(ws));
            #[cfg(feature = "bus")]
            if turn.as_ref().is_some_and(Turn::is_late) {
                answer = show(ws, &how.look)?;
            }
            if !answer.data.is_nothing() {
                // The look and the turn take time, in which the caller may have left.
                answer = if still_wanted() { claim(ws, &any, explain)? } else { Answered::of(Answer::Next(None)) };
            }
            #[cfg(feature = "bus")]
            if let Some(turn) = turn {
                turn.end(&answer.data.names().unwrap_or_default());
            }
        }
        if !answer.data.is_nothing() {
            return Ok(Some(answer));
        }
        // A task that another clone pushed can be claimed only once it is here.
        let behind = if is_first && how.claim {
            confirmation::behind(ws)
        } else if is_first || looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            confirmation::look_for_more(ws)
        } else {
            None
        };
        let Some(behind) = behind else {
            nothing = Some(answer);
            return Ok(None);
        };
        let words = behind.words();
        if !answer.warnings.contains(&words) {
            answer.warnings.push(words);
        }
        Ok(Some(answer))
    })?;
    Ok(found.or(nothing).unwrap_or_else(|| Answered::of(Answer::Next(None))))
}
