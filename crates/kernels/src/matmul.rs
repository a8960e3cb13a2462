//! Batched matrix product, on the convolution's tiles.

use crate::conv::tile::{TILE_ELEMENTS, Tile, tile_fn};
use crate::nest::Base;
use crate::{Context, KernelError, View};

/// `y = a b` over the last two axes.
///
/// # Shapes
/// `a: [.., M, K]`, `b: [.., K, N]`, `y: [.., M, N]` with equal leading axes; broadcasting is expressed by strides of 0.
///
/// # Errors
/// `Rank`, `Shape`, and what every kernel checks.
pub fn matmul(ctx: &mut Context, a: &View, b: &View, y: &View) -> Result<(), KernelError> {
    check_matrices(a, b, y)?;
    ctx.check_f32(y, &[("a", a), ("b", b)], false)?;
    let rank = y.shape.len();
    let depth = a.shape[rank - 1];
    let batches = y.shape[..rank - 2].iter().product::<usize>();
    let job = Job { base: Base(ctx.f32_arena.as_mut_ptr()), isa: ctx.isa, a, b, y, rank, depth };
    let nr = job.panel_width();
    let panels = y.shape[rank - 1].div_ceil(nr);
    ctx.pool.run(batches * panels, &|task| job.panel(task / panels, task % panels * nr, nr));
    Ok(())
}

/// That `a`, `b` and `y` have the shapes of a batched matrix product.
///
/// # Errors
/// `Rank`, `Shape`.
pub(crate) fn check_matrices(a: &View, b: &View, y: &View) -> Result<(), KernelError> {
    let rank = y.shape.len();
    if rank < 2 {
        return Err(KernelError::Rank { operand: "y", expected: 2, found: rank });
    }
    a.check_rank("a", rank)?;
    b.check_rank("b", rank)?;
    let depth = a.shape[rank - 1];
    a.check_shape("a", &y.shape.with(rank - 1, depth))?;
    b.check_shape("b", &y.shape.with(rank - 2, depth))
}

/// Where one of the products' matrices starts.
pub(crate) fn batch_start(view: &View, mut batch: usize) -> usize {
    let mut at = view.offset;
    for axis in (0..view.shape.len() - 2).rev() {
        at += batch % view.shape[axis] * view.strides[axis];
        batch /= view.shape[axis];
    }
    at
}

struct Job<'a> {
    base: Base,
    isa: crate::Isa,
    a: &'a View,
    b: &'a View,
    y: &'a View,
    rank: usize,
    depth: usize,
}

impl Job<'_> {
    fn panel_width(&self) -> usize {
        let layout = self.isa.f32();
        let vectors = self.y.shape[self.rank - 1].div_ceil(layout.lanes);
        vectors.clamp(1, layout.tiles.len()) * layout.lanes
    }

    /// Columns `first..first + nr` of one product, the depth in pieces.
    fn panel(&self, batch: usize, first: usize, nr: usize) {
        let mut scratch = std::mem::MaybeUninit::<Scratch>::uninit();
        let used = self.depth.min(DEPTH) * nr;
        // SAFETY: zeros are floats. Of the columns, by far the largest part, only the first `used` are touched later on.
        let scratch = unsafe {
            let scratch = scratch.as_mut_ptr();
            (&raw mut (*scratch).rest).write_bytes(0, 1);
            (&raw mut (*scratch).columns).cast::<f32>().write_bytes(0, used);
            &mut *scratch
        };
        for piece in (0..self.depth.max(1)).step_by(DEPTH) {
            let depth = DEPTH.min(self.depth - piece);
            self.pack_columns(scratch, batch, [first, nr], [piece, depth]);
            self.rows(scratch, batch, [first, nr], [piece, depth]);
        }
    }

    /// Elements `piece..piece + depth` of columns of b, side by side.
    fn pack_columns(
        &self,
        scratch: &mut Scratch,
        batch: usize,
        [first, nr]: [usize; 2],
        [piece, depth]: [usize; 2],
    ) {
        let (k_step, n_step) = (self.b.strides[self.rank - 2], self.b.strides[self.rank - 1]);
        let columns = nr.min(self.y.shape[self.rank - 1] - first);
        let b = batch_start(self.b, batch) + piece * k_step + first * n_step;
        for k in 0..depth {
            for n in 0..columns {
                // SAFETY: the index lies inside the checked view.
                let value = unsafe { *self.base.at(b + k * k_step + n * n_step) };
                scratch.columns[k * nr + n].write(value);
            }
        }
    }

    /// All rows of a times the packed columns; pieces after the first add to what is there.
    fn rows(
        &self,
        scratch: &mut Scratch,
        batch: usize,
        [first, nr]: [usize; 2],
        [piece, depth]: [usize; 2],
    ) {
        let (m_axis, n_axis) = (self.rank - 2, self.rank - 1);
        let columns = nr.min(self.y.shape[n_axis] - first);
        let (a, y) = (batch_start(self.a, batch), batch_start(self.y, batch));
        let layout = self.isa.f32();
        let vectors = nr / layout.lanes;
        let most = layout.tiles[vectors - 1];
        let rows = self.y.shape[m_axis];
        for row in (0..rows).step_by(most) {
            let count = most.min(rows - row);
            for m in 0..count {
                let from = a + (row + m) * self.a.strides[m_axis] + piece * self.a.strides[n_axis];
                let values = &mut scratch.rest.rows[m * DEPTH..][..depth];
                for (k, value) in values.iter_mut().enumerate() {
                    // SAFETY: the index lies inside the checked view.
                    *value = unsafe { *self.base.at(from + k * self.a.strides[n_axis]) };
                }
            }
            let args = Tile {
                x: scratch.rest.rows.as_ptr(),
                x_step: DEPTH,
                weight: scratch.columns.as_ptr().cast(),
                bias: scratch.rest.zeros.as_ptr(),
                taps_h: 1,
                taps_w: 1,
                run: depth,
                tap_steps: [0, 0],
            };
            // SAFETY: the instruction set is checked and all of the tile's buffers are local and large enough.
            unsafe {
                let kernel = tile_fn(self.isa, vectors, count);
                kernel(&args, scratch.rest.sums.as_mut_ptr())
            };
            for m in 0..count {
                let to = y + (row + m) * self.y.strides[m_axis] + first * self.y.strides[n_axis];
                for n in 0..columns {
                    let sum = scratch.rest.sums[m * nr + n];
                    // SAFETY: the index lies inside the checked view; panels write disjoint columns.
                    unsafe {
                        let y = self.base.at(to + n * self.y.strides[n_axis]);
                        *y = if piece == 0 { sum } else { *y + sum };
                    }
                }
            }
        }
    }
}

/// Deeper products are summed in pieces of this depth.
const DEPTH: usize = 512;
/// Most pixels and most channels of any tile.
const ROWS: usize = 14;
const COLUMNS: usize = 64;

/// A panel's own memory.
struct Scratch {
    columns: [std::mem::MaybeUninit<f32>; DEPTH * COLUMNS],
    rest: Rest,
}

struct Rest {
    rows: [f32; ROWS * DEPTH],
    zeros: [f32; COLUMNS],
    sums: [f32; TILE_ELEMENTS],
}
