//! A teacher that is drawn from what a detector holds for probable.
use super::Distillation;
use crate::heads::{Kind, RawBoxes, RawChannels};
use numerics::Rng;

/// The raw number of what is certain.
const CERTAIN: f32 = 20.0;

impl Distillation {
    /// What a teacher gives that is certain of what is drawn: each score is there or not, by its probability, and each side of a
    /// box one of its bins. Where a side is one number, the teacher's is as likely larger as smaller.
    ///
    /// The mean square of the loss's gradient over such teachers is the curvature of the divergence from the detector itself: its
    /// Fisher information.
    pub fn drawn(&self, raw: &[Vec<f32>], rng: &mut Rng) -> Vec<Vec<f32>> {
        let mut teacher = raw.to_vec();
        for boxes in &self.form.boxes {
            for cell in 0..boxes.cells {
                let mut draw = Draw { teacher: &mut teacher, boxes, cell, rng };
                if let Some(objectness) = boxes.objectness {
                    draw.score(objectness, 0);
                }
                (0..self.form.classes).for_each(|class| draw.score(boxes.classes, class));
                match self.form.kind {
                    Kind::Distances(bins) if bins > 1 => {
                        (0..4).for_each(|side| draw.bin(side * bins..(side + 1) * bins));
                    }
                    _ => (0..4).for_each(|channel| draw.side(channel)),
                }
            }
        }
        teacher
    }
}

/// One cell of a teacher, still as the detector gives it.
struct Draw<'a> {
    teacher: &'a mut [Vec<f32>],
    boxes: &'a RawBoxes,
    cell: usize,
    rng: &'a mut Rng,
}

impl Draw<'_> {
    fn at(&mut self, channels: RawChannels, channel: usize) -> &mut f32 {
        let index = (channels.first + channel) * self.boxes.cells + self.cell;
        &mut self.teacher[channels.output][index]
    }

    /// A number between 0 and 1, without the two.
    fn uniform(&mut self) -> f32 {
        (0.5 + 0.5 * self.rng.signed()).clamp(f32::EPSILON, 1.0 - f32::EPSILON)
    }

    /// Logistic noise lifts a logit over 0 with the probability that it stands for.
    fn score(&mut self, channels: RawChannels, channel: usize) {
        let uniform = self.uniform();
        let noise = (uniform / (1.0 - uniform)).ln();
        let logit = self.at(channels, channel);
        *logit = if *logit + noise > 0.0 { CERTAIN } else { -CERTAIN };
    }

    /// Gumbel noise makes each logit the largest with the probability that it stands for.
    fn bin(&mut self, bins: std::ops::Range<usize>) {
        let mut drawn = (f32::NEG_INFINITY, bins.start);
        for bin in bins.clone() {
            let noise = -(-self.uniform().ln()).ln();
            let value = *self.at(self.boxes.boxes, bin) + noise;
            if value > drawn.0 {
                drawn = (value, bin);
            }
        }
        bins.for_each(|bin| {
            *self.at(self.boxes.boxes, bin) = if bin == drawn.1 { CERTAIN } else { -CERTAIN };
        });
    }

    fn side(&mut self, channel: usize) {
        let moved = if self.rng.next_u64() & 1 == 1 { 1.0 } else { -1.0 };
        *self.at(self.boxes.boxes, channel) += moved;
    }
}
