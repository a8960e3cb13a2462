use crate::view::MAX_RANK;
use crate::{Isa, KernelError, ThreadPool, View};

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Owned `f32` memory, 64-byte aligned.
pub(crate) struct Floats {
    lines: Vec<Line>,
}

impl Floats {
    pub(crate) fn zeroed(len: usize) -> Result<Floats, KernelError> {
        let count = len.div_ceil(16);
        let mut lines = Vec::new();
        let failed = |_| KernelError::OutOfMemory {
            bytes: len.saturating_mul(size_of::<f32>()),
        };
        lines.try_reserve_exact(count).map_err(failed)?;
        lines.resize(count, Line([0.0; 16]));
        Ok(Floats { lines })
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len() * 16
    }

    pub(crate) fn as_ptr(&self) -> *const f32 {
        self.lines.as_ptr().cast()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: the lines are one allocation of `len` initialised f32 without padding.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len()) }
    }
}

/// Zeroed memory, 64-byte aligned, that views point into; one for each session.
pub struct Arena {
    floats: Floats,
}

impl Arena {
    /// Memory of at least `len_bytes` bytes, all zero.
    ///
    /// # Errors
    /// `OutOfMemory` when the system does not give as much.
    pub fn new(len_bytes: usize) -> Result<Arena, KernelError> {
        Ok(Arena {
            floats: Floats::zeroed(len_bytes.div_ceil(size_of::<f32>()))?,
        })
    }

    /// Number of `f32` elements.
    pub fn elements(&self) -> usize {
        self.floats.len()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.elements() * size_of::<f32>()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.floats.as_mut_ptr()
    }

    /// The view's elements in row-major logical order.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena.
    pub fn read(&self, view: &View) -> Result<Vec<f32>, KernelError> {
        view.check_bounds("view", self.elements())?;
        let data = self.floats.as_slice();
        let mut values = Vec::with_capacity(view.elements());
        each_index(view, |at| values.push(data[at]));
        Ok(values)
    }

    /// Stores values given in row-major logical order.
    ///
    /// # Errors
    /// `OutOfBounds`, `SelfOverlap`, or `Length` when the number of values is not the view's.
    pub fn write(&mut self, view: &View, values: &[f32]) -> Result<(), KernelError> {
        view.check_output(self.elements())?;
        if values.len() != view.elements() {
            return Err(KernelError::Length {
                operand: "values",
                expected: view.elements(),
                found: values.len(),
            });
        }
        let data = self.floats.as_mut_slice();
        let mut values = values.iter();
        each_index(view, |at| {
            data[at] = *values.next().expect("one value for each index")
        });
        Ok(())
    }

    /// Stores one value everywhere in the view.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena.
    pub fn fill(&mut self, view: &View, value: f32) -> Result<(), KernelError> {
        view.check_bounds("view", self.elements())?;
        let data = self.floats.as_mut_slice();
        each_index(view, |at| data[at] = value);
        Ok(())
    }

    /// Visits the view's channel rows: for each index of the other axes, in logical order, the coordinates (0 on `axis`)
    /// and the elements along `axis`.
    ///
    /// Rows that lie side by side in memory (channels of an NHWC view) are borrowed, others are gathered.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena, `Index` when it has no such axis.
    pub fn for_each_row(
        &self,
        view: &View,
        axis: usize,
        f: &mut dyn FnMut(&[usize], &[f32]),
    ) -> Result<(), KernelError> {
        view.check_bounds("view", self.elements())?;
        let Some(&run) = view.shape.get(axis) else {
            return Err(KernelError::Index {
                operand: "axis",
                index: axis,
                len: view.shape.len(),
            });
        };
        if run == 0 {
            return Ok(());
        }
        let heads = View {
            shape: view.shape.with(axis, 1),
            ..*view
        };
        let stride = view.strides[axis];
        let data = self.floats.as_slice();
        let mut gathered = vec![0.0; run];
        each_coordinate(&heads, |coordinates, at| {
            if stride == 1 || run == 1 {
                return f(coordinates, &data[at..at + run]);
            }
            for (i, value) in gathered.iter_mut().enumerate() {
                *value = data[at + i * stride];
            }
            f(coordinates, &gathered);
        });
        Ok(())
    }

    /// Visits all elements once, in memory order and in runs as long as the layout allows.
    ///
    /// # Errors
    /// `OutOfBounds` when the view leaves the arena.
    pub fn for_each_run(&self, view: &View, f: &mut dyn FnMut(&[f32])) -> Result<(), KernelError> {
        view.check_bounds("view", self.elements())?;
        let mut axes: Vec<(usize, usize)> = view
            .strides
            .iter()
            .copied()
            .zip(view.shape.iter().copied())
            .filter(|&(_, dim)| dim != 1)
            .collect();
        axes.sort_unstable_by(|a, b| b.cmp(a));
        let mut run = 1;
        while let Some(&(stride, dim)) = axes.last()
            && stride == run
        {
            run *= dim;
            axes.pop();
        }
        let (mut shape, mut strides) = ([1; MAX_RANK], [0; MAX_RANK]);
        for (i, &(stride, dim)) in axes.iter().enumerate() {
            (shape[i], strides[i]) = (dim, stride);
        }
        let heads = View {
            offset: view.offset,
            shape: shape.into(),
            strides: strides.into(),
        };
        let data = self.floats.as_slice();
        if run > 0 {
            each_index(&heads, |at| f(&data[at..at + run]));
        }
        Ok(())
    }
}

fn each_index(view: &View, mut f: impl FnMut(usize)) {
    each_coordinate(view, |_, at| f(at));
}

fn each_coordinate(view: &View, mut f: impl FnMut(&[usize], usize)) {
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
    /// The memory that views point into.
    pub arena: &'a mut Arena,
    /// The threads.
    pub pool: &'a ThreadPool,
    /// The instruction set.
    pub isa: Isa,
}

impl Context<'_> {
    /// Checks that `y` may be written while the inputs are read; an input equal to `y` is allowed when `in_place`.
    pub(crate) fn check(
        &self,
        y: &View,
        inputs: &[(&'static str, &View)],
        in_place: bool,
    ) -> Result<(), KernelError> {
        y.check_output(self.arena.elements())?;
        for (operand, input) in inputs {
            input.check_bounds(operand, self.arena.elements())?;
            if !(in_place && *input == y) {
                y.check_disjoint(operand, input)?;
            }
        }
        Ok(())
    }
}
