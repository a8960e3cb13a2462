//! Loop nests over views: axes sorted and merged, the innermost handed to a vector body.

use crate::vector::{F32Body, F32Vector, I32Body, I32Vector};
use crate::view::MAX_RANK;
use crate::{Context, Isa, View};

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

/// Both arenas' memory.
#[derive(Clone, Copy)]
pub(crate) struct Bases {
    pub(crate) f32s: Base<f32>,
    pub(crate) u8s: Base<u8>,
}

impl Bases {
    pub(crate) fn new(ctx: &mut Context) -> Bases {
        Bases { f32s: Base(ctx.f32_arena.as_mut_ptr()), u8s: Base(ctx.u8_arena.as_mut_ptr()) }
    }
}

/// What happens to one row of `N` operands of either arena, the output first.
pub(crate) trait I32Row<const N: usize>: Sync {
    /// # Safety
    /// `V`'s instruction set; `n` elements of each operand from its index on, at its stride, are valid.
    unsafe fn row<V: I32Vector>(&self, bases: Bases, at: [usize; N], strides: [usize; N], n: usize);
}

/// What happens to one row of `N` operands in the f32 arena, the output first.
pub(crate) trait Row<const N: usize>: Sync {
    /// # Safety
    /// `V`'s instruction set; `n` elements of each operand at its stride are valid.
    unsafe fn row<V: F32Vector>(&self, operands: [*mut f32; N], strides: [usize; N], n: usize);
}

const CHUNK: usize = 4096;
/// Chunk of rows that gather: what their neighbours gather from the same cache lines stays in the first cache.
const GATHERED_CHUNK: usize = 64;
const TASK_ELEMENTS: usize = 16384;

/// Equally shaped views as rows: axes sorted by the first view's strides and merged, cut into units of work.
pub(crate) struct Nest<const N: usize> {
    offsets: [usize; N],
    /// Length and strides, outermost first; the last is the row.
    axes: [(usize, [usize; N]); MAX_RANK],
    /// Axes in use.
    rank: usize,
    chunk: usize,
    chunks: usize,
    /// Neighbouring rows that take turns at each chunk.
    turns: usize,
    per_task: usize,
    units: usize,
}

impl<const N: usize> Nest<N> {
    /// Nothing to do gives none.
    pub(crate) fn new(views: [&View; N]) -> Option<Nest<N>> {
        let shape = views[0].shape;
        if shape.contains(&0) {
            return None;
        }
        let mut axes = [(1, [1; N]); MAX_RANK];
        let mut rank = 0;
        for axis in (0..shape.len()).filter(|&i| shape[i] > 1) {
            axes[rank] = (shape[axis], views.map(|view| view.strides[axis]));
            rank += 1;
        }
        // Stable, and without memory of its own.
        for i in 1..rank {
            let mut at = i;
            while at > 0 && axes[at - 1].1[0] < axes[at].1[0] {
                axes.swap(at - 1, at);
                at -= 1;
            }
        }
        let mut merged = 0;
        for axis in 1..rank {
            let (len, steps) = axes[axis];
            let (outer, outer_steps) = axes[merged];
            if (0..N).all(|i| outer_steps[i] == steps[i] * len) {
                axes[merged] = (outer * len, steps);
            } else {
                merged += 1;
                axes[merged] = (len, steps);
            }
        }
        let rank = merged + 1;
        let (inner, strides) = axes[merged];
        let mut outer_axes = axes[..merged].iter();
        let shared = outer_axes.position(|axis| axis.1[1..].contains(&1));
        let (chunk, turns) = match shared.filter(|_| strides[1..].iter().any(|&s| s > 1)) {
            Some(axis) => {
                axes[axis..merged].rotate_left(1);
                (GATHERED_CHUNK, axes[merged - 1].0)
            }
            None => (CHUNK, 1),
        };
        let chunks = inner.div_ceil(chunk);
        Some(Nest {
            offsets: views.map(|view| view.offset),
            axes,
            rank,
            chunk,
            chunks,
            turns,
            per_task: TASK_ELEMENTS.div_ceil(inner.min(chunk)),
            units: chunks * axes[..merged].iter().map(|a| a.0).product::<usize>(),
        })
    }

    /// Pieces of work that may run at once.
    pub(crate) fn tasks(&self) -> usize {
        self.units.div_ceil(self.per_task)
    }

    /// Elements between neighbours in a row.
    pub(crate) fn strides(&self) -> [usize; N] {
        self.axes[self.rank - 1].1
    }

    /// The first elements and the length of each row of one task.
    #[inline(always)]
    pub(crate) fn rows(&self, task: usize, mut f: impl FnMut([usize; N], usize)) {
        let (inner, strides) = self.axes[self.rank - 1];
        let first = task * self.per_task;
        for unit in first..(first + self.per_task).min(self.units) {
            let (block, turn) = (unit / self.turns, unit % self.turns);
            let (outer, chunk) = (block / self.chunks, block % self.chunks);
            let mut outer = outer * self.turns + turn;
            let mut at = self.offsets;
            for (len, steps) in self.axes[..self.rank - 1].iter().rev() {
                let index = outer % len;
                outer /= len;
                for (at, step) in at.iter_mut().zip(steps) {
                    *at += index * step;
                }
            }
            let start = chunk * self.chunk;
            for (at, step) in at.iter_mut().zip(strides) {
                *at += start * step;
            }
            f(at, self.chunk.min(inner - start));
        }
    }
}

struct Part<'a, const N: usize, R> {
    nest: &'a Nest<N>,
    row: &'a R,
    bases: Bases,
    task: usize,
}

impl<const N: usize, R: Row<N>> F32Body for Part<'_, N, R> {
    #[inline(always)]
    unsafe fn run<V: F32Vector>(&self) {
        let strides = self.nest.strides();
        self.nest.rows(
            self.task,
            #[inline(always)]
            |at, n| {
                let pointers = std::array::from_fn(|i| self.bases.f32s.at(at[i]));
                // SAFETY: the caller's; the indices lie inside the checked views.
                unsafe { self.row.row::<V>(pointers, strides, n) };
            },
        );
    }
}

impl<const N: usize, R: I32Row<N>> I32Body for Part<'_, N, R> {
    #[inline(always)]
    unsafe fn run<V: I32Vector>(&self) {
        let strides = self.nest.strides();
        self.nest.rows(
            self.task,
            #[inline(always)]
            |at, n| {
                // SAFETY: the caller's; the indices lie inside the checked views.
                unsafe { self.row.row::<V>(self.bases, at, strides, n) };
            },
        );
    }
}

/// Runs the row body over equally shaped, already checked views, the output first.
pub(crate) fn run<const N: usize, R: Row<N>>(ctx: &mut Context, views: [&View; N], row: &R) {
    // SAFETY: every entry checked its views.
    run_parts(ctx, views, row, |isa, part| unsafe { isa.run_f32(part) });
}

/// As [`run`], of views into either arena.
pub(crate) fn run_i32<const N: usize, R: I32Row<N>>(ctx: &mut Context, views: [&View; N], row: &R) {
    // SAFETY: every entry checked its views.
    run_parts(ctx, views, row, |isa, part| unsafe { isa.run_i32(part) });
}

fn run_parts<const N: usize, R: Sync>(
    ctx: &mut Context,
    views: [&View; N],
    row: &R,
    run: impl Fn(Isa, &Part<N, R>) + Sync,
) {
    let Some(nest) = &Nest::new(views) else {
        return;
    };
    let (bases, isa) = (Bases::new(ctx), ctx.isa);
    ctx.pool.run(nest.tasks(), &|task| {
        let part = Part { nest, row, bases, task };
        run(isa, &part);
    });
}
