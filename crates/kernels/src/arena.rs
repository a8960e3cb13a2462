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

    /// As [`Arena::read`], into memory of the caller's.
    ///
    /// # Errors
    /// `OutOfBounds`, or `Length` when the number of values is not the view's.
    pub fn read_into(&self, view: &View, values: &mut [T]) -> Result<(), KernelError> {
        view.check_bounds("view", self.len)?;
        check_length("values", view.elements(), values.len())?;
        let data = self.as_slice();
        each_row(view, |run| {
            let to = &mut values[run.first..run.first + run.len];
            match run.step {
                0 => to.fill(data[run.at]),
                1 => to.copy_from_slice(&data[run.at..run.at + run.len]),
                step => {
                    let from = data[run.at..].iter().step_by(step);
                    to.iter_mut().zip(from).for_each(|(to, &value)| *to = value);
                }
            }
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
        each_row(view, |run| {
            let from = &values[run.first..run.first + run.len];
            if run.step == 1 {
                data[run.at..run.at + run.len].copy_from_slice(from);
            } else {
                let to = data[run.at..].iter_mut().step_by(run.step.max(1));
                to.zip(from).for_each(|(to, &value)| *to = value);
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

/// A row of a view along its innermost axis.
struct Run {
    /// Its first element in the arena.
    at: usize,
    /// Its first index in row-major order.
    first: usize,
    len: usize,
    /// Elements between neighbours in the arena.
    step: usize,
}

/// Visits the rows along the innermost axis. Of an image, rows come before channels, so that all channels of a row meet in
/// the cache.
fn each_row(view: &View, mut f: impl FnMut(Run)) {
    if view.shape.contains(&0) {
        return;
    }
    let last = view.shape.len().saturating_sub(1);
    let (len, step) = match view.shape.last() {
        Some(&len) => (len, view.strides[last]),
        None => (1, 1),
    };
    let order: &[usize] = if last == 3 { &[0, 2, 1] } else { &[0, 1, 2, 3, 4] };
    let order = &order[..last];
    let picked = |dims: &Dims| {
        let mut picked = [0; MAX_RANK];
        for (to, &axis) in picked.iter_mut().zip(order) {
            *to = dims[axis];
        }
        Dims::new(&picked[..order.len()])
    };
    let heads =
        |v: &View| View { offset: v.offset, shape: picked(&v.shape), strides: picked(&v.strides) };
    let strides = heads(&View::contiguous(0, &view.shape)).strides;
    each_coordinate(&heads(view), |coordinates, at| {
        let indices = coordinates.iter().zip(strides.iter());
        f(Run { at, first: indices.map(|(c, s)| c * s).sum(), len, step });
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
