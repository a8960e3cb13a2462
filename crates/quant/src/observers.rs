//! Observers: streams of values in, a range out, in memory that does not depend on the number of images.
use crate::{QuantError, Range};
use std::any::Any;

mod auto;
mod entropy;
mod histogram;
mod min_max;
mod mse;
mod percentile;
mod profile;

pub use auto::Auto;
pub use entropy::Entropy;
pub use min_max::MinMax;
pub use mse::Mse;
pub use percentile::Percentile;

/// Watches one tensor over many images.
pub trait Observer: Any + Send {
    /// Name in [`OBSERVERS`].
    fn name(&self) -> &'static str;

    /// Takes in values; NaN and infinities are counted and otherwise left out.
    fn observe(&mut self, values: &[f32]);

    /// Takes in what another observer of the same kind has seen, as if it had been one stream.
    ///
    /// # Errors
    /// `ObserverMismatch` when the kinds differ.
    fn merge(&mut self, other: &dyn Observer) -> Result<(), QuantError>;

    /// The range to represent, 0 included; `None` before the first finite value.
    fn range(&self) -> Option<Range>;

    /// Smallest and largest finite value seen.
    fn seen(&self) -> Option<Range>;

    /// Number of NaN and infinities seen.
    fn non_finite(&self) -> u64;

    /// Itself, for [`Observer::merge`].
    fn as_any(&self) -> &dyn Any;
}

/// Makes a new observer.
pub type MakeObserver = fn() -> Box<dyn Observer>;

/// All observers by name.
pub const OBSERVERS: &[(&str, MakeObserver)] = &[
    ("minmax", || Box::new(MinMax::default())),
    ("percentile", || Box::new(Percentile::default())),
    ("mse", || Box::new(Mse::default())),
    ("entropy", || Box::new(Entropy::default())),
    ("auto", || Box::new(Auto::default())),
];

fn mismatch(mine: &dyn Observer, other: &dyn Observer) -> QuantError {
    QuantError::ObserverMismatch {
        expected: mine.name(),
        found: other.name(),
    }
}

/// A new observer of that name.
pub fn observer(name: &str) -> Option<Box<dyn Observer>> {
    OBSERVERS.iter().find(|o| o.0 == name).map(|o| o.1())
}

#[cfg(test)]
mod tests;
