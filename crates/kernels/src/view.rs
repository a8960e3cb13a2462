//! Tensors as elements of an arena: axis lengths and strides.

use std::{fmt, ops::Deref};

/// Most axes a view can have.
pub(crate) const MAX_RANK: usize = 6;

/// Up to six axis lengths or strides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    len: u8,
    data: [usize; MAX_RANK],
}

impl Dims {
    /// Copies the values.
    ///
    /// # Panics
    /// When there are more than six.
    pub fn new(values: &[usize]) -> Dims {
        let mut data = [0; MAX_RANK];
        data[..values.len()].copy_from_slice(values);
        Dims { len: values.len() as u8, data }
    }

    /// The same values with one replaced.
    pub(crate) fn with(mut self, axis: usize, value: usize) -> Dims {
        self.data[axis] = value;
        self
    }
}

impl<const N: usize> From<[usize; N]> for Dims {
    fn from(values: [usize; N]) -> Dims {
        const { assert!(N <= MAX_RANK, "a view has at most six axes") };
        Dims::new(&values)
    }
}

impl Deref for Dims {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.data[..self.len as usize]
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Elements of an arena seen as a tensor; axes in logical (NCHW) order.
///
/// A 4-D NHWC activation has shape `[N, C, H, W]` and strides `[_, 1, row_stride, pixel_stride]`; a slice of a concat
/// buffer has a larger pixel stride and an offset. Stride 0 repeats an input along that axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Element of the arena at index 0 of every axis.
    pub offset: usize,
    /// Axis lengths.
    pub shape: Dims,
    /// Elements between neighbours along each axis.
    pub strides: Dims,
}

impl View {
    /// A row-major view.
    pub fn contiguous(offset: usize, shape: &[usize]) -> View {
        let shape = Dims::new(shape);
        let mut strides = shape;
        let mut stride = 1usize;
        for axis in (0..shape.len()).rev() {
            strides = strides.with(axis, stride);
            stride = stride.saturating_mul(shape[axis]);
        }
        View { offset, shape, strides }
    }

    /// An NHWC view of shape `[N, C, H, W]` without gaps.
    pub fn nhwc(offset: usize, [n, c, h, w]: [usize; 4]) -> View {
        let row = w.saturating_mul(c);
        View {
            offset,
            shape: [n, c, h, w].into(),
            strides: [row.saturating_mul(h), 1, row, c].into(),
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// First element and one past the last.
    pub(crate) fn range(&self) -> (i128, i128) {
        let first = self.offset as i128;
        if self.shape.contains(&0) {
            return (first, first);
        }
        // Far beyond any arena the products saturate.
        let span = self.shape.iter().zip(self.strides.iter()).fold(0i128, |span, (&d, &s)| {
            span.saturating_add(((d - 1) as i128).saturating_mul(s as i128))
        });
        (first, first.saturating_add(span).saturating_add(1))
    }
}
