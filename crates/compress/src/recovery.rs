//! Recovery: a pruned detector learns again to give what the detector gives that it was made of, and what is labelled.
mod held_out;
mod objective;
mod prepared;
pub(crate) mod standing;
mod trials;

pub use objective::{LABEL_USES, LabelUse};
pub use trials::LabelTrial;

use crate::CompressError;
use crate::digest::{dataset_digest, images_digest, sha256};
use crate::examples::Examples;
use crate::learning::{Learner, Manner, StateFile, told_of_memory, trainer_within};
use crate::quantization::tuning::LearningForm;
use held_out::HeldOut;
use ir::{Graph, ValueId};
use objective::Objective;
use observe::{Engine, ImageSet};
use prepared::prepared;
use runtime::{Plan, Session};
use serde::{Deserialize, Serialize};
use standing::Standing;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use train::optimizers::Optimizer;
use train::{BatchGradients, OutputGradients, Statistics, Trainer, Weight, parameters, weights};
use trials::told_of_labels;
use yolo::families::{Head, RawHead};
use yolo::losses::Loss;
use yolo::{Augmentation, Dataset};

/// Steps in which the rate rises.
const WARM_UP: usize = 5;

/// The last rate, as a share of the largest.
const REST: f64 = 0.02;

/// Share of the images that is held out, and how many at least and at most.
const HELD_OUT_SHARE: usize = 10;
const HELD_OUT: [usize; 2] = [4, 32];

/// A detector and its head.
#[derive(Clone, Copy, Debug)]
pub struct HeadedModel<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// Its head.
    pub head: &'a Head,
}

/// What recovers what, and on which images.
#[derive(Clone, Copy, Debug)]
pub struct RecoverSubject<'a> {
    /// The pruned detector.
    pub student: HeadedModel<'a>,
    /// The detector it was made of.
    pub teacher: HeadedModel<'a>,
    /// Readable training images; some of them are held out.
    pub images: &'a ImageSet,
    /// What is labelled in the images; `None` where nothing is.
    pub labels: Option<&'a Dataset>,
    /// What computes.
    pub engine: Engine,
}

impl RecoverSubject<'_> {
    /// All that a result depends on, large things by their digests.
    fn inputs(&self, options: &RecoverOptions) -> Result<impl Serialize, CompressError> {
        let models = [self.student.graph, self.teacher.graph].map(onnx::encode);
        let models: Result<Vec<String>, onnx::OnnxError> =
            models.into_iter().map(|bytes| Ok(sha256(&bytes?))).collect();
        let per_scene = self.teacher.head.input.images();
        let labels = self.labels.map(|dataset| dataset_digest(dataset, per_scene)).transpose()?;
        let isa = self.engine.options.isa.to_string();
        Ok((models?, images_digest(self.images, per_scene), labels, isa, *options))
    }
}

/// How it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecoverOptions {
    /// Steps; `None` for as many as gain.
    pub steps: Option<usize>,
    /// Where their number is left open, at most so many; fewer than a first round has are none.
    #[serde(skip)]
    pub most_steps: usize,
    /// Images of a step.
    pub batch: usize,
    /// What the training may take of memory, about; `None` for what there is. With less, fewer images run at a time, which
    /// changes the last bits of sums.
    pub memory_bytes: Option<usize>,
    /// By what weights move.
    pub optimizer: &'static Optimizer,
    /// The largest rate, relative to each weight's size; `None` to find it by short tries.
    pub rate: Option<f64>,
    /// How labels are used.
    pub labels: LabelUse,
    /// The side in pixels of windows that are trained on in place of whole inputs; `None` for these.
    pub window: Option<usize>,
    /// How images are changed.
    pub augmentation: Augmentation,
    /// Decides the order of the images and how each is changed.
    pub seed: u64,
}

/// One look at the held-out images.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct RecoveryPoint {
    /// Steps that were done.
    pub step: usize,
    /// Steps that are done when the round ends.
    pub steps: usize,
    /// The mean loss of the steps since the last look; null before the first step.
    pub loss: Option<f64>,
    /// The mean loss of the held-out images.
    pub held_out: f64,
    /// Accuracy on the held-out images; null where nothing is labelled in them.
    pub map_50_95: Option<f64>,
}

impl fmt::Display for RecoveryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}/{}", self.step, self.steps)?;
        if let Some(loss) = self.loss {
            write!(f, ", loss {loss:.4}")?;
        }
        write!(f, ", held-out images: loss {:.4}", self.held_out)?;
        if let Some(accuracy) = self.map_50_95 {
            write!(f, ", map_50_95 {accuracy:.4}")?;
        }
        Ok(())
    }
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The student with the weights that did best on the held-out images.
    pub graph: Graph,
    /// The largest rate.
    pub rate: f64,
    /// How labels were used.
    pub labels: LabelUse,
    /// By what that was decided, where it was.
    pub label_trial: Option<LabelTrial>,
    /// All looks.
    pub curve: Vec<RecoveryPoint>,
    /// The look whose weights are kept.
    pub best: RecoveryPoint,
    /// Why it ended before its last step, where something went wrong.
    pub ended: Option<String>,
}

/// Whether a student is good enough.
pub type IsEnough<'a> = dyn Fn(&Graph) -> Result<bool, CompressError> + 'a;

/// What a recovery tells and asks while it goes on.
#[derive(Clone, Copy)]
pub struct RecoverHooks<'a> {
    /// Told what should be known.
    pub log: &'a dyn Fn(&str),
    /// Told of every look at the held-out images.
    pub progress: &'a dyn Fn(&RecoveryPoint),
    /// Asked after each round whether a student is good enough; `None` where nobody says so.
    pub is_enough: Option<&'a IsEnough<'a>>,
    /// Where it stores how it stands at every look, and goes on from. Whoever has kept what came out removes the file.
    pub state: Option<&'a Path>,
}

/// Trains the student on what the teacher gives for the same pixels, and on what is labelled in them. All weights and biases
/// learn, with BatchNormalization folded into them; the weights that do best on held-out images are kept, those of the start
/// included. A student that is quantized learns with its scales, and stays quantized.
///
/// Where the number of steps is left open, rounds of learning follow one another, each twice as long as the one before and
/// with a rate that rises and falls again (Loshchilov and Hutter, "SGDR", arXiv:1608.03983), until one gains little.
/// A loss that is no number ends it: what was best until then is given, with the reason.
///
/// # Errors
/// `Yolo` where the two heads are not of one form or labels are of another list of classes, `FewImages` where there are too few,
/// `NothingLabelled` where labels are asked for and there are none, `Training` where a loss is no number or a node has no gradient,
/// with the step.
pub fn recover_detector(
    subject: &RecoverSubject<'_>,
    options: &RecoverOptions,
    hooks: &RecoverHooks<'_>,
) -> Result<Recovered, CompressError> {
    let mut course = Course::new(subject, options)?;
    (hooks.log)(&course.memory());
    let state =
        hooks.state.map(|path| StateFile::new(path, &subject.inputs(options)?)).transpose()?;
    let mut standing = match state.as_ref().and_then(|file| Standing::stored(file, &course)) {
        Some(standing) => {
            (hooks.log)(&format!("going on after step {}", standing.progress.done));
            standing
        }
        None => {
            let standing = Standing::start(&mut course)?;
            let progress = &standing.progress;
            (hooks.log)(&told_of_labels(progress.labels, progress.label_trial));
            standing
        }
    };
    standing.learn(&mut course, hooks, state.as_ref())?;
    let Standing { progress, learner } = standing;
    Ok(Recovered {
        graph: course.graph(&learner.kept)?,
        rate: progress.rate,
        labels: progress.labels,
        label_trial: progress.label_trial,
        curve: progress.curve,
        best: progress.best,
        ended: progress.ended,
    })
}

/// A training under way.
struct Course<'a> {
    subject: &'a RecoverSubject<'a>,
    options: &'a RecoverOptions,
    /// How images are changed at this point.
    augmentation: Augmentation,
    objective: Objective,
    student: LearningForm,
    /// As far as it learns: its raw outputs, for images of this size.
    raw_outputs: Vec<ValueId>,
    size_px: [usize; 2],
    trainer: Trainer,
    /// Of the last step.
    gradients: BatchGradients,
    /// Those of the start.
    weights: Vec<Weight>,
    /// One for each thread.
    teachers: Vec<Session>,
    training: Examples<'a>,
    held_out: HeldOut,
}

impl<'a> Course<'a> {
    fn new(
        subject: &'a RecoverSubject<'a>,
        options: &'a RecoverOptions,
    ) -> Result<Self, CompressError> {
        let engine = subject.engine;
        // Beside the trainer there are the weights as they are, move and are kept, and packed ones of the teacher.
        let beside = 8 * subject.teacher.graph.params() as usize * size_of::<f32>();
        let student = ir::normalise(subject.student.graph.clone())?.into_graph();
        let teacher = ir::normalise(subject.teacher.graph.clone())?.into_graph();
        let input = &subject.teacher.head.input;
        let size_px = options.window.map_or(input.size_px, |side| [side; 2]);
        let student_raw = resized(subject.student.head.raw(&student)?, size_px)?;
        let teacher_raw = resized(subject.teacher.head.raw(&teacher)?, size_px)?;
        let objective = Objective::new(&student_raw, &teacher_raw, options.labels)?;
        let student = LearningForm::new(student)?;
        let trunk = yolo::trunk(student.graph(), &student_raw.outputs, size_px)?;
        let teacher = yolo::trunk(&teacher, &teacher_raw.outputs, size_px)?;
        let teacher_plan = Arc::new(Plan::compile(&teacher, &[], &engine.options)?);
        let teachers = (0..engine.threads).map(|_| Session::new(&teacher_plan, 1));
        let failed = |e| CompressError::training(0, e);
        let learned = parameters(&trunk);
        let (training, held_out) = split(subject.images, options.seed)?;
        let mut teachers: Vec<Session> = teachers.collect::<Result<_, _>>()?;
        let training = Examples::new(training, subject.labels, input, size_px);
        if options.labels.needs_labels() && !training.is_labelled() {
            return Err(CompressError::NothingLabelled);
        }
        let held_out = Examples::new(held_out, subject.labels, input, size_px);
        Ok(Self {
            held_out: HeldOut::new(&held_out, subject.labels, &objective, &mut teachers)?,
            subject,
            options,
            augmentation: options.augmentation,
            objective,
            trainer: trainer_within(
                options.memory_bytes.map(|allowed| allowed.saturating_sub(beside)),
                &trunk,
                &learned,
                engine,
                options.batch,
                Statistics::Frozen,
            )
            .map_err(|e| e.beside(beside))?,
            gradients: BatchGradients::default(),
            weights: weights(&trunk, &learned).map_err(failed)?,
            student,
            raw_outputs: student_raw.outputs,
            size_px,
            teachers,
            training,
        })
    }

    /// Before the first step.
    fn learner(&self) -> Learner {
        Learner::new(&self.weights, self.manner())
    }

    fn manner(&self) -> Manner {
        Manner { optimizer: self.options.optimizer, average: None }
    }

    /// One step; gives the loss of its images.
    fn step(
        &mut self,
        step: usize,
        learner: &mut Learner,
        rate: f64,
    ) -> Result<f64, CompressError> {
        let failed = |e| CompressError::training(step, e);
        let RecoverOptions { batch, seed, .. } = *self.options;
        let picks = self.training.batch(step, batch, seed, self.augmentation);
        let examples = prepared(&mut self.teachers, &self.objective, &self.training, picks)?;
        let objective = &self.objective;
        let objects = objective.objects(examples.iter().map(|e| &e.lesson));
        let rounded = self.student.rounded(&learner.weights, self.subject.engine.threads)?;
        self.trainer.set_weights(&rounded).map_err(failed)?;
        let images: Vec<&[f32]> = examples.iter().map(|e| e.image.as_slice()).collect();
        let loss = |image: usize, raw: &[Vec<f32>]| {
            let Loss { value, gradients } = objective.loss(raw, &examples[image].lesson, objects);
            OutputGradients { loss: value, gradients }
        };
        let batch = &mut self.gradients;
        self.trainer.gradients(&images, &loss, batch).map_err(failed)?;
        learner.step(batch, rate, self.subject.engine.threads);
        Ok(batch.loss)
    }

    /// What it takes of memory, as a sentence.
    fn memory(&self) -> String {
        // Beside the learner there are the rates of its weights, which are as many as these.
        let rates: usize = self.weights.iter().map(|w| w.rates.len() * size_of::<f32>()).sum();
        let teachers = self.teachers[0].plan().arena_bytes() * self.teachers.len();
        told_of_memory(&self.trainer, self.learner().bytes() + rates + teachers)
    }

    /// The student with these weights.
    fn graph(&self, weights: &[Weight]) -> Result<Graph, CompressError> {
        self.student.detector(weights)
    }

    /// The loss of the held-out images with these weights.
    fn held_out_loss(&self, weights: &[Weight]) -> Result<f64, CompressError> {
        let trunk = yolo::trunk(&self.graph(weights)?, &self.raw_outputs, self.size_px)?;
        self.held_out.loss(&trunk, &self.objective, self.subject.engine)
    }

    /// map_50_95 on the held-out images with these weights; `None` where nothing is labelled.
    fn held_out_accuracy(&self, weights: &[Weight]) -> Result<Option<f64>, CompressError> {
        let graph = self.graph(weights)?;
        self.held_out.accuracy(graph, self.subject.student.head, self.subject.engine)
    }
}

/// The raw outputs for windows of the inputs.
fn resized(head: RawHead, size_px: [usize; 2]) -> Result<RawHead, CompressError> {
    let [height, width] = head.size_px();
    let fits = size_px[0] <= height && size_px[1] <= width;
    let resized = head.resized(size_px).filter(|_| fits);
    resized.ok_or(CompressError::Window { window: size_px[0], height, width })
}

/// Images to train on, and those that are held out.
fn split(images: &ImageSet, seed: u64) -> Result<(ImageSet, ImageSet), CompressError> {
    let [least, most] = HELD_OUT;
    if images.len() < 2 * least {
        return Err(CompressError::FewImages { expected: 2 * least, found: images.len() });
    }
    let held_out = images.sample((images.len() / HELD_OUT_SHARE).clamp(least, most), seed);
    let rest = images.paths.iter().filter(|p| !held_out.paths.contains(p));
    Ok((images.with(rest.cloned().collect()), held_out))
}
