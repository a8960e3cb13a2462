//! `bench --streams`: images a second of several inferences at once.
use anyhow::{Context, Result};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};
use yolo::{Network, Planes, YoloError};

/// Runs every network in a thread of its own, `runs` times after `warmup`; the slowest one ends the time.
pub(crate) fn images_per_s(
    networks: Vec<Box<dyn Network>>,
    inputs: &Planes,
    warmup: u32,
    runs: u32,
) -> Result<f64> {
    let inputs = inputs.slices();
    let (count, start) = (networks.len(), Barrier::new(networks.len()));
    let stream = |mut network: Box<dyn Network>| -> Result<Duration, YoloError> {
        let warm = (0..warmup).try_for_each(|_| network.infer_elements(&inputs).map(|_| ()));
        // All wait here, also those that failed, so that none waits for ever.
        start.wait();
        let began = Instant::now();
        warm?;
        for _ in 0..runs {
            network.infer_elements(&inputs)?;
        }
        Ok(began.elapsed())
    };
    let times = thread::scope(|scope| {
        let started: Vec<_> = networks.into_iter().map(|n| scope.spawn(|| stream(n))).collect();
        let ended = started.into_iter().map(|t| {
            let time = t.join().ok().context("a stream ended early")?;
            Ok(time?)
        });
        ended.collect::<Result<Vec<Duration>>>()
    })?;
    let slowest = times.into_iter().max().unwrap_or_default().as_secs_f64();
    Ok((count as f64) * f64::from(runs) / slowest.max(1e-9))
}
