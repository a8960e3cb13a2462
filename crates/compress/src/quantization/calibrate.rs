//! One pass over the images: ranges of tensors, means and extremes of channels.

use std::collections::{BTreeMap, BTreeSet};

use ir::{Graph, Op, ValueId};
use observe::{Model, Observation};
use quant::{Calibrator, Profile, Range};
use runtime::{Observed, RuntimeError};
use yolo::BadInput;

use super::QuantizeOptions;
use crate::CompressError;

/// Fixed-point sums do not depend on the order of the images; fractions of 2^-40.
const ONE: f64 = (1u64 << 40) as f64;

/// The channels of one value, observed: sums over images of each channel's mean, largest and smallest value.
#[derive(Clone, Debug, Default)]
struct Channels {
    images: u64,
    sums: Vec<ChannelSums>,
}

/// Fixed-point sums over images.
#[derive(Clone, Copy, Debug, Default)]
struct ChannelSums {
    mean: i128,
    highest: i128,
    lowest: i128,
}

impl ChannelSums {
    fn add(&mut self, other: Self) {
        self.mean = self.mean.saturating_add(other.mean);
        self.highest = self.highest.saturating_add(other.highest);
        self.lowest = self.lowest.saturating_add(other.lowest);
    }
}

impl Channels {
    /// Adds one image.
    fn add(&mut self, observed: &Observed<'_>) -> Result<(), RuntimeError> {
        let shape = observed.shape();
        let pixels = shape.iter().skip(2).product::<usize>().max(1) as f64;
        let mut channels = vec![(0f64, f32::NEG_INFINITY, f32::INFINITY); shape[1]];
        observed.for_each_run(&mut |at, run| {
            for ((sum, highest, lowest), &x) in channels[at[1]..].iter_mut().zip(run) {
                *sum += f64::from(x);
                *highest = highest.max(x);
                *lowest = lowest.min(x);
            }
        })?;
        let fixed = |x: f64| (x * ONE).round() as i128;
        self.images += 1;
        self.sums.resize(channels.len(), ChannelSums::default());
        for (sums, (sum, highest, lowest)) in self.sums.iter_mut().zip(channels) {
            sums.add(ChannelSums {
                mean: fixed(sum / pixels),
                highest: fixed(f64::from(highest)),
                lowest: fixed(f64::from(lowest)),
            });
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) {
        self.images += other.images;
        let channels = other.sums.len().max(self.sums.len());
        self.sums.resize(channels, ChannelSums::default());
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            mine.add(*theirs);
        }
    }

    fn averages(&self, sum: fn(&ChannelSums) -> i128) -> Vec<f32> {
        let images = self.images.max(1) as f64;
        let average = |s: &ChannelSums| (sum(s) as f64 / ONE / images) as f32;
        self.sums.iter().map(average).collect()
    }

    fn means(&self) -> Vec<f32> {
        self.averages(|s| s.mean)
    }

    fn ranges(&self) -> Vec<Range> {
        let lowest = self.averages(|s| s.lowest);
        let ends = lowest.into_iter().zip(self.averages(|s| s.highest));
        ends.map(|(min, max)| Range::new(min, max)).collect()
    }
}

/// What one pass over the images gave.
pub(super) struct Calibration {
    calibrator: &'static Calibrator,
    profiles: BTreeMap<ValueId, Profile>,
    /// Mean of every channel of the values that convolutions read.
    pub(super) means: BTreeMap<ValueId, Vec<f32>>,
    /// Range of every channel, outliers of single images averaged out.
    pub(super) channel_ranges: BTreeMap<ValueId, Vec<Range>>,
    pub(super) bad_images: Vec<BadInput>,
}

/// What a thread collects in one pass.
struct Collector {
    profiles: BTreeMap<ValueId, Profile>,
    channels: BTreeMap<ValueId, Channels>,
    scratch: Vec<f32>,
}

/// Values handed to a profile at once: the runs of narrow tensors are too short for it.
const AT_ONCE: usize = 16 * 1024;

impl Collector {
    fn collect(&mut self, value: ValueId, observed: &Observed<'_>) -> Result<(), RuntimeError> {
        if let Some(profile) = self.profiles.get_mut(&value) {
            let scratch = &mut self.scratch;
            observed.for_each_run(&mut |_, run| {
                scratch.extend_from_slice(run);
                if scratch.len() >= AT_ONCE {
                    profile.observe(scratch);
                    scratch.clear();
                }
            })?;
            profile.observe(scratch);
            scratch.clear();
        }
        match self.channels.get_mut(&value) {
            Some(channels) => channels.add(observed),
            None => Ok(()),
        }
    }

    fn merge(&mut self, other: &Self) {
        for (&value, profile) in &other.profiles {
            self.profiles.entry(value).or_default().merge(profile);
        }
        for (&value, channels) in &other.channels {
            self.channels.entry(value).or_default().merge(channels);
        }
    }
}

impl Calibration {
    /// Runs the graph on the observation's images and observes every tensor that the target quantizes.
    pub(super) fn run(
        observation: &Observation<'_>,
        graph: &Graph,
        options: &QuantizeOptions<'_>,
    ) -> Result<Self, CompressError> {
        let is_computed = |v: &ValueId| !graph.inputs().contains(v) && graph.constant(*v).is_none();
        let ranged: BTreeSet<ValueId> = quant::quantization_points(graph, options.target)?
            .iter()
            .map(|p| p.range_of)
            .filter(is_computed)
            .collect();
        let convs = graph.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
        let read: BTreeSet<ValueId> = convs.map(|(_, n)| n.inputs[0]).filter(is_computed).collect();
        let collector = || Collector {
            profiles: ranged.iter().map(|&v| (v, Profile::default())).collect(),
            channels: read.iter().map(|&v| (v, Channels::default())).collect(),
            scratch: Vec::new(),
        };
        let pass = Observation { model: Model { graph, ..observation.model }, ..*observation };
        let values: Vec<ValueId> = ranged.union(&read).copied().collect();
        let (collectors, bad_images) =
            pass.run(&values, collector, |c, _, value, observed| c.collect(value, observed))?;
        let mut merged = collector();
        for other in &collectors {
            merged.merge(other);
        }
        check_finite(graph, &merged.profiles)?;
        let channels = &merged.channels;
        Ok(Self {
            means: channels.iter().map(|(&v, c)| (v, c.means())).collect(),
            channel_ranges: channels.iter().map(|(&v, c)| (v, c.ranges())).collect(),
            calibrator: options.calibrator,
            profiles: merged.profiles,
            bad_images,
        })
    }

    /// The range of every tensor by the calibrator.
    pub(super) fn ranges(&self) -> BTreeMap<ValueId, Range> {
        let (all, range) = (self.profiles.iter(), self.calibrator.range);
        all.filter_map(|(&v, p)| Some((v, range(p)?))).collect()
    }

    /// The whole range of every tensor.
    pub(super) fn extremes(&self) -> BTreeMap<ValueId, Range> {
        let all = self.profiles.iter();
        all.filter_map(|(&v, p)| Some((v, p.extremes()?))).collect()
    }

    /// The ranges that the calibrator offers beside its own, by tensor.
    pub(super) fn candidates(&self) -> BTreeMap<ValueId, Vec<(&'static str, Range)>> {
        let all = self.profiles.iter().map(|(&v, profile)| {
            let alternatives = self.calibrator.alternatives.iter();
            let ranges = alternatives.filter_map(|a| Some((a.name, (a.range)(profile)?)));
            (v, ranges.collect::<Vec<_>>())
        });
        all.filter(|(_, ranges)| !ranges.is_empty()).collect()
    }
}

fn check_finite(graph: &Graph, profiles: &BTreeMap<ValueId, Profile>) -> Result<(), CompressError> {
    match profiles.iter().find(|(_, p)| p.non_finite() > 0) {
        None => Ok(()),
        Some((&value, profile)) => Err(CompressError::NonFinite {
            value: graph.value(value).name.clone(),
            count: profile.non_finite(),
        }),
    }
}
