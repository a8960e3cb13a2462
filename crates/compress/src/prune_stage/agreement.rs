//! How far a changed model's detections, or its outputs, are from the dense one's, as one smooth number.

use std::sync::Arc;

use ir::{Graph, rewrites};
use runtime::{Plan, Session};
use yolo::{BoxXyxy, Detection, MAX_DET, Planes, nms};

use super::precision::average_precision;
use crate::seen::{Difference, Seen};
use crate::{CompressError, Observation};

/// Lowest confidence of a detection that counts.
const CONF: f32 = 0.02;
const IOU: f32 = 0.7;

/// Prepared hold-out images and what the dense model makes of them.
pub(crate) struct Agreement<'a> {
    observation: Observation<'a>,
    inputs: Vec<Planes>,
    dense: Vec<Seen>,
}

impl<'a> Agreement<'a> {
    /// Runs the dense model on prepared inputs.
    pub(crate) fn new(
        observation: Observation<'a>,
        inputs: Vec<Planes>,
    ) -> Result<Self, CompressError> {
        let mut all = Self {
            observation,
            inputs,
            dense: vec![],
        };
        all.dense = all.run(observation.graph, |_, seen| Ok(seen))?;
        Ok(all)
    }

    /// 0 when the detections are the same, 1 when none of them agree.
    ///
    /// `1 - 2 Σ min(s, s') · quality(IoU) / (Σ s + Σ s')` over detections of both, matched best first by class,
    /// where quality falls from 1 at IoU 1 to 0 at IoU 0.5, as the mean of the COCO thresholds does. Without a decoder
    /// it is the relative error of the outputs.
    pub(crate) fn error(&self, graph: &Graph) -> Result<f64, CompressError> {
        let parts = self.run(graph, |image, found| {
            let dense = &self.dense[image];
            let sum = |s: &Seen| s.candidates.iter().map(|d| f64::from(d.score)).sum::<f64>();
            let total = sum(dense) + sum(&found);
            let shared = agreed(&dense.candidates, &found.candidates);
            let mut difference = dense.differences(&found)?;
            difference.detections = [total - 2.0 * shared, total];
            Ok(difference)
        })?;
        let all = parts.into_iter().reduce(Difference::merge);
        Ok(all.unwrap_or_default().error())
    }

    /// As [`Self::error`], of a whole candidate: 0 when the detections are ranked as the dense ones, 1 when none of
    /// those are found.
    pub(crate) fn ranking_error(&self, graph: &Graph) -> Result<f64, CompressError> {
        if self.observation.family.is_none() {
            return self.error(graph);
        }
        let found = self.run(graph, |_, found| Ok(found.candidates))?;
        let dense: Vec<Vec<Detection>> = self.dense.iter().map(|d| d.candidates.clone()).collect();
        Ok(1.0 - average_precision(&dense, &found))
    }

    /// What is told of each image, in their order.
    fn run<T: Send>(
        &self,
        graph: &Graph,
        tell: impl Fn(usize, Seen) -> Result<T, CompressError> + Sync,
    ) -> Result<Vec<T>, CompressError> {
        let mut graph = graph.clone();
        for rewrite in rewrites::REWRITES {
            rewrites::apply(&mut graph, rewrite)?;
        }
        let plan = Arc::new(Plan::compile(&graph, &[], &self.observation.options)?);
        let threads = self.observation.threads.clamp(1, self.inputs.len().max(1));
        let work = |first: usize| -> Result<Vec<(usize, T)>, CompressError> {
            let mut session = Session::new(&plan, 1)?;
            let images = (first..self.inputs.len()).step_by(threads);
            images
                .map(|i| Ok((i, tell(i, self.see(&mut session, &self.inputs[i])?)?)))
                .collect()
        };
        let parts: Vec<_> = std::thread::scope(|scope| {
            let start = |first: usize| {
                let work = &work;
                scope.spawn(move || work(first))
            };
            let running: Vec<_> = (0..threads).map(start).collect();
            let end = |w: std::thread::ScopedJoinHandle<'_, _>| {
                w.join().expect("a worker does not panic")
            };
            running.into_iter().map(end).collect()
        });
        let mut all = Vec::with_capacity(self.inputs.len());
        for part in parts {
            all.extend(part?);
        }
        all.sort_by_key(|(i, _)| *i);
        Ok(all.into_iter().map(|(_, told)| told).collect())
    }

    fn see(&self, session: &mut Session, input: &Planes) -> Result<Seen, CompressError> {
        let mut seen = Seen::default();
        for output in session.run(&input.slices())?.into_iter().enumerate() {
            seen.add(output, &self.observation, CONF)?;
        }
        seen.candidates = nms(&seen.candidates, IOU, MAX_DET);
        Ok(seen)
    }
}

/// `Σ min(s, s') · quality` over matched pairs.
fn agreed(dense: &[Detection], found: &[Detection]) -> f64 {
    let mut free = vec![true; found.len()];
    let mut sum = 0.0;
    for d in dense {
        let quality = |f: &Detection| (2.0 * overlap(&d.bbox, &f.bbox) - 1.0).max(0.0);
        let gain = |f: &Detection| quality(f) * f64::from(f.score.min(d.score));
        let candidates = found
            .iter()
            .enumerate()
            .filter(|(i, f)| free[*i] && f.class == d.class);
        let best = candidates
            .map(|(i, f)| (gain(f), i))
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        if let Some((gain, i)) = best.filter(|(gain, _)| *gain > 0.0) {
            free[i] = false;
            sum += gain;
        }
    }
    sum
}

pub(super) fn overlap(a: &BoxXyxy, b: &BoxXyxy) -> f64 {
    let area = |b: &BoxXyxy| f64::from(b.right - b.left) * f64::from(b.bottom - b.top);
    let width = (a.right.min(b.right) - a.left.max(b.left)).max(0.0);
    let height = (a.bottom.min(b.bottom) - a.top.max(b.top)).max(0.0);
    let shared = f64::from(width) * f64::from(height);
    shared / (area(a) + area(b) - shared).max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(left: f32, score: f32, class: usize) -> Detection {
        let bbox = BoxXyxy {
            left,
            top: 0.0,
            right: left + 10.0,
            bottom: 10.0,
        };
        Detection { bbox, score, class }
    }

    #[test]
    fn agreed_of_equal_detections_is_the_sum_of_scores() {
        let all = [at(0.0, 0.5, 0), at(50.0, 0.25, 1)];
        assert!((agreed(&all, &all) - 0.75).abs() < 1e-9);
    }

    #[test]
    fn agreed_of_another_class_or_place_is_nothing() {
        let dense = [at(0.0, 0.5, 0)];
        assert_eq!(agreed(&dense, &[at(0.0, 0.5, 1)]), 0.0);
        assert_eq!(agreed(&dense, &[at(8.0, 0.5, 0)]), 0.0);
    }
}
