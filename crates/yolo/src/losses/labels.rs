//! Losses with labels: every family's own, as functions of one image's raw outputs and its labelled boxes.
//!
//! A loss has two beats. First objects are assigned to the boxes that are to find them; what comes out of that is constant in the
//! gradient, the scores of the assignment included. Then predictions are compared with what is assigned to them.
//!
//! All is summed over the image and divided by a number that is known before anything is computed: how many objects the images of
//! a batch have labelled. So every image can be handled alone, and a batch's loss is the sum of its images'.

mod anchored;
mod claims;
mod distances;
mod offsets;

use super::Loss;
use super::overlap::Edges;
use super::predictions::{Place, Predictions, Terms};
use crate::heads::{Kind, RawHead};
use crate::{BoxXyxy, YoloError};

/// An object that somebody labelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LabelledBox {
    /// Its class.
    pub class: usize,
    /// Where it is, in pixels of the network's input.
    pub bbox: BoxXyxy,
}

/// The objects of one image that a detector is to find.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets(Vec<Target>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Target {
    class: usize,
    /// In pixels of the network's input.
    edges: Edges,
}

/// An object that a box is to find.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Match {
    place: Place,
    /// Position among the targets.
    object: usize,
    /// The score that the box is to give, from 0 to 1.
    score: f64,
}

/// How heads of one kind are trained with labels.
struct Rule {
    is_of: fn(Kind) -> bool,
    /// Which boxes are to find which objects. No place comes twice; places come in order.
    assign: fn(&Predictions<'_>, &[Target]) -> Vec<Match>,
    /// Adds what comparing every prediction with its object, or with the background, gives.
    compare: fn(&mut Terms<'_>, &[Target], &[Match]),
}

/// All rules.
const RULES: &[&Rule] = &[&anchored::RULE, &distances::RULE, &offsets::RULE];

/// A family's own loss with labels.
#[derive(Clone, Debug)]
pub struct LabelledLoss {
    head: RawHead,
}

impl Targets {
    /// How many objects there are. The loss of several images is divided by their sum, but never by less than 1.
    pub fn objects(&self) -> usize {
        self.0.len()
    }
}

impl LabelledLoss {
    /// The loss of a head's raw outputs.
    ///
    /// # Errors
    /// `UnknownAnchors` where boxes are relative to anchors that could not be found in the graph.
    pub fn new(head: &RawHead) -> Result<Self, YoloError> {
        if matches!(head.form.kind, Kind::Anchors(_)) && head.anchors_px.is_empty() {
            return Err(YoloError::UnknownAnchors);
        }
        Ok(Self { head: head.clone() })
    }

    /// The objects of an image: boxes are clipped to the network's input, and those that have no area there are left out.
    ///
    /// # Errors
    /// `LabelClass` for a class that the head does not have, `LabelNotFinite` for an edge that is no number.
    pub fn targets(&self, labels: &[LabelledBox]) -> Result<Targets, YoloError> {
        let (classes, [height, width]) = (self.head.form.classes, self.head.form.size_px);
        let mut targets = Vec::new();
        for &LabelledBox { class, bbox } in labels {
            if class >= classes {
                return Err(YoloError::LabelClass { found: class, classes });
            }
            if !bbox.is_finite() {
                return Err(YoloError::LabelNotFinite { class });
            }
            let clip = |edge: f32, size: usize| f64::from(edge).clamp(0.0, size as f64);
            let edges = [
                clip(bbox.left, width),
                clip(bbox.top, height),
                clip(bbox.right, width),
                clip(bbox.bottom, height),
            ];
            if edges[2] > edges[0] && edges[3] > edges[1] {
                targets.push(Target { class, edges });
            }
        }
        Ok(Targets(targets))
    }

    /// The loss of one image, divided by `objects`, and its gradient by the raw outputs, row-major `[C, H, W]` each.
    pub fn loss(&self, outputs: &[Vec<f32>], targets: &Targets, objects: f64) -> Loss {
        let rule = self.rule();
        let matches = (rule.assign)(&self.predictions(outputs), &targets.0);
        self.compare(outputs, targets, &matches, objects)
    }

    /// The loss with an assignment that is given.
    fn compare(
        &self,
        outputs: &[Vec<f32>],
        targets: &Targets,
        matches: &[Match],
        objects: f64,
    ) -> Loss {
        let mut terms = Terms::new(self.predictions(outputs), 1.0 / objects);
        (self.rule().compare)(&mut terms, &targets.0, matches);
        terms.into_loss()
    }

    fn predictions<'a>(&'a self, outputs: &'a [Vec<f32>]) -> Predictions<'a> {
        Predictions { head: &self.head, outputs }
    }

    fn rule(&self) -> &'static Rule {
        let rule = RULES.iter().find(|rule| (rule.is_of)(self.head.form.kind));
        rule.expect("every kind of head has its rule")
    }
}

#[cfg(test)]
mod tests;
