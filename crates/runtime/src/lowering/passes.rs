//! The passes that make the list of items what is executed, in their order.
use super::rewriter::Rewriter;
use crate::RuntimeError;

mod chains;
mod epilogues;
mod fallback_subgraphs;
mod forms;
mod hoisted_activations;
mod int8_convolutions;
mod int8_pairs;
mod pixel_blocks;
mod quantized_values;
mod shared_fake_quantize;
mod slopes;
mod softmax_means;
mod tables;
mod unread;

/// One change of the list.
pub(super) struct Pass {
    /// Name, for messages.
    pub(super) name: &'static str,
    /// Whether it belongs to the INT8 form, and is left out where quantization is imitated.
    pub(super) is_int8: bool,
    pub(super) run: fn(&mut Rewriter<'_, '_>) -> Result<(), RuntimeError>,
}

const fn pass(
    name: &'static str,
    run: fn(&mut Rewriter<'_, '_>) -> Result<(), RuntimeError>,
) -> Pass {
    Pass { name, is_int8: false, run }
}

const fn int8(
    name: &'static str,
    run: fn(&mut Rewriter<'_, '_>) -> Result<(), RuntimeError>,
) -> Pass {
    Pass { name, is_int8: true, run }
}

/// All passes, in order: first what is no arithmetic of f32 goes, then convolutions get the activations that belong to them, then
/// values become quantized and items take them, and last what is left in f32 is fused.
pub(super) const PASSES: &[Pass] = &[
    // Values of other types than f32 never lie in the arena, so no later pass meets them.
    pass("fallback subgraphs", fallback_subgraphs::join),
    // Each reader of a value may have a dequantizer of its own; the passes below look for values with one reader.
    pass("shared fake quantization", shared_fake_quantize::share),
    // Before convolutions are formed: an activation behind a Concat of their results belongs to each of them.
    pass("hoisted activations", hoisted_activations::hoist),
    // Before INT8 convolutions are formed: this one is no convolution in the end.
    pass("softmax means", softmax_means::join),
    // Decides which values are quantized; all INT8 passes below ask it.
    int8("quantized values", quantized_values::find),
    // After fake quantization of what is only moved has gone, so that the image is found behind it in INT8 too.
    pass("pixel blocks", pixel_blocks::read_images),
    // Before tables: a Concat that writes quantized values is no f32 expression any more.
    int8("quantized concats", quantized_values::quantize_concats),
    // Before convolutions are formed: what stands between two quantizations of one value becomes one item they can take in.
    int8("tables", tables::collapse),
    // A gate that went into a table is read by nothing, and would count as a second reader of its input.
    pass("unread items", unread::remove),
    // After tables, which take all functions of one value.
    int8("pairs of quantized values", int8_pairs::form),
    // Takes in activation, residual and quantization in one go, since sums are only rounded once.
    int8("INT8 convolutions", int8_convolutions::form),
    // What is still imitated is a step from f32 to quantized values.
    int8("remaining quantization", quantized_values::quantize_rest),
    // After convolutions are formed, in the order in which their kernel applies both: first the table, then the residual.
    int8("tables in convolutions", tables::into_convolutions),
    int8("residuals in convolutions", int8_convolutions::add_residuals),
    // After all that changes what writes a Concat's inputs.
    int8("tables before concats", tables::into_concats),
    // After INT8 convolutions are formed: those left compute in f32.
    pass("slopes", slopes::keep),
    // After slopes, which convolutions back multiply by.
    pass("epilogues", epilogues::fuse),
    // Before operands get their form, or what nothing reads would be dequantized.
    int8("unread items", unread::remove),
    // After all INT8 items are formed: adds steps to f32 where something reads quantized values as such.
    int8("forms", forms::settle),
    // Knows only now that an image is read as quantized values alone.
    int8("quantized inputs", forms::quantize_inputs),
    // Last, since chains take what no other item took in, and only where operands are f32.
    pass("chains", chains::join),
];
