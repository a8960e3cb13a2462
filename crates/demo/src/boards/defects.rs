//! Damage of a board, and the boxes around it.
use super::grid::{Cell, center, step};
use super::layout::{Artwork, Trace};
use super::raster::{Point, Shape, View};
use super::{Defect, NAMES, SIDE_PX, between, happens};
use numerics::Rng;

/// Share of the boards that are faultless, and defects that others have at most.
const FAULTLESS: f32 = 0.12;
const MOST: usize = 5;

/// How often a place is looked for before a board goes without that defect.
const TRIES: usize = 60;

/// What makes a damage of each class, where the board has a place for it.
const CLASSES: [fn(&Artwork, &mut Rng) -> Option<Damage>; NAMES.len()] =
    [open, short, mouse_bite, missing_hole];

/// What lies between a defect and its box, the least side of a box, and the least distance of two boxes.
const MARGIN_PX: f32 = 3.0;
const LEAST_PX: f32 = 16.0;
const APART_PX: f32 = 6.0;

/// One way to damage a board.
struct Damage {
    /// What the box goes around.
    extent: Vec<Shape>,
    change: Change,
}

enum Change {
    /// Copper is missing.
    Gap(Vec<Shape>),
    /// Copper that should not be there.
    Copper(Vec<Shape>),
    /// A drilled pad without its hole.
    Undrilled(usize),
}

/// Damages a board, and tells where in the picture that is seen.
pub(super) fn damage(artwork: &mut Artwork, view: &View, rng: &mut Rng) -> Vec<Defect> {
    let mut found: Vec<Defect> = Vec::new();
    let wanted = if happens(rng, FAULTLESS) { 0 } else { 1 + rng.below(MOST) };
    for _ in 0..wanted {
        let class = rng.below(NAMES.len());
        for _ in 0..TRIES {
            let Some(damage) = CLASSES[class](artwork, rng) else {
                continue;
            };
            let bbox = bbox(&damage.extent, view);
            if is_inside(bbox) && found.iter().all(|other| !is_near(bbox, other.bbox)) {
                match damage.change {
                    Change::Gap(shapes) => artwork.gaps.extend(shapes),
                    Change::Copper(shapes) => artwork.copper.extend(shapes),
                    Change::Undrilled(pad) => artwork.drilled[pad].hole = 0.0,
                }
                found.push(Defect { class, bbox });
                break;
            }
        }
    }
    found
}

/// A place on a trace, away from its ends.
struct Spot {
    at: Point,
    /// The direction of the trace there, of length 1.
    along: Point,
    width: f32,
}

impl Spot {
    fn find(artwork: &Artwork, rng: &mut Rng) -> Option<Self> {
        let trace = some_trace(artwork, rng)?;
        let first = 2 + rng.below(trace.cells.len().checked_sub(5)?);
        let [a, b] = [center(trace.cells[first]), center(trace.cells[first + 1])];
        let along = [b[0] - a[0], b[1] - a[1]];
        let length = along[0].hypot(along[1]);
        let share = between(rng, 0.0, 1.0);
        let at = [a[0] + share * along[0], a[1] + share * along[1]];
        Some(Self { at, along: along.map(|d| d / length), width: trace.width })
    }

    /// A point so far along the trace and to its side.
    fn point(&self, along: f32, aside: f32) -> Point {
        let [x, y] = self.along;
        [self.at[0] + along * x - aside * y, self.at[1] + along * y + aside * x]
    }
}

fn some_trace<'a>(artwork: &'a Artwork, rng: &mut Rng) -> Option<&'a Trace> {
    artwork.traces.get(rng.below(artwork.traces.len()))
}

/// A trace that ends and begins again.
fn open(artwork: &Artwork, rng: &mut Rng) -> Option<Damage> {
    let spot = Spot::find(artwork, rng)?;
    let gap = between(rng, 4.0, 8.0);
    let half = [gap / 2.0, spot.width / 2.0 + 0.6];
    let angle = spot.along[1].atan2(spot.along[0]) + between(rng, -0.35, 0.35);
    let mut shapes = vec![Shape::Rectangle { center: spot.at, half, angle }];
    for end in [-gap / 2.0, gap / 2.0] {
        let aside = between(rng, -0.3, 0.3) * spot.width;
        shapes.push(Shape::disc(spot.point(end, aside), between(rng, 0.8, 1.5)));
    }
    Some(Damage { extent: shapes.clone(), change: Change::Gap(shapes) })
}

/// Copper from one trace to its neighbour.
fn short(artwork: &Artwork, rng: &mut Rng) -> Option<Damage> {
    let trace = some_trace(artwork, rng)?;
    let at = trace.cells[rng.below(trace.cells.len())];
    let towards: Cell = [[0, 1], [1, 0], [0, -1], [-1, 0]][rng.below(4)];
    let neighbour = step(at, towards, 1);
    let net = artwork.grid.net(neighbour)?;
    let is_trace = |other: &Trace| other.net == net && other.cells.contains(&neighbour);
    if net == trace.net || !artwork.traces.iter().any(is_trace) {
        return None;
    }
    let shift = between(rng, -4.0, 4.0);
    let aside = [towards[1] as f32 * shift, towards[0] as f32 * shift];
    let ends = [center(at), center(neighbour)].map(|[x, y]| [x + aside[0], y + aside[1]]);
    let bridge = Shape::Capsule { ends, radius: between(rng, 1.1, 2.3) };
    let between_ends =
        |share: f32| [0, 1].map(|axis| ends[0][axis] + share * (ends[1][axis] - ends[0][axis]));
    let blob = Shape::disc(between_ends(between(rng, 0.35, 0.65)), between(rng, 1.4, 2.8));
    let visible = trace.width / 2.0 / (Cell::default().len() as f32 * 6.0);
    let seen = [between_ends(visible), between_ends(1.0 - visible)];
    let seen = Shape::Capsule { ends: seen, radius: 2.0 };
    Some(Damage { extent: vec![seen, blob], change: Change::Copper(vec![bridge, blob]) })
}

/// A trace that is narrower at one place.
fn mouse_bite(artwork: &Artwork, rng: &mut Rng) -> Option<Damage> {
    let spot = Spot::find(artwork, rng)?;
    let side = if happens(rng, 0.5) { 1.0 } else { -1.0 };
    let bites = [0, 1].map(|bite| {
        let radius = between(rng, 1.8, 3.0);
        let depth = spot.width * between(rng, 0.5, 0.75);
        let aside = side * (spot.width / 2.0 - depth + radius);
        let along = bite as f32 * between(rng, 1.0, 2.6);
        Shape::disc(spot.point(along, aside), radius)
    });
    Some(Damage { extent: bites.to_vec(), change: Change::Gap(bites.to_vec()) })
}

/// A pad that was not drilled.
fn missing_hole(artwork: &Artwork, rng: &mut Rng) -> Option<Damage> {
    let at = rng.below(artwork.drilled.len());
    let pad = artwork.drilled.get(at).filter(|pad| pad.hole > 0.0)?;
    let extent = vec![Shape::disc(pad.center, pad.radius - 1.0)];
    Some(Damage { extent, change: Change::Undrilled(at) })
}

/// Left, top, right and bottom of what is damaged, with a margin, in the picture.
fn bbox(extent: &[Shape], view: &View) -> [f32; 4] {
    let bounds = extent.iter().map(|shape| view.shape(shape).bounds());
    let all =
        bounds.reduce(|a, b| [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
    let [left, top, right, bottom] = all.expect("a defect has an extent");
    let sides = |low: f32, high: f32| {
        let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0 + MARGIN_PX);
        let half = half.max(LEAST_PX / 2.0);
        [middle - half, middle + half]
    };
    let [[left, right], [top, bottom]] = [sides(left, right), sides(top, bottom)];
    [left, top, right, bottom]
}

fn is_inside([left, top, right, bottom]: [f32; 4]) -> bool {
    let side = SIDE_PX as f32;
    left >= 0.0 && top >= 0.0 && right <= side && bottom <= side
}

fn is_near(a: [f32; 4], b: [f32; 4]) -> bool {
    let apart = |axis: usize| b[axis] - a[axis + 2] > APART_PX || a[axis] - b[axis + 2] > APART_PX;
    !apart(0) && !apart(1)
}
