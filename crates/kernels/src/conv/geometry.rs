//! Sizes and attributes of a convolution, and what they ask of its operands.

use crate::checks::check_length;
use crate::{KernelError, View};

/// Sizes and attributes of a 2-D convolution, as ONNX has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Output channels, M.
    pub out_channels: usize,
    /// Input channels that an output channel reads, C / group.
    pub in_channels_per_group: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Pixels between neighbouring windows, down and across.
    pub strides: [usize; 2],
    /// Pixels between neighbouring taps of a window, down and across.
    pub dilations: [usize; 2],
    /// Pixels of padding: top, left, bottom, right.
    pub pads: [usize; 4],
    /// Groups of channels that are convolved apart.
    pub group: usize,
}

impl ConvGeometry {
    /// # Errors
    /// `Zero` for a size, stride, dilation or group of 0, `Groups` when channels do not divide.
    pub(crate) fn check(&self) -> Result<(), KernelError> {
        for (parameter, values) in [
            ("out_channels", [self.out_channels; 2]),
            ("in_channels_per_group", [self.in_channels_per_group; 2]),
            ("kernel", self.kernel),
            ("strides", self.strides),
            ("dilations", self.dilations),
            ("group", [self.group; 2]),
        ] {
            if values.contains(&0) {
                return Err(KernelError::Zero { parameter });
            }
        }
        if self.out_channels.is_multiple_of(self.group) {
            return Ok(());
        }
        Err(KernelError::Groups { out_channels: self.out_channels, group: self.group })
    }

    /// # Errors
    /// `Length` when an operand has not one element for each weight.
    pub(crate) fn check_weights(&self, found: usize) -> Result<(), KernelError> {
        let filter = [self.in_channels_per_group, self.kernel[0], self.kernel[1]];
        let expected = filter.iter().fold(self.out_channels, |n, &d| n.saturating_mul(d));
        check_length("weight", expected, found)
    }

    /// # Errors
    /// `Length` when an operand has not one element for each output channel.
    pub(crate) fn check_per_channel(
        &self,
        operand: &'static str,
        found: usize,
    ) -> Result<(), KernelError> {
        check_length(operand, self.out_channels, found)
    }

    /// Whether every channel is convolved by itself.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.group > 1 && self.in_channels_per_group == 1 && self.out_channels == self.group
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Weights of an output channel.
    pub(crate) fn depth(&self) -> usize {
        self.taps() * self.in_channels_per_group
    }

    /// Whether neighbouring pixels of `x` hold no other values, so that a kernel row is one run of values.
    pub(crate) fn has_dense_rows(&self, x: &View) -> bool {
        self.group == 1 && self.dilations[1] == 1 && x.strides[3] == self.in_channels_per_group
    }

    /// Checks the shapes of `x` and `y` and gives all that the windows read: `x` with its halo, within an arena of `len`
    /// elements; `None` when `y` has no elements.
    ///
    /// # Errors
    /// `Rank`, `Shape`, `Stride`, `Reach`, `OutOfBounds` or `HaloStride`, as [`conv2d`](crate::conv2d) has them.
    pub(crate) fn window(
        &self,
        x: &View,
        y: &View,
        len: usize,
    ) -> Result<Option<View>, KernelError> {
        x.check_nhwc("x")?;
        y.check_nhwc("y")?;
        let channels = self.group * self.in_channels_per_group;
        x.check_shape("x", &[x.shape[0], channels, x.shape[2], x.shape[3]])?;
        let (height, width) = (self.windows(0, x.shape[2])?, self.windows(1, x.shape[3])?);
        y.check_shape("y", &[x.shape[0], self.out_channels, height, width])?;
        if y.elements() == 0 {
            return Ok(None);
        }
        x.with_halo("x", self.pads, len).map(Some)
    }

    /// Windows along the height (0) or width (1) of an image.
    fn windows(&self, axis: usize, len: usize) -> Result<usize, KernelError> {
        let reach = self.dilations[axis]
            .checked_mul(self.kernel[axis] - 1)
            .and_then(|reach| reach.checked_add(1));
        let padded = len
            .checked_add(self.pads[axis])
            .and_then(|padded| padded.checked_add(self.pads[axis + 2]));
        let (Some(reach), Some(padded)) = (reach, padded) else {
            return Err(KernelError::Reach { operand: "x", axis: axis + 2 });
        };
        let room = padded.checked_sub(reach);
        Ok(room.map_or(0, |room| room / self.strides[axis] + 1))
    }
}
