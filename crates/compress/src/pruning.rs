//! Pruning: what each group's channels are worth, a plan, and repair of what it breaks.

mod account;
mod allocation;
mod curves;
mod options;
mod reached;
mod reckoning;
mod sensitivity;
mod taylor;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ir::{Graph, ValueId};
use observe::{ImageSet, Observation, Reference};
use prune::{DependencyGroup, Groups, Importance, Limits, PrunePlan, Sensitivity, Statistics};
use yolo::BadInput;

use crate::CompressError;
use crate::repair::{DenseRecord, Repair, RepairStep, means};
pub use account::{Candidate, FrozenGroup, GroupCut, PruneAccount, ThinnedLayer};
use allocation::{Addition, Saving};
use curves::Curve;
pub use options::{PruneBudget, PruneOptions};
pub use reached::{Reach, Reached, Shortfall};
pub use reckoning::Reckoning;
use reckoning::{Pass, Reckoned};
pub use sensitivity::{GroupSensitivity, SensitivityPoint};

/// A pruned detector and how it came about.
#[derive(Clone, Debug)]
pub struct Pruned {
    /// The smaller graph.
    pub graph: Graph,
    /// What was removed, where and why.
    pub account: PruneAccount,
    /// Groups that could be pruned, and groups that are frozen.
    pub groups: Groups,
    /// Images that could not be read.
    pub bad_images: Vec<BadInput>,
}

/// What is known of a detector before channels are removed: found out once, used for any number of budgets.
pub struct PruneStudy<'a> {
    observation: Observation<'a>,
    options: PruneOptions,
    groups: Groups,
    record: DenseRecord,
    reckoning: Reckoning,
    /// By how much a second brings the work on, in multiply-accumulates.
    macs_per_s: f64,
    /// What criteria are told that look at gradients; none for others.
    sensitivities: Vec<Sensitivity>,
    /// Empty until groups are studied.
    importance: Importance,
    /// Of the channels that were observed, by value.
    means: BTreeMap<ValueId, Vec<f32>>,
    reference: Reference<'a>,
    /// Measured when a budget first asks for them.
    curves: Vec<Curve>,
    /// The plans of the last budget and what came of them: another budget that the limits stop has the same.
    last: Option<(Vec<NamedPlan>, Pruned)>,
    bad_images: Vec<BadInput>,
}

/// A plan and the rule that made it.
#[derive(Clone, Debug, PartialEq)]
struct NamedPlan {
    rule: &'static str,
    plan: PrunePlan,
}

impl<'a> PruneStudy<'a> {
    /// Reckons what pruning takes, and finds the dense detector's detections on images that are held out of the observation's.
    ///
    /// # Errors
    /// `NoImages`; `PruningMemory` where the engine's memory is too small; as the stages otherwise.
    pub fn new(
        observation: Observation<'a>,
        options: &PruneOptions,
    ) -> Result<Self, CompressError> {
        let criterion = options.criterion;
        options.limits.check()?;
        let Observation { model, engine, .. } = observation;
        quant::check_float(model.graph)?;
        let groups = prune::analyse(model.graph)?;
        let (images, bad_images) =
            observation.images.readable(model.input.images(), engine.threads)?;
        let most_compared = reckoning::compared_images(model.graph, &groups);
        let (fitted, held_out) = hold_out(&images, most_compared);
        let record = DenseRecord::new(model.graph, fitted.clone(), 0)?;
        let reckoning = Reckoning::new(&Reckoned {
            graph: model.graph,
            groups: &groups,
            criterion,
            record: &record,
            compared: held_out.len(),
            engine,
        })?;
        let start = Instant::now();
        let macs = model.graph.macs() as f64 * held_out.len() as f64;
        let reference = Reference::new(model, held_out, engine)?;
        let macs_per_s = macs / start.elapsed().as_secs_f64().max(1e-6);
        let sensitivities = if criterion.needs_gradients {
            taylor::sensitivities(&observation, &fitted, &groups)?
        } else {
            vec![]
        };
        Ok(Self {
            observation,
            options: options.clone(),
            reckoning,
            macs_per_s,
            sensitivities,
            importance: Importance::new(),
            means: BTreeMap::new(),
            reference,
            groups,
            record,
            curves: vec![],
            last: None,
            bad_images,
        })
    }

    /// Images that could not be read.
    pub fn bad_images(&self) -> &[BadInput] {
        &self.bad_images
    }

    /// What pruning takes.
    pub fn reckoning(&self) -> &Reckoning {
        &self.reckoning
    }

    /// How long pruning by a budget takes, about, by how fast the dense detector ran.
    pub fn reckoned_time(&self, budget: PruneBudget) -> Duration {
        Duration::from_secs_f64(self.reckoning.macs(budget) / self.macs_per_s.max(1.0))
    }

    /// Prunes: several allocations are tried, and the one whose detections are nearest the dense ones is kept.
    ///
    /// # Errors
    /// `Prune` when the budget is out of range; as the stages otherwise.
    pub fn prune(&mut self, budget: PruneBudget) -> Result<Pruned, CompressError> {
        self.study(budget.needs_curves())?;
        let plans = self.plans(budget)?;
        let mut pruned = match self.last.take() {
            Some((known, pruned)) if known == plans => pruned,
            _ => self.best(budget, &plans)?,
        };
        let shortfall = self.shortfall(budget, &pruned.account.plan)?;
        pruned.account.reached =
            self.reached(budget, &pruned.graph, &pruned.account.plan, shortfall);
        self.record.release();
        self.last = Some((plans, pruned.clone()));
        Ok(pruned)
    }

    /// Ranks the channels of all groups, and measures what their loss does where curves are needed.
    fn study(&mut self, needs_curves: bool) -> Result<(), CompressError> {
        let is_known = !self.importance.is_empty() || self.groups.prunable().next().is_none();
        if is_known && (!needs_curves || !self.curves.is_empty()) {
            return Ok(());
        }
        let mut curves = Vec::new();
        self.each_group(|study, group, statistics| {
            if needs_curves {
                curves.push(study.measure_curve(group, statistics)?);
            }
            Ok(())
        })?;
        self.reference.clear();
        self.curves = curves;
        Ok(())
    }

    /// Passes over the images, each followed by the groups whose consumers it observed: their channels are ranked, and `look` is
    /// shown each with what was observed.
    fn each_group(
        &mut self,
        mut look: impl FnMut(&mut Self, &DependencyGroup, &Statistics) -> Result<(), CompressError>,
    ) -> Result<(), CompressError> {
        let prunable: Vec<DependencyGroup> = self.groups.prunable().cloned().collect();
        let graph = self.observation.model.graph;
        for Pass { groups, windows } in self.reckoning.passes.clone() {
            let quiet = Observation { progress: &|_| (), ..self.observation };
            let mut statistics = self.record.statistics(&quiet, &windows)?;
            statistics.sensitivities.clone_from(&self.sensitivities);
            self.means.extend(means(graph, &statistics));
            let of_pass = Groups { groups: prunable[groups.clone()].to_vec() };
            let scores = (self.options.criterion.score)(graph, &of_pass, &statistics)?;
            self.importance.extend(scores);
            for i in groups {
                look(self, &prunable[i], &statistics)?;
                self.report_progress(i + 1, prunable.len());
            }
        }
        Ok(())
    }

    /// Tells the observer that as many of the groups are done.
    fn report_progress(&self, done: usize, groups: usize) {
        (self.observation.progress)(done * self.observation.images.len() / groups);
    }

    /// Of several plans the one whose detections are nearest the dense ones.
    fn best(&mut self, budget: PruneBudget, plans: &[NamedPlan]) -> Result<Pruned, CompressError> {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut best: Option<(usize, Graph)> = None;
        for NamedPlan { rule, plan } in plans {
            let graph = self.realise(plan)?;
            let output_error = self.reference.error(&graph)?;
            let is_better = |b: &(usize, _)| output_error < candidates[b.0].output_error;
            let is_better = best.as_ref().is_none_or(is_better);
            candidates.push(Candidate {
                allocation: rule,
                removed_channels: plan.removed_channels(),
                macs: graph.macs(),
                output_error,
                chosen: false,
            });
            if is_better {
                best = Some((candidates.len() - 1, graph));
            }
        }
        let (chosen, graph) = best.expect("there is an allocation");
        candidates[chosen].chosen = true;
        let plan = plans[chosen].plan.clone();
        Ok(Pruned {
            account: self.account(budget, &graph, plan, candidates),
            graph,
            groups: self.groups.clone(),
            bad_images: self.bad_images.clone(),
        })
    }

    /// What is saved, and the share of it that a budget asks for; `None` for a budget by contribution.
    fn saving(&self, budget: PruneBudget) -> Option<(Saving, f64)> {
        let prunable: Vec<&DependencyGroup> = self.groups.prunable().collect();
        let graph = self.observation.model.graph;
        match budget {
            PruneBudget::Channels(ratio) => Some((Saving::of_channels(&prunable), ratio)),
            PruneBudget::Macs(ratio) => Some((Saving::of_macs(graph, &prunable), ratio)),
            PruneBudget::Contribution(_) => None,
        }
    }

    /// The plan under which each group keeps a share of its contribution, within some limits.
    fn contribution_plan(&self, limits: &Limits, keep: f64) -> Result<PrunePlan, CompressError> {
        let graph = self.observation.model.graph;
        let plan = prune::choose_contribution(graph, &self.groups, &self.importance, limits, keep)?;
        Ok(plan)
    }

    /// Why a plan removes less than was asked.
    fn shortfall(
        &self,
        budget: PruneBudget,
        plan: &PrunePlan,
    ) -> Result<Option<Shortfall>, CompressError> {
        let limits = self.options.limits;
        if let PruneBudget::Contribution(keep) = budget {
            let unbound = self.contribution_plan(&reached::WITHOUT_LIMITS, keep)?;
            return Ok(reached::contribution(&self.groups, plan, &unbound, &limits));
        }
        let prunable: Vec<&DependencyGroup> = self.groups.prunable().collect();
        let shortfall = self
            .saving(budget)
            .and_then(|(saving, ratio)| reached::target(&saving, &prunable, &limits, ratio));
        Ok(shortfall)
    }

    /// The plans that may fit a budget.
    fn plans(&self, budget: PruneBudget) -> Result<Vec<NamedPlan>, CompressError> {
        let limits = self.options.limits;
        if let PruneBudget::Contribution(keep) = budget {
            let plan = self.contribution_plan(&limits, keep)?;
            let rule = "share of contribution";
            return Ok(vec![NamedPlan { rule, plan }]);
        }
        let mut plans: Vec<NamedPlan> = Vec::new();
        let Some((saving, ratio)) = self.saving(budget) else {
            return Ok(plans);
        };
        prune::check_share("ratio", ratio)?;
        limits.check()?;
        for addition in Addition::ALL {
            let lost = allocation::allocate(&saving, &self.curves, &limits, ratio, addition);
            let removed = allocation::removed(&self.curves, &lost);
            let plan = PrunePlan::new(self.observation.model.graph, &self.groups, removed)?;
            if plans.iter().all(|known| known.plan != plan) {
                let rule = addition.name();
                plans.push(NamedPlan { rule, plan });
            }
        }
        Ok(plans)
    }

    /// The pruned graph, repaired with what was recorded of the dense one.
    fn realise(&mut self, plan: &PrunePlan) -> Result<Graph, CompressError> {
        let graph = self.observation.model.graph;
        let pruned = if self.options.repairs(RepairStep::Absorb) {
            prune::absorb_means(graph, &self.groups, plan, &self.means)?
        } else {
            prune::apply(graph, &self.groups, plan)?
        };
        if plan.is_empty() {
            return Ok(pruned);
        }
        let repair = Repair {
            observation: &self.observation,
            plan,
            steps: &self.options.repair,
            parts: self.reckoning.parts,
        };
        self.record.repair(pruned, &repair)
    }
}

/// As [`PruneStudy::new`] and [`PruneStudy::prune`], for one budget.
///
/// # Errors
/// As those.
pub fn prune_detector(
    observation: &Observation<'_>,
    options: &PruneOptions,
    budget: PruneBudget,
) -> Result<Pruned, CompressError> {
    PruneStudy::new(*observation, options)?.prune(budget)
}

/// Images to fit layers to, and every third, up to a number, to compare detections on. A single image is both.
fn hold_out(images: &ImageSet, most: usize) -> (ImageSet, ImageSet) {
    let count = (images.len() / 3).clamp(1, most);
    let stride = (images.len() / count).max(1);
    let (mut fitted, mut held_out) = (Vec::new(), Vec::new());
    for (i, path) in images.paths.iter().enumerate() {
        let is_held_out = i % stride == stride - 1 && held_out.len() < count;
        let part = if is_held_out { &mut held_out } else { &mut fitted };
        part.push(path.clone());
    }
    if fitted.is_empty() {
        fitted.clone_from(&held_out);
    }
    (images.with(fitted), images.with(held_out))
}
