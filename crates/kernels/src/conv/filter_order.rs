//! In which order weights come.

use super::geometry::ConvGeometry;

/// Where the weights of a convolution lie that are to be packed.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterOrder {
    /// Elements between the first weights of two groups.
    pub group_step: usize,
    /// Elements between two output channels of a group.
    pub output_step: usize,
    /// Elements between two input channels.
    pub input_step: usize,
    /// Where each tap lies, row by row.
    pub taps: Vec<usize>,
}

impl FilterOrder {
    /// `[M, C / group, kH, kW]`, row-major.
    pub(super) fn row_major(geometry: &ConvGeometry) -> FilterOrder {
        FilterOrder {
            group_step: geometry.out_channels / geometry.group * geometry.depth(),
            output_step: geometry.depth(),
            input_step: geometry.taps(),
            taps: (0..geometry.taps()).collect(),
        }
    }

    /// Where the first weight of an output channel lies.
    pub(super) fn output(&self, geometry: &ConvGeometry, channel: usize) -> usize {
        let per_group = geometry.out_channels / geometry.group;
        channel / per_group * self.group_step + channel % per_group * self.output_step
    }
}
