//! The instruction sets that kernels are compiled for: one list, and the proof that this processor executes one.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

use crate::KernelError;
use crate::vector::{F32Body, F32Vector, I32Body, I32Vector};
use std::{fmt, str::FromStr};

/// Functions of a vector type that are an intrinsic or two each. Safe are those of vectors, `name(a, b) => register;` of
/// their registers, from which `Self::new` makes a vector, or with a type of result, `name(a) -> T => value;`. Others are
/// `unsafe name(from: *const f32) => register;`, with a type of result too, or `unsafe name(a; to: *mut f32) => value;`.
macro_rules! intrinsics {
    () => {};
    ($name:ident($this:ident $(, $other:ident)*) => $register:expr; $($rest:tt)*) => {
        #[inline(always)]
        fn $name(self $(, $other: Self)*) -> Self {
            let $this = self.0;
            $(let $other = $other.0;)*
            // SAFETY: a vector exists, so the processor executes its instruction set.
            Self::new(unsafe { $register })
        }
        intrinsics! { $($rest)* }
    };
    ($name:ident($this:ident) -> $T:ty => $value:expr; $($rest:tt)*) => {
        #[inline(always)]
        fn $name(self) -> $T {
            let $this = self.0;
            // SAFETY: a vector exists, so the processor executes its instruction set.
            unsafe { $value }
        }
        intrinsics! { $($rest)* }
    };
    ($name:ident($($argument:ident: $A:ty),+) -> $T:ty => $value:expr; $($rest:tt)*) => {
        #[inline(always)]
        fn $name($($argument: $A),+) -> $T {
            // SAFETY: a vector exists, so the processor executes its instruction set; tables have eight numbers.
            unsafe { $value }
        }
        intrinsics! { $($rest)* }
    };
    (unsafe $name:ident($($argument:ident: $A:ty),+) => $register:expr; $($rest:tt)*) => {
        #[inline(always)]
        unsafe fn $name($($argument: $A),+) -> Self {
            // SAFETY: the caller's.
            Self::new(unsafe { $register })
        }
        intrinsics! { $($rest)* }
    };
    (unsafe $name:ident($($argument:ident: $A:ty),+) -> $T:ty => $value:expr; $($rest:tt)*) => {
        #[inline(always)]
        unsafe fn $name($($argument: $A),+) -> $T {
            // SAFETY: the caller's.
            unsafe { $value }
        }
        intrinsics! { $($rest)* }
    };
    (unsafe $name:ident($this:ident; $($argument:ident: $A:ty),+) => $value:expr; $($rest:tt)*) => {
        #[inline(always)]
        unsafe fn $name(self, $($argument: $A),+) {
            let $this = self.0;
            // SAFETY: the caller's.
            unsafe { $value }
        }
        intrinsics! { $($rest)* }
    };
}
use intrinsics;

/// From the list of instruction sets: an enum of rows, what each row says, and the way from a row to its vector types.
macro_rules! instruction_sets {
    ($($(#[$condition:meta])* $file:ident::$Name:ident,)*) => {
        /// A line of the list.
        #[derive(Clone, Copy, PartialEq, Eq)]
        enum Row {
            $($(#[$condition])* $Name,)*
        }

        impl Row {
            const ALL: &[Row] = &[$($(#[$condition])* Row::$Name,)*];

            fn name(self) -> &'static str {
                match self {
                    $($(#[$condition])* Row::$Name => <$file::$Name as InstructionSet>::NAME,)*
                }
            }

            fn is_detected(self) -> bool {
                match self {
                    $($(#[$condition])* Row::$Name => <$file::$Name as InstructionSet>::is_detected(),)*
                }
            }
        }

        impl Isa {
            pub(crate) fn f32(self) -> &'static F32Layout {
                match self.0 {
                    $($(#[$condition])* Row::$Name => {
                        const { &F32Layout::new::<<$file::$Name as InstructionSet>::F32>() }
                    })*
                }
            }

            pub(crate) fn int8(self) -> &'static Int8Layout {
                match self.0 {
                    $($(#[$condition])* Row::$Name => {
                        const { &Int8Layout::new::<<$file::$Name as InstructionSet>::I32>() }
                    })*
                }
            }

            #[inline]
            pub(crate) fn visit_f32<W: F32Visitor>(self, visitor: W) -> W::Output {
                match self.0 {
                    // SAFETY: an `Isa` exists only where its instruction set was detected.
                    $($(#[$condition])* Row::$Name => unsafe {
                        visitor.visit::<<$file::$Name as InstructionSet>::F32>()
                    })*
                }
            }

            #[inline]
            pub(crate) fn visit_i32<W: I32Visitor>(self, visitor: W) -> W::Output {
                match self.0 {
                    // SAFETY: an `Isa` exists only where its instruction set was detected.
                    $($(#[$condition])* Row::$Name => unsafe {
                        visitor.visit::<<$file::$Name as InstructionSet>::I32>()
                    })*
                }
            }
        }
    };
}

// Best first. Adding one: its file, its `mod` line and its line here.
instruction_sets! {
    #[cfg(target_arch = "x86_64")]
    avx512_vnni::Avx512Vnni,
    #[cfg(target_arch = "x86_64")]
    avx512::Avx512,
    #[cfg(target_arch = "x86_64")]
    avx_vnni::AvxVnni,
    #[cfg(target_arch = "x86_64")]
    avx2::Avx2,
    #[cfg(target_arch = "aarch64")]
    neon::NeonI8mm,
    #[cfg(target_arch = "aarch64")]
    neon::NeonDotprod,
    scalar::Scalar,
}

/// An instruction set that this processor executes: the values are made where the processor is asked, so that having
/// one proves it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Row);

/// What a file of this room says of its instruction set.
trait InstructionSet {
    /// As it is typed and printed.
    const NAME: &'static str;
    type F32: F32Vector;
    type I32: I32Vector;
    /// Whether this processor executes all that the two vector types use.
    fn is_detected() -> bool;
}

/// Computes something that depends on the lanes of f32.
pub(crate) trait F32Visitor {
    type Output;
    /// # Safety
    /// The processor executes `V`'s instruction set.
    unsafe fn visit<V: F32Vector>(self) -> Self::Output;
}

/// Computes something that depends on the lanes of i32.
pub(crate) trait I32Visitor {
    type Output;
    /// # Safety
    /// The processor executes `V`'s instruction set.
    unsafe fn visit<V: I32Vector>(self) -> Self::Output;
}

/// How f32 weights are laid out for an instruction set.
pub(crate) struct F32Layout {
    pub(crate) lanes: usize,
    /// [`F32Vector::TILES`].
    pub(crate) tiles: &'static [usize],
}

impl F32Layout {
    const fn new<V: F32Vector>() -> F32Layout {
        F32Layout { lanes: V::LANES, tiles: V::TILES }
    }
}

/// How i8 weights are laid out for an instruction set, and what its products leave to do.
pub(crate) struct Int8Layout {
    pub(crate) lanes: usize,
    /// Bytes that four weights of a lane take.
    pub(crate) weight_bytes: usize,
    /// [`I32Vector::TILES`].
    pub(crate) tiles: &'static [usize],
    /// [`I32Vector::X_OFFSET`].
    pub(crate) x_offset: u8,
    /// [`I32Vector::SUMS_I16`].
    pub(crate) sums_i16: bool,
    /// [`I32Vector::pack`].
    pub(crate) pack: fn(&[[i8; 4]], &mut [i8]),
}

impl Int8Layout {
    const fn new<V: I32Vector>() -> Int8Layout {
        Int8Layout {
            lanes: V::F::LANES,
            weight_bytes: V::WEIGHT_BYTES / V::F::LANES,
            tiles: V::TILES,
            x_offset: V::X_OFFSET,
            sums_i16: V::SUMS_I16,
            pack: V::pack,
        }
    }
}

impl Isa {
    /// What this processor executes, best first.
    pub fn available() -> Vec<Isa> {
        Self::detected().collect()
    }

    /// The best that this processor executes.
    pub fn best() -> Isa {
        Self::detected().next().unwrap_or(Self::scalar())
    }

    /// Plain code, which every processor executes.
    pub fn scalar() -> Isa {
        Isa(Row::Scalar)
    }

    /// The names of all instruction sets of this architecture, best first, whether or not this processor executes them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Row::ALL.iter().map(|row| row.name())
    }

    fn detected() -> impl Iterator<Item = Isa> {
        let detected = Row::ALL.iter().filter(|row| row.is_detected());
        detected.map(|row| Isa(*row))
    }

    /// Runs the body, compiled for the instruction set.
    ///
    /// # Safety
    /// Whatever the body says of its pointers.
    #[inline]
    pub(crate) unsafe fn run_f32<B: F32Body>(self, body: &B) {
        struct Run<'a, B>(&'a B);
        impl<B: F32Body> F32Visitor for Run<'_, B> {
            type Output = ();
            #[inline(always)]
            unsafe fn visit<V: F32Vector>(self) {
                // SAFETY: the instruction set by the visitor's contract, the pointers by the caller's.
                unsafe { V::run(self.0) }
            }
        }
        self.visit_f32(Run(body))
    }

    /// Runs the body, compiled for the instruction set.
    ///
    /// # Safety
    /// Whatever the body says of its pointers.
    #[inline]
    pub(crate) unsafe fn run_i32<B: I32Body>(self, body: &B) {
        struct Run<'a, B>(&'a B);
        impl<B: I32Body> I32Visitor for Run<'_, B> {
            type Output = ();
            #[inline(always)]
            unsafe fn visit<V: I32Vector>(self) {
                // SAFETY: the instruction set by the visitor's contract, the pointers by the caller's.
                unsafe { V::run(self.0) }
            }
        }
        self.visit_i32(Run(body))
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl FromStr for Isa {
    type Err = KernelError;

    /// # Errors
    /// `UnknownIsa` for a name that is not in [`Isa::names`], `IsaUnavailable` when this processor does not execute it.
    fn from_str(name: &str) -> Result<Isa, KernelError> {
        let Some(row) = Row::ALL.iter().find(|row| row.name() == name) else {
            return Err(KernelError::UnknownIsa {
                name: name.to_owned(),
                known: Self::names().collect(),
            });
        };
        if row.is_detected() {
            Ok(Isa(*row))
        } else {
            Err(KernelError::IsaUnavailable {
                name: row.name(),
                available: Self::detected().map(|isa| isa.0.name()).collect(),
            })
        }
    }
}
