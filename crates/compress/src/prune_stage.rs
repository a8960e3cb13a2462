//! Pruning: what each group's channels are worth, a plan, and repair of what it breaks.

mod account;
pub(crate) mod agreement;
mod allocation;
mod curves;
mod options;
mod precision;
mod reached;
mod sensitivity;

use std::path::PathBuf;

use ir::Graph;
use prune::{Budget, DependencyGroup, Groups, Importance, PrunePlan};
use yolo::BadInput;

use crate::repair::DenseRecord;
use crate::{CompressError, Observation};
pub use account::{Candidate, FrozenGroup, GroupCut, PruneAccount, ThinnedLayer};
use agreement::Agreement;
use allocation::{Addition, Saving};
use curves::Curve;
pub use options::{PruneBudget, PruneOptions, REPAIR_STEPS, RepairStep};
pub use reached::{Reach, Reached, Shortfall};
pub use sensitivity::{GroupSensitivity, SensitivityPoint};

/// Images on which detections are compared, at most; a third of all is held out.
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

/// What is known of a detector before channels go: made once, used for any number of budgets.
pub struct PruneStudy<'a> {
    observation: Observation<'a>,
    options: PruneOptions,
    groups: Groups,
    record: DenseRecord,
    importance: Importance,
    agreement: Agreement<'a>,
    /// Measured when a budget first asks for them.
    curves: Vec<Curve>,
    /// The plans of the last budget and what came of them: another budget that the limits stop has the same.
    last: Option<(Plans, Pruned)>,
    bad_images: Vec<BadInput>,
}

/// Plans, each with the name of the rule that made it.
type Plans = Vec<(&'static str, PrunePlan)>;

impl<'a> PruneStudy<'a> {
    /// Looks at the dense detector on the observation's images, and at its detections on images that are held out.
    ///
    /// # Errors
    /// `UnknownName` for a criterion that is not in the list, `NoImages`; as the stages otherwise.
    pub fn new(
        observation: Observation<'a>,
        options: &PruneOptions,
    ) -> Result<Self, CompressError> {
        let criterion = options.criterion()?;
        options.limits.check()?;
        let graph = observation.graph;
        quant::check_float(graph)?;
        let groups = prune::analyse(graph, &[])?;
        let (images, bad_images) = observation.readable()?;
        let (train, held) = hold_out(&images);
        let record = DenseRecord::new(&observation, &train, 0)?;
        Ok(Self {
            observation,
            options: options.clone(),
            importance: (criterion.score)(graph, &groups, &record.statistics)?,
            agreement: Agreement::new(observation, held)?,
            groups,
            record,
            curves: vec![],
            last: None,
            bad_images,
        })
    }

    /// What each group's loss does to the detections; channels go in the order of the criterion.
    fn measure(&mut self) -> Result<Vec<Curve>, CompressError> {
        let mut curves = Vec::new();
        let prunable: Vec<&DependencyGroup> = self.groups.prunable().collect();
        let images = self.observation.images.len();
        let compensate = self.options.repairs(RepairStep::Reconstruct);
        for (i, group) in prunable.iter().enumerate() {
            curves.push(curves::measure(
                (self.observation.graph, &self.groups),
                (group, &self.importance[&group.name]),
                &self.record,
                &mut self.agreement,
                (&self.options.limits, compensate),
            )?);
            (self.observation.progress)((i + 1) * images / prunable.len());
        }
        self.agreement.forget();
        Ok(curves)
    }

    /// Prunes: several allocations are tried, and the one whose detections are nearest the dense ones is kept.
    ///
    /// # Errors
    /// `Prune` when the budget is out of range; as the stages otherwise.
    pub fn prune(&mut self, budget: PruneBudget) -> Result<Pruned, CompressError> {
        let measured = !matches!(budget, PruneBudget::Contribution(_));
        if measured && self.curves.is_empty() {
            self.curves = self.measure()?;
        }
        let plans = self.plans(budget)?;
        let mut pruned = match self.last.take() {
            Some((known, pruned)) if known == plans => pruned,
            _ => self.best(budget, &plans)?,
        };
        let plan = &pruned.account.plan;
        let graphs = (self.observation.graph, &pruned.graph);
        let shortfall = self.shortfall(budget, plan)?;
        pruned.account.reached = Reached::new(budget, graphs, (&self.groups, plan), shortfall);
        self.last = Some((plans, pruned.clone()));
        Ok(pruned)
    }

    /// Of several plans the one whose detections are nearest the dense ones.
    fn best(&mut self, budget: PruneBudget, plans: &Plans) -> Result<Pruned, CompressError> {
        let measured = !matches!(budget, PruneBudget::Contribution(_));
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut best: Option<(usize, PrunePlan, Graph)> = None;
        for (allocation, plan) in plans {
            let pruned = self.realise(plan)?;
            let output_error = self.agreement.error(&pruned)?;
            let better = |b: &(usize, _, _)| output_error < candidates[b.0].output_error;
            let better = best.as_ref().is_none_or(better);
            candidates.push(Candidate {
                allocation,
                removed_channels: plan.removed_channels(),
                macs: pruned.macs(),
                output_error,
                chosen: false,
            });
            if better {
                best = Some((candidates.len() - 1, plan.clone(), pruned));
            }
        }
        let (chosen, plan, graph) = best.expect("there is an allocation");
        candidates[chosen].chosen = true;
        let error_alone = |group: &str, removed: usize| {
            let curve = self.curves.iter().find(|c| measured && c.group == group)?;
            Some(curve.error(removed))
        };
        let dense = self.observation.graph;
        let account = PruneAccount::new(
            Reached::new(budget, (dense, &graph), (&self.groups, &plan), None),
            (self.observation.graph, &graph),
            &self.groups,
            (plan, &self.importance),
            error_alone,
            candidates,
        );
        Ok(Pruned {
            graph,
            account,
            groups: self.groups.clone(),
            bad_images: self.bad_images.clone(),
        })
    }

    /// Why a plan removes less than was asked.
    fn shortfall(
        &self,
        budget: PruneBudget,
        plan: &PrunePlan,
    ) -> Result<Option<Shortfall>, CompressError> {
        let graph = self.observation.graph;
        let prunable: Vec<&DependencyGroup> = self.groups.prunable().collect();
        let limits = self.options.limits;
        let (saving, ratio) = match budget {
            PruneBudget::Channels(ratio) => (Saving::of_channels(&prunable), ratio),
            PruneBudget::Macs(ratio) => (Saving::of_macs(graph, &prunable), ratio),
            PruneBudget::Contribution(keep) => {
                let (groups, scores) = (&self.groups, &self.importance);
                let free = reached::by_contribution_alone(&limits);
                let unbound = prune::choose_contribution(graph, groups, scores, (&free, keep))?;
                return Ok(reached::contribution(groups, (plan, &unbound), &limits));
            }
        };
        let limits = Budget { ratio, ..limits };
        Ok(reached::target(&saving, &prunable, &limits))
    }

    /// The plans that may fit a budget, each with the name of its rule.
    fn plans(&self, budget: PruneBudget) -> Result<Plans, CompressError> {
        let graph = self.observation.graph;
        let prunable: Vec<&DependencyGroup> = self.groups.prunable().collect();
        let limits = self.options.limits;
        let (saving, ratio) = match budget {
            PruneBudget::Channels(ratio) => (Saving::of_channels(&prunable), ratio),
            PruneBudget::Macs(ratio) => (Saving::of_macs(graph, &prunable), ratio),
            PruneBudget::Contribution(keep) => {
                let (groups, scores) = (&self.groups, &self.importance);
                let plan = prune::choose_contribution(graph, groups, scores, (&limits, keep))?;
                return Ok(vec![("share of contribution", plan)]);
            }
        };
        let limits = Budget { ratio, ..limits };
        limits.check()?;
        let mut plans = Plans::new();
        for addition in Addition::ALL {
            let lost = allocation::allocate(&saving, &self.curves, &limits, addition);
            let removed = allocation::removed(&self.curves, &lost);
            let plan = PrunePlan::new(graph, &self.groups, removed)?;
            if plans.iter().all(|(_, p)| *p != plan) {
                plans.push((addition.name(), plan));
            }
        }
        Ok(plans)
    }

    /// The pruned graph, repaired with what the record saw.
    fn realise(&self, plan: &PrunePlan) -> Result<Graph, CompressError> {
        let (graph, record) = (self.observation.graph, &self.record);
        let pruned = match self.options.repairs(RepairStep::Absorb) {
            true => prune::absorb_means(graph, &self.groups, plan, &record.means(graph))?,
            false => prune::apply(graph, &self.groups, plan)?,
        };
        if !self.is_fitted() || plan.is_empty() {
            return Ok(pruned);
        }
        record.repair(&self.observation, (pruned, plan), &self.options)
    }

    /// Whether layers are fitted to what the dense ones gave.
    fn is_fitted(&self) -> bool {
        let fits = [RepairStep::Reconstruct, RepairStep::Match];
        fits.iter().any(|s| self.options.repairs(*s))
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

/// Images to look at, and every third, up to a number, to compare detections on. One image is both.
fn hold_out(images: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let count = (images.len() / 3).clamp(1, HOLDOUT);
    let stride = (images.len() / count).max(1);
    let (mut train, mut held) = (Vec::new(), Vec::new());
    for (i, path) in images.iter().enumerate() {
        let of = if i % stride == stride - 1 && held.len() < count {
            &mut held
        } else {
            &mut train
        };
        of.push(path.clone());
    }
    if train.is_empty() {
        train.clone_from(&held);
    }
    (train, held)
}
