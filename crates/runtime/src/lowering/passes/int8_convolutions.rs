//! Convolutions whose input and weight are quantized.
use super::epilogues::residual;
use super::quantized_values::u8_params;
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Binary, Conv, Work};
use crate::values::Operand;
use kernels::{Activation, BinaryOp, U8Table};

/// Lets convolutions compute on quantized values, each with the activation, the residual and the quantization that follow it.
///
/// # Errors
/// As [`Conv::fits_int8`].
pub(super) fn form(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let Work::Conv(conv) = &r[i].work else {
            continue;
        };
        let is_bare = conv.activation == Activation::Identity;
        let x = r[i].inputs[0];
        if !r.values.is_quantized(x) || !conv.fits_int8(&r[i], r.values)? {
            continue;
        }
        r[i].on_int8 = true;
        if !is_bare {
            continue;
        }
        if let Some(epilogue) = Epilogue::find(r, i) {
            epilogue.fuse(r, i);
        } else {
            fuse_activation(r, i);
        }
    }
    Ok(())
}

/// What follows a convolution up to the quantization of its result.
struct Epilogue {
    activation: Activation,
    residual: Option<Operand>,
    /// All items that are taken in; the last quantizes.
    items: Vec<usize>,
}

impl Epilogue {
    fn find(r: &Rewriter<'_, '_>, i: usize) -> Option<Self> {
        let mut epilogue =
            Epilogue { activation: Activation::Identity, residual: None, items: Vec::new() };
        let mut out = r[i].output();
        loop {
            let next = r.only_reader(out)?;
            epilogue.items.push(next);
            if u8_params(&r[next]).is_some() {
                return Some(epilogue);
            }
            match &r[next].work {
                Work::Unary(_) if epilogue.items.len() == 1 => {
                    epilogue.activation = int8_activation(r, next)?;
                }
                Work::Binary(Binary(BinaryOp::Add)) if epilogue.residual.is_none() => {
                    let other = residual(r, i, next, out)?;
                    epilogue.residual = Some(other).filter(|&v| r.values.is_quantized(v));
                    epilogue.residual?;
                }
                _ => return None,
            }
            out = r[next].output();
        }
    }

    fn fuse(self, r: &mut Rewriter<'_, '_>, i: usize) {
        if let Work::Conv(conv) = &mut r[i].work {
            conv.activation = self.activation;
        }
        for next in self.items {
            r.fuse(next, i);
        }
        if let Some(residual) = self.residual {
            r.add_input(i, residual);
        }
    }
}

/// The activation that an item is, if INT8 convolutions apply it.
fn int8_activation(r: &Rewriter<'_, '_>, i: usize) -> Option<Activation> {
    let Work::Unary(unary) = &r[i].work else {
        return None;
    };
    let activation = unary.activation();
    activation.filter(|&a| Conv::int8_activation(a).is_some())
}

/// Lets a convolution whose result stays f32 apply its activation.
fn fuse_activation(r: &mut Rewriter<'_, '_>, i: usize) {
    let Some(next) = r.only_reader(r[i].output()) else {
        return;
    };
    if let Some(activation) = int8_activation(r, next)
        && let Work::Conv(conv) = &mut r[i].work
    {
        conv.activation = activation;
        r.fuse(next, i);
    }
}

/// Lets a convolution add what is added to its quantized result afterwards.
pub(super) fn add_residuals(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for k in r.positions() {
        let is_sum = r[k].on_int8 && matches!(r[k].work, Work::Binary(Binary(BinaryOp::Add)));
        let inputs = r[k].inputs.iter().filter(|_| is_sum);
        let Some((i, residual)) = inputs.copied().find_map(|v| summand(r, k, v)) else {
            continue;
        };
        let Some(&own) = r.values.params.get(&r[i].output().value) else {
            continue;
        };
        if let Work::Conv(conv) = &mut r[i].work {
            let same = || U8Table { x: own, map: std::array::from_fn(|q| q as u8), y: own };
            conv.table.get_or_insert_with(|| Box::new(same()));
        }
        r.fuse(k, i);
        r.add_input(i, residual);
    }
    Ok(())
}

/// The convolution that gives `v` and the other value that addition `k` adds to it, if the convolution can do that.
fn summand(r: &Rewriter<'_, '_>, k: usize, v: Operand) -> Option<(usize, Operand)> {
    let writer = r.writer(v).filter(|_| r.only_reader(v) == Some(k))?;
    let item = &r[writer];
    let is_free = item.on_int8 && matches!(item.work, Work::Conv(_)) && item.inputs.len() == 1;
    let residual = residual(r, writer, k, v)?;
    is_free.then_some((writer, residual))
}
