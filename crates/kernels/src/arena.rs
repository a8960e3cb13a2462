//! The memory that views point into, and what a kernel runs on.

use crate::checks::check_length;
use crate::view::MAX_RANK;
use crate::{Dims, Isa, KernelError, ThreadPool, View};
use std::marker::PhantomData;

mod element {
    /// Types whose every bit pattern, zero included, is a value.
    pub trait Plain: Copy + Send + Sync + 'static {
        const ZERO: Self;
    }
    impl Plain for f32 {
        const ZERO: Self = 0.0;
    }
    impl Plain for u8 {
        const ZERO: Self = 0;
    }
}

/// What an arena holds: `f32`, or quantized values as `u8`.
pub trait Element: element::Plain {}
impl Element for f32 {}
impl Element for u8 {}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Zeroed memory of `f32` or `u8`, 64-byte aligned, that views point into.
pub struct Arena<T = f32> {
    lines: Vec<Line>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Element> Arena<T> {
    /// Memory for `len` elements, all zero.
    ///
    /// # Errors
    /// `Memory` when there is not that much.
    pub fn new(len: usize) -> Result<Arena<T>, KernelError> {
        let bytes = len.saturating_mul(size_of::<T>());
        let count = bytes.div_ceil(64);
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).map_err(|_| KernelError::Memory { bytes })?;
        lines.resize(count, Line([0; 64]));
        Ok(Arena { lines, len, element: PhantomData })
    }

    /// Number of elements.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut T {
        self.lines.as_mut_ptr().cast()
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: the lines are one allocation of at least `len` initialised elements, any bytes of which are a value.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }

    /// The view's elements in row-major logical order.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena.
    pub fn read(&self, view: &View) -> Result<Vec<T>, KernelError> {
        view.check_bounds("view", self.len)?;
        let mut values = vec![T::ZERO; view.elements()];
        self.read_into(view, &mut values)?;
        Ok(values)
    }

    /// The view's elements where they lie side by side in row-major order; `None` where they do not.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena.
    pub fn in_order(&self, view: &View) -> Result<Option<&[T]>, KernelError> {
        view.check_bounds("view", self.len)?;
        let dense = View::contiguous(view.offset, &view.shape);
        let steps = view.strides.iter().zip(dense.strides.iter()).zip(view.shape.iter());
        let in_order = steps.into_iter().all(|((step, dense), &len)| len == 1 || step == dense);
        Ok(in_order.then(|| &self.as_slice()[view.offset..view.offset + view.elements()]))
    }

    /// As [`Arena::read`], into memory of the caller's.
    ///
    /// # Errors
    /// `OutOfBounds`, or `Length` when the number of values is not the view's.
    pub fn read_into(&self, view: &View, values: &mut [T]) -> Result<(), KernelError> {
        view.check_bounds("view", self.len)?;
        check_length("values", view.elements(), values.len())?;
        let data = self.as_slice();
        each_row(view, |Row { arena, values: to, len }| match (arena.step, to.step) {
            (0, _) => to.of_mut(values).take(len).for_each(|to| *to = data[arena.first]),
            (1, 1) => values[to.first..to.first + len]
                .copy_from_slice(&data[arena.first..arena.first + len]),
            (1, step) => {
                let to = values[to.first..].chunks_mut(step);
                to.zip(&data[arena.first..arena.first + len]).for_each(|(to, &from)| to[0] = from);
            }
            _ => to.of_mut(values).zip(arena.of(data)).take(len).for_each(|(to, &from)| *to = from),
        });
        Ok(())
    }

    /// Stores values given in row-major logical order.
    ///
    /// # Errors
    /// `OutOfBounds`, `SelfOverlap`, or `Length` when the number of values is not the view's.
    pub fn write(&mut self, view: &View, values: &[T]) -> Result<(), KernelError> {
        view.check_output(self.len)?;
        check_length("values", view.elements(), values.len())?;
        let data = self.as_mut_slice();
        each_row(view, |Row { arena, values: from, len }| match (arena.step, from.step) {
            (1, 1) => data[arena.first..arena.first + len]
                .copy_from_slice(&values[from.first..from.first + len]),
            _ => {
                let to = arena.of_mut(data).zip(from.of(values)).take(len);
                to.for_each(|(to, &from)| *to = from);
            }
        });
        Ok(())
    }

    /// Stores one value everywhere in the view.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena.
    pub fn fill(&mut self, view: &View, value: T) -> Result<(), KernelError> {
        view.check_bounds("view", self.len)?;
        let data = self.as_mut_slice();
        each_index(view, |at| data[at] = value);
        Ok(())
    }

    /// Visits the view in contiguous runs along its stride-1 axis (a 4-D NHWC view: the channels of one pixel), each
    /// with the logical coordinates of its first element.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena.
    pub fn for_each_run(
        &self,
        view: &View,
        f: &mut dyn FnMut(&[usize], &[T]),
    ) -> Result<(), KernelError> {
        view.check_bounds("view", self.len)?;
        if view.shape.contains(&0) {
            return Ok(());
        }
        let axis = (0..view.shape.len()).rev().find(|&i| view.strides[i] == 1 && view.shape[i] > 1);
        let run = axis.map_or(1, |i| view.shape[i]);
        let heads = axis.map_or(*view, |i| View { shape: view.shape.with(i, 1), ..*view });
        let data = self.as_slice();
        each_coordinate(&heads, |coordinates, at| f(coordinates, &data[at..at + run]));
        Ok(())
    }
}

/// Elements of a view along one axis: where they lie in the arena, and where in row-major order.
struct Row {
    arena: Spaced,
    values: Spaced,
    len: usize,
}

/// Elements that lie a step apart.
#[derive(Clone, Copy)]
struct Spaced {
    first: usize,
    step: usize,
}

impl Spaced {
    fn of<T>(self, all: &[T]) -> impl Iterator<Item = &T> {
        all[self.first..].iter().step_by(self.step.max(1))
    }

    fn of_mut<T>(self, all: &mut [T]) -> impl Iterator<Item = &mut T> {
        all[self.first..].iter_mut().step_by(self.step.max(1))
    }
}

/// The last axes of a kernel are no longer than this.
const SHORT: usize = 8;

/// Visits the rows along the innermost axis; where that is short, along the one that lies side by side in the arena. Of an
/// image, rows come before channels, so that all channels of a row meet in the cache.
fn each_row(view: &View, mut f: impl FnMut(Row)) {
    if view.shape.contains(&0) {
        return;
    }
    let rank = view.shape.len();
    let in_order = View::contiguous(0, &view.shape);
    let last = rank.saturating_sub(1);
    let dense = (0..rank).find(|&axis| view.strides[axis] == 1 && view.shape[axis] > 1);
    let along = dense.filter(|_| view.shape[last] <= SHORT).unwrap_or(last);
    let mut order: [usize; MAX_RANK] = std::array::from_fn(|axis| axis);
    if along == 3 {
        order.swap(1, 2);
    }
    let others = || order.into_iter().filter(|&axis| axis < rank && axis != along);
    let picked = |dims: &Dims| {
        let mut picked = [0; MAX_RANK];
        picked.iter_mut().zip(others()).for_each(|(to, axis)| *to = dims[axis]);
        Dims::new(&picked[..others().count()])
    };
    let heads =
        |v: &View| View { offset: v.offset, shape: picked(&v.shape), strides: picked(&v.strides) };
    let strides = heads(&in_order).strides;
    let (len, steps) = match view.shape.get(along) {
        Some(&len) => (len, [view.strides[along], in_order.strides[along]]),
        None => (1, [1, 1]),
    };
    each_coordinate(&heads(view), |coordinates, at| {
        let indices = coordinates.iter().zip(strides.iter());
        f(Row {
            arena: Spaced { first: at, step: steps[0] },
            values: Spaced { first: indices.map(|(c, s)| c * s).sum(), step: steps[1] },
            len,
        });
    });
}

fn each_index(view: &View, mut f: impl FnMut(usize)) {
    each_coordinate(view, |_, at| f(at));
}

pub(crate) fn each_coordinate(view: &View, mut f: impl FnMut(&[usize], usize)) {
    let (rank, total) = (view.shape.len(), view.elements());
    let mut coordinates = [0; MAX_RANK];
    let mut at = view.offset;
    for _ in 0..total {
        f(&coordinates[..rank], at);
        for axis in (0..rank).rev() {
            coordinates[axis] += 1;
            at = at.wrapping_add(view.strides[axis]);
            if coordinates[axis] < view.shape[axis] {
                break;
            }
            at = at.wrapping_sub(view.strides[axis].wrapping_mul(view.shape[axis]));
            coordinates[axis] = 0;
        }
    }
}

/// What every kernel runs on.
pub struct Context<'a> {
    /// The memory of `f32` values.
    pub f32_arena: &'a mut Arena,
    /// The memory of quantized values.
    pub u8_arena: &'a mut Arena<u8>,
    /// The threads.
    pub pool: &'a ThreadPool,
    /// The instruction set.
    pub isa: Isa,
}

impl Context<'_> {
    /// Checks that `y` may be written while the inputs are read; an input equal to `y` is allowed when `in_place`.
    pub(crate) fn check_f32(
        &self,
        y: &View,
        inputs: &[(&'static str, &View)],
        in_place: bool,
    ) -> Result<(), KernelError> {
        check_within(self.f32_arena.len, y, inputs, in_place)
    }

    /// As [`Context::check_f32`], for views into the u8 arena.
    pub(crate) fn check_u8(
        &self,
        y: &View,
        inputs: &[(&'static str, &View)],
        in_place: bool,
    ) -> Result<(), KernelError> {
        check_within(self.u8_arena.len, y, inputs, in_place)
    }
}

fn check_within(
    len: usize,
    y: &View,
    inputs: &[(&'static str, &View)],
    in_place: bool,
) -> Result<(), KernelError> {
    y.check_output(len)?;
    for (operand, input) in inputs {
        input.check_bounds(operand, len)?;
        if !(in_place && *input == y) {
            y.check_disjoint(operand, input)?;
        }
    }
    Ok(())
}
