//! One loop over many items, spread over threads.
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// What `map` makes of each item, in the order of the items, on up to `threads` threads.
pub fn parallel_map<I: Send, T: Send>(
    threads: usize,
    items: impl IntoIterator<Item = I, IntoIter: Send>,
    map: impl Fn(I) -> T + Sync,
) -> Vec<T> {
    let mut workers = vec![(); threads.max(1)];
    parallel_map_with(&mut workers, items, |(), item| map(item))
}

/// As [`parallel_map`], with one thread for each worker, which `map` may use and change.
///
/// Which worker meets which item is not determined: what a worker gathers must not depend on it. Without workers nothing is done.
pub fn parallel_map_with<W: Send, I: Send, T: Send>(
    workers: &mut [W],
    items: impl IntoIterator<Item = I, IntoIter: Send>,
    map: impl Fn(&mut W, I) -> T + Sync,
) -> Vec<T> {
    let items = Mutex::new(items.into_iter().enumerate());
    let take = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = |worker: &mut W| {
        let mut results = Vec::new();
        while let Some((i, item)) = take() {
            results.push((i, map(worker, item)));
        }
        results
    };
    let Some((first, others)) = workers.split_first_mut() else {
        return vec![];
    };
    let mut results = thread::scope(|scope| {
        let start = |worker| {
            let work = &work;
            scope.spawn(move || work(worker))
        };
        let running: Vec<_> = others.iter_mut().map(start).collect();
        let mut results = work(first);
        for thread in running {
            results.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    });
    results.sort_unstable_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_map_on_any_number_of_threads_keeps_the_order_of_the_items() {
        let squares: Vec<usize> = (0..100).map(|i| i * i).collect();
        for threads in [0, 1, 3, 200] {
            assert_eq!(parallel_map(threads, 0..100, |i| i * i), squares);
        }
        assert!(parallel_map(2, 0..0, |i: usize| i).is_empty());
    }

    #[test]
    fn parallel_map_with_workers_meets_every_item_once() {
        let mut items = [1, 2, 3, 4, 5];
        let mut sums = [0; 3];
        let doubled = parallel_map_with(&mut sums, &mut items, |sum, item| {
            *sum += *item;
            *item *= 2;
            *item
        });
        assert_eq!(doubled, items);
        assert_eq!(sums.iter().sum::<i32>(), 15);
    }
}
