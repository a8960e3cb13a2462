//! How far a changed detector's detections are from the dense one's, as one smooth number.

use std::sync::Arc;

use ir::{Graph, rewrites};
use runtime::{Plan, PlanOptions, Session};
use yolo::families::{Head, RawOutput};
use yolo::{BoxXyxy, Detection, MAX_DET, YoloError, nms};

use crate::CompressError;

/// Lowest confidence of a detection that counts.
const CONF: f32 = 0.02;
const IOU: f32 = 0.7;

/// Prepared hold-out images and what the dense detector finds on them.
pub(crate) struct Agreement<'a> {
    head: &'a Head,
    options: PlanOptions,
    threads: usize,
    inputs: Vec<Vec<f32>>,
    dense: Vec<Vec<Detection>>,
}

impl<'a> Agreement<'a> {
    /// Runs the dense detector on prepared inputs.
    pub(crate) fn new(
        graph: &Graph,
        (head, options, threads): (&'a Head, PlanOptions, usize),
        inputs: Vec<Vec<f32>>,
    ) -> Result<Self, CompressError> {
        let mut all = Self {
            head,
            options,
            threads,
            inputs,
            dense: vec![],
        };
        all.dense = all.detect(graph)?;
        Ok(all)
    }

    /// 0 when the detections are the same, 1 when none of them agree.
    ///
    /// `1 - 2 Σ min(s, s') · quality(IoU) / (Σ s + Σ s')` over detections of both, matched best first by class,
    /// where quality falls from 1 at IoU 1 to 0 at IoU 0.5, as the mean of the COCO thresholds does.
    pub(crate) fn error(&self, graph: &Graph) -> Result<f64, CompressError> {
        let found = self.detect(graph)?;
        let (mut shared, mut total) = (0.0, 0.0);
        for (dense, found) in self.dense.iter().zip(&found) {
            let sum = |d: &[Detection]| d.iter().map(|d| f64::from(d.score)).sum::<f64>();
            total += sum(dense) + sum(found);
            shared += agreed(dense, found);
        }
        Ok(if total > 0.0 {
            1.0 - 2.0 * shared / total
        } else {
            0.0
        })
    }

    fn detect(&self, graph: &Graph) -> Result<Vec<Vec<Detection>>, CompressError> {
        let mut graph = graph.clone();
        for rewrite in rewrites::REWRITES {
            rewrites::apply(&mut graph, rewrite)?;
        }
        let plan = Arc::new(Plan::compile(&graph, &[], &self.options)?);
        let threads = self.threads.clamp(1, self.inputs.len().max(1));
        let work = |first: usize| -> Result<Vec<(usize, Vec<Detection>)>, CompressError> {
            let mut session = Session::new(&plan, 1)?;
            let images = (first..self.inputs.len()).step_by(threads);
            images
                .map(|i| Ok((i, self.detect_one(&mut session, &self.inputs[i])?)))
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
        Ok(all.into_iter().map(|(_, d)| d).collect())
    }

    fn detect_one(
        &self,
        session: &mut Session,
        input: &[f32],
    ) -> Result<Vec<Detection>, CompressError> {
        let output = session.run(&[input])?.remove(0);
        let &[_, rows, columns] = output.shape() else {
            let shape = output.shape().to_vec();
            return Err(YoloError::OutputRank { shape }.into());
        };
        let raw = RawOutput {
            data: output.as_slice::<f32>()?,
            shape: [rows, columns],
            size_px: self.head.size_px,
        };
        let candidates = (self.head.family.decode)(&raw, CONF);
        Ok(nms(&candidates, IOU, MAX_DET))
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

fn overlap(a: &BoxXyxy, b: &BoxXyxy) -> f64 {
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
