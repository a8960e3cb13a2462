//! Operations on two quantized values: element-wise ones whose result is quantized, and products of matrices.
use super::quantized_values::u8_params;
use crate::RuntimeError;
use crate::lowering::rewriter::Rewriter;
use crate::steps::Int8;

/// Lets them compute on quantized values, together with the quantization of their result.
pub(super) fn form(r: &mut Rewriter<'_, '_>) -> Result<(), RuntimeError> {
    for i in r.positions() {
        let item = &r[i];
        if item.inputs.len() != 2 || !item.inputs.iter().all(|&v| r.values.is_quantized(v)) {
            continue;
        }
        let next = r.only_reader(item.output());
        let next = next.filter(|&next| u8_params(&r[next]).is_some());
        match (item.work.int8(), next) {
            (Int8::ElementWise(_) | Int8::Sums, Some(next)) => {
                r[i].on_int8 = true;
                r.fuse(next, i);
            }
            (Int8::Sums, None) => r[i].on_int8 = true,
            _ => {}
        }
    }
    Ok(())
}
