//! Doing the same for many things on all cores, where that pays.
//!
//! Promises: answers come in the order of what was asked; few things start no thread.
//! Refuses to know: what is done.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::Result;

/// Fewer things than this a thread is not worth starting for.
const WORTH: usize = 256;
/// More threads than this would rather wait for the disk, and each takes address space.
const MOST: usize = 8;

/// What `look` says of each of these, in their order.
///
/// Errors: the first in that order, where there are any.
pub fn each<T: Sync, R: Send>(all: &[T], look: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    each_with(all, || Ok(()), |(), one| look(one))
}

/// As [`each`], with something that each thread has for itself, such as a repository it opens.
///
/// Errors: the first in that order, where there are any.
pub fn each_with<T: Sync, R: Send, O>(
    all: &[T],
    own: impl Fn() -> Result<O> + Sync,
    look: impl Fn(&O, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    // How many cores there are takes some reading to find out.
    let cores = || thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = if all.len() < 2 * WORTH { 1 } else { cores().min(MOST).min(all.len() / WORTH).max(1) };
    let part = |some: &[T]| {
        let own = own()?;
        some.iter().map(|one| look(&own, one)).collect::<Result<Vec<R>>>()
    };
    if threads == 1 {
        return part(all);
    }
    let parts = thread::scope(|scope| {
        let begun: Vec<_> =
            all.chunks(all.len().div_ceil(threads)).map(|some| scope.spawn(move || part(some))).collect();
        let ended = begun.into_iter().map(|one| one.join().unwrap_or_else(|why| std::panic::resume_unwind(why)));
        ended.collect::<Vec<_>>()
    });
    let mut found = Vec::with_capacity(all.len());
    for part in parts {
        found.extend(part?);
    }
    Ok(found)
}

/// Does something with each of these, in no order.
///
/// Errors: one of those there were. What was begun beside it is ended first.
pub fn all<T: Send>(all: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let cells: Vec<Mutex<Option<T>>> = all.into_iter().map(|one| Mutex::new(Some(one))).collect();
    let take = |cell: &Mutex<Option<T>>| cell.lock().unwrap_or_else(PoisonError::into_inner).take();
    each(&cells, |cell| take(cell).map_or(Ok(()), &work)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn answers_come_in_order_and_the_first_error_is_told() {
        let all: Vec<usize> = (0..WORTH * 3 + 7).collect();
        assert_eq!(each(&all, |n| Ok(n * 2)).unwrap(), all.iter().map(|n| n * 2).collect::<Vec<_>>());
        let bad = |n: &usize| if *n > 10 && n % 2 == 1 { Err(Error::usage(n.to_string())) } else { Ok(()) };
        assert_eq!(each(&all, bad).unwrap_err().message, "11");
    }
}
