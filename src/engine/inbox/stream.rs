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
/// How often `show` is asked whether it still wants more where nothing comes.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Calls `show` with each unread item, with each further one as it comes, and with nothing about every five seconds, until it says
/// that it has enough or the time is over.
///
/// Errors: those of a look.
pub(crate) fn watch(
    ws: &Workspace,
    until: Option<Duration>,
    mut show: impl FnMut(Option<&Unread>) -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    let whole = until.unwrap_or(ALWAYS);
    let mut shown = BTreeSet::new();
    loop {
        let left = whole.saturating_sub(start.elapsed());
        let news = wakeup::await_work(ws, left.min(ASK_EVERY), &|| true, || {
            let record = begin(ws)?;
            let items = with_view(ws, |view| look(ws, &record, view))?.items;
            let news: Vec<Unread> = items.into_iter().filter(|one| !shown.contains(&one.id)).collect();
            Ok((!news.is_empty()).then_some(news))
        })?;
        for one in news.into_iter().flatten() {
            shown.insert(one.id.clone());
            if !show(Some(&one))? {
                return Ok(());
            }
        }
        if start.elapsed() >= whole || !show(None)? {
            return Ok(());
        }
    }
}
