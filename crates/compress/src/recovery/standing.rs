//! How a recovery stands between two steps: all that decides what comes, so that it can be stored and gone on from.
use super::objective::LabelUse;
use super::trials::LabelTrial;
use super::{Course, REST, RecoverHooks, RecoverOptions, RecoveryPoint, WARM_UP};
use crate::CompressError;
use crate::learning::{Learner, StateFile};
use serde::{Deserialize, Serialize};
use train::Schedule;

/// Steps of the first round, where their number is left open; each further round has twice as many.
pub(crate) const FIRST_ROUND: usize = 120;
const ROUNDS: usize = 4;

/// The share by which a round must lower the loss of the held-out images for another one to follow.
const LEAST_GAIN: f64 = 0.03;

/// How often the held-out images are looked at in a round.
const CHECKS: usize = 12;

/// All but the weights and what the optimizer remembers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Progress {
    pub(super) rate: f64,
    pub(super) labels: LabelUse,
    pub(super) label_trial: Option<LabelTrial>,
    /// The round, and the steps of it that were done.
    round: usize,
    step: usize,
    /// Steps of all rounds that were done.
    pub(super) done: usize,
    /// The best loss of the held-out images when the round began.
    before: f64,
    pub(super) curve: Vec<RecoveryPoint>,
    pub(super) best: RecoveryPoint,
    pub(super) ended: Option<String>,
}

/// How a recovery stands.
pub(super) struct Standing {
    pub(super) progress: Progress,
    pub(super) learner: Learner,
}

impl Standing {
    /// Before the first step: the rate and the use of labels are found.
    pub(super) fn start(course: &mut Course<'_>) -> Result<Self, CompressError> {
        let rate = match course.options.rate {
            Some(rate) => rate,
            None => course.find_rate()?,
        };
        let label_trial = course.choose_labels(rate)?;
        let learner = course.learner();
        let steps = rounds(course.options)[0];
        let held_out = course.held_out_loss(&learner.weights)?;
        let map_50_95 = course.held_out_accuracy(&learner.weights)?;
        let best = RecoveryPoint { step: 0, steps, loss: None, held_out, map_50_95 };
        let progress = Progress {
            rate,
            labels: course.objective.labels(),
            label_trial,
            round: 0,
            step: 0,
            done: 0,
            before: held_out,
            curve: vec![],
            best,
            ended: None,
        };
        Ok(Self { progress, learner })
    }

    /// As it was stored; `None` where nothing is that fits the student's weights.
    pub(super) fn stored(file: &StateFile, course: &Course<'_>) -> Option<Self> {
        let (learner, progress) = Learner::stored(file, &course.weights, course.manner())?;
        Some(Self { progress, learner })
    }

    /// Goes on to the end.
    pub(super) fn learn(
        &mut self,
        course: &mut Course<'_>,
        hooks: &RecoverHooks<'_>,
        state: Option<&StateFile>,
    ) -> Result<(), CompressError> {
        course.objective.set_labels(self.progress.labels);
        if self.progress.curve.is_empty() {
            (hooks.progress)(&self.progress.best);
            self.progress.curve.push(self.progress.best);
        }
        let rounds = rounds(course.options);
        while self.progress.ended.is_none() {
            self.round(course, rounds[self.progress.round], hooks, state)?;
            let is_last = self.progress.round + 1 == rounds.len();
            let gains = self.progress.best.held_out < (1.0 - LEAST_GAIN) * self.progress.before;
            self.learner.weights.clone_from(&self.learner.kept);
            if is_last || !gains {
                break;
            }
            if let Some(is_enough) = hooks.is_enough
                && is_enough(&course.graph(&self.learner.kept)?)?
            {
                break;
            }
            let Progress { round, step, before, best, .. } = &mut self.progress;
            (*round, *step, *before) = (*round + 1, 0, best.held_out);
        }
        Ok(())
    }

    /// Goes on to the end of a round.
    fn round(
        &mut self,
        course: &mut Course<'_>,
        steps: usize,
        hooks: &RecoverHooks<'_>,
        state: Option<&StateFile>,
    ) -> Result<(), CompressError> {
        let warm_up = WARM_UP.min(steps);
        let schedule = Schedule { peak: self.progress.rate, rest: REST, warm_up, steps };
        let every = steps.div_ceil(CHECKS).max(1);
        let mut losses = Vec::new();
        while self.progress.step < steps {
            let Progress { step, done, .. } = self.progress;
            course.augmentation = course.options.augmentation.at(step, steps);
            match course.step(done, &mut self.learner, schedule.rate(step)) {
                Ok(loss) => losses.push(loss),
                Err(error @ CompressError::Training { .. }) if done > 0 => {
                    self.progress.ended = Some(error.to_string());
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            (self.progress.step, self.progress.done) = (step + 1, done + 1);
            if (step + 1).is_multiple_of(every) || step + 1 == steps {
                let loss = losses.iter().sum::<f64>() / losses.len() as f64;
                losses.clear();
                let point = self.look(course, steps, loss)?;
                (hooks.progress)(&point);
                state.map_or(Ok(()), |file| self.learner.store(&self.progress, file))?;
            }
        }
        Ok(())
    }

    /// Looks at the held-out images, and keeps the weights where they are the best.
    fn look(
        &mut self,
        course: &Course<'_>,
        steps: usize,
        loss: f64,
    ) -> Result<RecoveryPoint, CompressError> {
        let Progress { step, done, .. } = self.progress;
        let point = RecoveryPoint {
            step: done,
            steps: done + steps - step,
            loss: Some(loss),
            held_out: course.held_out_loss(&self.learner.weights)?,
            map_50_95: course.held_out_accuracy(&self.learner.weights)?,
        };
        self.progress.curve.push(point);
        if point.held_out < self.progress.best.held_out {
            self.progress.best = point;
            self.learner.keep();
        }
        Ok(point)
    }
}

/// The steps of each round; the first one is always there.
fn rounds(options: &RecoverOptions) -> Vec<usize> {
    if let Some(steps) = options.steps {
        return vec![steps];
    }
    let mut rounds = vec![FIRST_ROUND];
    let all = (1..ROUNDS).map(|round| FIRST_ROUND << round);
    for round in all {
        if rounds.iter().sum::<usize>() + round > options.most_steps {
            break;
        }
        rounds.push(round);
    }
    rounds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RecoverRecipe;

    #[test]
    fn rounds_of_an_open_number_keep_within_the_most() {
        let rounds = |steps, most_steps| {
            let recipe = RecoverRecipe { steps, ..RecoverRecipe::default() };
            rounds(&RecoverOptions { most_steps, ..recipe.options(0) })
        };
        assert_eq!(rounds(None, usize::MAX), [120, 240, 480, 960]);
        assert_eq!(rounds(None, 1800), [120, 240, 480, 960]);
        assert_eq!(rounds(None, 1799), [120, 240, 480]);
        assert_eq!(rounds(None, 359), [120]);
        assert_eq!(rounds(Some(7), 3), [7]);
    }
}
