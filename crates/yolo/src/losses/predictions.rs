//! The raw outputs of one image, read box by box, and the loss that is summed up over them.

use super::Loss;
use super::logits::{cross_entropy, sigmoid};
use super::overlap::Edges;
use crate::heads::{RawBoxes, RawChannels, RawHead};

/// One of the boxes that a head predicts: one of the form's boxes, at a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) boxes: usize,
    pub(super) cell: usize,
}

/// What a head gives for one image.
#[derive(Clone, Copy)]
pub(super) struct Predictions<'a> {
    pub(super) head: &'a RawHead,
    /// Row-major `[C, H, W]` each.
    pub(super) outputs: &'a [Vec<f32>],
}

impl<'a> Predictions<'a> {
    pub(super) fn boxes(&self, place: Place) -> &'a RawBoxes {
        &self.head.form.boxes[place.boxes]
    }

    pub(super) fn classes(&self) -> usize {
        self.head.form.classes
    }

    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<'a> {
        let boxes = self.head.form.boxes.iter().enumerate();
        boxes.flat_map(|(boxes, of)| (0..of.cells).map(move |cell| Place { boxes, cell }))
    }

    /// Pixels from cell to cell at the scale of a place, along x and y.
    pub(super) fn stride(&self, place: Place) -> [f64; 2] {
        self.head.form.stride(self.boxes(place))
    }

    /// Left upper corner of a place's cell, in cells.
    pub(super) fn corner(&self, place: Place) -> [f64; 2] {
        let columns = self.boxes(place).columns.max(1);
        [(place.cell % columns) as f64, (place.cell / columns) as f64]
    }

    fn raw(&self, place: Place, channels: RawChannels, channel: usize) -> f64 {
        let index = index(self.boxes(place), channels, channel, place.cell);
        f64::from(self.outputs[channels.output][index])
    }

    /// A raw number of a place's box.
    pub(super) fn box_number(&self, place: Place, channel: usize) -> f64 {
        self.raw(place, self.boxes(place).boxes, channel)
    }

    pub(super) fn class_logit(&self, place: Place, class: usize) -> f64 {
        self.raw(place, self.boxes(place).classes, class)
    }

    /// The raw objectness; `None` where the head has none.
    pub(super) fn objectness_logit(&self, place: Place) -> Option<f64> {
        Some(self.raw(place, self.boxes(place).objectness?, 0))
    }

    /// The places of one of the form's boxes whose cells have their centre within these edges, in pixels.
    pub(super) fn places_within(&self, boxes: usize, edges: Edges) -> Vec<Place> {
        let of = &self.head.form.boxes[boxes];
        let stride = self.head.form.stride(of);
        let columns = of.columns.max(1);
        let range = |axis: usize, cells: usize| {
            let cell = |edge: f64| (edge / stride[axis] - 0.5).clamp(-1.0, cells as f64);
            let first = cell(edges[axis]).ceil().max(0.0) as usize;
            let end = (cell(edges[axis + 2]).floor() + 1.0).max(0.0) as usize;
            first..end.min(cells)
        };
        let (rows, row) = (range(1, of.cells / columns), range(0, columns));
        let places = |y: usize| row.clone().map(move |x| Place { boxes, cell: y * columns + x });
        rows.flat_map(places).collect()
    }
}

fn index(boxes: &RawBoxes, channels: RawChannels, channel: usize, cell: usize) -> usize {
    (channels.first + channel) * boxes.cells + cell
}

/// A loss that terms are added to.
pub(super) struct Terms<'a> {
    pub(super) predictions: Predictions<'a>,
    /// What every term is multiplied by.
    factor: f64,
    loss: Loss,
}

impl<'a> Terms<'a> {
    pub(super) fn new(predictions: Predictions<'a>, factor: f64) -> Self {
        let loss = Loss::zero(&predictions.head.form.elements);
        Self { predictions, factor, loss }
    }

    pub(super) fn into_loss(self) -> Loss {
        self.loss
    }

    pub(super) fn add(&mut self, value: f64) {
        self.loss.value += value * self.factor;
    }

    /// Adds to the gradient by a raw number of a place's box.
    pub(super) fn add_to_box(&mut self, place: Place, channel: usize, gradient: f64) {
        self.add_gradient(place, self.predictions.boxes(place).boxes, channel, gradient);
    }

    fn add_gradient(&mut self, place: Place, channels: RawChannels, channel: usize, gradient: f64) {
        let index = index(self.predictions.boxes(place), channels, channel, place.cell);
        self.loss.gradients[channels.output][index] += (gradient * self.factor) as f32;
    }

    /// The cross-entropy of a place's class with a probability.
    pub(super) fn class(&mut self, place: Place, class: usize, target: f64, weight: f64) {
        let channels = self.predictions.boxes(place).classes;
        self.entropy(place, channels, class, target, weight);
    }

    /// The cross-entropies of all classes of a place, of which one is there with some probability.
    pub(super) fn one_class(&mut self, place: Place, present: usize, target: f64, weight: f64) {
        for class in 0..self.predictions.classes() {
            let target = if class == present { target } else { 0.0 };
            self.class(place, class, target, weight);
        }
    }

    /// The cross-entropy of a place's objectness with a probability, where the head has one.
    pub(super) fn objectness(&mut self, place: Place, target: f64, weight: f64) {
        if let Some(channels) = self.predictions.boxes(place).objectness {
            self.entropy(place, channels, 0, target, weight);
        }
    }

    fn entropy(
        &mut self,
        place: Place,
        channels: RawChannels,
        channel: usize,
        target: f64,
        weight: f64,
    ) {
        let logit = self.predictions.raw(place, channels, channel);
        self.add(weight * cross_entropy(logit, target));
        self.add_gradient(place, channels, channel, weight * (sigmoid(logit) - target));
    }
}
