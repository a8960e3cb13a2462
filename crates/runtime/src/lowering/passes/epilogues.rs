//! What follows a convolution in f32 is applied before its result is stored: BatchNormalization, activation, residual addition
//! and fake quantization, in that order. What follows a transposed one, as gradients have it: an addition and a product.
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::{Binary, Work};
use crate::values::Operand;
use kernels::BinaryOp;

/// How far a convolution's epilogue has come; what comes before cannot be added any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Normalized,
    Activated,
    Added,
    Quantized,
}

/// Fuses what can be.
pub(super) fn fuse(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        fuse_transposed(r, i);
        let mut stage = match &r[i].work {
            Work::Conv(conv) if conv.keeps_slope => Stage::Activated,
            _ => Stage::Normalized,
        };
        while let Some(next) = following(r, i) {
            let Some(reached) = fuse_next(r, i, next, stage) else {
                break;
            };
            stage = reached;
        }
    }
    Ok(())
}

/// The only reader of a convolution's result, if that result needs no place of its own.
fn following(r: &Rewriter<'_, '_>, i: usize) -> Option<usize> {
    let is_conv = matches!(r[i].work, Work::Conv(_)) && !r[i].on_int8;
    let out = r[i].outputs.first().filter(|_| is_conv)?;
    r.only_reader(*out)
}

/// Takes item `next` into convolution `i`; gives the stage reached, or `None` if the epilogue cannot hold it.
fn fuse_next(r: &mut Rewriter<'_, '_>, i: usize, next: usize, stage: Stage) -> Option<Stage> {
    let out = r[i].output();
    let work = r[next].work.clone();
    let Work::Conv(conv) = &mut r[i].work else {
        return None;
    };
    let reached = match work {
        Work::BatchNormalization(normalization)
            if stage == Stage::Normalized && conv.normalization.is_none() =>
        {
            conv.normalization = Some(normalization);
            Stage::Normalized
        }
        Work::Unary(unary) if stage == Stage::Normalized => {
            conv.activation = unary.activation()?;
            Stage::Activated
        }
        Work::FakeQuantize(quantize) if stage < Stage::Quantized => {
            conv.fake_quantize = Some(quantize);
            Stage::Quantized
        }
        Work::Binary(Binary(BinaryOp::Add)) if stage < Stage::Added => {
            let residual = residual(r, i, next, out)?;
            r.fuse(next, i);
            r.add_input(i, residual);
            return Some(Stage::Added);
        }
        _ => return None,
    };
    r.fuse(next, i);
    Some(reached)
}

/// Takes an addition and a product into transposed convolution `i`.
fn fuse_transposed(r: &mut Rewriter<'_, '_>, i: usize) {
    for op in [BinaryOp::Add, BinaryOp::Mul] {
        if !matches!(r[i].work, Work::ConvTranspose(_)) {
            return;
        }
        let out = r[i].output();
        let next = r.only_reader(out).filter(|&next| match r[next].work {
            Work::Binary(Binary(found)) => found == op,
            _ => false,
        });
        let Some((next, other)) = next.and_then(|next| Some((next, residual(r, i, next, out)?)))
        else {
            continue;
        };
        if let Work::ConvTranspose(conv) = &mut r[i].work {
            conv.has_residual |= op == BinaryOp::Add;
            conv.has_factor |= op == BinaryOp::Mul;
        }
        r.fuse(next, i);
        r.add_input(i, other);
    }
}

/// The other operand of addition or product `next`, if it is there before convolution `i`, which gives `out`, and of the same shape.
pub(super) fn residual(
    r: &Rewriter<'_, '_>,
    i: usize,
    next: usize,
    out: Operand,
) -> Option<Operand> {
    let other = *r[next].inputs.iter().find(|&&v| v != out)?;
    let shape = r.values.shape(other);
    let is_ready = r.writer(other).is_none_or(|writer| writer < i);
    let fits = shape.is_some() && shape == r.values.shape(out);
    (is_ready && fits && r.values.constant(other.value).is_none()).then_some(other)
}
