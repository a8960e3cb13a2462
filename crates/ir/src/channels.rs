//! How the channels of an operator's inputs and outputs are coupled.
use std::collections::BTreeMap;
use std::fmt;

/// An input or output of a node, by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// The n-th input.
    Input(usize),
    /// The n-th output.
    Output(usize),
}

/// An axis of an input or output, and the index from which on it is meant.
#[derive(Clone, Copy, Debug)]
pub struct PortAxis {
    port: Port,
    axis: usize,
    start: usize,
}

impl Port {
    /// One of its axes, from the first index on.
    pub fn axis(self, axis: usize) -> PortAxis {
        PortAxis { port: self, axis, start: 0 }
    }
}

impl PortAxis {
    /// The axis from a later index on.
    pub fn from(self, start: usize) -> Self {
        Self { start, ..self }
    }
}

/// A run of `len` blocks of `block` neighbouring indices along one axis, from index `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which tensor.
    pub port: Port,
    /// Which axis of it.
    pub axis: usize,
    /// First index.
    pub start: usize,
    /// Number of blocks.
    pub len: usize,
    /// Indices in a block; they live or die together.
    pub block: usize,
}

/// Two spans with the same number of blocks: block `k` of one lives or dies with block `k` of the other.
///
/// `conv(3→4) → bn(4)`: the convolution links its weight's axis 0 to its output's axis 1, the
/// BatchNorm links its input's axis 1 to its output's axis 1 and to axis 0 of its four parameters.
///
/// Source: Fang et al., DepGraph (arXiv:2301.12900), section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelLink {
    /// One side.
    pub a: Span,
    /// The other side.
    pub b: Span,
}

/// Why channels may not be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FreezeReason {
    /// The axis is an input or output of the model.
    ModelBoundary,
    /// An operator gives the axis no link; holds the operator's name.
    Unlinked(String),
    /// A grouped convolution that is not depthwise.
    GroupedConvolution,
    /// An operator that yoloslim does not know; holds its name.
    Opaque(String),
}

impl fmt::Display for FreezeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FreezeReason::ModelBoundary => f.write_str("reaches an input or output of the model"),
            FreezeReason::Unlinked(op) => write!(f, "{op} gives this axis a fixed meaning"),
            FreezeReason::GroupedConvolution => f.write_str("grouped convolution"),
            FreezeReason::Opaque(op) => write!(f, "reaches the unknown operator {op}"),
        }
    }
}

/// Everything an operator says of its channels; an axis that appears in no link is frozen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Spans that live or die together.
    pub links: Vec<ChannelLink>,
    /// Axes that must keep their length although they may be linked.
    pub frozen: Vec<(Port, usize, FreezeReason)>,
}

impl Channels {
    /// No links: every axis is frozen.
    pub fn none() -> Self {
        Self::default()
    }

    /// Links `len` indices of one axis to as many of another, index by index.
    pub fn link(mut self, a: PortAxis, b: PortAxis, len: usize) -> Self {
        let span = |axis: PortAxis| Span {
            port: axis.port,
            axis: axis.axis,
            start: axis.start,
            len,
            block: 1,
        };
        self.links.push(ChannelLink { a: span(a), b: span(b) });
        self
    }

    /// Freezes an axis.
    pub fn freeze(mut self, port: Port, axis: usize, reason: FreezeReason) -> Self {
        self.frozen.push((port, axis, reason));
        self
    }
}

/// Which indices of each axis of a node's tensors survive; an axis that is not listed keeps all.
#[derive(Clone, Debug, Default)]
pub struct KeptAxes(pub BTreeMap<(Port, usize), Vec<usize>>);

impl KeptAxes {
    /// The surviving indices of an axis, or `None` when all survive.
    pub fn get(&self, port: Port, axis: usize) -> Option<&[usize]> {
        self.0.get(&(port, axis)).map(Vec::as_slice)
    }

    /// The length of an axis after removal.
    pub fn len(&self, port: Port, axis: usize, before: usize) -> usize {
        self.get(port, axis).map_or(before, <[usize]>::len)
    }
}
