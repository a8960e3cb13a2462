//! Output channels by the panels that are computed together.

use super::geometry::ConvGeometry;

/// Output channels computed together, as many vectors as a tile is wide.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    /// First output channel and how many there are.
    pub(crate) channel: usize,
    pub(crate) channels: usize,
    /// First input channel.
    pub(crate) in_channel: usize,
    pub(crate) vectors: usize,
    /// Lanes of the panels before it: where its values of each channel lie, channels rounded up to vectors.
    pub(crate) lane: usize,
}

/// What bounds a panel's width.
pub(crate) struct PanelLimits {
    /// Channels of a vector.
    pub(crate) lanes: usize,
    /// Vectors of the widest tile.
    pub(crate) vectors: usize,
    /// Bytes that a lane's weights take.
    pub(crate) lane_bytes: usize,
    /// Part of the second-level cache that a panel's weights may take before it is made narrower.
    pub(crate) bytes: usize,
}

impl Panel {
    /// All groups' panels; widths within a group differ by one vector at most: 5 vectors are 3 + 2, not 4 + 1.
    pub(crate) fn split(geometry: &ConvGeometry, limits: &PanelLimits) -> Vec<Panel> {
        let lanes = limits.lanes;
        let mut widest = limits.vectors;
        while widest > 1 && widest * lanes * limits.lane_bytes > limits.bytes {
            widest -= 1;
        }
        let channels = geometry.out_channels / geometry.group;
        let vectors = channels.div_ceil(lanes);
        let count = vectors.div_ceil(widest);
        let mut panels = Vec::with_capacity(geometry.group * count);
        let mut lane = 0;
        for group in 0..geometry.group {
            let mut first = 0;
            for index in 0..count {
                let vectors = vectors / count + usize::from(index < vectors % count);
                let panel = Panel {
                    channel: group * channels + first,
                    channels: (vectors * lanes).min(channels - first),
                    in_channel: group * geometry.in_channels_per_group,
                    vectors,
                    lane,
                };
                first += panel.channels;
                lane += vectors * lanes;
                panels.push(panel);
            }
        }
        panels
    }
}
