//! The unread items as they come.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::record::with_view;
use super::{Unread, begin, look};
use crate::engine::context::Workspace;
use crate::engine::feed::wakeup;
use crate::error::Result;

/// Longest wait where none was asked for.
const ALWAYS: Duration = Duration::from_secs(u32::MAX as u64);

/// Calls `show` with each unread item, and with each further one as it comes, until it says that it has enough, nothing is wanted any
/// more, or the time is over.
///
/// Errors: those of a look.
pub(crate) fn watch(
    ws: &Workspace,
    until: Option<Duration>,
    still_wanted: &dyn Fn() -> bool,
    mut show: impl FnMut(&Unread) -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    let whole = until.unwrap_or(ALWAYS);
    let mut shown = BTreeSet::new();
    loop {
        let left = whole.saturating_sub(start.elapsed());
        let news = wakeup::await_work(ws, left, still_wanted, || {
            let record = begin(ws)?;
            let items = with_view(ws, |view| look(ws, &record, view))?.items;
            let news: Vec<Unread> = items.into_iter().filter(|one| !shown.contains(&one.id)).collect();
            Ok((!news.is_empty()).then_some(news))
        })?;
        let Some(news) = news else { return Ok(()) };
        for one in news {
            shown.insert(one.id.clone());
            if !show(&one)? {
                return Ok(());
            }
        }
    }
}
