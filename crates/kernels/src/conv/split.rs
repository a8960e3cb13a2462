//! How a convolution is cut into tasks: by its shape alone, so that results do not depend on the number of threads.

/// Work worth a task of its own, in multiply-adds.
const TASK_MACS: usize = 1 << 20;
/// Enough tasks to even out a handful of threads.
const TASKS_MAX: usize = 24;
/// What a core keeps close: a task's inputs and one panel of weights should fit.
const CACHE_BYTES: usize = 640 << 10;

/// Extents of a convolution's work.
pub(super) struct Extents {
    pub(super) rows: usize,
    pub(super) panels: usize,
    pub(super) x_bytes: usize,
    pub(super) weight_bytes: usize,
    pub(super) macs: usize,
}

/// Blocks of rows and blocks of channel panels.
#[derive(Debug, PartialEq)]
pub(super) struct Split {
    pub(super) row_blocks: usize,
    pub(super) panel_blocks: usize,
}

impl Split {
    /// The cut that moves the fewest bytes: each block of panels reads the whole input, each block of rows all weights,
    /// and a block of rows that outgrows the cache is read again for every panel.
    pub(super) fn of(e: &Extents) -> Split {
        let wanted = (e.macs / TASK_MACS).clamp(1, TASKS_MAX);
        let mut best = (
            usize::MAX,
            Split {
                row_blocks: 1,
                panel_blocks: 1,
            },
        );
        for panel_blocks in 1..=e.panels.min(wanted) {
            let least = wanted.div_ceil(panel_blocks).min(e.rows);
            for factor in [1, 2, 4, 8] {
                let row_blocks = (least * factor).min(e.rows);
                let x_block = e.x_bytes / row_blocks;
                let panel = e.weight_bytes / e.panels;
                let reads = if x_block + panel > CACHE_BYTES {
                    e.panels.div_ceil(panel_blocks)
                } else {
                    1
                };
                let bytes = e.x_bytes * panel_blocks * reads + e.weight_bytes * row_blocks;
                if bytes < best.0 {
                    best = (
                        bytes,
                        Split {
                            row_blocks,
                            panel_blocks,
                        },
                    );
                }
            }
        }
        best.1
    }
}

/// Part `index` of `parts` nearly equal parts of `0..len`.
pub(crate) fn part(len: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_cuts_wide_layers_by_rows_and_deep_layers_by_channels() {
        let wide = Extents {
            rows: 160,
            panels: 2,
            x_bytes: 6_500_000,
            weight_bytes: 40_000,
            macs: 118_000_000,
        };
        let split = Split::of(&wide);
        assert_eq!(split.panel_blocks, 1);
        assert!(split.row_blocks >= 16, "{split:?}");
        let deep = Extents {
            rows: 20,
            panels: 16,
            x_bytes: 800_000,
            weight_bytes: 9_400_000,
            macs: 940_000_000,
        };
        let split = Split::of(&deep);
        assert!(split.panel_blocks >= 8, "{split:?}");
    }

    #[test]
    fn split_of_little_work_is_one_task() {
        let tiny = Extents {
            rows: 10,
            panels: 2,
            x_bytes: 1000,
            weight_bytes: 1000,
            macs: 100_000,
        };
        assert_eq!(
            Split::of(&tiny),
            Split {
                row_blocks: 1,
                panel_blocks: 1
            }
        );
    }

    #[test]
    fn parts_cover_everything_once() {
        for (len, parts) in [(10, 3), (3, 3), (7, 1)] {
            let all: Vec<usize> = (0..parts).flat_map(|i| part(len, parts, i)).collect();
            assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
    }
}
