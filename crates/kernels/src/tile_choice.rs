//! Which tile a convolution is computed with, and why.

use crate::conv::panels::Panel;
use crate::{ConvGeometry, PackedConv, PackedQConv};

/// The registers' share of a convolution, for listings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileChoice {
    /// Pixels computed together.
    pub pixels: usize,
    /// Output channels computed together.
    pub channels: usize,
    /// The reason, in a few words.
    pub why: String,
}

/// The tile of the widest panel; `tile_pixels` are the most pixels of a tile of 1, 2, … vectors.
fn choose(
    geometry: &ConvGeometry,
    panels: &[Panel],
    lanes: usize,
    tile_pixels: &[usize],
) -> TileChoice {
    let group = &panels[..panels.len() / geometry.group];
    let widest = group.iter().map(|panel| panel.vectors).max().unwrap_or(1);
    let pixels = tile_pixels[widest - 1];
    let widths: Vec<String> = group.iter().map(|panel| panel.vectors.to_string()).collect();
    TileChoice {
        pixels,
        channels: widest * lanes,
        why: format!(
            "{} channels are panels of {} vectors of {lanes}; {} accumulators",
            geometry.out_channels / geometry.group,
            widths.join(" + "),
            pixels * widest
        ),
    }
}

impl PackedConv {
    /// The tile it is computed with.
    pub fn tile(&self) -> TileChoice {
        let layout = self.isa.f32();
        if self.panels.is_empty() {
            return depthwise(4, layout.lanes);
        }
        let choice = choose(&self.geometry, &self.panels, layout.lanes, layout.tiles);
        if self.is_winograd {
            return TileChoice { why: format!("Winograd 4x4; {}", choice.why), ..choice };
        }
        choice
    }
}

impl PackedQConv {
    /// The tile it is computed with.
    pub fn tile(&self) -> TileChoice {
        let layout = self.isa.int8();
        if let Some(weights) = &self.depthwise {
            return depthwise(weights.outputs(), 4 * layout.lanes);
        }
        let mut choice = choose(&self.geometry, &self.panels, layout.lanes, layout.tiles);
        let weights = self.row_weights.as_ref().unwrap_or(&self.weights);
        if !weights.offsets.is_empty() {
            let share = |sizes: [usize; 3]| {
                let counts = weights.panels.iter().map(|panel| panel.counts);
                let blocks = counts.flat_map(|counts| std::iter::zip(counts, sizes));
                let blocks = blocks.map(|(count, size)| count * size).sum::<usize>();
                100.0 * blocks as f64 / weights.offsets.len() as f64
            };
            choice.why.push_str(&format!(
                "; in 16 bits {:.0} % of the blocks4 in twos, {:.0} % alone",
                share([2, 0, 0]),
                share([0, 1, 0])
            ));
        }
        choice
    }
}

fn depthwise(pixels: usize, channels: usize) -> TileChoice {
    TileChoice { pixels, channels, why: "every channel by itself".to_owned() }
}
