//! Targets: where an engine wants QuantizeLinear and DequantizeLinear.
use ir::ops::UnaryKind;

/// What one engine can compute in INT8, and how it wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name by which it is asked for.
    pub name: &'static str,
    /// Which values are quantized.
    pub placement: Placement,
    /// SiLU is written as Sigmoid and Mul, each quantized.
    pub split_silu: bool,
    /// The bias is I32 with scale `x_scale * w_scale`; otherwise it stays f32.
    pub integer_bias: bool,
    /// Largest magnitude of a quantized weight.
    pub largest_weight: u8,
}

/// Which values get QuantizeLinear and DequantizeLinear.
#[derive(Clone, Copy, Debug)]
pub enum Placement {
    /// What convolutions read, and what is concatenated into it: the engine computes everything behind a convolution on its
    /// accumulator.
    ConvolutionInputs,
    /// What operators with an INT8 kernel read and write, the convolution before its activation included.
    Operators {
        /// Activations for which the engine has an INT8 kernel.
        has_kernel: fn(UnaryKind) -> bool,
        /// Activations that the engine makes part of the convolution before them: nothing is quantized between the two.
        fuses: fn(UnaryKind) -> bool,
    },
}

/// Our runtime: it evaluates the activation and the residual on the accumulator.
pub const BUILTIN: Target = Target {
    name: "builtin",
    placement: Placement::ConvolutionInputs,
    split_silu: false,
    integer_bias: false,
    largest_weight: 127,
};

/// Our runtime on CPUs without VNNI: there it is exact with any weights, and faster with those of 7 bits, two of whose
/// products with `u8` values an i16 holds.
pub const BUILTIN_AVX2: Target = Target { name: "builtin-avx2", largest_weight: 64, ..BUILTIN };

/// ONNX Runtime on CPU: QLinearConv forms only where Q follows Conv at once, and Relu is dropped where the quantized values
/// after it start at 0.
/// Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, QDQ format.
pub const ONNXRUNTIME: Target = Target {
    name: "onnxruntime",
    placement: Placement::Operators {
        has_kernel: |kind| {
            matches!(kind, UnaryKind::Sigmoid | UnaryKind::Silu | UnaryKind::LeakyRelu { .. })
        },
        fuses: |kind| kind == UnaryKind::Relu,
    },
    split_silu: true,
    integer_bias: true,
    largest_weight: 127,
};

/// ONNX Runtime on CPUs without VNNI, where two products with weights of 8 bits saturate their sum of 16 bits.
/// Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, `reduce_range`.
pub const ONNXRUNTIME_AVX2: Target =
    Target { name: "onnxruntime-avx2", largest_weight: 64, ..ONNXRUNTIME };

/// All targets.
pub const TARGETS: &[&Target] = &[&BUILTIN, &BUILTIN_AVX2, &ONNXRUNTIME, &ONNXRUNTIME_AVX2];

ir::choices!(Target, "target", TARGETS);
