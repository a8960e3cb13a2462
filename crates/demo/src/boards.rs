//! One board: its picture, and what is wrong with it.
use image::RgbImage;
use numerics::Rng;

mod defects;
mod grid;
mod layout;
mod lettering;
mod photograph;
mod raster;

/// Height and width of a board's picture.
pub const SIDE_PX: usize = 320;

/// Names of the defects, by class.
pub const NAMES: [&str; 4] = ["open", "short", "mouse_bite", "missing_hole"];

/// A defect and where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defect {
    /// Position in [`NAMES`].
    pub class: usize,
    /// Left, top, right and bottom in pixels.
    pub bbox: [f32; 4],
}

/// A board as a camera above the conveyor sees it.
#[derive(Clone, Debug)]
pub struct Board {
    /// The picture, [`SIDE_PX`] high and wide.
    pub image: RgbImage,
    /// What is wrong with the board; on about one board in eight, nothing.
    pub defects: Vec<Defect>,
}

/// The board of a seed: equal seeds give equal boards.
pub fn board(seed: u64) -> Board {
    let mut rng = Rng::new(seed);
    let mut artwork = layout::Layout::new(&mut rng).artwork();
    let view = raster::View::new(&mut rng);
    let defects = defects::damage(&mut artwork, &view, &mut rng);
    let image = photograph::photograph(&artwork, &view, &mut rng);
    Board { image, defects }
}

/// A number from `low` to `high`.
fn between(rng: &mut Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * (rng.signed() + 1.0) / 2.0
}

/// Whether something happens that does so in this share of all cases.
fn happens(rng: &mut Rng, share: f32) -> bool {
    between(rng, 0.0, 1.0) < share
}

#[cfg(test)]
mod tests;
