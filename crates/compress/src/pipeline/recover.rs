//! Recovery of a pruned model: as long as it takes to keep what the gate asks on the hold-out, or as long as it gains.

use observe::{ImageSet, check_bad_images};

use super::Context;
use crate::artifact::{RecoveredModel, StoredModel};
use crate::digest::dataset_digest;
use crate::recipe::RecoverRecipe;
use crate::record::RecoveryRecord;
use crate::run_dir::{PRUNE_PLAN, PRUNED, RECOVERY_STATE};
use crate::{
    CompressError, HeadedModel, RecoverHooks, RecoverSubject, recover_detector, remove_state,
};

/// What a recovered model keeps beyond what the gate asks before its recovery ends: quantization and `val` take some of it.
const RESERVE: f64 = 0.01;

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
        let recovered = recover_detector(&subject, &recipe.options(source.seed), &hooks)?;
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
