use crate::{Dims, View};

/// Why a kernel refused its arguments.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A view, its halo included, leaves the arena.
    #[error("{operand}: elements {first}..{end} lie outside an arena of {len} elements")]
    OutOfBounds {
        /// The argument's name.
        operand: &'static str,
        /// First element that would be touched; negative before the arena.
        first: i128,
        /// One past the last element that would be touched.
        end: i128,
        /// Elements in the arena.
        len: usize,
    },
    /// The gaps between a view's rows or images are too narrow for its halo.
    #[error(
        "{operand}: strides {strides:?} leave no room for a halo of {halo:?} (top, left, bottom, right)"
    )]
    Halo {
        /// The argument's name.
        operand: &'static str,
        /// Strides of the view.
        strides: Dims,
        /// The halo.
        halo: [usize; 4],
    },
    /// The output shares elements with an input.
    #[error("output {output:?} overlaps {operand} {input:?}")]
    Overlap {
        /// The input's name.
        operand: &'static str,
        /// The output.
        output: View,
        /// The input.
        input: View,
    },
    /// Two indices of an output name the same element.
    #[error("output strides {strides:?} let two indices of shape {shape:?} share an element")]
    SelfOverlap {
        /// Shape of the output.
        shape: Dims,
        /// Strides of the output.
        strides: Dims,
    },
    /// A view has the wrong number of axes.
    #[error("{operand}: expected {expected} axes, found {found}")]
    Rank {
        /// The argument's name.
        operand: &'static str,
        /// Axes expected.
        expected: usize,
        /// Axes found.
        found: usize,
    },
    /// A view has the wrong shape.
    #[error("{operand}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The argument's name.
        operand: &'static str,
        /// Shape expected.
        expected: Dims,
        /// Shape found.
        found: Dims,
    },
    /// An axis has the wrong stride (channels must lie side by side).
    #[error("{operand}: axis {axis} must have stride {expected}, found {found}")]
    Stride {
        /// The argument's name.
        operand: &'static str,
        /// The axis.
        axis: usize,
        /// Stride expected.
        expected: usize,
        /// Stride found.
        found: usize,
    },
    /// A slice has the wrong number of elements.
    #[error("{operand}: expected {expected} elements, found {found}")]
    Length {
        /// The argument's name.
        operand: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// A size that must be positive is zero.
    #[error("{parameter} must be positive")]
    Zero {
        /// The parameter's name.
        parameter: &'static str,
    },
    /// Channels do not divide into the groups.
    #[error(
        "{in_channels} input and {out_channels} output channels do not divide into {group} groups"
    )]
    Groups {
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
        /// Groups.
        group: usize,
    },
    /// An index lies outside its axis.
    #[error("{operand}: index {index} lies outside an axis of {len}")]
    Index {
        /// The argument's name.
        operand: &'static str,
        /// The index.
        index: usize,
        /// Length of the axis.
        len: usize,
    },
    /// The processor lacks the instruction set.
    #[error("this processor has no {name}")]
    IsaUnavailable {
        /// The instruction set's name.
        name: String,
    },
    /// The weights were packed for another instruction set.
    #[error("weights packed for {packed} cannot run on {running}")]
    IsaMismatch {
        /// What they were packed for.
        packed: crate::Isa,
        /// What the context runs on.
        running: crate::Isa,
    },
    /// The system has not enough memory.
    #[error("no memory for an arena of {bytes} bytes")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The name is no instruction set's.
    #[error("unknown instruction set {name:?}: expected avx512, avx2 or scalar")]
    UnknownIsa {
        /// The name.
        name: String,
    },
}
