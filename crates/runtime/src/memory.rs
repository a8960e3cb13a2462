//! The arena's plan: buffers that are never alive together share memory.
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A buffer's size in elements and the first and last time it is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) elements: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Where buffers lie.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ArenaLayout {
    /// The first element of each buffer.
    pub(crate) starts: Vec<usize>,
    /// Elements in all.
    pub(crate) len: usize,
}

/// Buffers start at cache lines, those of u8 too.
const ALIGN: usize = 64;

/// A place for each buffer: greedy by size, best fit.
pub(crate) fn plan(buffers: &[Lifetime]) -> ArenaLayout {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (Reverse(buffers[i].elements), buffers[i].first, i));
    let end = buffers.iter().map(|b| b.first.max(b.last)).max();
    let mut placed = Timeline::new(end.map_or(0, |last| last + 1));
    let mut starts = vec![0; buffers.len()];
    let mut len = 0;
    for i in order {
        let size = buffers[i].elements.next_multiple_of(ALIGN);
        let together = placed.together_with(&buffers[i]);
        let extent = |k: usize| Extent {
            start: starts[k],
            end: starts[k] + buffers[k].elements.next_multiple_of(ALIGN),
        };
        let mut taken: Vec<Extent> = together.into_iter().map(extent).collect();
        taken.sort_unstable();
        starts[i] = best_fit(&taken, size);
        len = len.max(starts[i] + size);
        placed.insert(i, &buffers[i]);
    }
    ArenaLayout { starts, len }
}

/// Elements that are taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Extent {
    start: usize,
    end: usize,
}

/// Start of the smallest gap that holds `size`, or the end of all.
fn best_fit(taken: &[Extent], size: usize) -> usize {
    let (mut end, mut best) = (0, None);
    for extent in taken {
        let gap = extent.start.saturating_sub(end);
        if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max(extent.end);
    }
    best.map_or(end, |(_, start)| start)
}

/// Buffers by the times at which they are alive: those alive together with one are found without looking at the others.
struct Timeline {
    /// By the time from which on they are alive.
    starting: BTreeSet<(usize, usize)>,
    /// A segment tree over time: each buffer is in the few nodes that make up its lifetime.
    nodes: Vec<Vec<usize>>,
    /// Leaves of the tree.
    times: usize,
}

impl Timeline {
    fn new(times: usize) -> Self {
        Self { starting: BTreeSet::new(), nodes: vec![Vec::new(); 2 * times], times }
    }

    fn insert(&mut self, buffer: usize, life: &Lifetime) {
        self.starting.insert((life.first, buffer));
        let (mut from, mut to) = (life.first + self.times, life.last + self.times + 1);
        while from < to {
            if from % 2 == 1 {
                self.nodes[from].push(buffer);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                self.nodes[to].push(buffer);
            }
            (from, to) = (from / 2, to / 2);
        }
    }

    /// Those that are alive at the first time of `life`, and those that begin later while it lasts.
    fn together_with(&self, life: &Lifetime) -> Vec<usize> {
        let mut together = Vec::new();
        let mut node = life.first + self.times;
        while node > 0 {
            together.extend(&self.nodes[node]);
            node /= 2;
        }
        let later = (life.first + 1, 0)..(life.last + 1, 0);
        if later.start < later.end {
            together.extend(self.starting.range(later).map(|&(_, buffer)| buffer));
        }
        together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(elements: usize, first: usize, last: usize) -> Lifetime {
        Lifetime { elements, first, last }
    }

    #[test]
    fn plan_disjoint_lifetimes_share_memory() {
        let layout = plan(&[life(64, 0, 1), life(64, 2, 3)]);
        assert_eq!((layout.starts, layout.len), (vec![0, 0], 64));
    }

    #[test]
    fn plan_overlapping_lifetimes_do_not_share() {
        let buffers = [life(32, 0, 2), life(48, 1, 3), life(16, 3, 4), life(20, 2, 2)];
        let ArenaLayout { starts, len } = plan(&buffers);
        for (i, a) in buffers.iter().enumerate() {
            assert!(starts[i] + a.elements <= len);
            for (k, b) in buffers.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                let apart =
                    starts[i] + a.elements <= starts[k] || starts[k] + b.elements <= starts[i];
                assert!(apart || !together, "buffers {i} and {k}");
            }
        }
    }
}
