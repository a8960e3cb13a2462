//! Numerical tools that know no model: seeded random numbers, moments, factorisations, least squares, work spread over threads.
//!
//! Rank 0: imports nothing of yoloslim. Every result is the same on every machine and with every number of threads.
#![forbid(unsafe_code)]

mod block;
mod cholesky;
mod compensation;
mod least_squares;
mod moments;
mod parallel;
mod percentile;
mod rng;
mod symmetric;
mod unit_upper;

pub use compensation::Compensation;
pub use least_squares::{Linear, least_squares};
pub use moments::{MomentSums, Moments};
pub use parallel::{parallel_map, parallel_map_with};
pub use percentile::percentile;
pub use rng::Rng;
pub use symmetric::Symmetric;
pub use unit_upper::UnitUpper;
