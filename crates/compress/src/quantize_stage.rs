//! Quantization: ranges observed on images, a plan, a QDQ graph.

use std::collections::BTreeMap;

use ir::{DataType, Graph, QuantParams, ValueId};
use quant::{Observer, QuantPlan, Range, Target};
use yolo::BadInput;

use crate::{CompressError, Observation};

/// A quantized detector and how it came about.
#[derive(Debug)]
pub struct Quantized {
    /// The QDQ graph.
    pub graph: Graph,
    /// What was decided.
    pub plan: QuantPlan,
    /// Share of the MACs whose convolution reads integer input and weights.
    pub int8_macs_share: f64,
    /// Calibration images that could not be read.
    pub bad_images: Vec<BadInput>,
}

/// Calibrates on the observation's images and quantizes.
///
/// # Errors
/// `UnknownName` for a calibrator that is not in the list, `NonFinite` when activations are not numbers; as the stages otherwise.
pub fn quantize_detector(
    observation: &Observation<'_>,
    target: &Target,
    calibrator: &str,
) -> Result<Quantized, CompressError> {
    let graph = observation.graph;
    let make = quant::OBSERVERS
        .iter()
        .find(|(name, _)| *name == calibrator);
    let (_, make) = make.ok_or_else(|| CompressError::UnknownName {
        what: "calibrator",
        found: calibrator.to_owned(),
        expected: quant::OBSERVERS
            .iter()
            .map(|o| o.0)
            .collect::<Vec<_>>()
            .join(", "),
    })?;
    let mut values: Vec<ValueId> = quant::sites(graph, target)?
        .iter()
        .map(|s| s.range_of)
        .collect();
    values.sort_unstable();
    values.dedup();
    values.retain(|v| !graph.inputs().contains(v));
    type Watcher = BTreeMap<ValueId, Box<dyn Observer>>;
    let watcher = || values.iter().map(|&v| (v, make())).collect::<Watcher>();
    let (watchers, bad_images) = observation.watch(&values, watcher, |w, _, value, observed| {
        let observer = w.get_mut(&value).expect("only these values are watched");
        observed.for_each_run(&mut |_, run| observer.observe(run))
    })?;
    let mut merged = watcher();
    for w in watchers {
        for (value, observer) in &w {
            merged
                .get_mut(value)
                .expect("all watchers watch the same")
                .merge(observer.as_ref())?;
        }
    }
    let ranges = ranges(graph, &merged)?;
    let scale = observation.head.family.preprocess.scale;
    let input_params = QuantParams::per_tensor(scale, 0, DataType::U8)?;
    let plan = quant::plan(graph, &ranges, &input_params, target)?;
    let graph = quant::apply(graph, &plan)?;
    Ok(Quantized {
        int8_macs_share: quant::int8_macs_share(&graph),
        graph,
        plan,
        bad_images,
    })
}

fn ranges(
    graph: &Graph,
    observers: &BTreeMap<ValueId, Box<dyn Observer>>,
) -> Result<BTreeMap<ValueId, Range>, CompressError> {
    let mut ranges = BTreeMap::new();
    for (&value, observer) in observers {
        if observer.non_finite() > 0 {
            let name = graph.value(value).name.clone();
            return Err(CompressError::NonFinite {
                value: name,
                count: observer.non_finite(),
            });
        }
        ranges.extend(observer.range().map(|r| (value, r)));
    }
    Ok(ranges)
}
