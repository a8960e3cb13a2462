//! Batched matrix product, on the convolution's tiles.

use crate::conv::tile::{TILE_ELEMENTS, Tile};
use crate::nest::Base;
use crate::vector::{lanes, tiles};
use crate::{Context, Dims, KernelError, View};

/// `y = a b` over the last two axes.
///
/// # Shapes
/// `a: [.., M, K]`, `b: [.., K, N]`, `y: [.., M, N]` with equal leading axes; broadcasting is expressed by strides of 0.
///
/// # Errors
/// `Rank`, `Shape`, and what every kernel checks.
pub fn matmul(ctx: &mut Context, a: &View, b: &View, y: &View) -> Result<(), KernelError> {
    let rank = y.shape.len();
    if rank < 2 {
        return Err(KernelError::Rank {
            operand: "y",
            expected: 2,
            found: rank,
        });
    }
    a.check_rank("a", rank)?;
    b.check_rank("b", rank)?;
    let depth = a.shape[rank - 1];
    let expect = |m: usize, n: usize| {
        let mut shape = [0; 6];
        shape[..rank].copy_from_slice(&y.shape);
        (shape[rank - 2], shape[rank - 1]) = (m, n);
        Dims::new(&shape[..rank])
    };
    a.check_shape("a", &expect(y.shape[rank - 2], depth))?;
    b.check_shape("b", &expect(depth, y.shape[rank - 1]))?;
    ctx.check(y, &[("a", a), ("b", b)], false)?;
    let batches = y.shape[..rank - 2].iter().product::<usize>();
    let job = Job {
        base: Base(ctx.arena.as_mut_ptr()),
        isa: ctx.isa,
        a,
        b,
        y,
        rank,
        depth,
    };
    let nr = job.panel_width();
    let panels = y.shape[rank - 1].div_ceil(nr);
    ctx.pool.run(batches * panels, &|task| {
        job.panel(task / panels, task % panels * nr, nr)
    });
    Ok(())
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
        let lanes = lanes(self.isa);
        let vectors = self.y.shape[self.rank - 1].div_ceil(lanes);
        vectors.clamp(1, tiles(self.isa).len()) * lanes
    }

    fn batch(&self, view: &View, mut batch: usize) -> usize {
        let mut at = view.offset;
        for axis in (0..self.rank - 2).rev() {
            at += batch % view.shape[axis] * view.strides[axis];
            batch /= view.shape[axis];
        }
        at
    }

    /// Columns `first..first + nr` of one product.
    fn panel(&self, batch: usize, first: usize, nr: usize) {
        let (m_axis, n_axis) = (self.rank - 2, self.rank - 1);
        let columns = nr.min(self.y.shape[n_axis] - first);
        let (a, b, y) = (
            self.batch(self.a, batch),
            self.batch(self.b, batch),
            self.batch(self.y, batch),
        );
        let mut weight = vec![0.0f32; self.depth * nr];
        for k in 0..self.depth {
            for n in 0..columns {
                let at = b + k * self.b.strides[m_axis] + (first + n) * self.b.strides[n_axis];
                // SAFETY: the index lies inside the checked view.
                weight[k * nr + n] = unsafe { *self.base.at(at) };
            }
        }
        let bias = vec![0.0f32; nr];
        let kernels = tiles(self.isa)[nr / lanes(self.isa) - 1];
        let rows = self.y.shape[m_axis];
        let mut lhs = vec![0.0f32; kernels.len() * self.depth];
        let mut sums = [0.0f32; TILE_ELEMENTS];
        for row in (0..rows).step_by(kernels.len()) {
            let count = kernels.len().min(rows - row);
            for m in 0..count {
                for k in 0..self.depth {
                    let at = a + (row + m) * self.a.strides[m_axis] + k * self.a.strides[n_axis];
                    // SAFETY: the index lies inside the checked view.
                    lhs[m * self.depth + k] = unsafe { *self.base.at(at) };
                }
            }
            let args = Tile {
                x: lhs.as_ptr(),
                x_step: self.depth,
                weight: weight.as_ptr(),
                bias: bias.as_ptr(),
                taps_h: 1,
                taps_w: 1,
                run: self.depth,
                tap_h_step: 0,
                tap_w_step: 0,
            };
            // SAFETY: the instruction set is checked and all of the tile's buffers are local and large enough.
            unsafe { kernels[count - 1](&args, sums.as_mut_ptr()) };
            for m in 0..count {
                for n in 0..columns {
                    let at = y
                        + (row + m) * self.y.strides[m_axis]
                        + (first + n) * self.y.strides[n_axis];
                    // SAFETY: the index lies inside the checked view; panels write disjoint columns.
                    unsafe { *self.base.at(at) = sums[m * nr + n] };
                }
            }
        }
    }
}
