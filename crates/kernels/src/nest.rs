//! Loop nests over views: axes sorted and merged, the innermost handed to a vector body.

use crate::vector::{Body, Vector, dispatch};
use crate::{Context, View};

/// An arena's memory, shared by the tasks of one kernel, which write disjoint parts of it.
#[derive(Clone, Copy)]
pub(crate) struct Base<T = f32>(pub(crate) *mut T);

// SAFETY: kernels check their views first and give each task elements of its own to write.
unsafe impl<T> Sync for Base<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Base<T> {}

impl<T> Base<T> {
    #[inline(always)]
    pub(crate) fn at(self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

/// What happens to one row of `N` operands, the output first.
pub(crate) trait Row<const N: usize>: Sync {
    /// # Safety
    /// `V`'s instruction set; `n` elements of each operand at its stride are valid.
    unsafe fn row<V: Vector>(&self, operands: [*mut f32; N], strides: [usize; N], n: usize);
}

const CHUNK: usize = 4096;
const TASK_ELEMENTS: usize = 16384;

struct Nest<'a, const N: usize, R> {
    row: &'a R,
    base: Base,
    offsets: [usize; N],
    /// Length and strides, outermost first; the last is the row.
    axes: Vec<(usize, [usize; N])>,
    chunks: usize,
    per_task: usize,
    units: usize,
}

struct Part<'a, const N: usize, R> {
    nest: &'a Nest<'a, N, R>,
    task: usize,
}

impl<const N: usize, R: Row<N>> Body for Part<'_, N, R> {
    #[inline(always)]
    unsafe fn run<V: Vector>(&self) {
        let nest = self.nest;
        let (inner, strides) = nest.axes[nest.axes.len() - 1];
        let first = self.task * nest.per_task;
        for unit in first..(first + nest.per_task).min(nest.units) {
            let (mut outer, chunk) = (unit / nest.chunks, unit % nest.chunks);
            let mut at = nest.offsets;
            for (len, steps) in nest.axes[..nest.axes.len() - 1].iter().rev() {
                let index = outer % len;
                outer /= len;
                for (at, step) in at.iter_mut().zip(steps) {
                    *at += index * step;
                }
            }
            let start = chunk * CHUNK;
            let pointers = std::array::from_fn(|i| nest.base.at(at[i] + start * strides[i]));
            // SAFETY: the caller's; the indices lie inside the checked views.
            unsafe {
                self.nest
                    .row
                    .row::<V>(pointers, strides, CHUNK.min(inner - start))
            };
        }
    }
}

/// Runs the row body over equally shaped, already checked views, the output first.
pub(crate) fn run<const N: usize, R: Row<N>>(ctx: &mut Context, views: [&View; N], row: &R) {
    let shape = views[0].shape;
    if shape.contains(&0) {
        return;
    }
    let strides = |axis: usize| std::array::from_fn(|i| views[i].strides[axis]);
    let mut axes: Vec<(usize, [usize; N])> = (0..shape.len())
        .filter(|&i| shape[i] > 1)
        .map(|i| (shape[i], strides(i)))
        .collect();
    axes.sort_by_key(|&(_, s)| std::cmp::Reverse(s[0]));
    let mut merged: Vec<(usize, [usize; N])> = Vec::new();
    for (len, steps) in axes {
        match merged.last_mut() {
            Some((outer, outer_steps)) if (0..N).all(|i| outer_steps[i] == steps[i] * len) => {
                *outer *= len;
                *outer_steps = steps;
            }
            _ => merged.push((len, steps)),
        }
    }
    if merged.is_empty() {
        merged.push((1, [1; N]));
    }
    let inner = merged[merged.len() - 1].0;
    let chunks = inner.div_ceil(CHUNK);
    let units = chunks
        * merged[..merged.len() - 1]
            .iter()
            .map(|a| a.0)
            .product::<usize>();
    let per_task = TASK_ELEMENTS.div_ceil(inner.min(CHUNK));
    let base = Base(ctx.arena.as_mut_ptr());
    let offsets = std::array::from_fn(|i| views[i].offset);
    let nest = Nest {
        row,
        base,
        offsets,
        axes: merged,
        chunks,
        per_task,
        units,
    };
    let isa = ctx.isa;
    ctx.pool.run(units.div_ceil(per_task), &|task| {
        // SAFETY: every entry checked its views and its instruction set.
        unsafe { dispatch(isa, &Part { nest: &nest, task }) };
    });
}
