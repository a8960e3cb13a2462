//! Images that show a condition, made of images that do not.

use image::RgbImage;
use numerics::Rng;
use serde::Serialize;
use yolo::metrics::GroundTruthObject;
use yolo::{Appearance, Degradation, ImageMeasures, Patch, covered, four_in_one};

use super::conditions::{CONDITIONS, Looks};

/// How often an image is made again, more strongly, until it shows the condition.
const TRIES: u32 = 4;
/// By what it is made more strongly.
const STRONGER: f64 = 1.5;
/// Side of an image to which lengths in pixels are meant.
const SIDE_PX: f64 = 640.0;
/// Share of an object that may be covered before its label is dropped.
const MOST_COVERED: f64 = 0.7;
/// Patches over an image in which nothing is labelled.
const PATCHES: usize = 4;

/// An image with what is in it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The image.
    pub image: RgbImage,
    /// Its objects, boxes in pixels.
    pub objects: Vec<GroundTruthObject>,
}

/// How an image was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Changed as a whole.
    Degraded(Degradation),
    /// Patches of other images over it.
    Covered(Vec<Patch>),
    /// Four images in one.
    FourInOne,
}

/// An image that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The image with what is in it.
    pub scene: Scene,
    /// How it was made.
    pub how: How,
    /// Its figures.
    pub measures: ImageMeasures,
}

/// Makes an image that shows the condition of a name, of the first scene and, where it needs them, the others. Where the condition
/// is measured by pixels, it is made more strongly until it is shown, a few times.
///
/// # Panics
/// Without scenes.
pub fn synthesise(condition: &str, scenes: &[Scene], seed: u64) -> Made {
    let first = &scenes[0];
    let rule = CONDITIONS.iter().find(|c| c.name == condition);
    let mut strength = 1.0;
    for attempt in 1.. {
        let mut rng = Rng::new(seed);
        let made = match condition {
            "occlusion" => occluded(first, scenes.last().unwrap_or(first), &mut rng),
            "small objects" => joined(scenes),
            _ => {
                let by = degradation(condition, first, strength, &mut rng);
                let image = by.apply(&first.image, &mut rng);
                let scene = Scene { image, objects: first.objects.clone() };
                let measures = Appearance::of(&scene.image).measures;
                Made { scene, how: How::Degraded(by), measures }
            }
        };
        let looks = Looks { measures: &made.measures, objects: None };
        let is_whole = matches!(made.how, How::Degraded(_));
        if attempt == TRIES || !is_whole || rule.is_none_or(|r| r.is_beyond_limit(&looks)) {
            return made;
        }
        strength *= STRONGER;
    }
    unreachable!("the last attempt returns")
}

/// Draws how an image is changed. Strength 1 is what cameras do on a bad day: two to three stops of light, a blur of a few pixels,
/// the noise of a high ISO speed.
fn degradation(condition: &str, scene: &Scene, strength: f64, rng: &mut Rng) -> Degradation {
    let mut between = |low: f64, high: f64| low + (high - low) * uniform(rng);
    let longest = f64::from(scene.image.width().max(scene.image.height()));
    let px = strength * longest / SIDE_PX;
    match condition {
        "darkness" => {
            Degradation::Exposure { gain: between(0.08, 0.2) / strength, gamma: between(1.0, 1.3) }
        }
        "strong light" => {
            Degradation::Exposure { gain: strength * between(2.5, 5.0), gamma: between(0.8, 1.0) }
        }
        "blur" if between(0.0, 1.0) < 0.5 => {
            Degradation::GaussianBlur { sigma_px: px * between(1.5, 2.5) }
        }
        "blur" => Degradation::MotionBlur {
            length_px: px * between(9.0, 15.0),
            angle_deg: between(0.0, 180.0),
        },
        "low contrast" => Degradation::Haze {
            contrast: between(0.3, 0.45) / strength,
            veil: between(100.0, 160.0),
        },
        _ => Degradation::SensorNoise {
            shot: strength * strength * between(0.3, 0.8),
            read: strength * between(6.0, 10.0),
        },
    }
}

/// A patch of another image over a side of each second object, or anywhere where nothing is known to be.
fn occluded(scene: &Scene, other: &Scene, rng: &mut Rng) -> Made {
    let [width, height] = [scene.image.width(), scene.image.height()].map(f64::from);
    let mut patches = Vec::new();
    let mut patch = |[left, top, w, h]: [f64; 4], rng: &mut Rng| {
        let cut = |v: f64, most: f64| v.clamp(0.0, most) as u32;
        let [x, y] = [cut(left, width), cut(top, height)];
        let covers_px = [x, y, cut(left + w, width) - x, cut(top + h, height) - y];
        let sides = [(other.image.width(), covers_px[2]), (other.image.height(), covers_px[3])];
        let from = |(side, need): (u32, u32)| side.saturating_sub(need) as usize + 1;
        let from_px = sides.map(|side| rng.below(from(side)) as u32);
        patches.push(Patch { covers_px, from_px });
    };
    if scene.objects.is_empty() {
        for _ in 0..PATCHES {
            let side = [0.1 + 0.1 * uniform(rng), 0.1 + 0.1 * uniform(rng)];
            let place = [uniform(rng) * (1.0 - side[0]), uniform(rng) * (1.0 - side[1])];
            let at = [place[0] * width, place[1] * height, side[0] * width, side[1] * height];
            patch(at, rng);
        }
    }
    for object in scene.objects.iter().step_by(2) {
        let [left, top, w, h] = object.bbox;
        let share = 0.3 + 0.2 * uniform(rng);
        let at = match rng.below(4) {
            0 => [left, top, w * share, h],
            1 => [left + w * (1.0 - share), top, w * share, h],
            2 => [left, top, w, h * share],
            _ => [left, top + h * (1.0 - share), w, h * share],
        };
        patch(at, rng);
    }
    let image =
        patches.iter().fold(scene.image.clone(), |image, p| covered(&image, &other.image, *p));
    let is_seen = |o: &&GroundTruthObject| {
        let shared = |p: &Patch| {
            let c = p.covers_px.map(f64::from);
            let side =
                |i: usize| (o.bbox[i] + o.bbox[i + 2]).min(c[i] + c[i + 2]) - o.bbox[i].max(c[i]);
            side(0).max(0.0) * side(1).max(0.0)
        };
        let hidden: f64 = patches.iter().map(shared).sum();
        hidden <= MOST_COVERED * o.bbox[2] * o.bbox[3]
    };
    let objects = scene.objects.iter().filter(is_seen).cloned().collect();
    let measures = Appearance::of(&image).measures;
    Made { scene: Scene { image, objects }, how: How::Covered(patches), measures }
}

/// Four scenes at half their size, their boxes with them.
fn joined(scenes: &[Scene]) -> Made {
    let at = |i: usize| &scenes[i % scenes.len()];
    let image = four_in_one([0, 1, 2, 3].map(|i| &at(i).image));
    let size = [image.width(), image.height()];
    let mut objects = Vec::new();
    for i in 0..4 {
        let source = [at(i).image.width(), at(i).image.height()];
        let place = [i as u32 % 2, i as u32 / 2];
        let half = |axis: usize| f64::from(size[axis] / 2);
        // The second half of an odd side has one pixel more.
        let side = |axis: usize| {
            if place[axis] == 0 { half(axis) } else { f64::from(size[axis]) - half(axis) }
        };
        let scale = [0, 1].map(|axis| side(axis) / f64::from(source[axis].max(1)));
        objects.extend(at(i).objects.iter().map(|o| {
            let [left, top, w, h] = o.bbox;
            let bbox = [
                left * scale[0] + f64::from(place[0]) * half(0),
                top * scale[1] + f64::from(place[1]) * half(1),
                w * scale[0],
                h * scale[1],
            ];
            GroundTruthObject { bbox, area: o.area * scale[0] * scale[1], ..*o }
        }));
    }
    let measures = Appearance::of(&image).measures;
    Made { scene: Scene { image, objects }, how: How::FourInOne, measures }
}

/// From 0 up to, and without, 1.
fn uniform(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
