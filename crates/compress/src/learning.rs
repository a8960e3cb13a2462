//! What every training has in common: weights that learn, memory that is kept within, and a state that is gone on from.
mod learner;
mod room;
mod state;

pub(crate) use learner::{Learner, Manner};
pub(crate) use room::{told_of_memory, trainer_within};
pub(crate) use state::StateFile;
pub use state::remove_state;
