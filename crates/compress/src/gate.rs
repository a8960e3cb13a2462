//! The gate: the hold-out rules attempts out, and what it lets through `val` judges, each attempt once.

use ir::Graph;
use observe::{ConfidenceShift, Labelled, Splits};
use yolo::metrics::RatioInterval;

use crate::CompressError;
use crate::artifact::{Candidate, StoredModel};
use crate::evaluation::EvalSplit;
use crate::recipe::GateRecipe;
use crate::run::Run;
use crate::source::Source;

/// A doubtful baseline below it is worth nothing.
const WORTHLESS_MAP: f64 = 0.01;

/// How much of the baseline's mAP an attempt must keep, and the images that tell how much it keeps.
pub(crate) struct Gate<'a> {
    recipe: GateRecipe,
    holdout: Option<EvalSplit<'a>>,
    pub(crate) val: EvalSplit<'a>,
    /// What is labelled in `val`.
    pub(crate) labelled: Labelled,
    /// What was used instead of what was asked, and what the figures do not tell.
    pub(crate) warnings: Vec<String>,
}

impl<'a> Gate<'a> {
    /// Evaluates the model as it came on both sets: once, and before anything is changed.
    ///
    /// # Errors
    /// `TooFewToBeStrict`; `Doubtful` when the model was probably misread; `NothingFound` when the model finds nothing on `val`; as
    /// the evaluation otherwise.
    pub(crate) fn open(
        recipe: GateRecipe,
        data: &'a Splits,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<Self, CompressError> {
        let mut warnings = Vec::new();
        let mut warn = |warning: String| {
            (run.log)(&format!("warning: {warning}"));
            warnings.push(warning);
        };
        data.warnings.iter().cloned().for_each(&mut warn);
        let labelled = Labelled::from(&data.val);
        if !labelled.is_enough() {
            let least = Labelled::LEAST;
            if recipe.strict {
                return Err(CompressError::TooFewToBeStrict { found: labelled, least });
            }
            warn(format!(
                "val: {labelled}: a 95 % interval of so few says nothing, so none is given, and a difference may be chance: at least {least} are needed"
            ));
        }
        let val = EvalSplit::new("val", &data.val, source, run)?;
        if let Some(doubt) = val.doubt(source) {
            // What is compared with next to nothing proves nothing.
            let is_worthless = val.baseline.metrics.coco.map_50_95 < WORTHLESS_MAP;
            if is_worthless && val.finds_something() {
                return Err(CompressError::Doubtful(doubt));
            }
            warn(doubt);
        }
        if !val.finds_something() {
            return Err(CompressError::NothingFound);
        }
        let holdout = data.holdout.as_ref();
        let holdout = holdout.map(|set| EvalSplit::new("holdout", set, source, run));
        let holdout = holdout.transpose()?;
        holdout.as_ref().and_then(|h| h.doubt(source)).map(&mut warn);
        if holdout.as_ref().is_some_and(|h| !h.finds_something()) {
            warn("hold-out: the model finds nothing on it: val alone decides".to_owned());
        }
        Ok(Self {
            recipe,
            holdout: holdout.filter(EvalSplit::finds_something),
            val,
            labelled,
            warnings,
        })
    }

    /// Images that choose among attempts.
    pub(crate) fn holdout_images(&self) -> usize {
        self.holdout.as_ref().map_or(0, |h| h.dataset.images.len())
    }

    /// Evaluates an attempt's model on the hold-out and, unless that rules it out or it is the last attempt, on `val`; what was
    /// evaluated before is not evaluated again.
    pub(crate) fn judge(
        &self,
        candidate: &mut Candidate,
        is_last: bool,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<(), CompressError> {
        let (attempt, model) = (&mut candidate.attempt, &candidate.quantized.model);
        if let (Some(holdout), None) = (&self.holdout, attempt.holdout) {
            attempt.holdout = Some(holdout.compare(model, source, run)?);
        }
        let is_ruled_out = attempt.holdout.is_some_and(|h| !self.passes(&h));
        if attempt.ratio.is_some() || (is_ruled_out && !is_last) {
            return Ok(());
        }
        let kept = self.val.compare(model, source, run)?;
        let interval = self.labelled.is_enough().then_some(kept);
        attempt.ratio = Some(kept.ratio);
        attempt.lower_bound = interval.map(|i| i.lower);
        attempt.upper_bound = interval.map(|i| i.upper);
        attempt.passed = self.passes(&kept);
        Ok(())
    }

    /// How much of the baseline's mAP on the hold-out a graph keeps, which is no attempt yet; `None` without a hold-out.
    pub(crate) fn kept_on_holdout(
        &self,
        graph: &Graph,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<Option<f64>, CompressError> {
        let kept = self.holdout.as_ref().map(|holdout| holdout.kept(graph, source, run));
        kept.transpose()
    }

    /// Whether a pruned model would pass on the hold-out, if it kept so much more, and does not once it is quantized.
    pub(crate) fn fails_by_quantization(
        &self,
        pruned: &StoredModel,
        quantized: &StoredModel,
        gain: f64,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<bool, CompressError> {
        let Some(holdout) = &self.holdout else {
            return Ok(false);
        };
        Ok(!self.passes(&holdout.compare(quantized, source, run)?)
            && self.share(&holdout.compare(pruned, source, run)?) + gain >= self.recipe.keep)
    }

    /// How sure a model is of what the model as it came finds on the hold-out; `None` without one.
    pub(crate) fn confidence(
        &self,
        model: &StoredModel,
        source: &Source,
        run: &Run<'_>,
    ) -> Result<Option<ConfidenceShift>, CompressError> {
        let shift = self.holdout.as_ref().map(|holdout| holdout.confidence(model, source, run));
        shift.transpose()
    }

    /// How much an attempt has to keep.
    pub(crate) fn keep(&self) -> f64 {
        self.recipe.keep
    }

    fn passes(&self, kept: &RatioInterval) -> bool {
        self.share(kept) >= self.recipe.keep
    }

    /// The share that counts.
    fn share(&self, kept: &RatioInterval) -> f64 {
        if self.recipe.strict { kept.lower } else { kept.ratio }
    }
}
