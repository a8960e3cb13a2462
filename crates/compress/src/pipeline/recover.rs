//! Recovery of a pruned model: as long as it takes to keep what the gate asks on the hold-out, or as long as it gains.

use observe::{ImageSet, check_bad_images};

use super::Context;
use crate::artifact::{RecoveredModel, StoredModel};
use crate::digest::dataset_digest;
use crate::recipe::RecoverRecipe;
use crate::record::RecoveryRecord;
use crate::recovery::standing::FIRST_ROUND;
use crate::run_dir::{PRUNE_PLAN, PRUNED, RECOVERY_STATE};
use crate::{
    CompressError, HeadedModel, PruneBudget, RecoverHooks, RecoverOptions, RecoverSubject,
    recover_detector, remove_state,
};

/// What a recovered model keeps beyond what the gate asks before its recovery ends: quantization and `val` take some of it.
const RESERVE: f64 = 0.01;

/// Multiply-accumulates that a recovery takes at most where its steps are left open: ten minutes or so on two cores with AVX-512.
const MOST_MACS: f64 = 64e12;
/// How often the network's multiply-accumulates are done for an image of a step: forth, back by values and by weights, and by the
/// teacher.
const WAYS: f64 = 4.0;

/// Steps for which there is time where their number is left open; `None` where a first round takes too long.
fn most_steps(dense_macs: u64, batch: usize) -> Option<usize> {
    let steps = MOST_MACS / (WAYS * (dense_macs.max(1) * batch as u64) as f64);
    Some(steps as usize).filter(|steps| *steps >= FIRST_ROUND)
}

impl Context<'_> {
    /// The recovery that is done for a detector of this size where anything is pruned; where it is left out, that is said.
    pub(super) fn recovery(&self, budgets: &[PruneBudget]) -> Option<RecoverRecipe> {
        let recipe = self.recipe.recover.filter(|_| budgets.iter().any(|b| b.removes()))?;
        let macs = self.observation.model.graph.macs();
        if recipe.steps.is_some() || most_steps(macs, recipe.batch).is_some() {
            return Some(recipe);
        }
        (self.run.log)(&format!(
            "recovery is left out: {FIRST_ROUND} steps of a detector of {:.1} GMACs would take longer than all else; --recover {FIRST_ROUND} asks for them",
            macs as f64 / 1e9
        ));
        None
    }
}

/// How it is trained, within the time and the memory that there are for it.
fn options(recipe: &RecoverRecipe, context: &Context<'_>) -> RecoverOptions {
    let macs = context.observation.model.graph.macs();
    RecoverOptions {
        most_steps: most_steps(macs, recipe.batch).unwrap_or(0),
        memory_bytes: Some(context.run.engine.memory_bytes),
        ..recipe.options(context.source.seed)
    }
}

/// Recovers a pruned model into a folder of its own.
pub(super) fn recover(
    pruned: &StoredModel,
    folder: &str,
    recipe: &RecoverRecipe,
    context: &Context<'_>,
) -> Result<RecoveredModel, CompressError> {
    let Context { data, source, gate, run, .. } = *context;
    let head = &source.head;
    let images = dataset_digest(&data.training, head.input.images())?;
    let inputs = (&source.key, source.seed, recipe, gate.keep(), images, pruned);
    let state = run.dir.file(&format!("stages/{folder}.{RECOVERY_STATE}"));
    let recovered = run.dir.stage(&format!("{folder}.recover"), &inputs, || {
        let images = ImageSet::from(&data.training);
        let count = images.len();
        let (images, bad) = images.readable(head.input.images(), run.engine.threads)?;
        check_bad_images(bad.len(), count)?;
        let subject = RecoverSubject {
            student: HeadedModel { graph: pruned.graph(run.dir)?, head },
            teacher: HeadedModel { graph: source.model.graph(run.dir)?, head },
            images: &images,
            labels: data.training.is_labelled().then_some(&data.training),
            engine: run.engine,
        };
        let options = options(recipe, context);
        let hooks = RecoverHooks {
            log: &|line| (run.log)(&format!("recover: {line}")),
            progress: &|point| (run.log)(&format!("recover: {point}")),
            is_enough: Some(&|graph| {
                let kept = gate.kept_on_holdout(graph, source, run)?;
                if let Some(kept) = kept {
                    (run.log)(&format!("recover: {kept:.4} kept on the hold-out, before INT8"));
                }
                Ok(kept.is_some_and(|kept| kept >= gate.keep() + RESERVE))
            }),
            state: Some(&state),
        };
        let recovered = recover_detector(&subject, &options, &hooks)?;
        if let Some(reason) = &recovered.ended {
            (run.log)(&format!("warning: recover: {reason}; what was best until then is used"));
        }
        let plan = format!("{folder}/{PRUNE_PLAN}");
        run.dir.copy(&format!("{}/{PRUNE_PLAN}", pruned.folder()), &plan)?;
        let bytes = onnx::encode(&recovered.graph)?;
        let file = format!("{folder}/{PRUNED}");
        Ok(RecoveredModel {
            model: StoredModel::write(run.dir, format!("{folder}.recovered"), file, &bytes)?,
            recovery: RecoveryRecord {
                rate: recovered.rate,
                curve: recovered.curve,
                best: recovered.best,
                labels: recovered.labels,
            },
        })
    })?;
    remove_state(&state)?;
    Ok(recovered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_steps_of_a_small_detector_are_all_and_of_a_large_one_none() {
        let [small, medium, large] = [1_100_000_000, 4_400_000_000, 39_400_000_000];
        assert!(most_steps(small, 8).is_some_and(|steps| steps >= 1800));
        assert!(most_steps(medium, 8).is_some_and(|steps| (360..840).contains(&steps)));
        assert_eq!(most_steps(large, 8), None);
    }
}
