//! What kernels check of their views before they touch memory, and views made of others.

use crate::KernelError;
use crate::view::{Dims, MAX_RANK, View};

/// # Errors
/// `Length` when an operand has another number of elements.
pub(crate) fn check_length(
    operand: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), KernelError> {
    if found == expected {
        return Ok(());
    }
    Err(KernelError::Length { operand, expected, found })
}

impl View {
    /// `start..start + len` of one axis, without copying.
    ///
    /// # Errors
    /// `Index` when the axis or the range does not exist.
    pub fn slice(&self, axis: usize, start: usize, len: usize) -> Result<View, KernelError> {
        let Some(&available) = self.shape.get(axis) else {
            return Err(KernelError::Index { operand: "axis", index: axis, len: self.shape.len() });
        };
        if start.checked_add(len).is_none_or(|end| end > available) {
            let index = start.saturating_add(len);
            return Err(KernelError::Index { operand: "slice", index, len: available });
        }
        Ok(View {
            offset: self.offset.saturating_add(start.saturating_mul(self.strides[axis])),
            shape: self.shape.with(axis, len),
            ..*self
        })
    }

    /// The same elements with axis `i` taken from axis `perm[i]`, as ONNX Transpose.
    ///
    /// # Errors
    /// `Rank` when `perm` has another length, `Index` when it names an axis that does not exist.
    pub fn permute(&self, perm: &[usize]) -> Result<View, KernelError> {
        self.check_rank("perm", perm.len())?;
        let (mut shape, mut strides) = (self.shape, self.strides);
        for (axis, &from) in perm.iter().enumerate() {
            let Some(&length) = self.shape.get(from) else {
                return Err(KernelError::Index {
                    operand: "perm",
                    index: from,
                    len: self.shape.len(),
                });
            };
            shape = shape.with(axis, length);
            strides = strides.with(axis, self.strides[from]);
        }
        Ok(View { offset: self.offset, shape, strides })
    }

    pub(crate) fn check_rank(
        &self,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        if self.shape.len() == expected && self.strides.len() == expected {
            return Ok(());
        }
        let found =
            if self.shape.len() == expected { self.strides.len() } else { self.shape.len() };
        Err(KernelError::Rank { operand, expected, found })
    }

    pub(crate) fn check_bounds(
        &self,
        operand: &'static str,
        len: usize,
    ) -> Result<(), KernelError> {
        self.check_rank(operand, self.shape.len())?;
        let (first, end) = self.range();
        if end > len as i128 {
            Err(KernelError::OutOfBounds { operand, first, end, len })
        } else {
            Ok(())
        }
    }

    /// Bounds, and that no two indices share an element.
    pub(crate) fn check_output(&self, len: usize) -> Result<(), KernelError> {
        self.check_bounds("y", len)?;
        let mut axes = [(0usize, 1usize); MAX_RANK];
        for (axis, slot) in axes.iter_mut().enumerate().take(self.shape.len()) {
            if self.shape[axis] > 1 {
                *slot = (self.strides[axis], self.shape[axis]);
            }
        }
        axes.sort_unstable();
        let mut span = 0i128;
        for (stride, dim) in axes.into_iter().filter(|&(_, dim)| dim > 1) {
            if stride as i128 <= span {
                return Err(KernelError::SelfOverlap {
                    shape: Box::new(self.shape),
                    strides: Box::new(self.strides),
                });
            }
            span += stride as i128 * (dim - 1) as i128;
        }
        Ok(())
    }

    pub(crate) fn check_shape(
        &self,
        operand: &'static str,
        expected: &[usize],
    ) -> Result<(), KernelError> {
        if *self.shape == *expected {
            return Ok(());
        }
        Err(KernelError::Shape {
            operand,
            expected: Box::new(Dims::new(expected)),
            found: Box::new(self.shape),
        })
    }

    /// Four axes, channels side by side.
    pub(crate) fn check_nhwc(&self, operand: &'static str) -> Result<(), KernelError> {
        self.check_rank(operand, 4)?;
        if self.shape[1] <= 1 || self.strides[1] == 1 {
            return Ok(());
        }
        Err(KernelError::Stride { operand, axis: 1, expected: 1, found: self.strides[1] })
    }

    /// The view with its halo: bounds checked at both ends, and room for the halo between rows and images.
    ///
    /// Rows may share their halo: the right of one may be the left of the next.
    pub(crate) fn with_halo(
        &self,
        operand: &'static str,
        [top, left, bottom, right]: [usize; 4],
        len: usize,
    ) -> Result<View, KernelError> {
        let back = |by: usize, axis: usize| (by as i128).saturating_mul(self.strides[axis] as i128);
        let lead = back(top, 2).saturating_add(back(left, 3));
        let first = self.offset as i128 - lead;
        let grown = |axis: usize, by: usize, more: usize| {
            self.shape[axis]
                .checked_add(by)
                .and_then(|length| length.checked_add(more))
                .filter(|&length| length <= isize::MAX as usize)
                .ok_or(KernelError::Reach { operand, axis })
        };
        let shape = self.shape.with(2, grown(2, top, bottom)?).with(3, grown(3, left, right)?);
        let wide = View { offset: first.max(0) as usize, shape, strides: self.strides };
        let (start, end) = wide.range();
        let end = end - start + first;
        if first < 0 || end > len as i128 {
            return Err(KernelError::OutOfBounds { operand, first, end, len });
        }
        self.check_halo_room(operand, 3, left.max(right), wide.shape[2])?;
        self.check_halo_room(operand, 2, top.max(bottom), wide.shape[0])?;
        Ok(wide)
    }

    /// That `halo` pixels after (or before) each line along `axis` end where the next of `lines` lines starts.
    fn check_halo_room(
        &self,
        operand: &'static str,
        axis: usize,
        halo: usize,
        lines: usize,
    ) -> Result<(), KernelError> {
        let outer = if axis == 3 { 2 } else { 0 };
        let at_least =
            (self.shape[axis] as i128 + halo as i128).saturating_mul(self.strides[axis] as i128);
        if halo == 0 || lines <= 1 || self.strides[outer] as i128 >= at_least {
            return Ok(());
        }
        Err(KernelError::HaloStride { operand, axis: outer, at_least, found: self.strides[outer] })
    }

    /// That the output shares no element with the input: their element ranges are disjoint, or both have channels side
    /// by side in pixels of one size and their channel windows within the pixel are disjoint.
    pub(crate) fn check_disjoint(
        &self,
        operand: &'static str,
        input: &View,
    ) -> Result<(), KernelError> {
        let ((a0, a1), (b0, b1)) = (self.range(), input.range());
        if a1 <= b0 || b1 <= a0 || windows_disjoint(self, input) {
            return Ok(());
        }
        Err(KernelError::Overlap { operand, output: Box::new(*self), input: Box::new(*input) })
    }
}

/// Whether all elements of the two views differ modulo a common period.
///
/// Every axis that steps by a multiple of the period (pixels, rows, images) keeps the remainder, the others (channels)
/// span a window of remainders. Slices of one concat buffer have the pixel stride as period.
fn windows_disjoint(a: &View, b: &View) -> bool {
    let axes = |v: &View| {
        let (shape, strides) = (v.shape, v.strides);
        (0..shape.len()).filter(move |&i| shape[i] > 1).map(move |i| (strides[i], shape[i]))
    };
    let candidates = || axes(a).chain(axes(b)).map(|(stride, _)| stride);
    candidates().filter(|&period| period > 1).any(|period| {
        let width = |v: &View| {
            axes(v)
                .filter(|(stride, _)| !stride.is_multiple_of(period))
                .map(|(stride, dim)| stride as i128 * (dim - 1) as i128)
                .sum::<i128>()
                + 1
        };
        // Remainders lie on a circle: a window may run past the period's end.
        let [start_a, start_b] = [a, b].map(|v| (v.offset % period) as i128);
        let period = period as i128;
        let distance = (start_b - start_a).rem_euclid(period);
        width(a) <= distance && distance + width(b) <= period
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: usize, channels: usize, pixel: usize) -> View {
        View {
            offset: 100 * pixel + start,
            shape: [1, channels, 4, 5].into(),
            strides: [28 * pixel, 1, 7 * pixel, pixel].into(),
        }
    }

    #[test]
    fn concat_slices_neighbouring_are_disjoint_and_overlapping_are_not() {
        assert_eq!(slice(0, 8, 24).check_disjoint("x", &slice(8, 16, 24)), Ok(()));
        assert!(slice(0, 9, 24).check_disjoint("x", &slice(8, 16, 24)).is_err());
        assert!(
            slice(20, 8, 24).check_disjoint("x", &slice(0, 8, 24)).is_err(),
            "wraps into the next pixel"
        );
    }

    #[test]
    fn concat_slices_that_wrap_modulo_the_pixel_are_disjoint_when_neighbours() {
        // 1024 leaves 64 of 96, so the second slice's remainders run past the pixel's end.
        let whole = View::nhwc(1024, [1, 96, 5, 5]);
        let part = |start, len| whole.slice(1, start, len).expect("within");
        assert_eq!(part(0, 48).check_disjoint("x", &part(48, 48)), Ok(()));
        assert_eq!(part(48, 48).check_disjoint("x", &part(0, 48)), Ok(()));
        assert!(part(0, 49).check_disjoint("x", &part(48, 48)).is_err());
        assert!(part(48, 48).check_disjoint("x", &part(0, 49)).is_err());
        assert!(part(40, 8).check_disjoint("x", &whole).is_err());
        assert!(part(16, 48).check_disjoint("x", &part(16, 48)).is_err());
    }

    #[test]
    fn output_with_repeated_elements_is_refused() {
        let view = View { offset: 0, shape: [2, 3].into(), strides: [0, 1].into() };
        assert!(matches!(view.check_output(100), Err(KernelError::SelfOverlap { .. })));
        let view = View { offset: 0, shape: [2, 3].into(), strides: [2, 1].into() };
        assert!(matches!(view.check_output(100), Err(KernelError::SelfOverlap { .. })));
    }

    #[test]
    fn view_bounds_are_exact_and_survive_huge_numbers() {
        let view = View::contiguous(4, &[2, 3]);
        assert_eq!(view.check_bounds("x", 10), Ok(()));
        assert!(view.check_bounds("x", 9).is_err());
        let huge = View {
            offset: usize::MAX,
            shape: [usize::MAX; 6].into(),
            strides: [usize::MAX; 6].into(),
        };
        assert!(huge.check_bounds("x", usize::MAX).is_err());
        assert!(View::contiguous(0, &[usize::MAX; 6]).check_bounds("x", 10).is_err());
    }
}
