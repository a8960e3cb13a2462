//! Which elements of a tensor are the same, and where they repeat.
use crate::tensors;
use ir::Tensor;
use std::collections::BTreeMap;

/// An axis no longer than this is taken apart index by index, since it holds things of several kinds: x and y, or the anchors
/// of a cell.
const SHORT_AXIS: usize = 8;
/// A tensor of so many axes gets no more of them; TensorRT takes eight.
const MOST_AXES: usize = 7;
/// Most beginnings of a period that are followed in vain.
const MOST_FAILED: usize = 64;

/// A tensor of which only is known which elements are equal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    shape: Vec<usize>,
    /// For each element the first one of the whole tensor that has the same bits.
    first: Vec<u32>,
}

/// Neighbouring indices of an axis that one rule describes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stretch {
    from: usize,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// So many indices, each as it is.
    Single { indices: usize },
    /// Each of some indices several times in a row: 0 0 0 1 1 1.
    Each { indices: usize, times: usize },
    /// Some indices in turn, several times: 0 1 2 0 1 2.
    Turns { indices: usize, times: usize },
}

/// What a stretch consists of.
pub(super) struct Parts {
    /// The elements that are copied, or all where none is.
    pub(super) core: Pattern,
    pub(super) copies: Option<Copies>,
}

/// The shapes of a stretch of copies.
pub(super) struct Copies {
    /// That to which the core is expanded: with an axis for the copies, unless it is one index that is copied.
    pub(super) expanded: Vec<usize>,
    /// That of the stretch.
    pub(super) joined: Vec<usize>,
}

impl Pattern {
    /// Of a whole tensor; `None` for elements of a type that is only carried.
    pub(super) fn new(tensor: &Tensor) -> Option<Self> {
        let size = tensor.dtype().size_bytes()?;
        let raw = tensors::to_raw(tensor.data());
        let mut seen: BTreeMap<&[u8], u32> = BTreeMap::new();
        let elements = (0u32..).zip(raw.chunks_exact(size));
        let first = elements.map(|(i, bits)| *seen.entry(bits).or_insert(i)).collect();
        Some(Self { shape: tensor.shape().to_vec(), first })
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Positions in the whole tensor.
    pub(super) fn elements(&self) -> impl Iterator<Item = usize> {
        self.first.iter().map(|&i| i as usize)
    }

    /// Elements behind one index of an axis, within one index of the axes before it.
    fn inner(&self, axis: usize) -> usize {
        self.shape[axis + 1..].iter().product()
    }

    /// The part at some neighbouring indices of an axis, a step apart.
    fn at(&self, axis: usize, from: usize, indices: usize, step: usize) -> Self {
        let inner = self.inner(axis);
        let mut first = Vec::new();
        for rows in self.first.chunks_exact((self.shape[axis] * inner).max(1)) {
            for index in (0..indices).map(|i| from + i * step) {
                first.extend_from_slice(&rows[index * inner..(index + 1) * inner]);
            }
        }
        let mut shape = self.shape.clone();
        shape[axis] = indices;
        Self { shape, first }
    }

    /// The tensor with a length of 1 along each axis along which nothing changes; `None` where there is no such axis.
    pub(super) fn without_copies(&self) -> Option<Self> {
        let mut core = self.clone();
        for axis in 0..self.shape.len() {
            let (inner, length) = (core.inner(axis), core.shape[axis]);
            let is_same = |rows: &[u32]| rows.iter().zip(&rows[inner..]).all(|(a, b)| a == b);
            if length > 1 && core.first.chunks_exact(length * inner).all(is_same) {
                core = core.at(axis, 0, 1, 1);
            }
        }
        (core.shape != self.shape).then_some(core)
    }

    /// The stretches of an axis; `None` where it is only one without copies, or there are more than `most`.
    pub(super) fn stretches(&self, axis: usize, most: usize) -> Option<Vec<Stretch>> {
        let length = self.shape[axis];
        if length < 2 || self.shape.len() >= MOST_AXES {
            return None;
        }
        if length <= SHORT_AXIS {
            let single = |from| Stretch { from, rule: Rule::Single { indices: 1 } };
            return Some((0..length).map(single).collect());
        }
        let stretches = stretches(&self.rows(axis), most)?;
        let is_whole = matches!(stretches[..], [Stretch { rule: Rule::Single { .. }, .. }]);
        (!is_whole).then_some(stretches)
    }

    /// For each index of an axis the first one where all is the same.
    fn rows(&self, axis: usize) -> Vec<usize> {
        let (inner, length) = (self.inner(axis), self.shape[axis]);
        let mut seen: BTreeMap<Vec<&[u32]>, usize> = BTreeMap::new();
        let row = |index: usize| {
            let outer = self.first.chunks_exact(length * inner);
            outer.map(|rows| &rows[index * inner..(index + 1) * inner]).collect()
        };
        (0..length).map(|index| *seen.entry(row(index)).or_insert(index)).collect()
    }
}

impl Stretch {
    /// What it copies, and how.
    pub(super) fn parts(self, pattern: &Pattern, axis: usize) -> Parts {
        let (indices, times, step) = match self.rule {
            Rule::Single { indices } => {
                return Parts { core: pattern.at(axis, self.from, indices, 1), copies: None };
            }
            Rule::Each { indices, times } => (indices, times, times),
            Rule::Turns { indices, times } => (indices, times, 1),
        };
        let mut core = pattern.at(axis, self.from, indices, step);
        let mut joined = core.shape.clone();
        joined[axis] = indices * times;
        let mut expanded = joined.clone();
        if indices > 1 {
            let is_each = matches!(self.rule, Rule::Each { .. });
            let lengths = if is_each { [indices, times] } else { [times, indices] };
            expanded.splice(axis..=axis, lengths);
            core.shape.insert(if is_each { axis + 1 } else { axis }, 1);
        }
        Parts { core, copies: Some(Copies { expanded, joined }) }
    }
}

impl Rule {
    /// How many indices it describes.
    fn length(self) -> usize {
        match self {
            Self::Single { indices } => indices,
            Self::Each { indices, times } | Self::Turns { indices, times } => indices * times,
        }
    }
}

/// Takes a sequence apart, greedily from its start; `None` where that gives more than `most` stretches, or where much of it
/// follows no rule.
fn stretches(rows: &[usize], most: usize) -> Option<Vec<Stretch>> {
    let next = next_equal(rows);
    let mut stretches: Vec<Stretch> = Vec::new();
    let (mut at, mut singles, mut failed) = (0, 0, 0);
    while at < rows.len() {
        let rule = rule(rows, &next, at);
        if let Rule::Single { indices } = rule {
            singles += indices;
            failed += usize::from(next[at].is_some());
        }
        match (stretches.last_mut().map(|s| &mut s.rule), rule) {
            (Some(Rule::Single { indices }), Rule::Single { indices: more }) => *indices += more,
            _ => stretches.push(Stretch { from: at, rule }),
        }
        // A rule that fails may have been followed far: not often, or it takes the square of the length.
        if stretches.len() > most || singles > rows.len() / 4 || failed > MOST_FAILED {
            return None;
        }
        at += rule.length();
    }
    Some(stretches)
}

/// For each row the next one that is equal.
fn next_equal(rows: &[usize]) -> Vec<Option<usize>> {
    let mut last = BTreeMap::new();
    let mut next: Vec<Option<usize>> =
        rows.iter().enumerate().rev().map(|(i, row)| last.insert(row, i)).collect();
    next.reverse();
    next
}

/// The rule that describes most from `at` on.
fn rule(rows: &[usize], next: &[Option<usize>], at: usize) -> Rule {
    let run = |from: usize| rows[from..].iter().take_while(|row| **row == rows[from]).count();
    let times = run(at);
    if times > 1 {
        let starts = (at..rows.len()).step_by(times);
        return Rule::Each { indices: starts.take_while(|&i| run(i) == times).count(), times };
    }
    if let Some(period) = next[at].map(|next| next - at) {
        let pairs = rows[at..].iter().zip(&rows[at + period..]);
        let times = 1 + pairs.take_while(|(a, b)| a == b).count() / period;
        if times > 1 {
            return Rule::Turns { indices: period, times };
        }
    }
    Rule::Single { indices: 1 }
}
