//! The steps of quantization: ranges, equalized channels and corrected biases. Where they lose much, or the budget is thorough,
//! further ones are tried, and stay only if the model's detections come clearly closer to the float model's.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ir::{Graph, QuantParams, ValueId};
use quant::{QuantPlan, Range};

use super::calibrate::Calibration;
use super::moments::moments;
use super::{LadderStep, QuantizeBudget, QuantizeOptions, Quantized, SiteDecision};
use crate::prune_stage::agreement::Agreement;
use crate::{CompressError, Observation};

/// Fewest images of which some can judge.
const FEWEST: usize = 10;
/// Of so many images one judges. Ranges are taken from all images, weights are fitted to the others alone.
const EVERY: usize = 3;
const MOST_JUDGING: usize = 48;
/// Within the normal budget steps are tried where more than this share of the precision is lost: on labelled images the judge
/// ranks what is better no better than chance.
const MUCH: f64 = 0.05;
/// Least noise that equalizing a value must take away, as a power ratio.
const EQUALIZING_GAIN: f64 = 100.0;
/// Tensors whose range is tried on its own.
const TRIED_TENSORS: usize = 40;
/// Elements of the largest filters whose second moments are summed.
const MOMENT_ELEMENTS: usize = 2304;
/// The share of the error that a step must take away: what brought less lost mAP as often as it gained on labelled images.
const WORTH: f64 = 0.15;

/// Ranges by tensor, each with the search that gave it.
type Choices = BTreeMap<ValueId, (&'static str, Range)>;

/// Images on which steps are judged.
struct Judge<'a>(Agreement<'a>);

/// What does not change from step to step, and the steps taken.
pub(super) struct Ladder<'a> {
    observation: &'a Observation<'a>,
    options: &'a QuantizeOptions<'a>,
    input_params: QuantParams,
    calibrator: &'static str,
    /// Images to which weights are fitted.
    others: Vec<PathBuf>,
    judge: Option<Judge<'a>>,
    steps: Vec<LadderStep>,
}

/// A float graph with the ranges of its tensors, the quantized graph that they give, and, where images judge, how far its
/// detections are from the float model's.
struct Rung {
    graph: Graph,
    choices: Choices,
    plan: QuantPlan,
    quantized: Graph,
    error: Option<f64>,
}

impl<'a> Ladder<'a> {
    /// Runs the float model on the images that judge, where the budget asks for it.
    pub(super) fn new(
        observation: &'a Observation<'a>,
        options: &'a QuantizeOptions<'a>,
        input_params: QuantParams,
    ) -> Result<Self, CompressError> {
        let all = observation.images;
        let is_judged = options.budget != QuantizeBudget::Fast && all.len() >= FEWEST;
        let judges = |i: usize| is_judged && i % EVERY == EVERY - 1 && i / EVERY < MOST_JUDGING;
        let part = |wanted: bool| {
            let chosen = all.iter().enumerate().filter(|&(i, _)| judges(i) == wanted);
            chosen.map(|(_, p)| p.clone()).collect::<Vec<_>>()
        };
        let judge = if is_judged {
            let images = part(true);
            let readable = Observation {
                images: &images,
                ..*observation
            }
            .readable();
            match readable {
                Ok((images, _)) => Some(Judge(Agreement::new(*observation, images)?)),
                // Those that calibrate say what is wrong with them.
                Err(CompressError::NoImages { .. }) => None,
                Err(error) => return Err(error),
            }
        } else {
            None
        };
        let named = quant::OBSERVERS.iter().find(|o| o.0 == options.calibrator);
        Ok(Self {
            observation,
            options,
            input_params,
            calibrator: named.map_or("", |o| o.0),
            others: part(false),
            judge,
            steps: Vec::new(),
        })
    }

    /// All steps of the budget.
    pub(super) fn climb(mut self) -> Result<Quantized, CompressError> {
        let mut graph = self.observation.graph.clone();
        let mut calibration = self.calibrate(&graph)?;
        if self.options.budget != QuantizeBudget::Fast
            && let Some(equalized) = self.equalized(&graph, &calibration)?
        {
            graph = equalized;
            calibration = self.calibrate(&graph)?;
            self.note("equalized channels", None, true);
        }
        let named = |(v, range)| (v, (self.calibrator, range));
        let choices = calibration.ranges().into_iter().map(named).collect();
        let mut rung = self.rung(graph, choices, &calibration)?;
        self.note(&format!("ranges by {}", self.calibrator), rung.error, true);
        if self.options.budget != QuantizeBudget::Fast {
            self.note("corrected biases", rung.error, true);
        }
        let is_thorough = self.options.budget == QuantizeBudget::Thorough;
        if rung.error.is_some_and(|e| is_thorough || e > MUCH) {
            rung = self.best_ranges(rung, &calibration)?;
            rung = self.rounded(rung, &calibration)?;
        }
        self.finish(rung, calibration)
    }

    fn calibrate(&self, graph: &Graph) -> Result<Calibration, CompressError> {
        let target = self.options.target;
        Calibration::run(
            self.observation,
            (graph, self.observation.images),
            target,
            self.calibrator,
        )
    }

    /// The graph quantized with these ranges; biases are corrected in every budget but the fast one.
    fn rung(
        &mut self,
        graph: Graph,
        choices: Choices,
        calibration: &Calibration,
    ) -> Result<Rung, CompressError> {
        let ranges: BTreeMap<ValueId, Range> = choices.iter().map(|(&v, c)| (v, c.1)).collect();
        let plan = quant::plan(&graph, &ranges, &self.input_params, self.options.target)?;
        let quantized = if self.options.budget == QuantizeBudget::Fast {
            quant::apply(&graph, &plan)?
        } else {
            let corrected = quant::correct_biases(&graph, &plan, &calibration.means)?;
            quant::apply(&corrected, &plan)?
        };
        let error = self.error(&quantized)?;
        Ok(Rung {
            graph,
            choices,
            plan,
            quantized,
            error,
        })
    }

    fn error(&mut self, quantized: &Graph) -> Result<Option<f64>, CompressError> {
        let judge = self.judge.as_mut();
        judge.map(|j| j.0.error(quantized)).transpose()
    }

    fn note(&mut self, step: &str, detection_error: Option<f64>, kept: bool) {
        self.steps.push(LadderStep {
            step: step.to_owned(),
            detection_error,
            kept,
        });
    }

    /// The better of two rungs; the candidate must be better by more than noise. What was tried is noted.
    fn better(&mut self, step: &str, rung: Rung, candidate: Rung) -> Rung {
        let kept = rung
            .error
            .zip(candidate.error)
            .is_some_and(|(before, after)| after < before * (1.0 - WORTH));
        self.note(step, candidate.error, kept);
        if kept { candidate } else { rung }
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
        let names: Vec<&'static str> = candidates
            .values()
            .next()
            .map_or(vec![], |c| c.iter().map(|(n, _)| *n).collect());
        for name in names {
            let of_name = |(&v, c): (&ValueId, &Vec<(&'static str, Range)>)| {
                c.iter().find(|(n, _)| *n == name).map(|c| (v, *c))
            };
            let choices = candidates.iter().filter_map(of_name).collect();
            let candidate = self.rung(rung.graph.clone(), choices, calibration)?;
            rung = self.better(&format!("ranges by {name}"), rung, candidate);
        }
        let is_thorough = self.options.budget == QuantizeBudget::Thorough;
        let most = if is_thorough { TRIED_TENSORS } else { 0 };
        for v in most_ambiguous(&candidates).into_iter().take(most) {
            for &choice in &candidates[&v] {
                if rung.choices.get(&v).is_none_or(|now| now.1 == choice.1) {
                    continue;
                }
                let mut choices = rung.choices.clone();
                choices.insert(v, choice);
                let candidate = self.rung(rung.graph.clone(), choices, calibration)?;
                let step = format!("{} by {}", rung.graph.value(v).name, choice.0);
                rung = self.better(&step, rung, candidate);
            }
        }
        Ok(rung)
    }

    /// Weights rounded by second moments.
    fn rounded(&mut self, rung: Rung, calibration: &Calibration) -> Result<Rung, CompressError> {
        let (float, plan, means) = (&rung.graph, &rung.plan, &calibration.means);
        let images = (float, self.others.as_slice());
        let moments = moments(self.observation, images, plan, MOMENT_ELEMENTS)?;
        let graph = quant::round_weights(float, plan, &moments, means)?;
        let quantized = quant::apply(&quant::correct_biases(&graph, plan, means)?, plan)?;
        let candidate = Rung {
            graph: rung.graph.clone(),
            choices: rung.choices.clone(),
            plan: rung.plan.clone(),
            error: self.error(&quantized)?,
            quantized,
        };
        Ok(self.better("weights rounded by second moments", rung, candidate))
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
        Ok(Quantized {
            int8_macs_share: quant::int8_macs_share(&rung.quantized),
            sites,
            graph: rung.quantized,
            plan: rung.plan,
            bad_images: calibration.bad_images,
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
