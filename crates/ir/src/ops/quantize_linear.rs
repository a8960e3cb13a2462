//! QuantizeLinear: f32 to quantized values.
//! Spec: onnx.ai/onnx/operators/onnx__QuantizeLinear.html, opset 10 to 21; block-wise scales are not supported.
use crate::Port::Input;
use crate::{
    Attribute, Channels, DataType, KeptAxes, LoweredInput, LoweredNode, LoweredOutput, NodeSpec,
    OpError, Operator, Parsed, QuantFacts, QuantParams, Shapes, Tensor, TensorType,
};

/// `q = saturate(round_ties_even(x / scale) + zero_point)`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizeLinear {
    /// Scale, zero_point, axis and integer type.
    pub params: QuantParams,
}

/// Reads scale, zero_point and axis of both directions; `dtype` is the integer type where no zero_point gives it.
pub(super) fn read_params(
    spec: &mut NodeSpec<'_>,
    dtype: DataType,
) -> Result<QuantParams, OpError> {
    let rank = spec.ty(0)?.rank();
    let scale = spec.parameter(1)?.ok_or(OpError::InputCount { expected: "2 or 3", found: 1 })?;
    let zero = spec.parameter(2)?;
    if scale.dtype() != DataType::F32 {
        return Err(OpError::Unsupported { feature: "quantization of other types than f32" });
    }
    if spec.attributes.int("block_size")?.unwrap_or(0) != 0 {
        return Err(OpError::Unsupported { feature: "block-wise quantization" });
    }
    let axis = spec.attributes.int("axis")?.unwrap_or(1);
    let is_f32 = |code: i64| matches!(code, 0 | 1);
    let output = spec.op_type != "DequantizeLinear"
        || is_f32(spec.attributes.int("output_dtype")?.unwrap_or(0));
    if !output || !is_f32(spec.attributes.int("precision")?.unwrap_or(0)) {
        return Err(OpError::Unsupported { feature: "quantization of other types than f32" });
    }
    spec.attributes.ignore(&["saturate"]);
    let scales: Vec<f32> = scale.to_f64()?.into_iter().map(|s| s as f32).collect();
    let dtype = zero.map_or(dtype, Tensor::dtype);
    let zeros: Vec<i32> = match zero {
        None => vec![0; scales.len()],
        Some(z) => z.to_i64()?.into_iter().map(|v| v as i32).collect(),
    };
    match scale.shape().len() {
        0 => QuantParams::per_tensor(scales[0], zeros.first().copied().unwrap_or(0), dtype),
        1 if scales.len() == 1 && zeros.len() == 1 => {
            QuantParams::per_tensor(scales[0], zeros[0], dtype)
        }
        1 => QuantParams::per_channel(super::axis(axis, rank)?, scales, zeros, dtype),
        _ => Err(OpError::Unsupported { feature: "a scale of more than one axis" }),
    }
}

/// Checks that per_channel parameters have one entry for each index of their axis.
pub(super) fn check_axis(params: &QuantParams, x: &TensorType) -> Result<(), OpError> {
    let Some(axis) = params.axis() else {
        return Ok(());
    };
    let &found = x.shape.get(axis).ok_or(OpError::Axis { axis: axis as i64, rank: x.rank() })?;
    if found == params.scale().len() {
        Ok(())
    } else {
        Err(OpError::AxisLength { input: 0, axis, expected: params.scale().len(), found })
    }
}

/// For each element, the index of its scale.
pub(super) fn channel_of(params: &QuantParams, shape: &[usize]) -> impl Fn(usize) -> usize + use<> {
    let (inner, len) = match params.axis() {
        None => (1, 1),
        Some(a) => (shape[a + 1..].iter().product::<usize>(), shape[a]),
    };
    move |i| if len == 1 { 0 } else { i / inner % len }
}

/// The parameters of the channels that stay.
pub(super) fn keep_params(params: &QuantParams, kept: &KeptAxes) -> QuantParams {
    match params.axis().and_then(|a| kept.get(Input(0), a)) {
        Some(kept) => params.take(kept),
        None => params.clone(),
    }
}

/// One ONNX node with scale and zero_point as constants.
///
/// The zero_point of per_channel weights and biases is 0 and left out: as long as the scale, it is bytes that say
/// nothing. One of a tensor stays, as ONNX Runtime forms integer operators only where it is written.
pub(super) fn lower_params(op_type: &'static str, params: &QuantParams) -> Vec<LoweredNode> {
    let shape: Vec<usize> = params.axis().map_or(vec![], |_| vec![params.zero_point().len()]);
    let scale = Tensor::new(shape.clone(), params.scale().to_vec())
        .expect("as many scales as the shape says");
    let mut inputs = vec![LoweredInput::Input(0), LoweredInput::Constant("scale", scale)];
    let implied = op_type == "DequantizeLinear"
        && params.axis().is_some()
        && params.zero_point().iter().all(|&z| z == 0);
    if !implied {
        let zeros: Vec<f64> = params.zero_point().iter().map(|&z| f64::from(z)).collect();
        let zero = Tensor::from_f64(params.dtype(), shape, &zeros)
            .expect("as many zero points as the shape says");
        inputs.push(LoweredInput::Constant("zero_point", zero));
    }
    let attributes =
        params.axis().map(|a| ("axis", Attribute::Int(a as i64))).into_iter().collect();
    vec![LoweredNode { op_type, inputs, outputs: vec![LoweredOutput::Output(0)], attributes }]
}

impl Operator for QuantizeLinear {
    const OP_TYPES: &'static [&'static str] = &["QuantizeLinear"];

    fn parse(spec: &mut NodeSpec<'_>) -> Result<Parsed, OpError> {
        let dtype = match spec.attributes.int("output_dtype")?.unwrap_or(0) {
            0 => DataType::U8,
            code => DataType::from_onnx(i32::try_from(code).unwrap_or(0)),
        };
        let params = read_params(spec, dtype)?;
        Ok(Parsed::first(Self { params }, 1))
    }

    fn op_type(&self) -> &'static str {
        "QuantizeLinear"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<Vec<TensorType>, OpError> {
        super::expect_inputs(inputs, 1..=1, "1")?;
        check_axis(&self.params, inputs[0])?;
        Ok(vec![TensorType::new(self.params.dtype(), inputs[0].shape.clone())])
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, OpError> {
        let ty = inputs[0].ty();
        self.infer(&[&ty])?;
        let channel = channel_of(&self.params, &ty.shape);
        let quantized: Vec<f64> = inputs[0]
            .to_f64()?
            .iter()
            .enumerate()
            .map(|(i, &x)| f64::from(self.params.quantize(channel(i), x as f32)))
            .collect();
        Ok(vec![Tensor::from_f64(self.params.dtype(), ty.shape, &quantized)?])
    }

    fn channel_links(&self, shapes: &Shapes<'_>) -> Channels {
        super::pass_through(shapes)
    }

    fn keep(&self, _shapes: &Shapes<'_>, kept: &KeptAxes) -> Self {
        Self { params: keep_params(&self.params, kept) }
    }

    fn quant_facts(&self) -> QuantFacts {
        QuantFacts::Boundary
    }

    fn macs(&self, _shapes: &Shapes<'_>) -> u64 {
        0
    }

    fn lower(&self, _opset: i64, _inputs: usize, _outputs: usize) -> Vec<LoweredNode> {
        lower_params("QuantizeLinear", &self.params)
    }
}
