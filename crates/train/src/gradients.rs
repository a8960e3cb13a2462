//! The gradients of operators, one file each, and the one list of them. An operator without one is for inference only.
use crate::TrainError;
use crate::backward::Backward;
#[cfg(test)]
use crate::case::Case;
use ir::{Op, ValueId};

mod average_pool;
mod batch_normalization;
mod binary;
mod concat;
mod conv;
mod conv_transpose;
mod expand;
mod fake_quantize;
mod gemm;
mod mat_mul;
mod max_pool;
mod p_relu;
mod pad;
mod reduce;
mod reshape;
mod resize;
mod slice;
mod softmax;
mod split;
mod transpose;
mod unary;

/// How the gradients of an operator's outputs become those of its inputs.
pub(crate) trait Gradient {
    /// Adds the nodes that compute the gradients of the inputs, and gives these in the order of the inputs; `None` for an
    /// input that has no gradient, or whose gradient is not wanted. What several nodes hand to one value is summed by the
    /// caller.
    ///
    /// # Errors
    /// `UnsupportedGradient` for a form of the operator that the rule does not cover.
    fn backward(&self, node: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>, TrainError>;

    /// Small applications of the operator on which the rule is compared with finite differences.
    #[cfg(test)]
    fn cases() -> Vec<Case>
    where
        Self: Sized;
}

macro_rules! gradients {
    ($($module:ident::$name:ident),* $(,)?) => {
        /// The gradient of an operator; `None` when it is for inference only.
        pub(crate) fn gradient_of(op: &Op) -> Option<&dyn Gradient> {
            match op { $(Op::$name(op) => Some(op),)* _ => None }
        }

        /// Names of the operators that have a gradient, in the order of the list.
        pub fn op_types() -> impl Iterator<Item = &'static str> {
            [$(stringify!($name)),*].into_iter()
        }

        /// For every operator of the list, its name and its cases.
        #[cfg(test)]
        pub(crate) fn all_cases() -> Vec<(&'static str, Vec<Case>)> {
            vec![$((stringify!($name), <ir::ops::$name as Gradient>::cases())),*]
        }
    };
}

gradients! {
    average_pool::AveragePool,
    batch_normalization::BatchNormalization,
    binary::Binary,
    concat::Concat,
    conv::Conv,
    conv_transpose::ConvTranspose,
    expand::Expand,
    fake_quantize::FakeQuantize,
    gemm::Gemm,
    mat_mul::MatMul,
    max_pool::MaxPool,
    p_relu::PRelu,
    pad::Pad,
    reduce::Reduce,
    reshape::Reshape,
    resize::Resize,
    slice::Slice,
    softmax::Softmax,
    split::Split,
    transpose::Transpose,
    unary::Unary,
}
