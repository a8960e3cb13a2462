//! Which images a calibration set consists of: representative ones, extremes that are there, and extremes that are to be made.

use std::collections::BTreeSet;

use numerics::Rng;
use serde::Serialize;

use super::{Conditions, Features, representative};

/// Images that one synthetic image may be made of.
const SOURCES: usize = 4;

/// An image that was picked as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Which one.
    pub image: usize,
    /// The condition for whose sake it was picked; `None` for a representative one.
    pub extreme: Option<&'static str>,
}

/// An image that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synthetic {
    /// The condition that it is to show.
    pub condition: &'static str,
    /// Picked images that it is made of; the first is changed, the others lend pixels.
    pub of: Vec<usize>,
    /// Of all that is drawn for it.
    pub seed: u64,
}

/// How far one condition is covered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// The condition.
    pub condition: &'static str,
    /// What is measured, and the absolute limit.
    pub rule: &'static str,
    /// Value beyond which an image of this data shows it; null where it was not measured.
    pub threshold: Option<f64>,
    /// How many images are asked for.
    pub wanted: usize,
    /// Images that were looked at and show it.
    pub in_data: usize,
    /// Picked images that show it, whatever they were picked for.
    pub picked: usize,
    /// Images that were made to show it.
    pub synthetic: usize,
}

/// A calibration set.
#[derive(Clone, Debug)]
pub struct CalibsetPlan {
    /// Images of the data.
    pub picked: Vec<Picked>,
    /// Images that are to be made of them.
    pub synthetic: Vec<Synthetic>,
    /// What it covers, condition by condition.
    pub coverage: Vec<Coverage>,
}

/// Chooses `count` images, of which a share of `extremes` shows conditions that are seldom met, as evenly as it can be: images that
/// are there, then, with `synthesise`, images that are to be made. What remains is representative.
pub fn plan_calibset(
    features: &Features,
    conditions: &Conditions,
    count: usize,
    extremes: f64,
    synthesise: bool,
    seed: u64,
) -> CalibsetPlan {
    let slots = (count as f64 * extremes).round() as usize;
    let base = representative(features, count - slots.min(count), &[], seed);
    let mut set = Set { taken: base.iter().copied().collect(), picked: Vec::new(), left: slots };
    set.picked.extend(base.iter().map(|&image| Picked { image, extreme: None }));
    let mut rng = Rng::new(!seed);
    let mut synthetic = Vec::new();
    // What is measured of no image can be neither picked nor counted; it can be made all the same.
    let all = conditions.0.len().max(1);
    let wanted = |i: usize| slots / all + usize::from(i < slots % all);
    for (i, extreme) in conditions.0.iter().enumerate() {
        let name = extreme.condition.name;
        let has = |set: &Set| extreme.images.iter().filter(|&i| set.taken.contains(i)).count();
        let mut free = extreme.images.iter().copied();
        while set.left > 0 && has(&set) < wanted(i) {
            let Some(image) = free.by_ref().find(|image| !set.taken.contains(image)) else { break };
            set.pick(image, Some(name));
        }
        let missing = wanted(i).saturating_sub(has(&set)).min(set.left);
        if synthesise && !base.is_empty() {
            for _ in 0..missing {
                let of = sources(&base, conditions, &mut rng);
                synthetic.push(Synthetic { condition: name, of, seed: rng.next_u64() });
                set.left -= 1;
            }
        }
    }
    let taken: Vec<usize> = set.taken.iter().copied().collect();
    for image in representative(features, set.left, &taken, seed) {
        set.pick(image, None);
    }
    let coverage = conditions.0.iter().enumerate().map(|(i, extreme)| Coverage {
        condition: extreme.condition.name,
        rule: extreme.condition.rule,
        threshold: extreme.threshold,
        wanted: wanted(i),
        in_data: extreme.images.len(),
        picked: extreme.images.iter().filter(|&i| set.taken.contains(i)).count(),
        synthetic: synthetic.iter().filter(|s| s.condition == extreme.condition.name).count(),
    });
    CalibsetPlan { coverage: coverage.collect(), picked: set.picked, synthetic }
}

/// What was picked so far.
struct Set {
    taken: BTreeSet<usize>,
    picked: Vec<Picked>,
    /// Images that may still be added.
    left: usize,
}

impl Set {
    fn pick(&mut self, image: usize, extreme: Option<&'static str>) {
        self.taken.insert(image);
        self.picked.push(Picked { image, extreme });
        self.left = self.left.saturating_sub(1);
    }
}

/// Images of which one is made, all of them different: the first shows no extreme itself, where there is such a one.
fn sources(base: &[usize], conditions: &Conditions, rng: &mut Rng) -> Vec<usize> {
    let plain: Vec<usize> =
        base.iter().copied().filter(|&i| conditions.names(i).is_empty()).collect();
    let from = if plain.is_empty() { base } else { &plain };
    let first = from[rng.below(from.len())];
    let mut others: Vec<usize> = base.iter().copied().filter(|&i| i != first).collect();
    let mut of = vec![first];
    while of.len() < SOURCES && !others.is_empty() {
        of.push(others.swap_remove(rng.below(others.len())));
    }
    of
}

#[cfg(test)]
mod tests;
