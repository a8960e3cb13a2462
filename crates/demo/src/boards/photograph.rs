//! Light, lens and sensor: from what a board is covered with to a picture of it.
use super::layout::Artwork;
use super::raster::{Layer, Shape, View};
use super::{SIDE_PX, between};
use image::{Rgb, RgbImage};
use numerics::Rng;

type Color = [f32; 3];

/// The colours of one kind of board.
struct Palette {
    /// Solder mask over the bare board, and over copper.
    mask: Color,
    mask_over_copper: Color,
    /// Bare copper as it is finished.
    metal: Color,
}

/// Green boards with tin and with gold, an amber film, a blue board.
const PALETTES: [Palette; 4] = [
    Palette {
        mask: [24.0, 82.0, 44.0],
        mask_over_copper: [58.0, 132.0, 66.0],
        metal: [196.0, 198.0, 194.0],
    },
    Palette {
        mask: [16.0, 66.0, 46.0],
        mask_over_copper: [44.0, 110.0, 70.0],
        metal: [216.0, 184.0, 108.0],
    },
    Palette {
        mask: [150.0, 92.0, 34.0],
        mask_over_copper: [206.0, 140.0, 62.0],
        metal: [220.0, 190.0, 124.0],
    },
    Palette {
        mask: [20.0, 46.0, 98.0],
        mask_over_copper: [44.0, 84.0, 150.0],
        metal: [200.0, 200.0, 200.0],
    },
];

/// The board without mask and copper, what lies under it, and print on it.
const LAMINATE: Color = [168.0, 150.0, 104.0];
const GROUND: Color = [26.0, 24.0, 24.0];
const PRINT: Color = [226.0, 228.0, 220.0];

/// What covers each pixel of the picture.
struct Layers {
    copper: Layer,
    openings: Layer,
    holes: Layer,
    print: Layer,
}

impl Layers {
    fn new(artwork: &Artwork, view: &View) -> Self {
        let mut layers = Self {
            copper: Layer::new(),
            openings: Layer::new(),
            holes: Layer::new(),
            print: Layer::new(),
        };
        let lines = artwork.traces.iter().flat_map(Artwork::lines);
        for shape in lines.chain(artwork.copper.iter().copied()) {
            layers.copper.add(&view.shape(&shape));
        }
        for shape in &artwork.gaps {
            layers.copper.remove(&view.shape(shape));
        }
        for shape in &artwork.silkscreen {
            layers.print.add(&view.shape(shape));
        }
        for shape in &artwork.openings {
            layers.openings.add(&view.shape(shape));
        }
        for pad in &artwork.drilled {
            let ring = Shape::disc(pad.center, pad.radius);
            layers.copper.add(&view.shape(&ring));
            layers.openings.add(&view.shape(&ring.grown(0.8)));
        }
        for pad in &artwork.vias {
            layers.copper.add(&view.shape(&Shape::disc(pad.center, pad.radius)));
        }
        for pad in artwork.drilled.iter().chain(&artwork.vias).filter(|pad| pad.hole > 0.0) {
            layers.holes.add(&view.shape(&Shape::disc(pad.center, pad.hole)));
        }
        layers
    }

    /// The colour of a pixel in even light.
    fn color(&self, at: usize, palette: &Palette) -> Color {
        let (copper, opening) = (self.copper.0[at], self.openings.0[at]);
        let covered = mix(palette.mask, palette.mask_over_copper, copper);
        let bare = mix(LAMINATE, palette.metal, copper);
        let board = mix(covered, bare, opening);
        // The printer leaves bare metal out.
        let printed = mix(board, PRINT, 0.9 * self.print.0[at] * (1.0 - opening));
        mix(printed, GROUND, self.holes.0[at])
    }

    /// How high the surface is, so that edges catch light.
    fn height(&self) -> Vec<f32> {
        let layers = self.copper.0.iter().zip(&self.print.0).zip(&self.holes.0);
        layers.map(|((copper, print), hole)| copper + 0.3 * print - hole).collect()
    }
}

/// A picture of a board.
pub(super) fn photograph(artwork: &Artwork, view: &View, rng: &mut Rng) -> RgbImage {
    let palette = &PALETTES[rng.below(PALETTES.len())];
    let layers = Layers::new(artwork, view);
    let light = Light::new(rng);
    let shade = light.shades(&blurred(&layers.height(), 0.8));
    let texture = texture(rng);
    let tint: Color = [0; 3].map(|_| between(rng, 0.92, 1.08));
    let blur = between(rng, 0.45, 1.0);
    let noise = between(rng, 2.0, 7.0);
    let mut planes: Vec<Vec<f32>> = Vec::with_capacity(3);
    for (channel, tint) in tint.into_iter().enumerate() {
        let value = |at: usize| {
            let flat = layers.color(at, palette)[channel] + texture[at];
            flat * tint * light.brightness(at) * shade[at]
        };
        let plane: Vec<f32> = (0..SIDE_PX * SIDE_PX).map(value).collect();
        planes.push(blurred(&plane, blur));
    }
    dust(&mut planes, rng);
    let mut picture = RgbImage::new(SIDE_PX as u32, SIDE_PX as u32);
    for (at, pixel) in picture.pixels_mut().enumerate() {
        // Most of a sensor's noise is the same in all colours after it was made a picture.
        let all = noise * bell(rng);
        let color = |plane: &Vec<f32>, own: f32| (plane[at] + all + own).clamp(0.0, 255.0) as u8;
        *pixel = Rgb([0, 1, 2].map(|c| color(&planes[c], 0.4 * noise * bell(rng))));
    }
    picture
}

/// Where light comes from.
struct Light {
    level: f32,
    /// How much brighter it is at the right and at the bottom than in the middle.
    slope: [f32; 2],
    /// The direction from which edges catch it.
    from: [f32; 2],
}

impl Light {
    fn new(rng: &mut Rng) -> Self {
        let angle = between(rng, 0.0, std::f32::consts::TAU);
        let strength = between(rng, 0.1, 0.35);
        Self {
            level: between(rng, 0.75, 1.15),
            slope: [between(rng, -0.15, 0.15), between(rng, -0.15, 0.15)],
            from: [strength * angle.cos(), strength * angle.sin()],
        }
    }

    fn brightness(&self, at: usize) -> f32 {
        let place = |p: usize| 2.0 * p as f32 / SIDE_PX as f32 - 1.0;
        let [x, y] = [place(at % SIDE_PX), place(at / SIDE_PX)];
        self.level * (1.0 + self.slope[0] * x + self.slope[1] * y - 0.06 * (x * x + y * y))
    }

    /// The factor by which each pixel of a surface is lit, by its slope.
    fn shades(&self, height: &[f32]) -> Vec<f32> {
        let at = |x: usize, y: usize| height[y.min(SIDE_PX - 1) * SIDE_PX + x.min(SIDE_PX - 1)];
        let shade = |i: usize| {
            let (x, y) = (i % SIDE_PX, i / SIDE_PX);
            let across = at(x + 1, y) - at(x.saturating_sub(1), y);
            let down = at(x, y + 1) - at(x, y.saturating_sub(1));
            1.0 + (self.from[0] * across + self.from[1] * down).clamp(-0.4, 0.4)
        };
        (0..height.len()).map(shade).collect()
    }
}

fn mix(a: Color, b: Color, share: f32) -> Color {
    [0, 1, 2].map(|c| a[c] + share * (b[c] - a[c]))
}

/// Clouds of a few levels, some twenty pixels wide.
fn texture(rng: &mut Rng) -> Vec<f32> {
    const CELL_PX: usize = 20;
    const CELLS: usize = SIDE_PX / CELL_PX + 2;
    let knots: Vec<f32> = (0..CELLS * CELLS).map(|_| 5.0 * rng.signed()).collect();
    let value = |at: usize| {
        let place = |p: usize| (p / CELL_PX, (p % CELL_PX) as f32 / CELL_PX as f32);
        let ((x, across), (y, down)) = (place(at % SIDE_PX), place(at / SIDE_PX));
        let knot = |x: usize, y: usize| knots[y * CELLS + x];
        let row = |y: usize| knot(x, y) + across * (knot(x + 1, y) - knot(x, y));
        row(y) + down * (row(y + 1) - row(y))
    };
    (0..SIDE_PX * SIDE_PX).map(value).collect()
}

/// Specks on the board, light and dark: no defects.
fn dust(planes: &mut [Vec<f32>], rng: &mut Rng) {
    for _ in 0..rng.below(8) {
        let center = [0; 2].map(|_| between(rng, 0.0, SIDE_PX as f32));
        let radius = between(rng, 0.6, 1.6);
        let length = between(rng, 0.0, 5.0);
        let angle = between(rng, 0.0, std::f32::consts::TAU);
        let end = [center[0] + length * angle.cos(), center[1] + length * angle.sin()];
        let mut speck = Layer::new();
        speck.add(&Shape::Capsule { ends: [center, end], radius });
        let level = between(rng, 40.0, 220.0);
        for plane in &mut *planes {
            for (value, covered) in plane.iter_mut().zip(&speck.0) {
                *value += 0.6 * covered * (level - *value);
            }
        }
    }
}

/// A number that is seldom far from 0, about 1 on average.
fn bell(rng: &mut Rng) -> f32 {
    (0..3).map(|_| rng.signed()).sum()
}

/// A plane out of focus: by rows, then by columns.
fn blurred(plane: &[f32], sigma: f32) -> Vec<f32> {
    const REACH: i32 = 3;
    let weight = |d: i32| (-((d * d) as f32) / (2.0 * sigma * sigma)).exp();
    let weights: Vec<f32> = (-REACH..=REACH).map(weight).collect();
    let total: f32 = weights.iter().sum();
    let pass = |source: &[f32], stride: usize| -> Vec<f32> {
        let value = |at: usize| {
            let place = (at / stride % SIDE_PX) as i32;
            let taps = (-REACH..=REACH).zip(&weights).map(|(d, weight)| {
                let other = (place + d).clamp(0, SIDE_PX as i32 - 1);
                let from = at as i32 + (other - place) * stride as i32;
                weight * source[from as usize]
            });
            taps.sum::<f32>() / total
        };
        (0..source.len()).map(value).collect()
    };
    pass(&pass(plane, 1), SIDE_PX)
}
