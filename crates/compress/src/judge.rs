//! Who judges attempts: first the hold-out, where it is large enough, and what it lets pass `val`, each once.

use yolo::Dataset;
use yolo::metrics::{RatioInterval, paired_bootstrap};

use crate::digest::{Key, dataset_digest};
use crate::gate::Attempt;
use crate::measure::{self, Accuracy};
use crate::pipeline::{CompressData, Run};
use crate::{CompressError, Labelled};

const BOOTSTRAP_ROUNDS: usize = 1000;
/// A doubtful baseline below it is worth nothing.
const WORTHLESS_MAP: f64 = 0.01;

/// A set of images with what the model as it came finds on them.
pub(crate) struct Jury<'a> {
    name: &'static str,
    dataset: &'a Dataset,
    /// Digest of its images and labels.
    digest: String,
    pub(crate) baseline: Accuracy,
}

/// All that judge.
pub(crate) struct Court<'a> {
    holdout: Option<Jury<'a>>,
    pub(crate) val: Jury<'a>,
    /// What is labelled in `val`.
    pub(crate) labelled: Labelled,
    /// What was used instead of what was asked, and what the figures do not tell.
    pub(crate) warnings: Vec<String>,
}

impl<'a> Court<'a> {
    /// Measures the model as it came on both sets: once, and before anything is changed.
    ///
    /// # Errors
    /// `TooFewToBeStrict`; `Doubtful` when the model was probably misread; `NothingFound` when the model finds nothing on `val`; as the measuring otherwise.
    pub(crate) fn open(run: &Run<'_>, data: &CompressData<'a>) -> Result<Self, CompressError> {
        let mut warnings = Vec::new();
        let mut warn = |warning: String| {
            (run.runner.say)(&format!("warning: {warning}"));
            warnings.push(warning);
        };
        data.warnings.iter().cloned().for_each(&mut warn);
        let found = Labelled::of(data.val);
        if !found.is_enough() {
            let least = Labelled::LEAST;
            if run.recipe.gate.strict {
                return Err(CompressError::TooFewToBeStrict { found, least });
            }
            warn(format!(
                "val: {found}: a 95 % interval of so few says nothing, so none is given, and a difference may be chance: at least {least} are needed"
            ));
        }
        let val = Jury::seat(run, "val", data.val)?;
        if let Some(told) = val.doubt(run) {
            // What is compared with next to nothing proves nothing.
            let is_worthless = val.baseline.metrics.coco.map_50_95 < WORTHLESS_MAP;
            if is_worthless && val.finds_something() {
                return Err(CompressError::Doubtful(told));
            }
            warn(told);
        }
        if !val.finds_something() {
            return Err(CompressError::NothingFound);
        }
        let holdout = data.holdout.map(|set| Jury::seat(run, "holdout", set));
        let holdout = holdout.transpose()?;
        holdout.as_ref().and_then(|h| h.doubt(run)).map(&mut warn);
        if holdout.as_ref().is_some_and(|h| !h.finds_something()) {
            warn("hold-out: the model finds nothing on it: val alone decides".to_owned());
        }
        Ok(Self {
            holdout: holdout.filter(Jury::finds_something),
            val,
            labelled: found,
            warnings,
        })
    }

    /// Images that choose among attempts.
    pub(crate) fn holdout_images(&self) -> usize {
        self.holdout.as_ref().map_or(0, |h| h.dataset.images.len())
    }

    /// Shows an attempt to the hold-out and, unless that speaks against it or it is the last, to `val`; what was shown
    /// before is not shown again.
    pub(crate) fn judge(
        &self,
        run: &Run<'_>,
        attempt: &mut Attempt,
        last: bool,
    ) -> Result<(), CompressError> {
        if let (Some(holdout), None) = (&self.holdout, attempt.holdout) {
            attempt.holdout = Some(holdout.compare(run, &attempt.folder)?);
        }
        let gate = &run.recipe.gate;
        let hopeless = attempt.holdout.is_some_and(|h| !gate.passes(&h));
        if attempt.ratio.is_some() || (hopeless && !last) {
            return Ok(());
        }
        let found = self.val.compare(run, &attempt.folder)?;
        let interval = self.labelled.is_enough().then_some(found);
        attempt.ratio = Some(found.ratio);
        attempt.lower_bound = interval.map(|i| i.lower);
        attempt.upper_bound = interval.map(|i| i.upper);
        attempt.passed = gate.passes(&found);
        Ok(())
    }
}

impl<'a> Jury<'a> {
    fn seat(
        run: &Run<'_>,
        name: &'static str,
        dataset: &'a Dataset,
    ) -> Result<Self, CompressError> {
        let digest = dataset_digest(dataset, run.head.input.images());
        Ok(Self {
            name,
            dataset,
            baseline: accuracy(run, (name, dataset, &digest), "baseline", None)?,
            digest,
        })
    }

    /// Why the model is probably misread.
    fn doubt(&self, run: &Run<'_>) -> Option<String> {
        let doubt = self.baseline.doubt?;
        Some(format!("{}: {}", self.name, doubt.told(&run.head)))
    }

    /// Whether there is anything to keep.
    fn finds_something(&self) -> bool {
        self.baseline.metrics.coco.map_50_95 > 0.0
    }

    /// How much of the baseline's mAP an attempt keeps.
    fn compare(&self, run: &Run<'_>, folder: &str) -> Result<RatioInterval, CompressError> {
        let found = self.accuracy(run, folder, &format!("{folder}/model.onnx"))?;
        let [before, after] = ["baseline", folder].map(|who| dets(self.name, who));
        let key = Key::of("compare")
            .and_text(run.recipe.seed)
            .and(&self.digest)
            .and_file(&run.dir.file(&before))?
            .and_file(&run.dir.file(&after))?;
        let stage = format!("{folder}.{}.compare", self.name);
        run.dir.stage((&stage, key.finish()), || {
            (run.runner.say)(&format!("{}: comparing", self.name));
            let expected = measure::matches(&self.baseline, self.dataset, (run.dir, &before))?;
            let found = measure::matches(&found, self.dataset, (run.dir, &after))?;
            let seed = run.recipe.seed;
            Ok(paired_bootstrap(&expected, &found, seed, BOOTSTRAP_ROUNDS)?)
        })
    }

    /// Accuracy of a model of the run directory.
    pub(crate) fn accuracy(
        &self,
        run: &Run<'_>,
        who: &str,
        model: &str,
    ) -> Result<Accuracy, CompressError> {
        accuracy(
            run,
            (self.name, self.dataset, &self.digest),
            who,
            Some(model),
        )
    }
}

/// Accuracy of a model of the run directory, or of the source.
fn accuracy(
    run: &Run<'_>,
    (name, dataset, digest): (&str, &Dataset, &str),
    who: &str,
    model: Option<&str>,
) -> Result<Accuracy, CompressError> {
    let dets = dets(name, who);
    let key = run.key("accuracy").and(who).and(digest);
    let key = match model {
        Some(model) => key.and_file(&run.dir.file(model))?,
        None => key,
    };
    let stage = format!("{who}.{name}.accuracy");
    run.dir.stage((&stage, key.finish()), || {
        (run.runner.say)(&format!("{name}: measuring accuracy of {who}"));
        let read = model.map(|model| run.read(model)).transpose()?;
        let graph = read.as_ref().unwrap_or(&run.graph);
        let total = dataset.images.len();
        measure::accuracy(
            (graph, run.head.family.name),
            dataset,
            (&run.runner.engine, run.runner.threads),
            (run.dir, &dets),
            &|done| (run.runner.progress)(done, total),
        )
    })
}

fn dets(jury: &str, who: &str) -> String {
    format!("dets/{jury}.{who}.json")
}
