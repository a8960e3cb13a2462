//! Where an image comes to lie on a canvas, and its boxes with it.

use super::colours::Colours;
use super::resample::{AxisMap, resample};
use crate::losses::LabelledBox;
use crate::{BoxXyxy, Letterbox, Placement};
use image::RgbImage;
use std::ops::Range;

/// Share of a box's area that must be left of it, and how long its sides must be, in pixels.
const LEAST_SHARE: f64 = 0.2;
const LEAST_SIDE_PX: f64 = 2.0;

/// An image on a canvas: along x and y how it is placed, and between which edges of the canvas it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Piece {
    maps: [AxisMap; 2],
    region: [[f64; 2]; 2],
}

impl Piece {
    /// An image as inference places it; sizes are `[width, height]`.
    pub(super) fn letterbox(
        placement: Placement,
        source_px: [usize; 2],
        canvas_px: [usize; 2],
    ) -> Self {
        let letterbox = Letterbox::new(placement, source_px, canvas_px);
        let map = |new: usize, source: usize, offset: usize| AxisMap {
            scale: new as f64 / source.max(1) as f64,
            offset: offset as f64,
        };
        Self {
            maps: [
                map(letterbox.new_w, source_px[0], letterbox.left),
                map(letterbox.new_h, source_px[1], letterbox.top),
            ],
            region: canvas_px.map(|side| [0.0, side as f64]),
        }
    }

    /// Scales about a point of the canvas.
    pub(super) fn scale(&mut self, axis: usize, factor: f64, about: f64) {
        let map = &mut self.maps[axis];
        map.scale *= factor;
        map.offset = about + (map.offset - about) * factor;
    }

    pub(super) fn shift(&mut self, axis: usize, by: f64) {
        self.maps[axis].offset += by;
    }

    /// Lets an image of so many pixels begin or end at an edge of the canvas, and shows nothing of it on the other side.
    pub(super) fn join(&mut self, axis: usize, source_px: f64, edge: f64, is_after: bool) {
        let map = &mut self.maps[axis];
        let length = map.scale * source_px;
        (map.offset, self.region[axis][usize::from(!is_after)]) =
            (if is_after { edge } else { edge - length }, edge);
    }

    /// Exchanges the ends of a canvas of such a length.
    pub(super) fn flip(&mut self, axis: usize, side: f64) {
        let map = &mut self.maps[axis];
        (map.scale, map.offset) = (-map.scale, side - map.offset);
        let [first, last] = self.region[axis];
        self.region[axis] = [side - last, side - first];
    }

    /// Cuts the canvas down to a window that begins at an edge.
    pub(super) fn cut(&mut self, axis: usize, start: f64, window_px: usize) {
        self.maps[axis].offset -= start;
        let within = |edge: f64| (edge - start).clamp(0.0, window_px as f64);
        self.region[axis] = self.region[axis].map(within);
    }

    /// Paints the image on a canvas whose rows have `width` pixels.
    pub(super) fn paint(
        &self,
        image: &RgbImage,
        colours: &Colours,
        canvas: &mut [u8],
        width: usize,
    ) {
        // Regions begin and end between pixels.
        let pixels = |[first, last]: [f64; 2]| Range { start: first as usize, end: last as usize };
        resample(image, self.maps, &self.region.map(pixels), colours, canvas, width);
    }

    /// A labelled box on the canvas; `None` where too little of it shows.
    pub(super) fn labelled(&self, labelled: &LabelledBox) -> Option<LabelledBox> {
        let BoxXyxy { left, top, right, bottom } = labelled.bbox;
        let (mut edges, mut shown) = ([0.0_f32; 4], 1.0);
        for (axis, ends) in [[left, right], [top, bottom]].into_iter().enumerate() {
            let [a, b] = ends.map(|end| self.maps[axis].to_canvas(f64::from(end)));
            let [first, last] = self.region[axis];
            let [low, high] = [a.min(b), a.max(b)];
            let [clipped_low, clipped_high] = [low.clamp(first, last), high.clamp(first, last)];
            let side = clipped_high - clipped_low;
            if side < LEAST_SIDE_PX {
                return None;
            }
            shown *= side / (high - low);
            (edges[axis], edges[axis + 2]) = (clipped_low as f32, clipped_high as f32);
        }
        let bbox = BoxXyxy::from_corners(edges);
        (shown >= LEAST_SHARE).then_some(LabelledBox { bbox, ..*labelled })
    }
}
