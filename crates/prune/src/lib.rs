//! Structured pruning: which channels are coupled, which matter least, and the graph without them.
//!
//! Rank 3: imports only `ir` and `numerics` of yoloslim. Every index of every axis is a variable; operators say which are the same;
//! pruning deletes variables and every row of every constant that carries them.
#![forbid(unsafe_code)]

mod absorb;
mod apply;
pub mod criteria;
mod error;
mod groups;
mod layers;
mod limits;
mod matching;
mod plan;
mod sweep;
mod variables;

pub use absorb::absorb_means;
pub use apply::{KEPT_KEY, apply};
pub use criteria::{CRITERIA, Criterion, Importance};
pub use error::PruneError;
pub use groups::{DependencyGroup, Groups, Member, Root, analyse};
pub use layers::GroupLayer;
pub use limits::{Limits, check_share, choose_contribution};
pub use matching::{OutputStatistics, match_batch_norm, match_layer};
pub use plan::PrunePlan;
pub use sweep::{
    LayerStatistics, PruningSweep, RIDGE, Sensitivity, Statistics, ThinnedGroup, layer, set_layer,
};
