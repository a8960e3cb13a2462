use crate::KernelError;

/// A window that moves over an image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) strides: [usize; 2],
    pub(crate) dilations: [usize; 2],
    /// Top, left, bottom, right.
    pub(crate) pads: [usize; 4],
}

impl Window {
    /// Windows along the height (0) or width (1) of an image.
    pub(crate) fn output_len(&self, axis: usize, len: usize) -> Result<usize, KernelError> {
        let window = self.dilations[axis]
            .checked_mul(self.kernel[axis] - 1)
            .and_then(|reach| reach.checked_add(1));
        let padded = len
            .checked_add(self.pads[axis])
            .and_then(|padded| padded.checked_add(self.pads[axis + 2]));
        let (Some(window), Some(padded)) = (window, padded) else {
            return Err(KernelError::Reach {
                operand: "x",
                axis: axis + 2,
            });
        };
        Ok(match padded.checked_sub(window) {
            Some(room) => room / self.strides[axis] + 1,
            None => 0,
        })
    }
}
