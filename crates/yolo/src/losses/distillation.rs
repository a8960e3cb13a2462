//! Distillation without labels: a detector learns to give what another one gives on the same pixels.
//!
//! Scores are compared by the Kullback-Leibler divergence from the teacher's, boxes where the teacher sees an object, with the
//! score as their weight; all is divided by the sum of the weights, as detection losses are by the number of objects.
//! Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (arXiv:1503.02531); the weights follow Zhang et
//! al., "PDF-Distil" and Yang et al. (arXiv:2308.14286).
mod drawn;

use super::Loss;
use super::logits::{log_softmax, sigmoid, softplus};
use crate::YoloError;
use crate::heads::{Kind, RawBoxes, RawChannels, RawForm, RawHead};

/// How much boxes count beside scores: sides as distributions or numbers, and centres and sizes relative to an anchor.
const DISTANCES: f64 = 5.0;
const ANCHORED: f64 = 15.0;

/// The comparison of two heads of one form.
#[derive(Clone, Debug)]
pub struct Distillation {
    form: RawForm,
}

impl Distillation {
    /// The comparison of a student's raw outputs with its teacher's.
    ///
    /// # Errors
    /// `NotOfTheTeacher` when the two do not predict the same for the same cells.
    pub fn new(student: &RawHead, teacher: &RawHead) -> Result<Self, YoloError> {
        if student.form != teacher.form {
            let describe = |form: &RawForm| {
                let (boxes, classes) =
                    (form.boxes.iter().map(|b| b.cells).sum::<usize>(), form.classes);
                format!("{boxes} boxes of {classes} classes ({:?})", form.kind)
            };
            return Err(YoloError::NotOfTheTeacher {
                expected: describe(&teacher.form),
                found: describe(&student.form),
            });
        }
        let form = teacher.form.clone();
        Ok(Self { form })
    }

    /// The sum of the weights of one image's boxes: how many objects the teacher sees. The loss of several images is divided
    /// by their sum, but never by less than 1.
    pub fn weight(&self, teacher: &[Vec<f32>]) -> f64 {
        let boxes = self.form.boxes.iter();
        let weights = boxes
            .flat_map(|boxes| (0..boxes.cells).map(|cell| self.weight_of(teacher, boxes, cell)));
        weights.sum()
    }

    /// The loss of one image, divided by `objects`, and its gradient by the student's outputs. Outputs are row-major
    /// `[C, H, W]` each.
    pub fn loss(&self, student: &[Vec<f32>], teacher: &[Vec<f32>], objects: f64) -> Loss {
        let mut loss = Loss::zero(&self.form.elements);
        for boxes in &self.form.boxes {
            for cell in 0..boxes.cells {
                let mut pair = Pair {
                    student,
                    teacher,
                    cells: boxes.cells,
                    cell,
                    factor: 1.0 / objects,
                    loss: &mut loss,
                };
                let weight = self.weight_of(teacher, boxes, cell);
                self.scores(&mut pair, boxes, weight);
                self.boxes(&mut pair, boxes, weight);
            }
        }
        loss
    }

    /// The teacher's score of a box.
    fn weight_of(&self, teacher: &[Vec<f32>], boxes: &RawBoxes, cell: usize) -> f64 {
        let logit = |channels: RawChannels, channel: usize| {
            f64::from(teacher[channels.output][(channels.first + channel) * boxes.cells + cell])
        };
        let classes = (0..self.form.classes).map(|c| logit(boxes.classes, c));
        let best = sigmoid(classes.fold(f64::NEG_INFINITY, f64::max));
        best * boxes.objectness.map_or(1.0, |o| sigmoid(logit(o, 0)))
    }

    fn scores(&self, pair: &mut Pair<'_>, boxes: &RawBoxes, weight: f64) {
        let mut class_weight = 1.0;
        if let Some(objectness) = boxes.objectness {
            pair.bernoulli(objectness, 0, 1.0);
            class_weight = weight;
        }
        for class in 0..self.form.classes {
            pair.bernoulli(boxes.classes, class, class_weight);
        }
    }

    fn boxes(&self, pair: &mut Pair<'_>, boxes: &RawBoxes, weight: f64) {
        match self.form.kind {
            Kind::Anchors(_) => {
                for channel in 0..4 {
                    pair.sigmoid_distance(boxes.boxes, channel, ANCHORED * weight);
                }
            }
            Kind::Distances(1) => {
                for [near, far] in [[0, 2], [1, 3]] {
                    // Relative to the length of the teacher's box, at least a cell.
                    let sides = [near, far].map(|c| pair.at(pair.teacher, boxes.boxes, c));
                    let length = (sides[0] + sides[1]).max(1.0);
                    for channel in [near, far] {
                        pair.distance(boxes.boxes, channel, DISTANCES * weight / length);
                    }
                }
            }
            Kind::Distances(bins) => {
                for side in 0..4 {
                    pair.distribution(
                        boxes.boxes,
                        side * bins..(side + 1) * bins,
                        DISTANCES * weight,
                    );
                }
            }
            Kind::Offsets => {
                for channel in 0..4 {
                    pair.distance(boxes.boxes, channel, DISTANCES * weight);
                }
            }
        }
    }
}

/// One cell of the student beside the teacher's, and the loss that the comparison adds to.
struct Pair<'a> {
    student: &'a [Vec<f32>],
    teacher: &'a [Vec<f32>],
    cells: usize,
    cell: usize,
    factor: f64,
    loss: &'a mut Loss,
}

impl Pair<'_> {
    fn at(&self, outputs: &[Vec<f32>], channels: RawChannels, channel: usize) -> f64 {
        let index = (channels.first + channel) * self.cells + self.cell;
        f64::from(outputs[channels.output][index])
    }

    /// The raw numbers of student and teacher.
    fn logits(&self, channels: RawChannels, channel: usize) -> [f64; 2] {
        [self.student, self.teacher].map(|outputs| self.at(outputs, channels, channel))
    }

    fn add(&mut self, value: f64) {
        self.loss.value += value * self.factor;
    }

    fn add_gradient(&mut self, channels: RawChannels, channel: usize, gradient: f64) {
        let index = (channels.first + channel) * self.cells + self.cell;
        self.loss.gradients[channels.output][index] += (gradient * self.factor) as f32;
    }

    /// The divergence of a probability that is the sigmoid of a logit.
    fn bernoulli(&mut self, channels: RawChannels, channel: usize, weight: f64) {
        let [student, teacher] = self.logits(channels, channel);
        let probability = sigmoid(teacher);
        let divergence = softplus(student) - softplus(teacher) - probability * (student - teacher);
        self.add(weight * divergence);
        self.add_gradient(channels, channel, weight * (sigmoid(student) - probability));
    }

    /// The divergence of a distribution over bins that is the softmax of logits.
    fn distribution(&mut self, channels: RawChannels, bins: std::ops::Range<usize>, weight: f64) {
        let shares = |outputs: &[Vec<f32>]| {
            let logits: Vec<f64> = bins.clone().map(|c| self.at(outputs, channels, c)).collect();
            log_softmax(&logits)
        };
        let (student, teacher) = (shares(self.student), shares(self.teacher));
        for (channel, (s, t)) in bins.zip(student.into_iter().zip(teacher)) {
            self.add(weight * t.exp() * (t - s));
            self.add_gradient(channels, channel, weight * (s.exp() - t.exp()));
        }
    }

    /// The distance of two numbers.
    fn distance(&mut self, channels: RawChannels, channel: usize, weight: f64) {
        let [student, teacher] = self.logits(channels, channel);
        self.add(weight * (student - teacher).abs());
        self.add_gradient(channels, channel, weight * sign(student - teacher));
    }

    /// The distance of two sigmoids.
    fn sigmoid_distance(&mut self, channels: RawChannels, channel: usize, weight: f64) {
        let [student, teacher] = self.logits(channels, channel).map(sigmoid);
        self.add(weight * (student - teacher).abs());
        let slope = student * (1.0 - student);
        self.add_gradient(channels, channel, weight * sign(student - teacher) * slope);
    }
}

/// As `f64::signum`, but 0 for 0.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use numerics::Rng;

    /// A head of two cells with so many channels for boxes, an objectness where asked for, and three classes.
    fn form(kind: Kind, box_channels: usize, has_objectness: bool) -> RawForm {
        let channels = |output, first| RawChannels { output, first };
        let in_one = matches!(kind, Kind::Anchors(_));
        let place = |output: usize, first: usize| {
            if in_one { channels(0, first) } else { channels(output, 0) }
        };
        let widths = [box_channels, 3, usize::from(has_objectness)];
        let elements = if in_one {
            vec![widths.iter().sum::<usize>() * 2]
        } else {
            let present = widths.iter().filter(|&&width| width > 0);
            present.map(|width| width * 2).collect()
        };
        let boxes = RawBoxes {
            level: 0,
            cells: 2,
            columns: 2,
            boxes: place(0, 0),
            objectness: has_objectness.then(|| place(2, 4)),
            classes: place(1, box_channels + usize::from(has_objectness)),
        };
        RawForm { kind, classes: 3, size_px: [8, 16], boxes: vec![boxes], elements }
    }

    fn forms() -> [RawForm; 4] {
        [
            form(Kind::Anchors(1), 4, true),
            form(Kind::Distances(16), 64, false),
            form(Kind::Distances(1), 4, false),
            form(Kind::Offsets, 4, true),
        ]
    }

    fn outputs(form: &RawForm, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = Rng::new(seed);
        let output = |&n: &usize| (0..n).map(|_| 2.0 * rng.signed()).collect();
        form.elements.iter().map(output).collect()
    }

    #[test]
    fn gradients_of_every_kind_of_head_equal_finite_differences() {
        for form in forms() {
            let (student, teacher) = (outputs(&form, 1), outputs(&form, 2));
            let distillation = Distillation { form };
            let objects = distillation.weight(&teacher);
            let loss = distillation.loss(&student, &teacher, objects);
            for (output, gradient) in loss.gradients.iter().enumerate() {
                for (at, &found) in gradient.iter().enumerate() {
                    let step = 1e-3;
                    let moved = |by: f32| {
                        let mut student = student.clone();
                        student[output][at] += by;
                        let distance = f64::from(student[output][at]);
                        (distance, distillation.loss(&student, &teacher, objects).value)
                    };
                    let [(low, below), (high, above)] = [moved(-step), moved(step)];
                    let expected = (above - below) / (high - low);
                    let error = (f64::from(found) - expected).abs();
                    let kind = distillation.form.kind;
                    assert!(
                        error < 1e-4 * (1.0 + expected.abs()),
                        "{kind:?}: {found} instead of {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_student_that_equals_its_teacher_has_no_loss() {
        for form in forms() {
            let teacher = outputs(&form, 3);
            let distillation = Distillation { form };
            let loss = distillation.loss(&teacher, &teacher, 1.0);
            assert!(loss.value.abs() < 1e-12);
            assert!(loss.gradients.iter().flatten().all(|g| g.abs() < 1e-6));
        }
    }

    #[test]
    fn drawn_teachers_give_the_gradient_of_the_detector_itself_in_the_mean() {
        for form in forms() {
            let raw = outputs(&form, 5);
            let distillation = Distillation { form };
            let boxes = distillation.form.boxes[0];
            let mut rng = numerics::Rng::new(9);
            let draws = 20_000;
            let teachers: Vec<_> = (0..draws).map(|_| distillation.drawn(&raw, &mut rng)).collect();
            for channels in [Some(boxes.classes), boxes.objectness].into_iter().flatten() {
                let at = channels.first * boxes.cells + 1;
                let drawn = teachers.iter().filter(|t| t[channels.output][at] > 0.0).count();
                let expected = sigmoid(f64::from(raw[channels.output][at]));
                let found = drawn as f64 / f64::from(draws);
                assert!((found - expected).abs() < 0.02, "{found} instead of {expected}");
            }
            let Kind::Distances(bins @ 2..) = distillation.form.kind else {
                continue;
            };
            let logit = |c: usize| (boxes.boxes.first + c) * boxes.cells;
            let logits: Vec<f64> =
                (0..bins).map(|c| f64::from(raw[boxes.boxes.output][logit(c)])).collect();
            for (bin, expected) in log_softmax(&logits).into_iter().enumerate() {
                let is_drawn = |t: &&Vec<Vec<f32>>| t[boxes.boxes.output][logit(bin)] > 0.0;
                let found = teachers.iter().filter(is_drawn).count() as f64 / f64::from(draws);
                assert!((found - expected.exp()).abs() < 0.02, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn the_weight_of_an_image_counts_the_objects_that_the_teacher_sees() {
        for form in forms() {
            let mut teacher: Vec<Vec<f32>> =
                form.elements.iter().map(|&n| vec![-20.0; n]).collect();
            let distillation = Distillation { form };
            assert!(distillation.weight(&teacher) < 1e-6);
            let boxes = distillation.form.boxes[0];
            let seen = [Some(boxes.classes), boxes.objectness];
            for channels in seen.into_iter().flatten() {
                teacher[channels.output][channels.first * 2 + 1] = 20.0;
            }
            assert!((distillation.weight(&teacher) - 1.0).abs() < 1e-6);
        }
    }
}
