//! The arena's plan: buffers that are never alive together share memory.

/// A buffer's size in elements and the first and last time it is in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) elements: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// Buffers start at cache lines, of quantized values too.
const ALIGN: usize = 64;

/// The first element of each buffer, and the elements needed in all: greedy by size, best fit.
pub(crate) fn plan(buffers: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].elements), buffers[i].first, i));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let size = buffers[i].elements.next_multiple_of(ALIGN);
        let together = |&&k: &&usize| {
            buffers[k].first <= buffers[i].last && buffers[i].first <= buffers[k].last
        };
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(together)
            .map(|&k| {
                (
                    offsets[k],
                    offsets[k] + buffers[k].elements.next_multiple_of(ALIGN),
                )
            })
            .collect();
        taken.sort_unstable();
        offsets[i] = best_fit(&taken, size);
        total = total.max(offsets[i] + size);
        placed.push(i);
    }
    (offsets, total)
}

/// Start of the smallest gap that holds `size`, or the end of all.
fn best_fit(taken: &[(usize, usize)], size: usize) -> usize {
    let (mut end, mut best) = (0, None);
    for &(from, to) in taken {
        let gap = from.saturating_sub(end);
        if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max(to);
    }
    best.map_or(end, |(_, start)| start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(elements: usize, first: usize, last: usize) -> Lifetime {
        Lifetime {
            elements,
            first,
            last,
        }
    }

    #[test]
    fn plan_disjoint_lifetimes_share_memory() {
        let (offsets, total) = plan(&[life(64, 0, 1), life(64, 2, 3)]);
        assert_eq!((offsets, total), (vec![0, 0], 64));
    }

    #[test]
    fn plan_overlapping_lifetimes_do_not_share() {
        let buffers = [
            life(32, 0, 2),
            life(48, 1, 3),
            life(16, 3, 4),
            life(20, 2, 2),
        ];
        let (offsets, total) = plan(&buffers);
        for (i, a) in buffers.iter().enumerate() {
            assert!(offsets[i] + a.elements <= total);
            for (k, b) in buffers.iter().enumerate().skip(i + 1) {
                let together = a.first <= b.last && b.first <= a.last;
                let apart =
                    offsets[i] + a.elements <= offsets[k] || offsets[k] + b.elements <= offsets[i];
                assert!(apart || !together, "buffers {i} and {k}");
            }
        }
    }
}
