use crate::int8::vector::{int8_lanes, int8_tiles};
use crate::vector::{lanes, tiles};
use crate::{PackedConv, PackedQConv};

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

/// Of panels of so many vectors each, and the most pixels of a tile of 1, 2, … vectors.
fn choose(panels: &[usize], lanes: usize, most_pixels: &[usize], channels: usize) -> TileChoice {
    let widest = panels.iter().copied().max().unwrap_or(1);
    let pixels = most_pixels[widest - 1];
    let panels: Vec<String> = panels.iter().map(usize::to_string).collect();
    TileChoice {
        pixels,
        channels: widest * lanes,
        why: format!(
            "{channels} channels are panels of {} vectors of {lanes}; {} accumulators",
            panels.join(" + "),
            pixels * widest
        ),
    }
}

impl PackedConv {
    /// The tile it is computed with.
    pub fn tile(&self) -> TileChoice {
        let lanes = lanes(self.isa);
        if self.panels.is_empty() {
            return depthwise(4, lanes);
        }
        let panels = self.panels.len() / self.group;
        let vectors: Vec<usize> = self.panels[..panels].iter().map(|p| p.nv).collect();
        let most_pixels: Vec<usize> = tiles(self.isa).iter().map(|t| t.len()).collect();
        choose(
            &vectors,
            lanes,
            &most_pixels,
            self.out_channels / self.group,
        )
    }
}

impl PackedQConv {
    /// The tile it is computed with.
    pub fn tile(&self) -> TileChoice {
        let lanes = int8_lanes(self.isa);
        if let Some(weights) = &self.depthwise {
            return depthwise(weights.outputs(), 4 * lanes);
        }
        let panels = self.panels.len() / self.group;
        let vectors: Vec<usize> = self.panels[..panels].iter().map(|p| p.nv).collect();
        let most_pixels: Vec<usize> = int8_tiles(self.isa).iter().map(|t| t.len()).collect();
        let mut choice = choose(
            &vectors,
            lanes,
            &most_pixels,
            self.out_channels / self.group,
        );
        let weights = self.row_weights.as_ref().unwrap_or(&self.weights);
        if !weights.places.is_empty() {
            let share = |of: [usize; 3]| {
                let blocks4 = weights
                    .panels
                    .iter()
                    .flat_map(|p| std::iter::zip(p.counts, of));
                100.0 * blocks4.map(|(count, each)| count * each).sum::<usize>() as f64
                    / weights.places.len() as f64
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
    TileChoice {
        pixels,
        channels,
        why: "every channel by itself".to_owned(),
    }
}
