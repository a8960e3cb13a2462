//! Why a kernel refuses its arguments.

use crate::{Dims, Region, View};

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
    /// A part of an image that is empty, or leaves it.
    #[error(
        "{operand}: {} x {} pixels at column {} and row {} are not a part of {} x {}",
        region.width, region.height, region.left, region.top, image_px[0], image_px[1]
    )]
    Region {
        /// The argument's name.
        operand: &'static str,
        /// The part. Boxed, since errors are as large as their largest variant.
        region: Box<Region>,
        /// Width and height of the image.
        image_px: [usize; 2],
    },
    /// The output shares elements with an input.
    #[error("output {output:?} overlaps {operand} {input:?}")]
    Overlap {
        /// The input's name.
        operand: &'static str,
        /// The output.
        output: Box<View>,
        /// The input.
        input: Box<View>,
    },
    /// Two indices of an output name the same element.
    #[error("output strides {strides:?} let two indices of shape {shape:?} share an element")]
    SelfOverlap {
        /// Shape of the output.
        shape: Box<Dims>,
        /// Strides of the output.
        strides: Box<Dims>,
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
        expected: Box<Dims>,
        /// Shape found.
        found: Box<Dims>,
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
    /// Rows or images lie so close that a halo would cover their neighbours' pixels.
    #[error("{operand}: axis {axis} needs a stride of {at_least} for its halo, found {found}")]
    HaloStride {
        /// The argument's name.
        operand: &'static str,
        /// The axis.
        axis: usize,
        /// Smallest stride that leaves room.
        at_least: i128,
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
    /// Sizes, dilations, strides or pads so large that the window's reach cannot be counted.
    #[error("{operand}: the window's reach along axis {axis} is too large to count")]
    Reach {
        /// The argument's name.
        operand: &'static str,
        /// The axis.
        axis: usize,
    },
    /// Channels do not divide into the groups.
    #[error("{out_channels} output channels do not divide into {group} groups")]
    Groups {
        /// Output channels.
        out_channels: usize,
        /// Groups.
        group: usize,
    },
    /// A factor or a term is infinite or no number.
    #[error("{operand}: expected finite numbers, found {found}")]
    NotFinite {
        /// The argument's name.
        operand: &'static str,
        /// The first that is not.
        found: f32,
    },
    /// A scale is not a positive, finite number.
    #[error("{operand}: a scale must be positive and finite, found {found}")]
    Scale {
        /// The argument's name.
        operand: &'static str,
        /// The scale.
        found: f32,
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
    /// There is not enough memory.
    #[error("{bytes} bytes of memory cannot be had")]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The processor lacks the instruction set.
    #[error("this CPU does not execute {name}: expected one of {}", available.join(", "))]
    IsaUnavailable {
        /// The instruction set.
        name: &'static str,
        /// What the processor has, best first.
        available: Vec<&'static str>,
    },
    /// No instruction set of this architecture has the name.
    #[error("unknown instruction set {name:?}: expected one of {}", known.join(", "))]
    UnknownIsa {
        /// The name.
        name: String,
        /// The names there are, best first.
        known: Vec<&'static str>,
    },
}
