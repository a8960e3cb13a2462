//! The steps that the runtime computes fast, one file each: how the graph's node becomes one, its f32 and INT8 forms, where its
//! operands lie and the kernels it runs. The one list makes the enum and its dispatch.
use crate::RuntimeError;
use crate::placement::Placement;
use crate::step::Kernel;
use crate::values::{Operand, Values};
use ir::{Node, NodeId};

mod average_pool;
mod batch_normalization;
mod binary;
mod chain;
mod channel_sum;
mod concat;
mod conv;
mod conv_transpose;
mod conv_weight_gradient;
mod convert;
mod fake_quantize;
mod fake_quantize_gradient;
mod fallback;
mod learnt_scale;
mod mat_mul;
mod max_pool;
mod max_pool_gradient;
mod rearrange;
mod reference;
mod resize;
mod softmax;
mod softmax_mean;
mod split;
mod table;
mod unary;
mod unary_gradient;

pub(crate) use chain::{ChainLink, MAX_LINKS};

/// How a step takes quantized values.
pub(crate) enum Int8 {
    /// It does not: what it reads is dequantized before.
    None,
    /// It moves elements: where its operands are quantized alike, so are its results.
    Moves,
    /// Each element of the result is a function of one of each operand, which this kernel computes in f32. Where only one
    /// quantized value enters, a table holds the function; two enter its own INT8 kernel, where the result is quantized too.
    ElementWise(Box<Kernel>),
    /// It sums products of quantized values, and gives quantized values or f32.
    Sums,
    /// As `Sums`, together with the operations that follow: a pass of its own decides.
    Convolution,
    /// It is about quantized values: it has no other form.
    Always,
}

/// What the runtime computes fast; one file in `steps/` each.
pub(crate) trait FastStep: Clone {
    /// How it takes quantized values.
    fn int8(&self) -> Int8;

    /// Gives the item's results their places, and emits its kernels.
    ///
    /// # Errors
    /// `Kernel` where a kernel refuses the operands, `DType` for operands that are not f32.
    fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError>;
}

/// A step that nodes of the graph become; passes make the others.
trait OfNode: FastStep {
    /// The step for a node; `None` for other operators, and for what its kernels do not compute. `operands` are the node's
    /// inputs; those that the step holds itself are taken out.
    fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Option<Self>;
}

macro_rules! steps {
    (
        of_nodes: { $($module:ident::$name:ident),* $(,)? }
        of_passes: { $($made_in:ident::$made:ident),* $(,)? }
    ) => {
        $(pub(crate) use $module::$name;)*
        $(pub(crate) use $made_in::$made;)*

        /// What an item computes.
        #[derive(Clone, Debug)]
        pub(crate) enum Work { $($name($name),)* $($made($made),)* }

        impl Work {
            /// The step for a node: the first of the list that takes it, else the operator's own reference computation.
            fn lower(node: &Node, operands: &mut Vec<Operand>, values: &Values<'_>) -> Work {
                $(if let Some(step) = $name::lower(node, operands, values) {
                    return Work::$name(step);
                })*
                Work::Reference(Reference(node.op.clone()))
            }

            /// How it takes quantized values.
            pub(crate) fn int8(&self) -> Int8 {
                match self {
                    $(Work::$name(step) => step.int8(),)*
                    $(Work::$made(step) => step.int8(),)*
                }
            }

            fn place(&self, item: &Item, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
                match self {
                    $(Work::$name(step) => step.place(item, placement),)*
                    $(Work::$made(step) => step.place(item, placement),)*
                }
            }
        }
    };
}

steps! {
    of_nodes: {
        average_pool::AveragePool,
        batch_normalization::BatchNormalization,
        binary::Binary,
        channel_sum::ChannelSum,
        concat::Concat,
        conv::Conv,
        conv_transpose::ConvTranspose,
        conv_weight_gradient::ConvWeightGradient,
        fake_quantize::FakeQuantize,
        fake_quantize_gradient::FakeQuantizeGradient,
        learnt_scale::LearntScale,
        mat_mul::MatMul,
        max_pool::MaxPool,
        max_pool_gradient::MaxPoolGradient,
        rearrange::Rearrange,
        resize::Resize,
        softmax::Softmax,
        split::Split,
        unary::Unary,
        unary_gradient::UnaryGradient,
    }
    of_passes: {
        chain::Chain,
        convert::Convert,
        fallback::Fallback,
        reference::Reference,
        softmax_mean::SoftmaxMean,
        table::Table,
    }
}

/// One entry of the list of what is executed.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The node that it computes, or the last of those that it computes.
    pub(crate) node: NodeId,
    pub(crate) name: String,
    pub(crate) work: Work,
    /// Whether it computes on quantized values, where its work can do either.
    pub(crate) on_int8: bool,
    pub(crate) inputs: Vec<Operand>,
    pub(crate) outputs: Vec<Operand>,
    pub(crate) macs: u64,
}

impl Item {
    /// The item of a node, all in f32.
    pub(crate) fn new(id: NodeId, node: &Node, values: &Values<'_>) -> Self {
        let mut inputs = node.inputs.iter().copied().map(Operand::f32).collect();
        Self {
            node: id,
            name: node.name.clone(),
            work: Work::lower(node, &mut inputs, values),
            on_int8: false,
            inputs,
            outputs: node.outputs.iter().copied().map(Operand::f32).collect(),
            macs: values.graph.node_macs(id),
        }
    }

    /// Gives the results their places, and emits the kernels.
    ///
    /// # Errors
    /// As [`FastStep::place`].
    pub(crate) fn place(&self, placement: &mut Placement<'_>) -> Result<(), RuntimeError> {
        placement.begin(&self.name, self.macs);
        self.work.place(self, placement)?;
        placement.end(&self.outputs);
        Ok(())
    }

    /// The only result of an item that has one.
    pub(crate) fn output(&self) -> Operand {
        self.outputs[0]
    }
}
