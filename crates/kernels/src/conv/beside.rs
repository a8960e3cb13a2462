//! What a convolution reads and writes beside its result, pixel by pixel.

/// One for each operand that has the shape of the result.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beside<T> {
    pub(crate) residual: T,
    pub(crate) factor: T,
    pub(crate) slope: T,
}

impl<T> Beside<T> {
    #[inline(always)]
    pub(crate) fn map<U>(self, f: impl Fn(T) -> U) -> Beside<U> {
        Beside { residual: f(self.residual), factor: f(self.factor), slope: f(self.slope) }
    }

    #[inline(always)]
    pub(crate) fn zip<U>(self, other: Beside<U>) -> Beside<(T, U)> {
        Beside {
            residual: (self.residual, other.residual),
            factor: (self.factor, other.factor),
            slope: (self.slope, other.slope),
        }
    }
}
