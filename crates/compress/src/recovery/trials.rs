//! What is found out by short tries before the way to the end: the rate, and whether labels help.
use super::objective::LabelUse;
use super::{Course, REST, WARM_UP};
use crate::CompressError;
use serde::{Deserialize, Serialize};
use train::{Schedule, Weight};

/// Rates that are tried: the best depends on the model by a factor of ten and more.
const RATES: [f64; 3] = [1e-3, 3e-3, 1e-2];

/// Steps of each try.
const STEPS: usize = 10;

/// What two short tries detect on the held-out images, as map_50_95.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LabelTrial {
    /// After learning from the teacher alone.
    pub without: f64,
    /// After learning from teacher and labels.
    pub with: f64,
}

/// What is learned from, and what decided it, as a sentence.
pub(super) fn told_of_labels(labels: LabelUse, trial: Option<LabelTrial>) -> String {
    let learned_from = match labels {
        LabelUse::Auto | LabelUse::Off => "the teacher",
        LabelUse::Mixed => "teacher and labels",
        LabelUse::Only => "labels",
    };
    let why = trial.map_or(String::new(), |LabelTrial { with, without }| {
        format!(": short tries reached map_50_95 {with:.4} on the held-out images with labels, {without:.4} without")
    });
    format!("learning from {learned_from}{why}")
}

impl Course<'_> {
    /// The largest rate of which a short try does best on the held-out images.
    pub(super) fn find_rate(&mut self) -> Result<f64, CompressError> {
        let mut best = (f64::INFINITY, RATES[0]);
        for rate in RATES {
            let weights = self.attempt(rate)?;
            let held_out = self.held_out_loss(&weights)?;
            if held_out < best.0 {
                best = (held_out, rate);
            }
        }
        Ok(best.1)
    }

    /// Decides how labels are used, where that is left open; gives by what.
    pub(super) fn choose_labels(&mut self, rate: f64) -> Result<Option<LabelTrial>, CompressError> {
        if self.objective.labels() != LabelUse::Auto {
            return Ok(None);
        }
        let mut accuracy = [None; 2];
        let can_choose = self.objective.takes_labels() && self.training.is_labelled();
        if can_choose && self.held_out.is_labelled() {
            for (accuracy, labels) in accuracy.iter_mut().zip([LabelUse::Off, LabelUse::Mixed]) {
                self.objective.set_labels(labels);
                let weights = self.attempt(rate)?;
                *accuracy = self.held_out_accuracy(&weights)?;
            }
        }
        let trial = match accuracy {
            [Some(without), Some(with)] => Some(LabelTrial { without, with }),
            _ => None,
        };
        let do_help = trial.is_some_and(|trial| trial.with >= trial.without);
        self.objective.set_labels(if do_help { LabelUse::Mixed } else { LabelUse::Off });
        Ok(trial)
    }

    /// The weights that a few steps from the start make.
    fn attempt(&mut self, rate: f64) -> Result<Vec<Weight>, CompressError> {
        let mut learner = self.learner();
        let schedule = Schedule { peak: rate, rest: REST, warm_up: WARM_UP, steps: STEPS };
        for step in 0..STEPS {
            self.step(step, &mut learner, schedule.rate(step))?;
        }
        Ok(learner.weights)
    }
}
