//! Targets: where an engine wants QuantizeLinear and DequantizeLinear.
use crate::QuantError;

/// Placement rules of one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name by which it is asked for.
    pub name: &'static str,
    /// Every operator with an integer kernel gets codes in and out, the convolution before its activation included;
    /// otherwise only tensors that convolutions read have codes.
    pub quantize_every_operator: bool,
    /// SiLU is written as Sigmoid and Mul, each with codes.
    pub split_silu: bool,
    /// The bias is I32 with scale `x_scale * w_scale`; otherwise it stays f32.
    pub integer_bias: bool,
    /// Largest magnitude of a weight's code.
    pub largest_weight: u8,
}

/// Our runtime: it evaluates the activation and the residual on the accumulator, so codes come after them.
pub const BUILTIN: Target = Target {
    name: "builtin",
    quantize_every_operator: false,
    split_silu: false,
    integer_bias: false,
    largest_weight: 127,
};

/// ONNX Runtime on CPU: QLinearConv forms only where Q follows Conv at once.
/// Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, QDQ format.
pub const ONNXRUNTIME: Target = Target {
    name: "onnxruntime",
    quantize_every_operator: true,
    split_silu: true,
    integer_bias: true,
    largest_weight: 127,
};

/// Our runtime on CPUs without VNNI: there it is exact with any weights, and faster with those of 7 bits, two of whose
/// products with codes an i16 holds.
pub const BUILTIN_AVX2: Target = Target {
    name: "builtin-avx2",
    largest_weight: 64,
    ..BUILTIN
};

/// ONNX Runtime on CPUs without VNNI, where two products with weights of 8 bits saturate their sum of 16 bits.
/// Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, `reduce_range`.
pub const ONNXRUNTIME_AVX2: Target = Target {
    name: "onnxruntime-avx2",
    largest_weight: 64,
    ..ONNXRUNTIME
};

/// All targets.
pub const TARGETS: &[Target] = &[BUILTIN, BUILTIN_AVX2, ONNXRUNTIME, ONNXRUNTIME_AVX2];

/// The target of that name.
///
/// # Errors
/// `UnknownTarget` when there is none.
pub fn target(name: &str) -> Result<Target, QuantError> {
    let found = TARGETS.iter().find(|t| t.name == name).copied();
    found.ok_or_else(|| QuantError::UnknownTarget {
        found: name.to_owned(),
        known: TARGETS.iter().map(|t| t.name).collect(),
    })
}
