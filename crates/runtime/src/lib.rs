//! The runtime room: a graph compiled into a schedule of kernels, and sessions that run it.
//!
//! Rank 2: imports `ir` and `kernels`. Knows no file format and no dataset.
#![forbid(unsafe_code)]

mod conversion;
mod error;
mod layout;
mod lowering;
mod memory;
mod placement;
mod plan;
mod session;
mod step;
mod steps;
mod values;

pub use error::RuntimeError;
pub use plan::{Plan, PlanOptions, StepInfo};
pub use session::{Observed, Outputs, Session};
