//! From a network's outputs to candidates.
use crate::{BoxXyxy, Detection, YoloError};
use ir::Tensor;
use std::fmt;

/// Numbers of one kind in an output: for each candidate of a block one, or one for each channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Field {
    /// Position of the output.
    pub(crate) output: usize,
    /// Element of the first candidate's first channel.
    pub(crate) first: usize,
    /// Elements from channel to channel.
    pub(crate) channel: usize,
    /// Elements from candidate to candidate.
    pub(crate) candidate: usize,
}

impl Field {
    fn value(&self, data: &[f32], channel: usize, candidate: usize) -> f32 {
        data[self.first + channel * self.channel + candidate * self.candidate]
    }

    /// The field that starts some channels and candidates later.
    pub(crate) fn from(self, channel: usize, candidate: usize) -> Self {
        Self { first: self.first + channel * self.channel + candidate * self.candidate, ..self }
    }

    /// Elements that an output must have.
    fn needs(&self, channels: usize, candidates: usize) -> usize {
        let last = |count: usize, step: usize| count.saturating_sub(1) * step;
        self.first + last(channels, self.channel) + last(candidates, self.candidate) + 1
    }
}

/// How the four numbers of a finished box are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Corners {
    /// Centre and size.
    Center,
    /// Left, top, right, bottom.
    LeftTopRightBottom,
    /// Left, top, width, height.
    LeftTopSize,
}

/// The unit of a finished box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Pixels,
    /// Shares of the input's width and height.
    Shares,
    /// Distances from cell to cell.
    Strides,
}

/// Cells of which a block's candidates are, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    pub(crate) columns: usize,
    /// Along x and y, in pixels.
    pub(crate) stride: [f32; 2],
}

impl Grid {
    /// The corner of a candidate's cell, in strides.
    fn corner(&self, candidate: usize) -> [f32; 2] {
        let columns = self.columns.max(1);
        [(candidate % columns) as f32, (candidate / columns) as f32]
    }
}

/// How numbers become boxes in pixels of the network's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// Boxes are finished, but for their unit.
    Finished {
        corners: Corners,
        unit: Unit,
        /// Whether y comes before x.
        y_first: bool,
        /// What x and y are multiplied by.
        scale: [f32; 2],
    },
    /// Distances to the sides in strides, each a distribution over bins or, with one bin, a number.
    Distances { grid: Grid, bins: usize },
    /// Offsets from the cell's corner and the logarithm of the size, in strides.
    Offsets { grid: Grid },
    /// Relative to an anchor of so many pixels.
    Anchor { grid: Grid, size_px: [f32; 2] },
}

/// How candidates are scored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scores {
    /// A score for each class.
    Each(Field),
    /// The best class's score, and its number.
    Best { score: Field, class: Field },
}

/// Candidates that are read in one way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) candidates: usize,
    pub(crate) boxes: Field,
    pub(crate) place: Place,
    pub(crate) objectness: Option<Field>,
    pub(crate) scores: Scores,
}

/// How a network's outputs are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoder {
    pub(crate) blocks: Vec<Block>,
    pub(crate) classes: usize,
    /// Whether scores, and what anchors are scaled by, still need their sigmoid.
    pub(crate) logits: bool,
    /// Whether overlapping boxes of one class are still to be suppressed.
    pub(crate) nms: bool,
    /// How many boxes are picked at most, the best ones, where the graph leaves that to its reader.
    pub(crate) most: Option<usize>,
}

/// A class for which a candidate scores high enough.
#[derive(Clone, Copy)]
struct Hit {
    candidate: usize,
    class: usize,
    score: f32,
}

/// Sorted by candidate, those of one as they were: by counting, since `val` has thousands.
fn by_candidate(hits: Vec<Hit>, candidates: usize) -> Vec<Hit> {
    let mut ends = vec![0; candidates];
    hits.iter().for_each(|hit| ends[hit.candidate] += 1);
    let mut sum = 0;
    for end in &mut ends {
        sum += *end;
        *end = sum;
    }
    let mut sorted = hits.clone();
    for hit in hits.into_iter().rev() {
        ends[hit.candidate] -= 1;
        sorted[ends[hit.candidate]] = hit;
    }
    sorted
}

/// Looks at every `step`-th number, and visits those above `least`, with their positions. Where none is skipped, so many are
/// compared at once, and looked at one by one where there is one among them: few scores are high.
fn for_each_above(values: &[f32], step: usize, least: f32, mut visit: impl FnMut(usize, f32)) {
    const TOGETHER: usize = 32;
    if step != 1 {
        let every = values.iter().step_by(step.max(1)).enumerate();
        every.filter(|(_, raw)| **raw > least).for_each(|(at, &raw)| visit(at, raw));
        return;
    }
    for (part, values) in values.chunks(TOGETHER).enumerate() {
        if values.iter().fold(false, |any, &raw| any | (raw > least)) {
            let above = values.iter().enumerate().filter(|(_, raw)| **raw > least);
            above.for_each(|(at, &raw)| visit(part * TOGETHER + at, raw));
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Decoder {
    /// How many classes it tells apart.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Whether overlapping boxes of one class are still to be suppressed.
    pub fn needs_nms(&self) -> bool {
        self.nms
    }

    pub(crate) fn needs_anchors(&self) -> bool {
        let is_anchor = |block: &Block| matches!(block.place, Place::Anchor { .. });
        self.blocks.iter().any(is_anchor)
    }

    /// Candidates above a confidence, in pixels of the network's input. What is not a number is no candidate.
    ///
    /// # Errors
    /// `OutputLength` where an output is shorter than its model says, `OutputClass` where it names a class that the
    /// head does not have, `Output` where it is not of type f32.
    pub fn decode(&self, outputs: &[Tensor], conf: f32) -> Result<Vec<Detection>, YoloError> {
        for (field, _) in self.blocks.iter().flat_map(|block| self.fields(block)) {
            if let Some(output) = outputs.get(field.output) {
                output.as_slice::<f32>()?;
            }
        }
        let data = outputs.iter().map(|t| t.as_slice().unwrap_or_default());
        self.decode_elements(&data.collect::<Vec<_>>(), conf)
    }

    /// As [`Decoder::decode`], of the outputs' elements.
    ///
    /// # Errors
    /// `OutputLength` and `OutputClass`, as [`Decoder::decode`].
    pub fn decode_elements(
        &self,
        outputs: &[&[f32]],
        conf: f32,
    ) -> Result<Vec<Detection>, YoloError> {
        let mut found = Vec::new();
        for block in &self.blocks {
            self.check(block, outputs)?;
            match block.scores {
                Scores::Each(field) => self.each(block, field, outputs, conf, &mut found),
                Scores::Best { score, class } => {
                    self.best(block, [score, class], outputs, conf, &mut found)?;
                }
            }
        }
        found.retain(|d| d.score.is_finite() && d.bbox.is_finite());
        if let Some(most) = self.most.filter(|&most| most < found.len()) {
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            found.truncate(most);
        }
        Ok(found)
    }

    /// What is read of a block, with the number of channels of each.
    fn fields(&self, block: &Block) -> impl Iterator<Item = (Field, usize)> + use<> {
        let scores = match block.scores {
            Scores::Each(field) => [(field, self.classes); 2],
            Scores::Best { score, class } => [(score, 1), (class, 1)],
        };
        let boxes = (block.boxes, block.place.channels());
        let objectness = block.objectness.map(|field| (field, 1));
        scores.into_iter().chain([boxes]).chain(objectness)
    }

    fn check(&self, block: &Block, outputs: &[&[f32]]) -> Result<(), YoloError> {
        for (field, channels) in self.fields(block) {
            let found = outputs.get(field.output).map_or(0, |output| output.len());
            let expected = field.needs(channels, block.candidates);
            if found < expected {
                return Err(YoloError::OutputLength { output: field.output, expected, found });
            }
        }
        Ok(())
    }

    fn each(
        &self,
        block: &Block,
        field: Field,
        data: &[&[f32]],
        conf: f32,
        found: &mut Vec<Detection>,
    ) {
        let mut hits = self.hits(block, field, data, conf);
        // Cell by cell, so that equal scores keep the order of the cells.
        if field.channel != 1 {
            hits = by_candidate(hits, block.candidates);
        }
        for of_candidate in hits.chunk_by(|a, b| a.candidate == b.candidate) {
            let bbox = self.place(block, data, of_candidate[0].candidate);
            let detection = |hit: &Hit| Detection { bbox, score: hit.score, class: hit.class };
            found.extend(of_candidate.iter().map(detection));
        }
    }

    /// Scores above a confidence, in the order in which they lie in memory.
    fn hits(&self, block: &Block, field: Field, data: &[&[f32]], conf: f32) -> Vec<Hit> {
        let scores = data[field.output];
        // Raw numbers are compared before their sigmoid is taken, which few need.
        let least = if self.logits { (conf / (1.0 - conf)).ln() } else { conf };
        let objectness = |candidate: usize| {
            let field = block.objectness?;
            Some(self.activated(field.value(data[field.output], 0, candidate)))
        };
        let mut hits = Vec::new();
        let mut add = |candidate: usize, class: usize, raw: f32, objectness: Option<f32>| {
            let score = self.activated(raw) * objectness.unwrap_or(1.0);
            if score > conf {
                hits.push(Hit { candidate, class, score });
            }
        };
        if field.channel == 1 {
            for candidate in 0..block.candidates {
                let objectness = objectness(candidate);
                if objectness.is_some_and(|o| o <= conf) {
                    continue;
                }
                let first = field.first + candidate * field.candidate;
                let classes = &scores[first..first + self.classes];
                for_each_above(classes, 1, least, |class, raw| {
                    add(candidate, class, raw, objectness);
                });
            }
            return hits;
        }
        for class in 0..self.classes {
            let first = field.first + class * field.channel;
            let last = first + block.candidates.saturating_sub(1) * field.candidate;
            let candidates = &scores[first..last + block.candidates.min(1)];
            for_each_above(candidates, field.candidate, least, |candidate, raw| {
                add(candidate, class, raw, objectness(candidate));
            });
        }
        hits
    }

    fn best(
        &self,
        block: &Block,
        [score, class]: [Field; 2],
        data: &[&[f32]],
        conf: f32,
        found: &mut Vec<Detection>,
    ) -> Result<(), YoloError> {
        for i in 0..block.candidates {
            let own = self.activated(score.value(data[score.output], 0, i));
            if own.is_nan() || own <= conf {
                continue;
            }
            let number = class.value(data[class.output], 0, i);
            // Rows that stand for nothing have a negative class.
            if number < 0.0 && number.is_finite() {
                continue;
            }
            if number.is_nan() || number >= self.classes as f32 {
                return Err(YoloError::OutputClass { found: number, classes: self.classes });
            }
            found.push(Detection {
                bbox: self.place(block, data, i),
                score: own,
                class: number as usize,
            });
        }
        Ok(())
    }

    fn activated(&self, raw: f32) -> f32 {
        if self.logits { sigmoid(raw) } else { raw }
    }

    fn place(&self, block: &Block, data: &[&[f32]], i: usize) -> BoxXyxy {
        let data = data[block.boxes.output];
        let raw = |channel: usize| block.boxes.value(data, channel, i);
        match block.place {
            Place::Finished { corners, y_first, scale: [sx, sy], .. } => {
                let [a, b, c, d] = if y_first {
                    [raw(1), raw(0), raw(3), raw(2)]
                } else {
                    [raw(0), raw(1), raw(2), raw(3)]
                };
                let [a, b, c, d] = [a * sx, b * sy, c * sx, d * sy];
                match corners {
                    Corners::Center => BoxXyxy::from_center(a, b, c, d),
                    Corners::LeftTopRightBottom => BoxXyxy::from_corners([a, b, c, d]),
                    Corners::LeftTopSize => BoxXyxy::from_corners([a, b, a + c, b + d]),
                }
            }
            Place::Distances { grid, bins } => {
                let [x, y] = grid.corner(i).map(|v| v + 0.5);
                let side = |at: usize| match bins {
                    1 => raw(at),
                    _ => expectation((at * bins..(at + 1) * bins).map(raw)),
                };
                let [sx, sy] = grid.stride;
                BoxXyxy::from_corners([
                    (x - side(0)) * sx,
                    (y - side(1)) * sy,
                    (x + side(2)) * sx,
                    (y + side(3)) * sy,
                ])
            }
            Place::Offsets { grid } => {
                let ([x, y], [sx, sy]) = (grid.corner(i), grid.stride);
                let (w, h) = (raw(2).exp() * sx, raw(3).exp() * sy);
                BoxXyxy::from_center((raw(0) + x) * sx, (raw(1) + y) * sy, w, h)
            }
            Place::Anchor { grid, size_px } => {
                let ([x, y], [sx, sy]) = (grid.corner(i), grid.stride);
                let twice = |channel: usize| 2.0 * self.activated(raw(channel));
                let (w, h) = (twice(2).powi(2) * size_px[0], twice(3).powi(2) * size_px[1]);
                let (cx, cy) = (twice(0) - 0.5 + x, twice(1) - 0.5 + y);
                BoxXyxy::from_center(cx * sx, cy * sy, w, h)
            }
        }
    }
}

/// Mean of 0, 1, 2 … under the softmax of these numbers.
fn expectation(logits: impl Iterator<Item = f32> + Clone) -> f32 {
    let most = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, logit) in logits.enumerate() {
        let weight = (logit - most).exp();
        sum += weight;
        weighted += weight * bin as f32;
    }
    weighted / sum
}

impl Place {
    fn channels(&self) -> usize {
        match self {
            Self::Distances { bins, .. } => 4 * bins,
            _ => 4,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished { corners, unit, y_first, .. } => {
                let corners = match corners {
                    Corners::Center => "centre and size",
                    Corners::LeftTopRightBottom => "corners",
                    Corners::LeftTopSize => "left, top and size",
                };
                let unit = match unit {
                    Unit::Pixels => "in pixels",
                    Unit::Shares => "as shares of the input's sides",
                    Unit::Strides => "in strides",
                };
                let order = if *y_first { ", y before x" } else { "" };
                write!(f, "{corners} {unit}{order}")
            }
            Self::Distances { bins: 1, .. } => write!(f, "distances to the four sides"),
            Self::Distances { bins, .. } => {
                write!(f, "distances to the four sides over {bins} bins")
            }
            Self::Offsets { .. } => write!(f, "offsets and logarithms of sizes on a grid"),
            Self::Anchor { .. } => write!(f, "offsets and factors of anchors"),
        }
    }
}

impl fmt::Display for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(block) = self.blocks.first() {
            write!(f, "boxes as {}", block.place)?;
        }
        let form = if self.logits { "before their sigmoid" } else { "as they are" };
        write!(f, ", scores {form}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANDIDATES: usize = 77;
    const CLASSES: usize = 37;

    /// An output of boxes and scores, each number by its channel and candidate; many scores equal.
    fn number(channel: usize, candidate: usize) -> f32 {
        let mixed = (channel * 7919 + candidate * 104_729) as u32;
        let mixed = mixed.wrapping_mul(2_654_435_761) >> 20;
        match (channel, mixed % 64) {
            (0..4, _) => mixed as f32,
            (_, 0) => f32::NAN,
            (_, 1..4) => 0.25 + (mixed % 5) as f32 / 8.0,
            _ => 0.25,
        }
    }

    fn check([channel, candidate]: [usize; 2], logits: bool) {
        let field = |first: usize| Field { output: 0, first: first * channel, channel, candidate };
        let place = Place::Finished {
            corners: Corners::LeftTopRightBottom,
            unit: Unit::Pixels,
            y_first: false,
            scale: [1.0; 2],
        };
        let block = Block {
            candidates: CANDIDATES,
            boxes: field(0),
            place,
            objectness: None,
            scores: Scores::Each(field(4)),
        };
        let decoder =
            Decoder { blocks: vec![block], classes: CLASSES, logits, nms: true, most: None };
        let mut output = vec![0.0; (4 + CLASSES) * channel.max(CANDIDATES * candidate)];
        let mut expected = Vec::new();
        for i in 0..CANDIDATES {
            let at = |c: usize| c * channel + i * candidate;
            (0..4 + CLASSES).for_each(|c| output[at(c)] = number(c, i));
            let bbox = BoxXyxy::from_corners(std::array::from_fn(|side| number(side, i)));
            for class in 0..CLASSES {
                let raw = number(4 + class, i);
                let score = if logits { sigmoid(raw) } else { raw };
                if score > if logits { sigmoid(0.25) } else { 0.25 } {
                    expected.push(Detection { bbox, score, class });
                }
            }
        }
        let conf = if logits { sigmoid(0.25) } else { 0.25 };
        assert!(expected.len() > 100, "{}", expected.len());
        assert_eq!(decoder.decode_elements(&[&output], conf).unwrap(), expected);
    }

    #[test]
    fn decode_gives_every_score_above_the_confidence_cell_by_cell() {
        for logits in [false, true] {
            // Channels side by side, candidates side by side, and neither.
            check([1, 4 + CLASSES], logits);
            check([CANDIDATES, 1], logits);
            check([3 * CANDIDATES, 3], logits);
        }
    }
}
