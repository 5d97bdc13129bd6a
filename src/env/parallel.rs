//! Does the same work for many items on all cores, if that is faster.
//!
//! Guarantees that results come in the order of the items, and that the first error in that order is returned.
//! Few items start no thread, and where the system gives none the caller does all of the work.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rayon::prelude::*;

use crate::error::{Error, Result};

/// The fewest items that are worth a thread.
const WORTH: usize = 256;
/// More threads would wait for the disk, and each takes address space.
const MAX_THREADS: usize = 8;

/// The result of `work` for each item, in their order.
///
/// Errors: the first in that order.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    map_with(items, || Ok(()), |(), item| work(item))
}

/// As [`map`], with a value of its own for each thread, such as an open repository.
///
/// Errors: the first in that order.
pub fn map_with<T: Sync, R: Send, O>(
    items: &[T],
    own: impl Fn() -> Result<O> + Sync,
    work: impl Fn(&O, &T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut parts = fold_with(items, own, |own, results: &mut Vec<R>, item| {
        results.push(work(own, item)?);
        Ok(())
    })?;
    if parts.len() == 1 {
        return Ok(parts.remove(0));
    }
    Ok(parts.into_iter().flatten().collect())
}

/// As [`map_with`], for results that are added to what is known so far. Returns that of each thread, in the order of the items.
///
/// Errors: the first in that order.
pub fn fold_with<T: Sync, R: Send + Default, O>(
    items: &[T],
    own: impl Fn() -> Result<O> + Sync,
    add: impl Fn(&O, &mut R, &T) -> Result<()> + Sync,
) -> Result<Vec<R>> {
    let part = |items: &[T]| {
        let (own, mut known) = (own()?, R::default());
        items.iter().try_for_each(|item| add(&own, &mut known, item)).map(|()| known)
    };
    let threads = threads_for(items.len());
    if threads == 1 {
        return Ok(vec![part(items)?]);
    }
    let parts: Vec<Result<R>> = items.par_chunks(items.len().div_ceil(threads)).map(part).collect();
    parts.into_iter().collect()
}

/// Gives `take` the result of `work` for each item, in their order. At most `most` results are held at once, and besides the next one no
/// more than `bytes`; `work` returns the bytes of each.
///
/// Errors: those of `work` and of `take`.
pub fn in_order<T: Sync, R: Send, E: From<Error>>(
    items: &[T],
    (most, bytes): (usize, usize),
    work: impl Fn(&T) -> Result<(R, usize)> + Sync,
    mut take: impl FnMut(R) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    for some in items.chunks(most) {
        let mut results: Vec<Option<(R, usize)>> = some.iter().map(|_| None).collect();
        let mut next = 0;
        while next < some.len() {
            let missing: Vec<usize> = (next..some.len()).filter(|n| results[*n].is_none()).collect();
            let held = AtomicUsize::new(results.iter().flatten().map(|(_, size)| size).sum());
            let found = map(&missing, |n| {
                if *n != next && held.load(Ordering::Relaxed) >= bytes {
                    return Ok(None);
                }
                let (result, size) = work(&some[*n])?;
                held.fetch_add(size, Ordering::Relaxed);
                Ok(Some((result, size)))
            })?;
            missing.into_iter().zip(found).for_each(|(n, found)| results[n] = found);
            while let Some((result, _)) = results.get_mut(next).and_then(Option::take) {
                take(result)?;
                next += 1;
            }
        }
    }
    Ok(())
}

/// Does `work` with each item, in no order.
///
/// Errors: any one of them.
pub fn for_each<T: Send>(items: Vec<T>, work: impl Fn(T) -> Result<()> + Send + Sync) -> Result<()> {
    match threads_for(items.len()) {
        1 => items.into_iter().try_for_each(work),
        _ => items.into_par_iter().with_min_len(WORTH).try_for_each(work),
    }
}

fn threads_for(items: usize) -> usize {
    if items < 2 * WORTH {
        return 1;
    }
    static THREADS: OnceLock<usize> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
        match rayon::ThreadPoolBuilder::new().num_threads(cores.min(MAX_THREADS)).build_global() {
            Err(e) if std::error::Error::source(&e).is_some() => 1,
            // An embedding program may have built the pool already.
            Ok(()) | Err(_) => rayon::current_num_threads().min(MAX_THREADS),
        }
    });
    (*threads).min(items / WORTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_and_the_first_error_is_returned() {
        let all: Vec<usize> = (0..WORTH * 3 + 7).collect();
        assert_eq!(map(&all, |n| Ok(n * 2)).unwrap(), all.iter().map(|n| n * 2).collect::<Vec<_>>());
        let bad = |n: &usize| if *n > 10 && n % 2 == 1 { Err(Error::usage(n.to_string())) } else { Ok(()) };
        assert_eq!(map(&all, bad).unwrap_err().message, "11");
    }

    #[test]
    fn large_results_are_taken_in_order_and_few_are_held() {
        let items: Vec<usize> = (0..WORTH * 5).collect();
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |n: &usize| {
            most.fetch_max(held.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            Ok((*n, 10))
        };
        let mut taken = Vec::new();
        let take = |n| {
            held.fetch_sub(1, Ordering::Relaxed);
            taken.push(n);
            Ok::<(), Error>(())
        };
        in_order(&items, (WORTH * 3, 100), work, take).unwrap();
        assert_eq!(taken, items);
        // Each thread may begin another one before it sees that enough are held.
        assert!(most.into_inner() <= 11 + MAX_THREADS);
        let refused =
            in_order(&items, (100, 100), |n| Ok((*n, 1)), |n| if n == 7 { Err(Error::usage("7")) } else { Ok(()) });
        assert_eq!(refused.unwrap_err().message, "7");
    }

    #[test]
    fn every_item_is_worked_on_and_an_error_is_returned() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let add = |n: usize| {
            count.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        for_each(vec![1; WORTH * 5], add).unwrap();
        assert_eq!(count.into_inner(), WORTH * 5);
        let bad = |n: usize| if n == 700 { Err(Error::usage("x")) } else { Ok(()) };
        assert!(for_each((0..WORTH * 5).collect(), bad).is_err());
    }
}
