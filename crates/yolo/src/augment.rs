//! Augmentation: training images turned, scaled, shifted, recoloured and joined, with their boxes, so that a detector does not
//! learn them by heart.

mod colours;
mod options;
mod pieces;
mod resample;

use crate::losses::LabelledBox;
use crate::preprocess::PADDING;
use crate::{ModelInput, Planes, YoloError};
use colours::Colours;
use image::RgbImage;
use numerics::Rng;
use pieces::Piece;

pub use options::Augmentation;

/// Images of a mosaic.
const MOSAIC: usize = 4;

/// Decides what is drawn: the same for equal numbers, so that a training that is resumed goes on as if it never stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawKey {
    /// Of the whole training.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// Position of the image in its batch.
    pub image: u64,
}

/// One way to make an input, drawn by chance.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// Which other images are joined with the one that is augmented: positions among all images.
    pub others: Vec<usize>,
    is_flipped: [bool; 2],
    /// For each image.
    placements: Vec<Placement>,
    /// Where the images of a mosaic meet, as a share of width and height.
    meeting: [f64; 2],
    /// Where a window lies that is smaller than the input, as a share of what is left beside it.
    window: [f64; 2],
    colours: Colours,
}

/// How an image is scaled, and shifted as a share of the input's width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Placement {
    scale: f64,
    shift: [f64; 2],
}

/// The images of a scene that a model reads at once, of one size, and what is labelled in it, in pixels of these images.
#[derive(Clone, Debug, Default)]
pub struct LabelledScene {
    /// The images; one is the rule.
    pub images: Vec<RgbImage>,
    /// What is labelled.
    pub boxes: Vec<LabelledBox>,
}

/// The inputs of a network, and the boxes in pixels of these.
#[derive(Clone, Debug, PartialEq)]
pub struct AugmentedInput {
    /// The inputs.
    pub planes: Planes,
    /// What is labelled there; boxes of which little is left are left out.
    pub boxes: Vec<LabelledBox>,
}

impl Augmentation {
    /// Draws one way to make an input; a mosaic takes the other images from `count` ones.
    pub fn draw(&self, key: DrawKey, count: usize) -> Draw {
        let mut rng = rng(key);
        let mut below = |share: f64| uniform(&mut rng) < share;
        let is_flipped = [below(self.flip_horizontal), below(self.flip_vertical)];
        let images = if below(self.mosaic) { MOSAIC } else { 1 };
        let others = (1..images).map(|_| rng.below(count)).collect();
        let placement = |_| Placement {
            scale: 1.0 + self.scale * signed(&mut rng),
            shift: [(); 2].map(|()| self.translation * signed(&mut rng)),
        };
        let placements = (0..images).map(placement).collect();
        let meeting = [(); 2].map(|()| 0.25 + 0.5 * uniform(&mut rng));
        let window = [(); 2].map(|()| uniform(&mut rng));
        let [hue, saturation, brightness] =
            [self.hue, self.saturation, self.brightness].map(|most| most * signed(&mut rng));
        let colours = Colours::new(hue, 1.0 + saturation, 1.0 + brightness);
        Draw { others, is_flipped, placements, meeting, window, colours }
    }
}

impl Draw {
    /// An input of `size_px` (height, width), made of the scene that is augmented and the others, in their order. A size below
    /// the model's gives a window of what would be the model's input.
    ///
    /// # Errors
    /// `ImageCount` where a scene has not as many images as the network reads, or there are not as many scenes as were drawn.
    pub fn compose(
        &self,
        scenes: &[&LabelledScene],
        input: &ModelInput,
        size_px: [usize; 2],
    ) -> Result<AugmentedInput, YoloError> {
        let expected = input.images();
        if scenes.len() != self.placements.len() {
            return Err(YoloError::ImageCount {
                expected: expected * self.placements.len(),
                found: expected * scenes.len(),
            });
        }
        let [height, width] = size_px;
        let mut canvases = vec![vec![PADDING; 3 * height * width]; expected];
        let mut boxes = Vec::new();
        for (at, scene) in scenes.iter().enumerate() {
            let (Some(first), true) = (scene.images.first(), scene.images.len() == expected) else {
                return Err(YoloError::ImageCount { expected, found: scene.images.len() });
            };
            let source_px = [first.width() as usize, first.height() as usize];
            let piece = self.piece(at, source_px, input, size_px);
            for (image, canvas) in scene.images.iter().zip(&mut canvases) {
                piece.paint(image, &self.colours, canvas, width);
            }
            boxes.extend(scene.boxes.iter().filter_map(|labelled| piece.labelled(labelled)));
        }
        let pixels = input.assemble(canvases);
        let planes = pixels.iter().map(|p| p.planes(input.preprocess.scale));
        Ok(AugmentedInput { planes: Planes(planes.collect()), boxes })
    }

    /// Where one of the scenes comes to lie.
    fn piece(
        &self,
        at: usize,
        source_px: [usize; 2],
        input: &ModelInput,
        size_px: [usize; 2],
    ) -> Piece {
        let Placement { scale, shift } = self.placements[at];
        let canvas = [input.size_px[1], input.size_px[0]];
        let mut piece = Piece::letterbox(input.preprocess.placement, source_px, canvas);
        for axis in 0..2 {
            let side = canvas[axis] as f64;
            if self.placements.len() == 1 {
                piece.scale(axis, scale, side / 2.0);
                piece.shift(axis, shift[axis] * side);
            } else {
                let meeting = (self.meeting[axis] * side).floor();
                // The first and the third image end where the others begin, along x; the first two along y.
                let is_after = at >> axis & 1 == 1;
                piece.scale(axis, scale, 0.0);
                piece.join(axis, source_px[axis] as f64, meeting, is_after);
            }
            if self.is_flipped[axis] {
                piece.flip(axis, side);
            }
            let window = [size_px[1], size_px[0]][axis];
            let beside = canvas[axis].saturating_sub(window) as f64;
            piece.cut(axis, (self.window[axis] * (beside + 1.0)).floor().min(beside), window);
        }
        piece
    }
}

fn rng(DrawKey { seed, step, image }: DrawKey) -> Rng {
    let of_seed = Rng::new(seed).next_u64();
    let of_step = Rng::new(of_seed ^ step).next_u64();
    Rng::new(of_step ^ image)
}

/// From 0 up to, and without, 1.
fn uniform(rng: &mut Rng) -> f64 {
    (signed(rng) + 1.0) / 2.0
}

fn signed(rng: &mut Rng) -> f64 {
    f64::from(rng.signed())
}

#[cfg(test)]
mod tests;
