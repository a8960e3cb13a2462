//! Weights: per_channel symmetric I8 parameters, and quantized constants.
use crate::QuantError;
use ir::{DataType, OpError, QuantParams, Tensor};

/// Adds the value's name to a complaint.
pub(crate) fn at(value: &str) -> impl Fn(OpError) -> QuantError + '_ {
    |cause| QuantError::Params { value: value.to_owned(), cause: Box::new(cause) }
}

/// Largest magnitude in each channel of axis 0.
fn peaks(value: &str, weight: &Tensor) -> Result<Vec<f64>, QuantError> {
    let elements = weight.to_f64().map_err(at(value))?;
    if let Some(index) = elements.iter().position(|w| !w.is_finite()) {
        return Err(QuantError::NonFiniteWeight {
            value: value.to_owned(),
            index,
            found: elements[index],
        });
    }
    let channels = weight.shape().first().copied().unwrap_or(1);
    let filter = (elements.len() / channels.max(1)).max(1);
    let mut peaks = vec![0f64; channels];
    for (i, w) in elements.iter().enumerate() {
        peaks[i / filter] = peaks[i / filter].max(w.abs());
    }
    Ok(peaks)
}

/// Symmetric I8 parameters for each channel of axis 0: scale `max|w| / largest`.
///
/// With `bias` and the input's scale, a scale is raised where the bias would not fit an I32 of scale
/// `x_scale * scale`: in channels that are (almost) 0.
pub(crate) fn weight_params(
    value: &str,
    weight: &Tensor,
    largest: u8,
    bias: Option<(&[f64], f32)>,
) -> Result<QuantParams, QuantError> {
    let mut scale = Vec::new();
    for (channel, peak) in peaks(value, weight)?.into_iter().enumerate() {
        let step = (peak / f64::from(largest)) as f32;
        let step = if step.is_normal() { step } else { f32::EPSILON };
        let fits = bias.map_or(0.0, |(bias, x_scale)| {
            let b = bias.get(channel).copied().unwrap_or(0.0).abs();
            (b / (f64::from(x_scale) * f64::from(1 << 30))) as f32
        });
        scale.push(step.max(fits));
    }
    let zero_point = vec![0; scale.len()];
    QuantParams::per_channel(0, scale, zero_point, DataType::I8).map_err(at(value))
}

/// I32 parameters of a bias, scale `x_scale * w_scale`.
pub(crate) fn bias_params(
    value: &str,
    weight: &QuantParams,
    x_scale: f32,
) -> Result<QuantParams, QuantError> {
    let scale: Vec<f32> = weight.scale().iter().map(|w| w * x_scale).collect();
    let zero_point = vec![0; scale.len()];
    QuantParams::per_channel(0, scale, zero_point, DataType::I32).map_err(at(value))
}

/// A constant, quantized; per_channel parameters run over axis 0.
pub(crate) fn quantized(
    value: &str,
    tensor: &Tensor,
    params: &QuantParams,
) -> Result<Tensor, QuantError> {
    let channels = params.scale().len();
    let found = tensor.shape().first().copied().unwrap_or(1);
    if let Some(axis) = params.axis().filter(|&a| a != 0 || found != channels) {
        return Err(at(value)(OpError::AxisLength { input: 0, axis, expected: channels, found }));
    }
    let elements = tensor.to_f64().map_err(at(value))?;
    let filter = (elements.len() / channels.max(1)).max(1);
    let quantized: Vec<f64> = elements
        .iter()
        .enumerate()
        .map(|(i, &w)| {
            f64::from(
                params.quantize(if params.axis().is_some() { i / filter } else { 0 }, w as f32),
            )
        })
        .collect();
    Tensor::from_f64(params.dtype(), tensor.shape(), &quantized).map_err(at(value))
}

/// What a constant is after it was quantized and dequantized.
pub(crate) fn rounded(
    value: &str,
    tensor: &Tensor,
    params: &QuantParams,
) -> Result<Vec<f64>, QuantError> {
    let quantized = quantized(value, tensor, params)?;
    let quantized = quantized.to_i64().map_err(at(value))?;
    let row = (quantized.len() / params.scale().len().max(1)).max(1);
    let dequantized = |(i, &q): (usize, &i64)| f64::from(params.dequantize(i / row, q as i32));
    Ok(quantized.iter().enumerate().map(dequantized).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_params_of_a_zero_channel_are_positive_and_others_reach_127() {
        let w = Tensor::new([3, 2], vec![0.5f32, -1.27, 0.0, 0.0, 1e-42, 0.0]).unwrap();
        let p = weight_params("w", &w, 127, None).unwrap();
        assert_eq!(p.scale()[1..], [f32::EPSILON; 2]);
        assert_eq!(
            quantized("w", &w, &p).unwrap(),
            Tensor::new([3, 2], vec![50i8, -127, 0, 0, 0, 0]).unwrap()
        );
    }

    #[test]
    fn weight_params_with_a_bias_on_a_zero_channel_let_it_fit() {
        let w = Tensor::new([2, 1], vec![0f32, 1.0]).unwrap();
        let p = weight_params("w", &w, 127, Some((&[30.0, 30.0], 0.01))).unwrap();
        let b = bias_params("b", &p, 0.01).unwrap();
        for channel in 0..2 {
            assert!((b.dequantize(channel, b.quantize(channel, 30.0)) - 30.0).abs() < 1e-3);
        }
    }

    #[test]
    fn weight_params_of_nan_name_the_element() {
        let w = Tensor::new([1, 2], vec![0f32, f32::NAN]).unwrap();
        assert!(matches!(
            weight_params("w", &w, 127, None),
            Err(QuantError::NonFiniteWeight { index: 1, .. })
        ));
    }
}
