//! How far a changed model's detections, or its outputs, are from the dense one's, as one number.

use std::sync::Arc;

use ir::{Graph, rewrites};
use runtime::{Plan, Session};
use yolo::{BoxXyxy, MAX_DET, Planes, nms};

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
        all.dense = all.run(observation.graph)?;
        Ok(all)
    }

    /// 0 when the detections are ranked as the dense ones, 1 when none of those are found; without a decoder the
    /// relative error of the outputs.
    pub(crate) fn error(&self, graph: &Graph) -> Result<f64, CompressError> {
        let found = self.run(graph)?;
        if self.observation.family.is_some() {
            return Ok(1.0 - average_precision(&self.dense, &found));
        }
        let mut all = Difference::default();
        for (dense, found) in self.dense.iter().zip(&found) {
            all = all.merge(dense.differences(found)?);
        }
        Ok(all.error())
    }

    /// What a model makes of each image, in their order.
    fn run(&self, graph: &Graph) -> Result<Vec<Seen>, CompressError> {
        let mut graph = graph.clone();
        for rewrite in rewrites::REWRITES {
            rewrites::apply(&mut graph, rewrite)?;
        }
        let plan = Arc::new(Plan::compile(&graph, &[], &self.observation.options)?);
        let threads = self.observation.threads.clamp(1, self.inputs.len().max(1));
        let work = |first: usize| -> Result<Vec<(usize, Seen)>, CompressError> {
            let mut session = Session::new(&plan, 1)?;
            let images = (first..self.inputs.len()).step_by(threads);
            images
                .map(|i| Ok((i, self.see(&mut session, &self.inputs[i])?)))
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
        Ok(all.into_iter().map(|(_, seen)| seen).collect())
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

pub(super) fn overlap(a: &BoxXyxy, b: &BoxXyxy) -> f64 {
    let area = |b: &BoxXyxy| f64::from(b.right - b.left) * f64::from(b.bottom - b.top);
    let width = (a.right.min(b.right) - a.left.max(b.left)).max(0.0);
    let height = (a.bottom.min(b.bottom) - a.top.max(b.top)).max(0.0);
    let shared = f64::from(width) * f64::from(height);
    shared / (area(a) + area(b) - shared).max(1e-9)
}
