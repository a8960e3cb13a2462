//! Improvements, each kept only if the model's detections on images held out come closer to the float model's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ir::{Graph, QuantParams, ValueId};
use quant::{QuantPlan, Range};

use super::agreement::HoldOut;
use super::calibrate::Calibration;
use super::moments::moments;
use super::{LadderStep, QuantizeBudget, QuantizeOptions, Quantized, SiteDecision};
use crate::{CompressError, Observation};

/// Fewest images of which some can be held out.
const FEWEST: usize = 10;
/// Of so many images one is held out.
const EVERY: usize = 3;
const MOST_HELD_OUT: usize = 48;
/// Least noise that equalizing a value must take away, as a power ratio.
const EQUALIZING_GAIN: f64 = 100.0;
/// Tensors whose range is tried on its own, in the normal and the thorough budget.
const TRIED_TENSORS: [usize; 2] = [0, 40];
/// Largest filters whose second moments are summed, in the normal and the thorough budget.
const MOMENT_ELEMENTS: [usize; 2] = [640, 2304];
/// An improvement must be this much of the error, or it is noise: steps that brought less lost mAP on labelled images.
const WORTH: f64 = 0.05;

/// Ranges by tensor, each with the search that gave it.
type Choices = BTreeMap<ValueId, (&'static str, Range)>;

/// The state of the climb.
pub(super) struct Ladder<'a> {
    observation: &'a Observation<'a>,
    options: &'a QuantizeOptions<'a>,
    input_params: QuantParams,
    calibrator: &'static str,
    images: Vec<PathBuf>,
    hold_out: Option<HoldOut<'a>>,
    steps: Vec<LadderStep>,
}

/// A graph with the ranges of its tensors, and how far its detections are from the float model's.
struct Rung {
    graph: Graph,
    choices: Choices,
    plan: QuantPlan,
    quantized: Graph,
    error: f64,
}

impl<'a> Ladder<'a> {
    /// Holds images out and runs the float model on them.
    pub(super) fn new(
        observation: &'a Observation<'a>,
        options: &'a QuantizeOptions<'a>,
        input_params: QuantParams,
    ) -> Result<Self, CompressError> {
        let all = observation.images;
        let may_hold_out = options.budget != QuantizeBudget::Fast && all.len() >= FEWEST;
        let held = |i: usize| may_hold_out && i % EVERY == EVERY - 1 && i / EVERY < MOST_HELD_OUT;
        let part = |wanted: bool| {
            let chosen = all.iter().enumerate().filter(|&(i, _)| held(i) == wanted);
            chosen.map(|(_, p)| p.clone()).collect::<Vec<_>>()
        };
        let hold_out = if may_hold_out {
            Some(HoldOut::new(observation, part(true))?)
        } else {
            None
        };
        let named = quant::OBSERVERS.iter().find(|o| o.0 == options.calibrator);
        Ok(Self {
            observation,
            options,
            input_params,
            calibrator: named.map_or("", |o| o.0),
            images: part(false),
            hold_out,
            steps: Vec::new(),
        })
    }

    /// The whole ladder.
    pub(super) fn climb(mut self) -> Result<Quantized, CompressError> {
        let graph = self.observation.graph.clone();
        let mut calibration = self.calibrate(&graph)?;
        let mut rung = self.first(graph, &calibration)?;
        if let Some(equalized) = self.equalized(&rung.graph, &calibration)? {
            let again = self.calibrate(&equalized)?;
            let candidate = self.first(equalized, &again)?;
            if self.keeps("equalized channels", &rung, &candidate) {
                (rung, calibration) = (candidate, again);
            }
        }
        rung = self.best_ranges(rung, &calibration)?;
        rung = self.corrected(rung, &calibration)?;
        self.finish(rung, calibration)
    }

    fn calibrate(&self, graph: &Graph) -> Result<Calibration, CompressError> {
        let target = self.options.target;
        Calibration::run(
            self.observation,
            (graph, &self.images),
            target,
            self.calibrator,
        )
    }

    fn rung(&self, graph: Graph, choices: Choices) -> Result<Rung, CompressError> {
        let ranges: BTreeMap<ValueId, Range> = choices.iter().map(|(&v, c)| (v, c.1)).collect();
        let plan = quant::plan(&graph, &ranges, &self.input_params, self.options.target)?;
        self.planned(graph, choices, plan)
    }

    fn planned(
        &self,
        graph: Graph,
        choices: Choices,
        plan: QuantPlan,
    ) -> Result<Rung, CompressError> {
        let quantized = quant::apply(&graph, &plan)?;
        let error = match &self.hold_out {
            Some(images) => images.error(&quantized)?,
            None => 0.0,
        };
        Ok(Rung {
            graph,
            choices,
            plan,
            quantized,
            error,
        })
    }

    fn first(&mut self, graph: Graph, calibration: &Calibration) -> Result<Rung, CompressError> {
        let named = |(v, range)| (v, (self.calibrator, range));
        let choices = calibration.ranges().into_iter().map(named).collect();
        let rung = self.rung(graph, choices)?;
        if self.hold_out.is_some() && self.steps.is_empty() {
            self.note(&format!("ranges by {}", self.calibrator), rung.error, true);
        }
        Ok(rung)
    }

    fn note(&mut self, step: &str, detection_error: f64, kept: bool) {
        self.steps.push(LadderStep {
            step: step.to_owned(),
            detection_error,
            kept,
        });
    }

    /// Whether the candidate is better by more than noise; what was tried is noted.
    fn keeps(&mut self, step: &str, rung: &Rung, candidate: &Rung) -> bool {
        let kept = candidate.error < rung.error * (1.0 - WORTH);
        self.note(step, candidate.error, kept);
        kept
    }

    /// The graph with channels scaled where one scale for the tensor drowns most of them in noise.
    fn equalized(
        &self,
        graph: &Graph,
        calibration: &Calibration,
    ) -> Result<Option<Graph>, CompressError> {
        if self.hold_out.is_none() {
            return Ok(None);
        }
        let mut scales = BTreeMap::new();
        for v in quant::depthwise_inputs(graph)? {
            let Some(ranges) = calibration.channel_ranges.get(&v) else {
                continue;
            };
            let found = quant::channel_scales(ranges);
            if found.gain >= EQUALIZING_GAIN {
                scales.insert(v, found.scale);
            }
        }
        if scales.is_empty() {
            return Ok(None);
        }
        Ok(Some(quant::equalize(graph, &scales, self.options.target)?))
    }

    /// The search that suits the model best for all tensors, then for single ones.
    fn best_ranges(
        &mut self,
        mut rung: Rung,
        calibration: &Calibration,
    ) -> Result<Rung, CompressError> {
        let candidates = calibration.candidates();
        if self.hold_out.is_none() || candidates.is_empty() {
            return Ok(rung);
        }
        let names: Vec<&'static str> = candidates
            .values()
            .next()
            .map_or(vec![], |c| c.iter().map(|(n, _)| *n).collect());
        for name in names {
            let of_name = |(&v, c): (&ValueId, &Vec<(&'static str, Range)>)| {
                c.iter().find(|(n, _)| *n == name).map(|c| (v, *c))
            };
            let choices = candidates.iter().filter_map(of_name).collect();
            let candidate = self.rung(rung.graph.clone(), choices)?;
            if self.keeps(&format!("ranges by {name}"), &rung, &candidate) {
                rung = candidate;
            }
        }
        let most = TRIED_TENSORS[usize::from(self.options.budget == QuantizeBudget::Thorough)];
        for v in most_ambiguous(&candidates).into_iter().take(most) {
            for &choice in &candidates[&v] {
                if choice.1 == rung.choices[&v].1 {
                    continue;
                }
                let mut choices = rung.choices.clone();
                choices.insert(v, choice);
                let candidate = self.rung(rung.graph.clone(), choices)?;
                let step = format!("{} by {}", rung.graph.value(v).name, choice.0);
                if self.keeps(&step, &rung, &candidate) {
                    rung = candidate;
                }
            }
        }
        Ok(rung)
    }

    /// Biases corrected, and instead of that weights rounded by second moments.
    fn corrected(&mut self, rung: Rung, calibration: &Calibration) -> Result<Rung, CompressError> {
        if self.hold_out.is_none() {
            return Ok(rung);
        }
        let (float, plan, means) = (rung.graph.clone(), rung.plan.clone(), &calibration.means);
        let graph = quant::correct_biases(&float, &plan, means)?;
        let mut best = rung;
        let candidate = self.planned(graph, best.choices.clone(), plan.clone())?;
        if self.keeps("corrected biases", &best, &candidate) {
            best = candidate;
        }
        let most = MOMENT_ELEMENTS[usize::from(self.options.budget == QuantizeBudget::Thorough)];
        let moments = moments(self.observation, (&float, &self.images), &plan, most)?;
        let graph = quant::round_weights(&float, &plan, &moments, means)?;
        let graph = quant::correct_biases(&graph, &plan, means)?;
        let candidate = self.planned(graph, best.choices.clone(), plan)?;
        if self.keeps("weights rounded by second moments", &best, &candidate) {
            best = candidate;
        }
        Ok(best)
    }

    /// The ranges that the plan's codes represent, beside what was seen.
    fn decisions(
        &self,
        rung: &Rung,
        calibration: &Calibration,
    ) -> Result<Vec<SiteDecision>, CompressError> {
        let seen = calibration.extremes();
        let decision = |site: quant::Site| {
            let name = &rung.graph.value(site.value).name;
            let params = rung.plan.activations.get(name)?;
            let (codes, seen) = (params.range(), seen.get(&site.range_of));
            let (min, max) = (
                params.dequantize(0, codes.0 as i32),
                params.dequantize(0, codes.1 as i32),
            );
            Some(SiteDecision {
                value: name.clone(),
                range_by: rung
                    .choices
                    .get(&site.range_of)
                    .map_or("input", |c| c.0)
                    .to_owned(),
                min,
                max,
                observed_min: seen.map_or(min, |r| r.min),
                observed_max: seen.map_or(max, |r| r.max),
            })
        };
        let sites = quant::sites(&rung.graph, self.options.target)?;
        Ok(sites.into_iter().filter_map(decision).collect())
    }

    fn finish(self, rung: Rung, calibration: Calibration) -> Result<Quantized, CompressError> {
        let sites = self.decisions(&rung, &calibration)?;
        let mut bad_images = calibration.bad_images;
        bad_images.extend(self.hold_out.into_iter().flat_map(|h| h.bad_images));
        Ok(Quantized {
            int8_macs_share: quant::int8_macs_share(&rung.quantized),
            sites,
            graph: rung.quantized,
            plan: rung.plan,
            bad_images,
            steps: self.steps,
        })
    }
}

/// Tensors by how much the searches disagree about their width, most first.
fn most_ambiguous(candidates: &BTreeMap<ValueId, Vec<(&'static str, Range)>>) -> Vec<ValueId> {
    let ratio = |c: &[(&'static str, Range)]| {
        let widths = c.iter().map(|(_, r)| f64::from(r.max - r.min).max(1e-12));
        let (narrow, wide) = widths.fold((f64::INFINITY, 0.0f64), |(n, w), x| (n.min(x), w.max(x)));
        wide / narrow
    };
    let mut found: Vec<(f64, ValueId)> = candidates.iter().map(|(&v, c)| (ratio(c), v)).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found.into_iter().map(|(_, v)| v).collect()
}
