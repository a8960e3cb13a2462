//! One pass over the images: ranges of tensors, means and extremes of channels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ir::{Graph, Op, ValueId};
use quant::observers::{Auto, MakeObserver};
use quant::{Observer, Range, Target};
use runtime::{Observed, RuntimeError};
use yolo::BadInput;

use crate::{CompressError, Observation};

/// Fixed-point sums do not depend on the order of the images; fractions of 2^-40.
const ONE: f64 = (1u64 << 40) as f64;

/// What was seen of the channels of one value: sums over images of each channel's mean, largest and smallest value.
#[derive(Clone, Debug, Default)]
struct Channels {
    images: u64,
    sums: Vec<[i128; 3]>,
}

impl Channels {
    fn see(&mut self, observed: &Observed<'_>) -> Result<(), RuntimeError> {
        let shape = observed.shape();
        let pixels = shape.iter().skip(2).product::<usize>().max(1) as f64;
        let mut seen = vec![(0f64, f32::NEG_INFINITY, f32::INFINITY); shape[1]];
        observed.for_each_run(&mut |at, run| {
            for ((sum, high, low), &x) in seen[at[1]..].iter_mut().zip(run) {
                *sum += f64::from(x);
                *high = high.max(x);
                *low = low.min(x);
            }
        })?;
        self.images += 1;
        self.sums.resize(seen.len(), [0; 3]);
        for (sums, (sum, high, low)) in self.sums.iter_mut().zip(seen) {
            let values = [sum / pixels, f64::from(high), f64::from(low)];
            for (sum, x) in sums.iter_mut().zip(values) {
                *sum = sum.saturating_add((x * ONE).round() as i128);
            }
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) {
        self.images += other.images;
        self.sums
            .resize(other.sums.len().max(self.sums.len()), [0; 3]);
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            mine.iter_mut()
                .zip(theirs)
                .for_each(|(m, t)| *m = m.saturating_add(*t));
        }
    }

    fn averages(&self, which: usize) -> Vec<f32> {
        let images = self.images.max(1) as f64;
        let average = |s: &[i128; 3]| (s[which] as f64 / ONE / images) as f32;
        self.sums.iter().map(average).collect()
    }
}

/// What one pass told.
pub(super) struct Calibration {
    observers: BTreeMap<ValueId, Box<dyn Observer>>,
    /// Mean of every channel of the values that convolutions read.
    pub(super) means: BTreeMap<ValueId, Vec<f32>>,
    /// Range of every channel, outliers of single images averaged out.
    pub(super) channel_ranges: BTreeMap<ValueId, Vec<Range>>,
    pub(super) bad_images: Vec<BadInput>,
}

/// Values in one pass.
struct Watcher {
    observers: BTreeMap<ValueId, Box<dyn Observer>>,
    channels: BTreeMap<ValueId, Channels>,
    scratch: Vec<f32>,
}

/// Values handed to an observer at once: the runs of narrow tensors are too short for it.
const AT_ONCE: usize = 16 * 1024;

fn observe(
    observer: &mut dyn Observer,
    observed: &Observed<'_>,
    scratch: &mut Vec<f32>,
) -> Result<(), RuntimeError> {
    observed.for_each_run(&mut |_, run| {
        scratch.extend_from_slice(run);
        if scratch.len() >= AT_ONCE {
            observer.observe(scratch);
            scratch.clear();
        }
    })?;
    observer.observe(scratch);
    scratch.clear();
    Ok(())
}

impl Calibration {
    /// Runs the graph on the images and watches every tensor that the target quantizes.
    pub(super) fn run(
        observation: &Observation<'_>,
        (graph, images): (&Graph, &[PathBuf]),
        target: &Target,
        calibrator: &str,
    ) -> Result<Self, CompressError> {
        let make: MakeObserver = quant::OBSERVERS
            .iter()
            .find(|o| o.0 == calibrator)
            .map(|o| o.1)
            .expect("the calibrator's name was checked");
        let observed = |v: &ValueId| !graph.inputs().contains(v) && graph.constant(*v).is_none();
        let ranged: BTreeSet<ValueId> = quant::sites(graph, target)?
            .iter()
            .map(|s| s.range_of)
            .filter(observed)
            .collect();
        let convs = graph.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
        let read: BTreeSet<ValueId> = convs.map(|(_, n)| n.inputs[0]).filter(observed).collect();
        let watched: Vec<ValueId> = ranged.union(&read).copied().collect();
        let watcher = || Watcher {
            observers: ranged.iter().map(|&v| (v, make())).collect(),
            channels: read.iter().map(|&v| (v, Channels::default())).collect(),
            scratch: Vec::new(),
        };
        let pass = Observation {
            graph,
            images,
            ..*observation
        };
        let (watchers, bad_images) = pass.watch(&watched, watcher, |w, _, value, observed| {
            if let Some(observer) = w.observers.get_mut(&value) {
                observe(observer.as_mut(), observed, &mut w.scratch)?;
            }
            match w.channels.get_mut(&value) {
                Some(channels) => channels.see(observed),
                None => Ok(()),
            }
        })?;
        let mut merged = watcher();
        for w in watchers {
            for (value, observer) in &w.observers {
                let into = merged.observers.get_mut(value);
                into.expect("all watchers watch the same")
                    .merge(observer.as_ref())?;
            }
            for (value, channels) in &w.channels {
                let into = merged.channels.get_mut(value);
                into.expect("all watchers watch the same").merge(channels);
            }
        }
        finite(graph, &merged.observers)?;
        let range = |(max, min)| Range::new(min, max);
        let ranges = |c: &Channels| {
            let ends = c.averages(1).into_iter().zip(c.averages(2));
            ends.map(range).collect()
        };
        let channels = &merged.channels;
        Ok(Self {
            means: channels.iter().map(|(&v, c)| (v, c.averages(0))).collect(),
            channel_ranges: channels.iter().map(|(&v, c)| (v, ranges(c))).collect(),
            observers: merged.observers,
            bad_images,
        })
    }

    /// The range of every tensor by the calibrator.
    pub(super) fn ranges(&self) -> BTreeMap<ValueId, Range> {
        let all = self.observers.iter();
        all.filter_map(|(&v, o)| Some((v, o.range()?))).collect()
    }

    /// The whole range of every tensor.
    pub(super) fn extremes(&self) -> BTreeMap<ValueId, Range> {
        let all = self.observers.iter();
        all.filter_map(|(&v, o)| Some((v, o.seen()?))).collect()
    }

    /// The ranges of every search, by tensor; empty unless the calibrator is `auto`.
    pub(super) fn candidates(&self) -> BTreeMap<ValueId, Vec<(&'static str, Range)>> {
        let all = self.observers.iter().filter_map(|(&v, o)| {
            let auto = o.as_any().downcast_ref::<Auto>()?;
            Some((v, auto.candidates()))
        });
        all.filter(|(_, c)| !c.is_empty()).collect()
    }
}

fn finite(
    graph: &Graph,
    observers: &BTreeMap<ValueId, Box<dyn Observer>>,
) -> Result<(), CompressError> {
    match observers.iter().find(|(_, o)| o.non_finite() > 0) {
        None => Ok(()),
        Some((&value, observer)) => Err(CompressError::NonFinite {
            value: graph.value(value).name.clone(),
            count: observer.non_finite(),
        }),
    }
}
