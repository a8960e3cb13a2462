//! Training: gradients of graphs, optimizers, schedules.
//!
//! Rank 3. Knows no box and no image: losses are functions that others bring, from what a graph gives to the gradients of that.
//! A gradient is a graph again, so whatever runs graphs trains them.
#![forbid(unsafe_code)]

mod backward;
mod batch_statistics;
#[cfg(test)]
mod case;
mod differentiate;
mod error;
#[cfg(test)]
mod finite_differences;
mod gradients;
pub mod optimizers;
mod schedule;
mod trainer;
mod weights;

pub use batch_statistics::{ChannelStatistics, Statistics, population_statistics, with_statistics};
pub use differentiate::{TrainingGraph, differentiate, parameters};
pub use error::TrainError;
pub use gradients::op_types;
pub use schedule::Schedule;
pub use trainer::{BatchGradients, Batching, LossFunction, OutputGradients, Trainer};
pub use weights::{Weight, weights, with_weights};
