//! Targets: an engine, with its rules of where it wants QuantizeLinear and DequantizeLinear, and the CPU that it runs on.
use ir::ops::UnaryKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What one engine can compute in INT8, and how it wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct TargetEngine {
    /// Name by which it is asked for.
    pub name: &'static str,
    /// CPUs for which it wants different files, the default first; empty where the CPU does not matter.
    pub cpus: &'static [&'static TargetCpu],
    /// Which values are quantized.
    pub placement: Placement,
    /// Activations are I8 with zero_point 0; otherwise U8 with any zero_point.
    pub symmetric: bool,
    /// SiLU is written as Sigmoid and Mul, each quantized.
    pub split_silu: bool,
    /// The bias is I32 with scale `x_scale * w_scale`; otherwise it stays f32.
    pub integer_bias: bool,
    /// An INT8 convolution can give f32; otherwise those that the tail alone reads stay float, as the engine runs them so anyway.
    pub gives_float: bool,
    /// Convolutions that it has no fast INT8 kernel for stay float.
    pub narrow: Option<Narrow>,
    /// Versions of it quantize a float model themselves, by a calibration cache ([`crate::calibration_cache`]).
    pub reads_calibration_cache: bool,
}

/// Convolutions of few channels: those that read or give fewer than `below` channels and no multiple of `multiple`.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// From so many channels on any number will do.
    pub below: usize,
    /// Fewer will do where they are a multiple of this.
    pub multiple: usize,
}

impl Narrow {
    /// Whether so many channels are too few.
    pub fn holds(self, channels: usize) -> bool {
        channels < self.below && !channels.is_multiple_of(self.multiple)
    }
}

/// Which values get QuantizeLinear and DequantizeLinear.
#[derive(Clone, Copy, Debug)]
pub enum Placement {
    /// What convolutions read, and what is concatenated into it: the engine computes everything behind a convolution on its
    /// accumulator.
    ConvolutionInputs {
        /// Which inputs of a Concat have common parameters.
        concat: ConcatScales,
        /// Pairs stand behind MaxPool, Resize, Split and Concat too, with the parameters before them, so that every
        /// convolution and Concat reads a DequantizeLinear. Otherwise quantized values pass through.
        behind_moves: bool,
        /// The input of an Add that the convolution before it is not fused with is quantized, whoever else reads it.
        residuals: bool,
    },
    /// What operators with an INT8 kernel read and write, the convolution before its activation included.
    Operators {
        /// Activations for which the engine has an INT8 kernel.
        has_kernel: fn(UnaryKind) -> bool,
        /// Activations that the engine makes part of the convolution before them: nothing is quantized between the two.
        fuses: fn(UnaryKind) -> bool,
    },
    /// Nothing is quantized here: the vendor's tool does it, of a float graph.
    Vendors,
}

impl Placement {
    /// Whether the vendor's tool quantizes.
    pub fn is_vendors(&self) -> bool {
        matches!(self, Self::Vendors)
    }
}

/// Which inputs of a Concat have common parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcatScales {
    /// Those whose ranges are close; the others are quantized anew behind it.
    WhereClose,
    /// All of them: the engine has no Concat that quantizes anew.
    Always,
}

/// A CPU, as far as files differ by it.
#[derive(Clone, Copy, Debug)]
pub struct TargetCpu {
    /// Name by which it is asked for.
    pub name: &'static str,
    /// Largest magnitude of a quantized weight.
    pub largest_weight: u8,
}

/// Sums of products of U8 and I8 are exact in any of their instructions: AVX512_VNNI, AVX_VNNI, and ARM's dot products.
pub const VNNI: TargetCpu = TargetCpu { name: "vnni", largest_weight: 127 };

/// CPUs without VNNI: two products with weights of 8 bits saturate a sum of 16 bits there, in ONNX Runtime and OpenVINO;
/// with weights of 7 bits they cannot. Our runtime is exact with any weights and faster with those.
/// Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, `reduce_range`.
pub const AVX2: TargetCpu = TargetCpu { name: "avx2", largest_weight: 64 };

/// All CPUs.
pub const CPUS: &[&TargetCpu] = &[&VNNI, &AVX2];

/// Our runtime: it evaluates the activation and the residual on the accumulator.
const BUILTIN_ENGINE: TargetEngine = TargetEngine {
    name: "builtin",
    cpus: CPUS,
    placement: Placement::ConvolutionInputs {
        concat: ConcatScales::WhereClose,
        behind_moves: false,
        residuals: false,
    },
    symmetric: false,
    split_silu: false,
    integer_bias: false,
    gives_float: true,
    narrow: None,
    reads_calibration_cache: false,
};

/// ONNX Runtime on CPU: QLinearConv forms only where Q follows Conv at once, otherwise the convolution is one of floats; and Relu is dropped where the quantized values
/// after it start at 0.
/// Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html, QDQ format.
const ONNXRUNTIME_ENGINE: TargetEngine = TargetEngine {
    name: "onnxruntime",
    cpus: CPUS,
    placement: Placement::Operators {
        has_kernel: |kind| {
            matches!(kind, UnaryKind::Sigmoid | UnaryKind::Silu | UnaryKind::LeakyRelu { .. })
        },
        fuses: |kind| kind == UnaryKind::Relu,
    },
    symmetric: false,
    split_silu: true,
    integer_bias: true,
    gives_float: false,
    narrow: None,
    reads_calibration_cache: false,
};

/// OpenVINO on CPU: activations, factors and the QuantizeLinear behind them become part of the convolution, and values
/// pass quantized through what only moves them.
/// Source: what its runtime model says, docs/decisions/0019.
const OPENVINO_ENGINE: TargetEngine = TargetEngine {
    name: "openvino",
    cpus: CPUS,
    placement: Placement::ConvolutionInputs {
        concat: ConcatScales::WhereClose,
        behind_moves: false,
        residuals: true,
    },
    symmetric: false,
    split_silu: false,
    integer_bias: false,
    gives_float: true,
    narrow: None,
    reads_calibration_cache: false,
};

/// TensorRT from version 11 on, whose networks are strongly typed: what is INT8 is what the file says.
/// Source: docs.nvidia.com/deeplearning/tensorrt, "Working with Quantized Types"; NVIDIA's Model Optimizer for the
/// channels below which convolutions stay float.
const TENSORRT_ENGINE: TargetEngine = TargetEngine {
    name: "tensorrt",
    cpus: &[],
    placement: Placement::ConvolutionInputs {
        concat: ConcatScales::Always,
        behind_moves: true,
        residuals: true,
    },
    symmetric: true,
    split_silu: false,
    integer_bias: false,
    gives_float: true,
    narrow: Some(Narrow { below: 16, multiple: 8 }),
    reads_calibration_cache: true,
};

/// Neural processors whose vendors' tools quantize (Ascend, Rockchip, Hailo, ESP-DL): they take a float graph that ends behind
/// the head's output convolutions.
const NPU_ENGINE: TargetEngine = TargetEngine {
    name: "npu",
    cpus: &[],
    placement: Placement::Vendors,
    symmetric: false,
    split_silu: false,
    integer_bias: false,
    gives_float: true,
    narrow: None,
    reads_calibration_cache: false,
};

/// All engines.
pub const ENGINES: &[&TargetEngine] =
    &[&BUILTIN_ENGINE, &ONNXRUNTIME_ENGINE, &OPENVINO_ENGINE, &TENSORRT_ENGINE, &NPU_ENGINE];

ir::choices!(TargetEngine, "target", ENGINES);
ir::choices!(TargetCpu, "CPU", CPUS);

/// Who is to run a quantized model: an engine, on a CPU.
///
/// Written `onnxruntime` where the CPU is the engine's default or does not matter, and `onnxruntime+avx2` otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    engine: &'static TargetEngine,
    /// `None` where it does not matter to the engine.
    cpu: Option<&'static TargetCpu>,
}

/// Our runtime, on CPUs with VNNI.
pub const BUILTIN: Target = Target { engine: &BUILTIN_ENGINE, cpu: Some(&VNNI) };
/// ONNX Runtime, on CPUs with VNNI.
pub const ONNXRUNTIME: Target = Target { engine: &ONNXRUNTIME_ENGINE, cpu: Some(&VNNI) };
/// OpenVINO, on CPUs with VNNI.
pub const OPENVINO: Target = Target { engine: &OPENVINO_ENGINE, cpu: Some(&VNNI) };
/// TensorRT.
pub const TENSORRT: Target = Target { engine: &TENSORRT_ENGINE, cpu: None };
/// Vendors' own tools.
pub const NPU: Target = Target { engine: &NPU_ENGINE, cpu: None };

/// What is wrong with a target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum TargetError {
    #[error(transparent)]
    Unknown(#[from] ir::UnknownName),
    #[error(
        "target `{found}` is now written `{written}`, on the command line `--target {engine} --cpu {cpu}`"
    )]
    Renamed { found: String, written: String, engine: &'static str, cpu: &'static str },
    #[error("target `{engine}` has one file for every CPU: leave out the CPU (`{cpu}`)")]
    NoCpu { engine: &'static str, cpu: &'static str },
}

impl Target {
    /// The target of an engine on a CPU, or on the engine's default.
    ///
    /// # Errors
    /// `NoCpu` when a CPU is named to which the engine's files do not differ.
    pub fn new(
        engine: &'static TargetEngine,
        cpu: Option<&'static TargetCpu>,
    ) -> Result<Self, TargetError> {
        match cpu {
            None => Ok(Self { engine, cpu: engine.cpus.first().copied() }),
            Some(named) if engine.cpus.contains(&named) => Ok(Self { engine, cpu }),
            Some(named) => Err(TargetError::NoCpu { engine: engine.name, cpu: named.name }),
        }
    }

    /// Every engine on each of its CPUs.
    pub fn all() -> Vec<Self> {
        let on_each = |&engine: &&'static TargetEngine| {
            let mut cpus: Vec<_> = engine.cpus.iter().map(|&cpu| Some(cpu)).collect();
            if cpus.is_empty() {
                cpus.push(None);
            }
            cpus.into_iter().map(move |cpu| Self { engine, cpu })
        };
        ENGINES.iter().flat_map(on_each).collect()
    }

    /// Those of them for which this program quantizes.
    pub fn quantizing() -> Vec<Self> {
        let mut targets = Self::all();
        targets.retain(|target| !target.engine.placement.is_vendors());
        targets
    }

    /// The engine, with its rules.
    pub fn engine(self) -> &'static TargetEngine {
        self.engine
    }

    /// Largest magnitude of a quantized weight.
    pub fn largest_weight(self) -> u8 {
        self.cpu.map_or(VNNI.largest_weight, |cpu| cpu.largest_weight)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cpu {
            Some(cpu) if self.engine.cpus.first() != Some(&cpu) => {
                write!(f, "{}+{}", self.engine.name, cpu.name)
            }
            _ => f.write_str(self.engine.name),
        }
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        // Names of version 0.1 had the CPU behind a hyphen.
        let old = ENGINES.iter().zip(std::iter::repeat(&AVX2));
        for (engine, cpu) in old.filter(|(engine, _)| !engine.cpus.is_empty()) {
            if text == format!("{}-{}", engine.name, cpu.name) {
                return Err(TargetError::Renamed {
                    found: text.to_owned(),
                    written: format!("{}+{}", engine.name, cpu.name),
                    engine: engine.name,
                    cpu: cpu.name,
                });
            }
        }
        match text.split_once('+') {
            Some((engine, cpu)) => Self::new(ir::named(engine)?, Some(ir::named(cpu)?)),
            None => Self::new(ir::named(text)?, None),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_written_and_read_is_the_same_and_no_two_are_written_alike() {
        let all = Target::all();
        let written: Vec<String> = all.iter().map(Target::to_string).collect();
        let expected =
            "builtin builtin+avx2 onnxruntime onnxruntime+avx2 openvino openvino+avx2 tensorrt npu";
        assert_eq!(written.join(" "), expected);
        for (target, text) in all.iter().zip(&written) {
            assert_eq!(text.parse(), Ok(*target));
            let json = serde_json::to_string(target).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Target>(&json).unwrap(), *target);
        }
    }

    #[test]
    fn target_of_an_old_or_unknown_name_says_what_to_write() {
        let error = |text: &str| text.parse::<Target>().unwrap_err().to_string();
        assert!(error("builtin-avx2").contains("`builtin+avx2`"), "{}", error("builtin-avx2"));
        assert!(error("onnxruntime-avx2").contains("--target onnxruntime --cpu avx2"));
        assert!(error("toaster").contains("unknown target `toaster`"));
        assert!(error("builtin+z80").contains("unknown CPU `z80`"));
        assert!(error("tensorrt+avx2").contains("one file for every CPU"));
        assert!(error("tensorrt-avx2").contains("unknown target"));
    }

    #[test]
    fn narrow_channels_are_few_and_no_multiple() {
        let narrow = Narrow { below: 16, multiple: 8 };
        let held: Vec<usize> = (1..40).filter(|&n| narrow.holds(n)).collect();
        assert_eq!(held, [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]);
    }
}
