//! Loop nests over strided operands, ordered so that writes are contiguous.

use crate::view::MAX_RANK;
use crate::{Context, KernelError, View};
use std::ops::Range;

/// Elements of the innermost loop that stay together: whole vectors and cache lines.
const CHUNK: usize = 64;
/// Elements worth a task of their own.
const TASK_ELEMENTS: usize = 16384;

/// Nested loops over `N` operands of one shape; the first operand is written.
#[derive(Clone, Debug)]
pub(crate) struct Nest<const N: usize> {
    rank: usize,
    dims: [usize; MAX_RANK],
    strides: [[usize; N]; MAX_RANK],
}

/// A position in the outer loops.
pub(crate) struct Cursor<const N: usize> {
    coordinates: [usize; MAX_RANK],
    /// Elements from each operand's start.
    pub(crate) offsets: [usize; N],
}

/// `view` repeated to `shape` as numpy does.
///
/// # Errors
/// `Shape` when a length is neither 1 nor the shape's.
pub(crate) fn broadcast(
    operand: &'static str,
    view: &View,
    shape: &[usize],
) -> Result<View, KernelError> {
    let mismatch = || KernelError::Shape {
        operand,
        expected: crate::Dims::from_short(shape),
        found: view.shape,
    };
    let lead = shape
        .len()
        .checked_sub(view.shape.len())
        .ok_or_else(mismatch)?;
    let mut strides = [0; MAX_RANK];
    for (axis, (&length, &stride)) in view.shape.iter().zip(view.strides.iter()).enumerate() {
        if length == shape[lead + axis] {
            strides[lead + axis] = stride;
        } else if length != 1 {
            return Err(mismatch());
        }
    }
    let strides = crate::Dims::from_short(&strides[..shape.len()]);
    Ok(View {
        offset: view.offset,
        shape: crate::Dims::from_short(shape),
        strides,
    })
}

impl<const N: usize> Nest<N> {
    /// Loops over `shape`: axes of length 1 dropped, the first operand's strides descending, axes that step alike in
    /// all operands merged.
    pub(crate) fn new(shape: &[usize], operands: [&View; N]) -> Nest<N> {
        let mut axes: Vec<(usize, [usize; N])> = shape
            .iter()
            .enumerate()
            .filter(|&(_, &length)| length != 1)
            .map(|(axis, &length)| (length, operands.map(|view| view.strides[axis])))
            .collect();
        axes.sort_by_key(|&(_, strides)| std::cmp::Reverse(strides[0]));
        let mut merged: Vec<(usize, [usize; N])> = Vec::new();
        for (length, strides) in axes {
            match merged.last_mut() {
                Some((outer, steps))
                    if (0..N).all(|i| steps[i] == strides[i].wrapping_mul(length)) =>
                {
                    *outer *= length;
                    *steps = strides;
                }
                _ => merged.push((length, strides)),
            }
        }
        if merged.is_empty() {
            merged.push((1, [0; N]));
        }
        let mut nest = Nest {
            rank: merged.len(),
            dims: [1; MAX_RANK],
            strides: [[0; N]; MAX_RANK],
        };
        for (axis, (length, strides)) in merged.into_iter().enumerate() {
            (nest.dims[axis], nest.strides[axis]) = (length, strides);
        }
        nest
    }

    /// Length and steps of the innermost loop.
    pub(crate) fn inner(&self) -> (usize, [usize; N]) {
        (self.dims[self.rank - 1], self.strides[self.rank - 1])
    }

    /// Number of times the innermost loop runs.
    pub(crate) fn outer(&self) -> usize {
        self.dims[..self.rank - 1].iter().product()
    }

    /// Takes the loop with step 1 in operand `i` out of the outer loops: its length and steps.
    pub(crate) fn take_contiguous(&mut self, i: usize) -> Option<(usize, [usize; N])> {
        let axis = (0..self.rank - 1).find(|&axis| self.strides[axis][i] == 1)?;
        let taken = (self.dims[axis], self.strides[axis]);
        self.dims.copy_within(axis + 1..self.rank, axis);
        self.strides.copy_within(axis + 1..self.rank, axis);
        self.rank -= 1;
        Some(taken)
    }

    pub(crate) fn cursor(&self, outer: usize) -> Cursor<N> {
        let mut cursor = Cursor {
            coordinates: [0; MAX_RANK],
            offsets: [0; N],
        };
        let mut rest = outer;
        for axis in (0..self.rank - 1).rev() {
            let at = rest % self.dims[axis];
            rest /= self.dims[axis];
            cursor.coordinates[axis] = at;
            for (offset, stride) in cursor.offsets.iter_mut().zip(self.strides[axis]) {
                *offset += at * stride;
            }
        }
        cursor
    }

    pub(crate) fn advance(&self, cursor: &mut Cursor<N>) {
        for axis in (0..self.rank - 1).rev() {
            cursor.coordinates[axis] += 1;
            let wrapped = cursor.coordinates[axis] == self.dims[axis];
            for (offset, stride) in cursor.offsets.iter_mut().zip(self.strides[axis]) {
                *offset += stride;
                if wrapped {
                    *offset -= stride * self.dims[axis];
                }
            }
            if !wrapped {
                return;
            }
            cursor.coordinates[axis] = 0;
        }
    }

    /// Calls `f` for parts of the whole, on all threads: a range of the outer loops and a range of the innermost one,
    /// each step of which is work for `weight` elements.
    pub(crate) fn split(
        &self,
        ctx: &Context<'_>,
        weight: usize,
        f: &(dyn Fn(Range<usize>, Range<usize>) + Sync),
    ) {
        let (inner, outer) = (self.inner().0, self.outer());
        let row = inner.saturating_mul(weight);
        if row >= TASK_ELEMENTS {
            let chunks =
                inner.div_ceil((TASK_ELEMENTS / weight).next_multiple_of(CHUNK).max(CHUNK));
            ctx.pool.run(outer * chunks, &|task| {
                let (at, chunk) = (task / chunks, task % chunks);
                let part = crate::conv::part(inner.div_ceil(CHUNK), chunks, chunk);
                f(
                    at..at + 1,
                    part.start * CHUNK..(part.end * CHUNK).min(inner),
                );
            });
        } else {
            let tasks = row.saturating_mul(outer).div_ceil(TASK_ELEMENTS).min(outer);
            ctx.pool.run(tasks, &|task| {
                f(crate::conv::part(outer, tasks, task), 0..inner)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nest_of_dense_views_is_one_loop() {
        let view = View::contiguous(0, [2, 3, 4].into());
        let nest = Nest::new(&view.shape, [&view, &view]);
        assert_eq!((nest.inner(), nest.outer()), ((24, [1, 1]), 1));
    }

    #[test]
    fn nest_orders_loops_by_the_written_operand() {
        let y = View::contiguous(0, [2, 3, 4].into());
        let x = View {
            offset: 0,
            shape: y.shape,
            strides: [1, 2, 6].into(),
        };
        let nest = Nest::new(&y.shape, [&x, &y]);
        assert_eq!(nest.inner(), (2, [1, 12]));
        let mut cursor = nest.cursor(0);
        let mut seen = Vec::new();
        for _ in 0..nest.outer() {
            seen.push(cursor.offsets[0]);
            nest.advance(&mut cursor);
        }
        assert_eq!(seen, (0..12).map(|i| i * 2).collect::<Vec<_>>());
    }
}
