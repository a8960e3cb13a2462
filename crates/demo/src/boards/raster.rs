//! How much of each pixel a shape covers, from its signed distance.
use super::{SIDE_PX, between};
use numerics::Rng;

/// Across and down, in pixels.
pub(super) type Point = [f32; 2];

/// What boards are made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// Everything within a radius of a line; a disc where the line is a point.
    Capsule { ends: [Point; 2], radius: f32 },
    /// A rectangle of half a width and half a height, turned by an angle.
    Rectangle { center: Point, half: Point, angle: f32 },
}

impl Shape {
    pub(super) fn disc(center: Point, radius: f32) -> Self {
        Self::Capsule { ends: [center; 2], radius }
    }

    pub(super) fn rectangle(center: Point, half: Point) -> Self {
        Self::Rectangle { center, half, angle: 0.0 }
    }

    /// The shape with an edge that lies further out.
    pub(super) fn grown(self, by: f32) -> Self {
        match self {
            Self::Capsule { ends, radius } => Self::Capsule { ends, radius: radius + by },
            Self::Rectangle { center, half, angle } => {
                Self::Rectangle { center, half: half.map(|h| h + by), angle }
            }
        }
    }

    /// How far a point lies outside the shape; less than 0 inside.
    fn distance(&self, point: Point) -> f32 {
        match *self {
            Self::Capsule { ends: [a, b], radius } => {
                let (along, to) = (minus(b, a), minus(point, a));
                let length = dot(along, along);
                let share = if length > 0.0 { dot(to, along) / length } else { 0.0 };
                let share = share.clamp(0.0, 1.0);
                let nearest = [a[0] + share * along[0], a[1] + share * along[1]];
                let gap = minus(point, nearest);
                dot(gap, gap).sqrt() - radius
            }
            Self::Rectangle { center, half, angle } => {
                let (sin, cos) = angle.sin_cos();
                let [x, y] = minus(point, center);
                let local = [(cos * x + sin * y).abs(), (cos * y - sin * x).abs()];
                let [dx, dy] = minus(local, half);
                let outside = [dx.max(0.0), dy.max(0.0)];
                dot(outside, outside).sqrt() + dx.max(dy).min(0.0)
            }
        }
    }

    /// Left, top, right and bottom, to the pixel or two.
    pub(super) fn bounds(&self) -> [f32; 4] {
        match *self {
            Self::Capsule { ends: [a, b], radius } => [
                a[0].min(b[0]) - radius,
                a[1].min(b[1]) - radius,
                a[0].max(b[0]) + radius,
                a[1].max(b[1]) + radius,
            ],
            Self::Rectangle { center: [x, y], half, .. } => {
                let reach = dot(half, half).sqrt();
                [x - reach, y - reach, x + reach, y + reach]
            }
        }
    }
}

fn minus(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

/// How the board lies under the camera.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    angle: f32,
    scale: f32,
    shift: Point,
}

impl View {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            angle: between(rng, -0.06, 0.06),
            scale: between(rng, 1.15, 1.4),
            shift: [between(rng, -8.0, 8.0), between(rng, -8.0, 8.0)],
        }
    }

    /// Where a point of the board appears in the picture.
    pub(super) fn point(&self, point: Point) -> Point {
        let middle = SIDE_PX as f32 / 2.0;
        let (sin, cos) = self.angle.sin_cos();
        let [x, y] = point.map(|p| (p - middle) * self.scale);
        [cos * x - sin * y + middle + self.shift[0], sin * x + cos * y + middle + self.shift[1]]
    }

    pub(super) fn shape(&self, shape: &Shape) -> Shape {
        match *shape {
            Shape::Capsule { ends, radius } => {
                Shape::Capsule { ends: ends.map(|e| self.point(e)), radius: radius * self.scale }
            }
            Shape::Rectangle { center, half, angle } => Shape::Rectangle {
                center: self.point(center),
                half: half.map(|h| h * self.scale),
                angle: angle + self.angle,
            },
        }
    }
}

/// How much of each pixel is covered, 0 to 1, row by row.
#[derive(Clone, Debug)]
pub(super) struct Layer(pub(super) Vec<f32>);

impl Layer {
    pub(super) fn new() -> Self {
        Self(vec![0.0; SIDE_PX * SIDE_PX])
    }

    /// Covers what a shape of the picture covers.
    pub(super) fn add(&mut self, shape: &Shape) {
        self.change(shape, |covered, share| covered.max(share));
    }

    /// Uncovers it.
    pub(super) fn remove(&mut self, shape: &Shape) {
        self.change(shape, |covered, share| covered.min(1.0 - share));
    }

    fn change(&mut self, shape: &Shape, change: fn(f32, f32) -> f32) {
        let pixel = |at: f32| at.clamp(0.0, SIDE_PX as f32) as usize;
        let [left, top, right, bottom] = shape.bounds();
        for row in pixel(top - 1.0)..pixel(bottom + 2.0) {
            for column in pixel(left - 1.0)..pixel(right + 2.0) {
                let center = [column as f32 + 0.5, row as f32 + 0.5];
                let share = (0.5 - shape.distance(center)).clamp(0.0, 1.0);
                let covered = &mut self.0[row * SIDE_PX + column];
                *covered = change(*covered, share);
            }
        }
    }
}
