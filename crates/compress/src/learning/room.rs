//! Trainers that keep within the memory that a training may take.
use crate::CompressError;
use ir::{Graph, ValueId};
use observe::Engine;
use train::{Batching, Statistics, Trainer};

/// The fastest trainer of a graph by these parameters, for so many images a step, that takes no more memory than is allowed.
///
/// # Errors
/// `TrainingMemory` where even one image at a time on one thread takes more, `Training` where a node has no gradient.
pub(crate) fn trainer_within(
    allowed_bytes: Option<usize>,
    trunk: &Graph,
    learned: &[ValueId],
    engine: Engine,
    images: usize,
    statistics: Statistics,
) -> Result<Trainer, CompressError> {
    let ways = Batching::ways(images).map(|way| Batching { statistics, ..way });
    // How many images a run has decides what its statistics are of, so that less memory must not change it.
    let choices = if statistics == Statistics::OfRun { 1 } else { usize::MAX };
    let mut ways: Vec<(Batching, usize)> =
        ways.take(choices).map(|batching| (batching, engine.threads)).collect();
    ways.extend(ways.last().map(|&(batching, _)| (batching, 1)));
    let mut needed = 0;
    for (batching, threads) in ways {
        let trainer = Trainer::new(trunk, learned, &engine.options, threads, batching);
        let trainer = trainer.map_err(|e| CompressError::training(0, e))?;
        needed = trainer.memory_bytes();
        if allowed_bytes.is_none_or(|allowed| needed <= allowed) {
            return Ok(trainer);
        }
    }
    Err(CompressError::TrainingMemory { needed, allowed: allowed_bytes.unwrap_or(0) })
}

/// What a training takes of memory, as a sentence: the trainer's, and so many bytes beside it.
pub(crate) fn told_of_memory(trainer: &Trainer, beside_bytes: usize) -> String {
    let megabytes = (trainer.memory_bytes() + beside_bytes) as f64 / 1e6;
    let Batching { images, per_run, .. } = trainer.batching();
    let workers = trainer.workers();
    format!(
        "memory: about {megabytes:.0} MB for {images} images a step, {per_run} at a time on each of {workers} threads"
    )
}
