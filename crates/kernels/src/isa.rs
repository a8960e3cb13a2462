use crate::KernelError;
use std::{fmt, str::FromStr};

/// An instruction set that the kernels have a body for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with VNNI, and VBMI where the processor has it.
    Avx512Vnni,
    /// AVX-512 F, DQ, VL, BW; quantized values as on AVX2.
    Avx512,
    /// AVX2 with VNNI on 256 bits, by whichever encoding the processor has.
    AvxVnni,
    /// AVX2 and FMA.
    Avx2,
    /// NEON with products of unsigned and signed bytes (`usdot`, the i8mm extension).
    NeonI8mm,
    /// NEON with products of signed bytes (`sdot`, the dotprod extension).
    NeonDotprod,
    /// Any processor.
    Scalar,
}

/// Every instruction set and its name, best first.
const ISAS: [(Isa, &str); 7] = [
    (Isa::Avx512Vnni, "avx512-vnni"),
    (Isa::Avx512, "avx512"),
    (Isa::AvxVnni, "avx-vnni"),
    (Isa::Avx2, "avx2"),
    (Isa::NeonI8mm, "neon-i8mm"),
    (Isa::NeonDotprod, "neon-dotprod"),
    (Isa::Scalar, "scalar"),
];

impl Isa {
    /// What this processor has, best first.
    pub fn available() -> Vec<Isa> {
        let isas = ISAS.into_iter().map(|(isa, _)| isa);
        isas.filter(|isa| isa.is_available()).collect()
    }

    /// The best that this processor has.
    pub fn best() -> Isa {
        let isas = ISAS.into_iter().map(|(isa, _)| isa);
        isas.into_iter()
            .find(|isa| isa.is_available())
            .unwrap_or(Isa::Scalar)
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = || {
            avx2()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
        };
        match self {
            Isa::Avx512Vnni => avx512() && is_x86_feature_detected!("avx512vnni"),
            Isa::Avx512 => avx512(),
            Isa::AvxVnni => {
                avx2() && is_x86_feature_detected!("avxvnni") || Isa::Avx512Vnni.is_available()
            }
            Isa::Avx2 => avx2(),
            Isa::NeonI8mm | Isa::NeonDotprod => false,
            Isa::Scalar => true,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        match self {
            Isa::NeonI8mm => std::arch::is_aarch64_feature_detected!("i8mm"),
            Isa::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            other => other == Isa::Scalar,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Isa::Scalar
    }

    pub(crate) fn check(self) -> Result<(), KernelError> {
        if self.is_available() {
            Ok(())
        } else {
            Err(KernelError::IsaUnavailable { isa: self })
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ISAS.iter().find(|(isa, _)| isa == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for Isa {
    type Err = KernelError;

    /// # Errors
    /// `UnknownIsa` for any other name.
    fn from_str(name: &str) -> Result<Isa, KernelError> {
        let known = ISAS.iter().find(|(_, known)| *known == name);
        known
            .map(|(isa, _)| *isa)
            .ok_or_else(|| KernelError::UnknownIsa {
                name: name.to_owned(),
            })
    }
}
