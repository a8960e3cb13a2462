//! The steps of quantization: ranges, equalized channels and corrected biases. Where they lose much, or the budget is thorough,
//! other ranges and rounding are tried, and stay only if the model's detections come clearly closer to the float model's. Last, if
//! the budget is thorough, scales and weights learn, and where much is lost even so, a few layers stay float.

use std::collections::{BTreeMap, BTreeSet};

use ir::{Graph, NodeId, QuantParams, ValueId};
use observe::{ImageSet, Observation, ObserveError, Reference};
use quant::{QuantPlan, Range};

use super::calibrate::Calibration;
use super::learnt::{Lessons, STEPS, learnt, plan_of};
use super::moments::moments;
use super::noise::{Meter, Planned, trunk};
use super::precision::float_layers;
use super::{DESCRIBED, QuantizeBudget, QuantizeOptions, Quantized, RangeDecision, SearchStep};
use crate::{CompressError, HeadedModel};

/// Fewest images of which some are set aside for evaluation.
const FEWEST: usize = 10;
/// Of so many images one is set aside. Ranges are taken from all images, weights are fitted to the others alone.
const EVERY: usize = 3;
/// Most images that are set aside.
const MOST_EVALUATED: usize = 48;
/// Within the normal budget steps are tried where more than this share of the precision is lost: below it the evaluation ranks
/// what is better on labelled images no better than chance.
const MUCH: f64 = 0.05;
/// Least noise that equalizing a value must take away, as a power ratio.
const EQUALIZING_GAIN: f64 = 100.0;
/// The share of the error that a step must take away: what brought less lost mAP as often as it gained on labelled images.
const WORTH: f64 = 0.15;

/// The largest share of the MACs that may be left float.
const FLOAT_MACS: f64 = 0.025;
/// A layer is left float where at least this share of all noise power goes with it.
const FLOAT_GAIN: f64 = 0.01;

/// Images that quantization runs by a budget, where little is lost: those that ranges are taken from, twice where channels are
/// equalized, those that are set aside, and those on which it is described how ranges are used. Where much is lost, about as many
/// again, and with the thorough budget training.
pub fn usual_runs(images: usize, budget: QuantizeBudget) -> usize {
    let described = images.min(DESCRIBED);
    if budget == QuantizeBudget::Fast {
        return images + described;
    }
    2 * images + 2 * (images / EVERY).min(MOST_EVALUATED) + described
}

/// Ranges by tensor, each with the name of the method that gave it.
type Choices = BTreeMap<ValueId, (&'static str, Range)>;

/// What does not change from step to step, and the steps taken.
pub(super) struct Search<'a> {
    observation: &'a Observation<'a>,
    options: &'a QuantizeOptions<'a>,
    input_params: QuantParams,
    /// Layers that stay float on request; their ids are those of every graph that is made of the detector's.
    float: BTreeSet<NodeId>,
    calibrator: &'static str,
    /// Images to which weights are fitted.
    fitted: ImageSet,
    /// Evaluation images with what the float model finds on them.
    reference: Option<Reference<'a>>,
    steps: Vec<SearchStep>,
    log: &'a dyn Fn(&str),
}

/// A float graph with the ranges of its tensors, the quantized graph that they give, and, where there are evaluation images, how
/// far its detections are from the float model's.
struct Candidate {
    graph: Graph,
    choices: Choices,
    /// Layers that are left float.
    float: BTreeSet<NodeId>,
    plan: QuantPlan,
    /// Tensors whose scale was learnt.
    learnt: BTreeSet<String>,
    quantized: Graph,
    error: Option<f64>,
}

impl<'a> Search<'a> {
    /// Runs the float model on the evaluation images, where the budget asks for it.
    pub(super) fn new(
        observation: &'a Observation<'a>,
        options: &'a QuantizeOptions<'a>,
        input_params: QuantParams,
        log: &'a dyn Fn(&str),
    ) -> Result<Self, CompressError> {
        let images = observation.images;
        let is_evaluated = options.budget != QuantizeBudget::Fast && images.len() >= FEWEST;
        let is_set_aside =
            |i: &usize| is_evaluated && i % EVERY == EVERY - 1 && i / EVERY < MOST_EVALUATED;
        let (set_aside, fitted): (Vec<usize>, Vec<usize>) =
            (0..images.len()).partition(is_set_aside);
        let subset = |positions: Vec<usize>| {
            let paths = positions.into_iter().map(|i| images.paths[i].clone());
            images.with(paths.collect())
        };
        Ok(Self {
            observation,
            options,
            input_params,
            float: float_layers(observation.model.graph, options)?,
            calibrator: options.calibrator.name,
            fitted: subset(fitted),
            reference: reference(observation, &subset(set_aside))?,
            steps: Vec::new(),
            log,
        })
    }

    /// All steps of the budget.
    pub(super) fn run(mut self) -> Result<Quantized, CompressError> {
        let is_fast = self.options.budget == QuantizeBudget::Fast;
        let mut graph = self.observation.model.graph.clone();
        let mut calibration = self.calibrate(&graph)?;
        if !is_fast && let Some(equalized) = self.equalized(&graph, &calibration)? {
            graph = equalized;
            calibration = self.calibrate(&graph)?;
            self.note("equalized channels", None, true);
        }
        let named = |(v, range)| (v, (self.calibrator, range));
        let choices = calibration.ranges().into_iter().map(named).collect();
        let mut best = self.candidate(graph, choices, self.float.clone(), &calibration)?;
        self.note(&format!("ranges by {}", self.calibrator), best.error, true);
        if !is_fast {
            self.note("corrected biases", best.error, true);
        }
        let is_thorough = self.options.budget == QuantizeBudget::Thorough;
        if best.error.is_some_and(|e| is_thorough || e > MUCH) {
            best = self.best_ranges(best, &calibration)?;
            best = self.rounded(best, &calibration)?;
        }
        if is_thorough {
            best = self.learnt_or_spared(best, &calibration)?;
        }
        self.finish(best, calibration)
    }

    fn calibrate(&self, graph: &Graph) -> Result<Calibration, CompressError> {
        Calibration::run(self.observation, graph, self.options)
    }

    /// The graph quantized with these ranges but for layers that are left float; biases are corrected in every budget but the fast
    /// one.
    fn candidate(
        &mut self,
        graph: Graph,
        choices: Choices,
        float: BTreeSet<NodeId>,
        calibration: &Calibration,
    ) -> Result<Candidate, CompressError> {
        let ranges = ranges(&choices);
        let (plan, quantized) = self.planned(&graph, &ranges, calibration).quantized(&float)?;
        let error = self.error(&quantized)?;
        let learnt = BTreeSet::new();
        Ok(Candidate { graph, choices, float, plan, learnt, quantized, error })
    }

    fn planned<'p>(
        &'p self,
        graph: &'p Graph,
        ranges: &'p BTreeMap<ValueId, Range>,
        calibration: &'p Calibration,
    ) -> Planned<'p> {
        let is_fast = self.options.budget == QuantizeBudget::Fast;
        Planned {
            graph,
            ranges,
            means: (!is_fast).then_some(&calibration.means),
            input_params: &self.input_params,
            target: self.options.target,
        }
    }

    fn error(&mut self, quantized: &Graph) -> Result<Option<f64>, CompressError> {
        let reference = self.reference.as_mut();
        Ok(reference.map(|r| r.error(quantized)).transpose()?)
    }

    fn note(&mut self, step: &str, detection_error: Option<f64>, kept: bool) {
        self.steps.push(SearchStep { step: step.to_owned(), detection_error, kept });
    }

    /// The better of two candidates; the new one must be better by more than noise. What was tried is noted.
    fn better(&mut self, step: &str, best: Candidate, tried: Candidate) -> Candidate {
        let kept = best
            .error
            .zip(tried.error)
            .is_some_and(|(before, after)| after < before * (1.0 - WORTH));
        self.note(step, tried.error, kept);
        if kept { tried } else { best }
    }

    /// The graph with channels scaled where one scale for the tensor drowns most of them in noise.
    fn equalized(
        &self,
        graph: &Graph,
        calibration: &Calibration,
    ) -> Result<Option<Graph>, CompressError> {
        let mut scales = BTreeMap::new();
        for v in quant::depthwise_inputs(graph)? {
            let Some(ranges) = calibration.channel_ranges.get(&v) else {
                continue;
            };
            let equalizing = quant::channel_scales(ranges);
            if equalizing.gain >= EQUALIZING_GAIN {
                scales.insert(v, equalizing.scale);
            }
        }
        if scales.is_empty() {
            return Ok(None);
        }
        Ok(Some(quant::equalize(graph, &scales, self.options.target)?))
    }

    /// The ranges of the method that suits the model best.
    fn best_ranges(
        &mut self,
        mut best: Candidate,
        calibration: &Calibration,
    ) -> Result<Candidate, CompressError> {
        let candidates = calibration.candidates();
        let names: Vec<&'static str> =
            candidates.values().next().map_or(vec![], |c| c.iter().map(|(n, _)| *n).collect());
        for name in names {
            let of_name = |(&v, c): (&ValueId, &Vec<(&'static str, Range)>)| {
                c.iter().find(|(n, _)| *n == name).map(|c| (v, *c))
            };
            let choices = candidates.iter().filter_map(of_name).collect();
            let float = best.float.clone();
            let tried = self.candidate(best.graph.clone(), choices, float, calibration)?;
            best = self.better(&format!("ranges by {name}"), best, tried);
        }
        Ok(best)
    }

    /// Leaves the layers float that lose most: those with the most noise at the head's outputs for their MACs, as long as these are
    /// few.
    ///
    /// A step of its own kind: noise at the head's outputs tells small differences apart that no count of detections does, and
    /// less of it is never worse. It stays where the noise falls clearly.
    fn spared(
        &mut self,
        best: Candidate,
        calibration: &Calibration,
    ) -> Result<Candidate, CompressError> {
        let trunk = trunk(&best.graph)?;
        let mut meter = Meter::new(self.observation, &trunk, &self.fitted)?;
        let ranges = ranges(&best.choices);
        let gains = {
            let planned = self.planned(&best.graph, &ranges, calibration);
            let all = meter.noise(&best.quantized)?;
            let mut gains = Vec::new();
            let layers = planned.layers()?.into_iter();
            for layer in layers.filter(|layer| !best.float.contains(layer)) {
                let and_this = best.float.iter().copied().chain([layer]).collect();
                let without = meter.noise(&planned.quantized(&and_this)?.1)?;
                let macs = best.graph.node_macs(layer) as f64 / best.graph.macs().max(1) as f64;
                gains.push(FloatGain { layer, gain: 1.0 - (without / all).powi(2), macs });
            }
            gains
        };
        let more = worth_most(gains);
        if more.is_empty() {
            return Ok(best);
        }
        let names = more.iter().map(|id| best.graph.node(*id).name.as_str()).collect::<Vec<_>>();
        let step = format!("float: {}", names.join(", "));
        let (graph, choices) = (best.graph.clone(), best.choices.clone());
        let float = &best.float | &more;
        let tried = self.candidate(graph, choices, float, calibration)?;
        let kept = meter.noise(&tried.quantized)? < (1.0 - WORTH) * meter.noise(&best.quantized)?;
        self.note(&step, tried.error, kept);
        Ok(if kept { tried } else { best })
    }

    /// Weights rounded by second moments.
    fn rounded(
        &mut self,
        best: Candidate,
        calibration: &Calibration,
    ) -> Result<Candidate, CompressError> {
        let (float, plan, means) = (&best.graph, &best.plan, &calibration.means);
        let moments = moments(self.observation, float, &self.fitted, plan)?;
        let graph = quant::round_weights(float, plan, &moments, means)?;
        let quantized = quant::apply(&quant::correct_biases(&graph, plan, means)?, plan)?;
        let tried = Candidate {
            graph: best.graph.clone(),
            choices: best.choices.clone(),
            float: best.float.clone(),
            plan: best.plan.clone(),
            learnt: best.learnt.clone(),
            error: self.error(&quantized)?,
            quantized,
        };
        Ok(self.better("weights rounded by second moments", best, tried))
    }

    /// A candidate that learnt; where much is lost even so, one of which a few layers stay float, and the others learnt. How much a
    /// candidate loses that learnt from another model is not told by the float model.
    fn learnt_or_spared(
        &mut self,
        best: Candidate,
        calibration: &Calibration,
    ) -> Result<Candidate, CompressError> {
        let learnt = match (self.learnt(&best)?, self.options.lessons) {
            (Some(learnt), Some(_)) => return Ok(learnt),
            (learnt, _) => learnt,
        };
        let error = learnt.as_ref().map_or(best.error, |candidate| candidate.error);
        if error.is_none_or(|error| error <= MUCH) {
            return Ok(learnt.unwrap_or(best));
        }
        let before = best.float.len();
        let spared = self.spared(best, calibration)?;
        if spared.float.len() == before {
            return Ok(learnt.unwrap_or(spared));
        }
        let again = self.learnt(&spared)?.unwrap_or(spared);
        let is_better = |learnt: &Candidate| learnt.error <= again.error;
        Ok(learnt.filter(is_better).unwrap_or(again))
    }

    /// Scales and weights that learnt from the float model. They stay where the images that the learning held out say so: their loss
    /// tells differences apart that counts of detections do not. These must not say the very opposite.
    fn learnt(&mut self, best: &Candidate) -> Result<Option<Candidate>, CompressError> {
        let Observation { model, engine, .. } = *self.observation;
        let Some(head) = model.head else {
            return Ok(None);
        };
        let (fitted, _) = self.fitted.readable(head.input.images(), engine.threads)?;
        let teacher = HeadedModel { graph: model.graph, head };
        let of_itself = Lessons { teacher, images: &fitted, steps: STEPS };
        let lessons = self.options.lessons.unwrap_or(of_itself);
        let step = format!("{} steps of learning", lessons.steps);
        let student = HeadedModel { graph: &best.quantized, head };
        let Some(quantized) = learnt(student, lessons, engine, self.log)? else {
            self.note(&step, None, false);
            return Ok(None);
        };
        let error = self.error(&quantized)?;
        // What learns from another model is not to give what the float model gives.
        let is_its_own = self.options.lessons.is_none();
        let errors = best.error.zip(error).filter(|_| is_its_own);
        let is_worse = errors.is_some_and(|(before, after)| after > before + MUCH);
        self.note(&step, error, !is_worse);
        let plan = plan_of(&quantized, &best.plan);
        let (graph, choices, float) =
            (best.graph.clone(), best.choices.clone(), best.float.clone());
        let changed = plan.activations.iter().filter(|(v, now)| best.plan.activations[*v] != **now);
        let learnt = changed.map(|(v, _)| v.clone()).collect();
        let candidate = Candidate { graph, choices, float, plan, learnt, quantized, error };
        Ok((!is_worse).then_some(candidate))
    }

    /// The ranges that the plan's parameters represent, beside what was observed.
    fn decisions(
        &self,
        best: &Candidate,
        calibration: &Calibration,
    ) -> Result<Vec<RangeDecision>, CompressError> {
        let extremes = calibration.extremes();
        let decision = |point: quant::QuantizationPoint| {
            let name = &best.graph.value(point.value).name;
            let params = best.plan.activations.get(name)?;
            let (lowest, highest) = params.range();
            let min = params.dequantize(0, lowest as i32);
            let max = params.dequantize(0, highest as i32);
            let observed = extremes.get(&point.range_of);
            let choice = best.choices.get(&point.range_of);
            let range_by = match choice {
                _ if best.learnt.contains(name) => "learnt",
                Some((method, _)) => method,
                None => "input",
            };
            Some(RangeDecision {
                value: name.clone(),
                range_by: range_by.to_owned(),
                min,
                max,
                observed_min: observed.map_or(min, |r| r.min),
                observed_max: observed.map_or(max, |r| r.max),
                clipped: None,
            })
        };
        let points = quant::quantization_points(&best.graph, self.options.target)?;
        Ok(points.into_iter().filter_map(decision).collect())
    }

    fn finish(self, best: Candidate, calibration: Calibration) -> Result<Quantized, CompressError> {
        let noise = if self.options.explain {
            let trunk = trunk(&best.graph)?;
            let ranges = ranges(&best.choices);
            let mut meter = Meter::new(self.observation, &trunk, &self.fitted)?;
            let planned = self.planned(&best.graph, &ranges, &calibration);
            Some(meter.layers(&planned, &best.quantized, &best.float)?)
        } else {
            None
        };
        let ranges = self.decisions(&best, &calibration)?;
        let layers = best.graph.nodes().filter(|(id, _)| best.float.contains(id));
        let float_layers = layers.map(|(_, node)| node.name.clone()).collect();
        Ok(Quantized {
            float_layers,
            int8_macs_share: quant::int8_macs_share(&best.quantized),
            ranges,
            noise,
            graph: best.quantized,
            plan: best.plan,
            bad_images: calibration.bad_images,
            steps: self.steps,
        })
    }
}

/// What leaving a layer float brings.
#[derive(Clone, Copy, Debug)]
struct FloatGain {
    layer: NodeId,
    /// Share of all noise power that goes.
    gain: f64,
    /// Its share of the MACs.
    macs: f64,
}

/// The layers that bring most for their MACs, as long as these are few. A clock would give another file on another day.
fn worth_most(mut gains: Vec<FloatGain>) -> BTreeSet<NodeId> {
    gains.retain(|g| g.gain >= FLOAT_GAIN);
    let worth = |g: &FloatGain| g.gain / g.macs;
    gains.sort_by(|a, b| worth(b).total_cmp(&worth(a)).then(a.layer.cmp(&b.layer)));
    let mut macs = 0.0;
    let mut chosen = BTreeSet::new();
    for gain in gains {
        if macs + gain.macs <= FLOAT_MACS {
            macs += gain.macs;
            chosen.insert(gain.layer);
        }
    }
    chosen
}

fn ranges(choices: &Choices) -> BTreeMap<ValueId, Range> {
    choices.iter().map(|(&v, choice)| (v, choice.1)).collect()
}

/// Evaluation images with what the float model finds on them; `None` where there are none that can be read.
fn reference<'a>(
    observation: &Observation<'a>,
    images: &ImageSet,
) -> Result<Option<Reference<'a>>, CompressError> {
    let Observation { model, engine, .. } = *observation;
    if images.is_empty() {
        return Ok(None);
    }
    match images.readable(model.input.images(), engine.threads) {
        Ok((images, _)) => Ok(Some(Reference::new(model, images, engine)?)),
        // Calibration reports what is wrong with them.
        Err(ObserveError::NoImages { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
