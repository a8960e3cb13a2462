//! Pruning: what each group's channels are worth, a plan, and repair of what it breaks.

mod account;
mod allocation;
mod curves;
mod options;
mod reached;
mod sensitivity;
mod taylor;

use ir::Graph;
use observe::{ImageSet, Observation, Reference};
use prune::{DependencyGroup, Groups, Importance, Limits, PrunePlan};
use yolo::BadInput;

use crate::CompressError;
use crate::repair::{DenseRecord, RepairStep};
pub use account::{Candidate, FrozenGroup, GroupCut, PruneAccount, ThinnedLayer};
use allocation::{Addition, Saving};
use curves::Curve;
pub use options::{PruneBudget, PruneOptions};
pub use reached::{Reach, Reached, Shortfall};
pub use sensitivity::{GroupSensitivity, SensitivityPoint};

/// Most images on which detections are compared: a third of all is held out for that.
const HOLDOUT: usize = 32;

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
    importance: Importance,
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
    /// Observes the dense detector on the observation's images, and its detections on those that are held out of them.
    ///
    /// # Errors
    /// `NoImages`; as the stages otherwise.
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
        let (fitted, held_out) = hold_out(&images);
        let mut record = DenseRecord::new(&observation, &fitted, 0)?;
        if criterion.needs_gradients {
            record.statistics.sensitivities =
                taylor::sensitivities(&observation, &fitted, &groups)?;
        }
        Ok(Self {
            observation,
            options: options.clone(),
            importance: (criterion.score)(model.graph, &groups, &record.statistics)?,
            reference: Reference::new(model, held_out, engine)?,
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

    /// Prunes: several allocations are tried, and the one whose detections are nearest the dense ones is kept.
    ///
    /// # Errors
    /// `Prune` when the budget is out of range; as the stages otherwise.
    pub fn prune(&mut self, budget: PruneBudget) -> Result<Pruned, CompressError> {
        if budget.needs_curves() && self.curves.is_empty() {
            self.curves = self.measure_curves()?;
        }
        let plans = self.plans(budget)?;
        let mut pruned = match self.last.take() {
            Some((known, pruned)) if known == plans => pruned,
            _ => self.best(budget, &plans)?,
        };
        let shortfall = self.shortfall(budget, &pruned.account.plan)?;
        pruned.account.reached =
            self.reached(budget, &pruned.graph, &pruned.account.plan, shortfall);
        self.last = Some((plans, pruned.clone()));
        Ok(pruned)
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
    fn realise(&self, plan: &PrunePlan) -> Result<Graph, CompressError> {
        let (graph, record) = (self.observation.model.graph, &self.record);
        let pruned = if self.options.repairs(RepairStep::Absorb) {
            prune::absorb_means(graph, &self.groups, plan, &record.means(graph))?
        } else {
            prune::apply(graph, &self.groups, plan)?
        };
        if plan.is_empty() {
            return Ok(pruned);
        }
        record.repair(&self.observation, pruned, plan, &self.options.repair)
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
fn hold_out(images: &ImageSet) -> (ImageSet, ImageSet) {
    let count = (images.len() / 3).clamp(1, HOLDOUT);
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
