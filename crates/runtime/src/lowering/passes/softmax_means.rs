//! Softmax over channels with the convolution that takes its mean: one output channel, no bias, all bins at one pixel.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Conv, SoftmaxMean, Work};
use std::sync::Arc;

/// Joins each such pair.
///
/// # Errors
/// `Operator` when the convolution's weight is no f32.
pub(super) fn join(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let is_softmax = matches!(r[i].work, Work::Softmax(softmax) if softmax.is_of_channels());
        let next = r[i].outputs.first().filter(|_| is_softmax);
        let Some(next) = next.and_then(|&y| r.only_reader(y)) else {
            continue;
        };
        let weights = match &r[next].work {
            Work::Conv(conv) => mean_weights(conv, r, next)?,
            _ => None,
        };
        if let Some(weights) = weights {
            r[next].work = Work::SoftmaxMean(SoftmaxMean(weights));
            let inputs = r[i].inputs.clone();
            r.set_inputs(next, inputs);
            r.remove(i);
        }
    }
    Ok(())
}

/// The weights of a convolution that takes one mean over channels.
fn mean_weights(
    conv: &Conv,
    r: &Rewriter<'_, '_>,
    i: usize,
) -> Result<Option<Arc<[f32]>>, RuntimeError> {
    let attributes = &conv.attributes;
    let is_one_pixel = attributes.kernel_shape == [1, 1] && attributes.strides == [1, 1];
    let is_bare = conv.bias.is_none() && attributes.pads == [0; 4] && attributes.group == 1;
    let weight = r.values.weights(conv.weight)?;
    let Some(weight) = weight.filter(|w| is_one_pixel && is_bare && w.shape()[0] == 1) else {
        return Ok(None);
    };
    let weights = weight.as_slice::<f32>();
    Ok(Some(weights.map_err(RuntimeError::operator(&r[i].name))?.into()))
}
