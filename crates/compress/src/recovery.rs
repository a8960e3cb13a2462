//! Recovery: a pruned detector learns again to give what the detector gives that it was made of, without labels.
use crate::CompressError;
use ir::{Graph, Tensor, ValueId};
use numerics::{Rng, parallel_map_with};
use observe::{Engine, ImageSet};
use runtime::{Plan, RuntimeError, Session};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use train::optimizers::{Adam, clip};
use train::{
    BatchGradients, Batching, OutputGradients, Schedule, Trainer, Weight, parameters, weights,
    with_weights,
};
use yolo::families::Head;
use yolo::losses::{Distillation, Loss};

/// Rates that are tried before the way to the end: the best depends on the model by a factor of ten and more.
const RATES: [f64; 3] = [1e-3, 3e-3, 1e-2];

/// Steps of each try.
const TRIAL_STEPS: usize = 10;

/// Steps in which the rate rises.
const WARM_UP: usize = 5;

/// The last rate, as a share of the largest.
const REST: f64 = 0.02;

/// Shares that Adam's means keep.
const BETAS: [f64; 2] = [0.9, 0.99];

/// Images that one run of the graph takes: as many as leave most of what a layer computes in the cache.
const PER_RUN: usize = 2;

/// Length to which gradients are shortened.
const LONGEST: f64 = 10.0;

/// How often the held-out images are looked at, and how often they may do so without gain before the end.
const CHECKS: usize = 12;
const PATIENCE: usize = 5;

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
    /// What computes.
    pub engine: Engine,
}

/// How it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecoverOptions {
    /// Steps.
    pub steps: usize,
    /// Images of a step.
    pub batch: usize,
    /// The largest rate, relative to each weight's size; `None` to find it by short tries.
    pub rate: Option<f64>,
    /// Decides the order of the images and which are mirrored.
    pub seed: u64,
}

/// One look at the held-out images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecoveryPoint {
    /// Steps that were done.
    pub step: usize,
    /// The mean loss of the steps since the last look; null before the first step.
    pub loss: Option<f64>,
    /// The mean loss of the held-out images.
    pub held_out: f64,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// The student with the weights that did best on the held-out images.
    pub graph: Graph,
    /// The largest rate.
    pub rate: f64,
    /// All looks.
    pub curve: Vec<RecoveryPoint>,
    /// The look whose weights are kept.
    pub best: RecoveryPoint,
}

/// Trains the student on what the teacher gives for the same pixels. All weights and biases learn, with BatchNormalization
/// folded into them; the weights that do best on held-out images are kept, those of the start included.
///
/// # Errors
/// `Yolo` where the two heads are not of one form, `FewImages` where there are too few, `Training` where a loss is no number or
/// a node has no gradient, with the step.
pub fn recover_detector(
    subject: &RecoverSubject<'_>,
    options: &RecoverOptions,
    progress: &dyn Fn(&RecoveryPoint),
) -> Result<Recovered, CompressError> {
    let mut course = Course::new(subject, options)?;
    let start = course.weights.clone();
    let rate = match options.rate {
        Some(rate) => rate,
        None => course.find_rate(&start)?,
    };
    course.weights = start;
    let schedule = Schedule {
        peak: rate,
        rest: REST,
        warm_up: WARM_UP.min(options.steps),
        steps: options.steps,
    };
    let mut adam = Adam::new(&course.weights, BETAS);
    let mut best = RecoveryPoint { step: 0, loss: None, held_out: course.held_out_loss()? };
    progress(&best);
    let (mut curve, mut kept) = (vec![best], course.weights.clone());
    let every = options.steps.div_ceil(CHECKS).max(1);
    let mut losses = Vec::new();
    for step in 0..options.steps {
        losses.push(course.step(step, &mut adam, schedule.rate(step))?);
        let done = step + 1;
        if done % every != 0 && done != options.steps {
            continue;
        }
        let point = RecoveryPoint {
            step: done,
            loss: Some(losses.iter().sum::<f64>() / losses.len() as f64),
            held_out: course.held_out_loss()?,
        };
        losses.clear();
        progress(&point);
        curve.push(point);
        if point.held_out < best.held_out {
            (best, kept) = (point, course.weights.clone());
        } else if done - best.step >= PATIENCE * every {
            break;
        }
    }
    Ok(Recovered {
        graph: with_weights(&course.student, &kept).map_err(|e| CompressError::training(0, e))?,
        rate,
        curve,
        best,
    })
}

/// A training under way.
struct Course<'a> {
    subject: &'a RecoverSubject<'a>,
    options: &'a RecoverOptions,
    distillation: Distillation,
    /// The whole student, and as far as its raw outputs.
    student: Graph,
    trunk: Graph,
    trainer: Trainer,
    /// Of the last step.
    gradients: BatchGradients,
    weights: Vec<Weight>,
    /// One for each thread.
    teachers: Vec<Session>,
    training: ImageSet,
    held_out: Vec<Example>,
    held_out_objects: f64,
}

/// An image that is picked for a step.
struct Pick {
    path: PathBuf,
    /// Whether left and right are exchanged.
    is_mirrored: bool,
}

/// An image and what the teacher gives for it.
struct Example {
    image: Vec<f32>,
    teacher: Vec<Vec<f32>>,
}

impl<'a> Course<'a> {
    fn new(
        subject: &'a RecoverSubject<'a>,
        options: &'a RecoverOptions,
    ) -> Result<Self, CompressError> {
        let engine = subject.engine;
        let student = ir::normalise(subject.student.graph.clone())?.into_graph();
        let teacher = ir::normalise(subject.teacher.graph.clone())?.into_graph();
        let student_raw = subject.student.head.raw(&student)?;
        let teacher_raw = subject.teacher.head.raw(&teacher)?;
        let distillation = Distillation::new(&student_raw, &teacher_raw)?;
        let trunk = trunk_of(&student, &student_raw.outputs)?;
        let teacher_plan =
            Plan::compile(&trunk_of(&teacher, &teacher_raw.outputs)?, &[], &engine.options)?;
        let teacher_plan = Arc::new(teacher_plan);
        let teachers = (0..engine.threads).map(|_| Session::new(&teacher_plan, 1));
        let failed = |e| CompressError::training(0, e);
        let learned = parameters(&trunk);
        let (training, held_out) = split(subject.images, options.seed)?;
        let mut course = Self {
            subject,
            options,
            distillation,
            trainer: Trainer::new(
                &trunk,
                &learned,
                &engine.options,
                engine.threads,
                Batching { images: options.batch, per_run: PER_RUN },
            )
            .map_err(failed)?,
            gradients: BatchGradients::default(),
            weights: weights(&trunk, &learned).map_err(failed)?,
            student,
            trunk,
            teachers: teachers.collect::<Result<_, _>>()?,
            training,
            held_out: Vec::new(),
            held_out_objects: 1.0,
        };
        let picks = held_out.paths.into_iter().map(|path| Pick { path, is_mirrored: false });
        course.held_out = course.examples(picks.collect())?;
        course.held_out_objects = course.objects(&course.held_out);
        Ok(course)
    }

    /// The largest rate of which a short try does best on the held-out images.
    fn find_rate(&mut self, start: &[Weight]) -> Result<f64, CompressError> {
        let mut best = (f64::INFINITY, RATES[0]);
        for rate in RATES {
            self.weights = start.to_vec();
            let mut adam = Adam::new(&self.weights, BETAS);
            let schedule =
                Schedule { peak: rate, rest: REST, warm_up: WARM_UP, steps: TRIAL_STEPS };
            for step in 0..TRIAL_STEPS {
                self.step(step, &mut adam, schedule.rate(step))?;
            }
            let held_out = self.held_out_loss()?;
            if held_out < best.0 {
                best = (held_out, rate);
            }
        }
        Ok(best.1)
    }

    /// One step; gives the mean loss of its images.
    fn step(&mut self, step: usize, adam: &mut Adam, rate: f64) -> Result<f64, CompressError> {
        let failed = |e| CompressError::training(step, e);
        let examples = self.examples(self.batch(step))?;
        let objects = self.objects(&examples);
        self.trainer.set_weights(&self.weights).map_err(failed)?;
        let (distillation, teacher) = (&self.distillation, |i: usize| &examples[i].teacher);
        let images: Vec<&[f32]> = examples.iter().map(|e| e.image.as_slice()).collect();
        let loss = |image: usize, raw: &[Vec<f32>]| {
            let Loss { value, gradients } = distillation.loss(raw, teacher(image), objects);
            OutputGradients { loss: value, gradients }
        };
        let batch = &mut self.gradients;
        self.trainer.gradients(&images, &loss, batch).map_err(failed)?;
        let threads = self.subject.engine.threads;
        clip(&mut batch.gradients, LONGEST, threads);
        adam.step(&mut self.weights, &batch.gradients, rate, threads);
        Ok(batch.loss)
    }

    /// The images of a step, and which of them are mirrored: every image comes once before any comes again.
    fn batch(&self, step: usize) -> Vec<Pick> {
        let (count, batch) = (self.training.len(), self.options.batch);
        let pick = |at: usize| {
            let mut rng = Rng::new(self.options.seed ^ (at / count) as u64);
            let mut order: Vec<(u64, usize)> = (0..count).map(|i| (rng.next_u64(), i)).collect();
            order.sort_unstable();
            let (key, image) = order[at % count];
            Pick { path: self.training.paths[image].clone(), is_mirrored: key & 1 == 1 }
        };
        (step * batch..(step + 1) * batch).map(pick).collect()
    }

    /// Images, mirrored where asked for, and what the teacher gives for them.
    fn examples(&mut self, picks: Vec<Pick>) -> Result<Vec<Example>, CompressError> {
        let (set, input) = (&self.training, &self.subject.teacher.head.input);
        let example = |session: &mut Session, pick: Pick| {
            let mut planes = set.planes(&pick.path, input)?.0;
            let mut image = planes.swap_remove(0);
            if pick.is_mirrored {
                image.chunks_exact_mut(input.size_px[1]).for_each(<[f32]>::reverse);
            }
            let teacher = raw_outputs(session, &image)?;
            Ok(Example { image, teacher })
        };
        let examples = parallel_map_with(&mut self.teachers, picks, example);
        examples.into_iter().collect()
    }

    /// How many objects the teacher sees in some images.
    fn objects(&self, examples: &[Example]) -> f64 {
        let objects = examples.iter().map(|e| self.distillation.weight(&e.teacher));
        objects.sum::<f64>().max(1.0)
    }

    /// The loss of the held-out images with the weights as they are.
    fn held_out_loss(&self) -> Result<f64, CompressError> {
        let graph =
            with_weights(&self.trunk, &self.weights).map_err(|e| CompressError::training(0, e))?;
        let engine = self.subject.engine;
        let plan = Arc::new(Plan::compile(&graph, &[], &engine.options)?);
        let sessions = (0..engine.threads).map(|_| Session::new(&plan, 1));
        let mut sessions: Vec<Session> = sessions.collect::<Result<_, _>>()?;
        let losses = parallel_map_with(&mut sessions, &self.held_out, |session, example| {
            let raw = raw_outputs(session, &example.image)?;
            let loss = self.distillation.loss(&raw, &example.teacher, self.held_out_objects);
            Ok(loss.value)
        });
        let losses: Vec<f64> = losses.into_iter().collect::<Result<_, CompressError>>()?;
        Ok(losses.iter().sum())
    }
}

/// What a model gives for an image.
fn raw_outputs(session: &mut Session, image: &[f32]) -> Result<Vec<Vec<f32>>, RuntimeError> {
    let outputs = session.run(&[image])?;
    let elements = |t: &Tensor| t.as_slice::<f32>().expect("the runtime gives f32").to_vec();
    Ok(outputs.iter().map(elements).collect())
}

/// The part of a graph that leads to its raw outputs.
fn trunk_of(graph: &Graph, outputs: &[ValueId]) -> Result<Graph, CompressError> {
    let mut trunk = graph.clone();
    let mut edit = trunk.edit();
    edit.set_outputs(outputs);
    trunk.apply(edit)?;
    Ok(trunk)
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
