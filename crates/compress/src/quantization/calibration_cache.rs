//! What TensorRT up to version 10 quantizes a float model by.

use std::collections::BTreeMap;

use ir::ValueId;
use observe::Observation;
use quant::{Calibrator, Profile, Range};

use crate::CompressError;

/// The calibration cache of the observation's model, from one pass over its images: the range of every tensor by the
/// calibrator.
///
/// # Errors
/// `Quant` with a tensor that held no finite number; as [`Observation::run`] otherwise.
pub fn calibration_cache(
    observation: &Observation<'_>,
    calibrator: &Calibrator,
) -> Result<String, CompressError> {
    let graph = observation.model.graph;
    let values = quant::cached_values(graph)?;
    let profiles = || values.iter().map(|&v| (v, Profile::default())).collect::<BTreeMap<_, _>>();
    let (seen, _) = observation.run(&values, profiles, |profiles, _, v, observed| {
        let profile = profiles.entry(v).or_default();
        observed.for_each_run(&mut |_, run| profile.observe(run))
    })?;
    let mut merged = profiles();
    for (v, profile) in seen.iter().flatten() {
        merged.entry(*v).or_default().merge(profile);
    }
    let range = |(&v, profile): (&ValueId, &Profile)| Some((v, (calibrator.range)(profile)?));
    let ranges = merged.iter().filter_map(range).collect();
    let input = super::image_params(observation)?;
    let (lowest, highest) = input.range();
    let input = [lowest, highest].map(|q| input.dequantize(0, q as i32));
    Ok(quant::calibration_cache(graph, &ranges, Range::new(input[0], input[1]))?)
}
