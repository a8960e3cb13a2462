//! Pruning: what each group's channels are worth, a plan, and repair of what it breaks.

mod agreement;
mod allocation;
mod curves;

use std::path::PathBuf;

use ir::Graph;
use prune::{Budget, Criterion, DependencyGroup, Groups, Importance, PrunePlan};
use serde::Serialize;
use yolo::{BadInput, prepare, read_rgb};

use crate::repair::DenseRecord;
use crate::{CompressError, Observation};
use agreement::Agreement;
use allocation::{Addition, Saving};
use curves::Curve;

/// Images on which detections are compared, at most; a quarter of all is held out.
const HOLDOUT: usize = 24;

/// How much to remove.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PruneBudget {
    /// A share of the prunable channels.
    Channels(f64),
    /// A share of the model's MACs.
    Macs(f64),
}

/// A pruned detector and how it came about.
#[derive(Debug)]
pub struct Pruned {
    /// The smaller graph.
    pub graph: Graph,
    /// What was decided.
    pub plan: PrunePlan,
    /// Groups that could be pruned, and groups that are frozen.
    pub groups: Groups,
    /// Every allocation that was tried, the one that was kept included.
    pub candidates: Vec<Candidate>,
    /// Images that could not be read.
    pub bad_images: Vec<BadInput>,
}

/// An allocation of removed channels, judged on held out images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// How the errors of groups were added up.
    pub allocation: &'static str,
    /// Removed channels.
    pub removed_channels: usize,
    /// 0 when the detections are those of the dense detector, 1 when none of them agree; without a decoder the relative
    /// error of the outputs.
    pub output_error: f64,
}

/// What is known of a detector before channels go: made once, used for any number of budgets.
pub struct PruneStudy<'a> {
    observation: Observation<'a>,
    repair: bool,
    limits: Budget,
    groups: Groups,
    record: DenseRecord,
    agreement: Agreement<'a>,
    curves: Vec<Curve>,
    bad_images: Vec<BadInput>,
}

impl<'a> PruneStudy<'a> {
    /// Looks at the dense detector on the observation's images and measures what each group's loss does to the
    /// detections on images that are held out.
    ///
    /// Channels go in the order of the criterion. With `repair`, the remaining weights make up for them.
    ///
    /// # Errors
    /// `UnknownName` for a criterion that is not in the list, `NoImages`; as the stages otherwise.
    pub fn new(
        observation: Observation<'a>,
        criterion: &str,
        repair: bool,
    ) -> Result<Self, CompressError> {
        let criterion = find(criterion)?;
        let graph = observation.graph;
        let groups = prune::analyse(graph, &[])?;
        let (images, bad_images) = observation.readable()?;
        let (train, held) = hold_out(&images);
        let record = DenseRecord::new(&observation, &train, 0)?;
        let mut inputs = Vec::with_capacity(held.len());
        for path in &held {
            inputs.push(prepare(&read_rgb(path)?, &observation.input).0);
        }
        let mut study = Self {
            observation,
            repair,
            limits: Budget {
                max_layer_ratio: 0.875,
                ..Budget::default()
            },
            agreement: Agreement::new(observation, inputs)?,
            groups,
            record,
            curves: vec![],
            bad_images,
        };
        let importance = (criterion.score)(graph, &study.groups, &study.record.statistics)?;
        study.curves = study.measure(&importance)?;
        Ok(study)
    }

    fn measure(&self, importance: &Importance) -> Result<Vec<Curve>, CompressError> {
        let mut curves = Vec::new();
        let prunable: Vec<&DependencyGroup> = self.groups.prunable().collect();
        let images = self.observation.images.len();
        for (i, group) in prunable.iter().enumerate() {
            curves.push(curves::measure(
                (self.observation.graph, &self.groups),
                (group, &importance[&group.name]),
                &self.record,
                &self.agreement,
                (&self.limits, self.repair),
            )?);
            (self.observation.progress)((i + 1) * images / prunable.len());
        }
        Ok(curves)
    }

    /// Prunes: several allocations are tried, and the one whose detections are nearest the dense ones is kept.
    ///
    /// # Errors
    /// `Prune` when the budget is out of range; as the stages otherwise.
    pub fn prune(&self, budget: PruneBudget) -> Result<Pruned, CompressError> {
        let graph = self.observation.graph;
        let prunable: Vec<&DependencyGroup> = self.groups.prunable().collect();
        let (saving, ratio) = match budget {
            PruneBudget::Channels(ratio) => (Saving::of_channels(&prunable), ratio),
            PruneBudget::Macs(ratio) => (Saving::of_macs(graph, &prunable), ratio),
        };
        let limits = Budget {
            ratio,
            ..self.limits
        };
        limits.check()?;
        let mut plans: Vec<(&'static str, PrunePlan)> = Vec::new();
        for addition in Addition::ALL {
            let lost = allocation::allocate(&saving, &self.curves, &limits, addition);
            let removed = allocation::removed(&self.curves, &lost);
            let plan = PrunePlan::new(graph, &self.groups, removed)?;
            if plans.iter().all(|(_, p)| *p != plan) {
                plans.push((addition.name(), plan));
            }
        }
        let mut candidates = Vec::new();
        let mut best: Option<(f64, Graph, PrunePlan)> = None;
        for (allocation, plan) in plans {
            let (pruned, output_error) = self.realise(&plan)?;
            candidates.push(Candidate {
                allocation,
                removed_channels: plan.removed_channels(),
                output_error,
            });
            if best.as_ref().is_none_or(|b| output_error < b.0) {
                best = Some((output_error, pruned, plan));
            }
        }
        let (_, graph, plan) = best.expect("there is an allocation");
        Ok(Pruned {
            graph,
            plan,
            groups: self.groups.clone(),
            candidates,
            bad_images: self.bad_images.clone(),
        })
    }

    /// The pruned graph and its output error.
    fn realise(&self, plan: &PrunePlan) -> Result<(Graph, f64), CompressError> {
        let mut pruned = prune::apply(self.observation.graph, &self.groups, plan)?;
        if self.repair && !plan.is_empty() {
            pruned = self.record.repair(&self.observation, pruned, plan)?;
        }
        let error = self.agreement.error(&pruned)?;
        Ok((pruned, error))
    }
}

/// As [`PruneStudy::new`] and [`PruneStudy::prune`], for one budget.
///
/// # Errors
/// As those.
pub fn prune_detector(
    observation: &Observation<'_>,
    criterion: &str,
    budget: PruneBudget,
    repair: bool,
) -> Result<Pruned, CompressError> {
    PruneStudy::new(*observation, criterion, repair)?.prune(budget)
}

fn find(criterion: &str) -> Result<&'static Criterion, CompressError> {
    let listed = prune::CRITERIA.iter().find(|c| c.name == criterion);
    listed.ok_or_else(|| CompressError::UnknownName {
        what: "criterion",
        found: criterion.to_owned(),
        expected: prune::CRITERIA
            .iter()
            .map(|c| c.name)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// Images to look at, and every fourth, up to a number, to compare detections on. One image is both.
fn hold_out(images: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let count = (images.len() / 4).clamp(1, HOLDOUT);
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
