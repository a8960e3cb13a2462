use crate::KernelError;
use crate::simd::{Kernel, Simd};
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};
use std::{fmt, str::FromStr};

/// An instruction set that the kernels have a body for and this processor executes.
///
/// The vector sets carry a token that only detection makes, so a value in hand is proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isa {
    /// AVX-512 F, DQ, VL, BW.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// Any processor.
    Scalar,
}

/// Name and detection of every instruction set, best first.
pub static CANDIDATES: &[(&str, fn() -> Option<Isa>)] = &[
    #[cfg(target_arch = "x86_64")]
    ("avx512", || Avx512::detect().map(Isa::Avx512)),
    #[cfg(target_arch = "x86_64")]
    ("avx2", || Avx2::detect().map(Isa::Avx2)),
    ("scalar", || Some(Isa::Scalar)),
];

/// Runs a `Simd` expression for the instruction set in hand.
macro_rules! with_simd {
    ($isa:expr, $simd:ident => $body:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx512($simd) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::Isa::Avx2($simd) => $body,
            $crate::Isa::Scalar => {
                let $simd = $crate::simd::scalar::Scalar;
                $body
            }
        }
    };
}
pub(crate) use with_simd;

impl Isa {
    /// What this processor has, best first.
    pub fn available() -> Vec<Isa> {
        CANDIDATES
            .iter()
            .filter_map(|(_, detect)| detect())
            .collect()
    }

    /// The best that this processor has.
    pub fn best() -> Isa {
        CANDIDATES
            .iter()
            .find_map(|(_, detect)| detect())
            .unwrap_or(Isa::Scalar)
    }

    /// Floats in one vector register.
    pub fn lanes(self) -> usize {
        fn lanes<S: Simd>(_: S) -> usize {
            S::LANES
        }
        with_simd!(self, simd => lanes(simd))
    }

    pub(crate) fn run<K: Kernel>(self, kernel: K) {
        with_simd!(self, simd => simd.enter(kernel));
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            Isa::Scalar => "scalar",
        })
    }
}

impl FromStr for Isa {
    type Err = KernelError;

    /// # Errors
    /// `UnknownIsa` for a name not in [`CANDIDATES`], `IsaUnavailable` when this processor lacks it.
    fn from_str(name: &str) -> Result<Isa, KernelError> {
        let Some((_, detect)) = CANDIDATES.iter().find(|(candidate, _)| *candidate == name) else {
            return Err(KernelError::UnknownIsa {
                name: name.to_owned(),
            });
        };
        detect().ok_or(KernelError::IsaUnavailable {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isa_name_round_trips_through_display() {
        for isa in Isa::available() {
            assert_eq!(isa.to_string().parse::<Isa>(), Ok(isa));
        }
        assert_eq!(Isa::best(), Isa::available()[0]);
    }

    #[test]
    fn isa_unknown_name_is_an_error_that_repeats_it() {
        let error = "mmx".parse::<Isa>().expect_err("no such set");
        assert!(error.to_string().contains("mmx"), "{error}");
    }
}
