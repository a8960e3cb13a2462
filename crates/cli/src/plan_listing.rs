//! `bench --plan`: the time of each step, and how near it comes to the processor's peak.
use crate::format::grouped;
use crate::output::{align_right, table};
use anyhow::{Context, Result};
use kernels::{Isa, dot_loop, fma_loop};
use runtime::{Plan, Session, StepInfo};
use serde::Serialize;
use std::sync::Arc;
use std::thread;
use std::time::Instant;
use yolo::Planes;

/// A plan, step by step; the keys of `plan` in `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    /// What multiply-adds in registers reach on as many threads, timed in this process.
    ceiling_gops: Ceiling,
    steps: Vec<StepRecord>,
}

/// Two operations a multiply-accumulate, in 1e9 a second.
#[derive(Clone, Copy, Debug, Serialize)]
struct Ceiling {
    fp32: f64,
    int8: f64,
}

#[derive(Debug, Serialize)]
struct StepRecord {
    name: String,
    kind: String,
    /// Whether it computes on quantized values; the others are fallback subgraphs in f32, or the tail.
    is_integer: bool,
    macs: u64,
    median_ms: f64,
    gops: f64,
    ceiling_share: f64,
    tile: Option<Tile>,
}

#[derive(Debug, Serialize)]
struct Tile {
    pixels: usize,
    channels: usize,
    why: String,
}

/// Profiles a plan on `threads` threads.
pub(crate) fn list(
    plan: &Arc<Plan>,
    inputs: &Planes,
    threads: usize,
    runs: u32,
) -> Result<Listing> {
    let mut session = Session::new(plan, threads)?;
    let inputs = inputs.slices();
    let mut times: Vec<Vec<f64>> = Vec::new();
    let mut infos: Vec<StepInfo> = Vec::new();
    session.profile(&inputs)?;
    for _ in 0..runs {
        let (now, ms): (Vec<_>, Vec<_>) = session.profile(&inputs)?.into_iter().unzip();
        times.resize(ms.len(), Vec::new());
        times.iter_mut().zip(ms).for_each(|(t, ms)| t.push(ms));
        infos = now;
    }
    let ceiling = Ceiling {
        fp32: ceiling(plan.isa(), threads, |isa| fma_loop(isa, 400_000).0)?,
        int8: ceiling(plan.isa(), threads, |isa| dot_loop(isa, 400_000).0)?,
    };
    let steps = infos.into_iter().zip(times);
    Ok(Listing {
        ceiling_gops: ceiling,
        steps: steps.map(|(s, t)| record(s, t, ceiling)).collect(),
    })
}

fn record(step: StepInfo, mut times: Vec<f64>, ceiling: Ceiling) -> StepRecord {
    times.sort_by(f64::total_cmp);
    let median_ms = times[times.len() / 2];
    let gops = 2e-6 * step.macs as f64 / median_ms.max(1e-9);
    let most = if step.is_integer { ceiling.int8 } else { ceiling.fp32 };
    StepRecord {
        name: step.name,
        kind: step.kind,
        is_integer: step.is_integer,
        macs: step.macs,
        median_ms,
        gops,
        ceiling_share: gops / most,
        tile: step.tile.map(|t| Tile { pixels: t.pixels, channels: t.channels, why: t.why }),
    }
}

/// The best of several turns, the threads together.
fn ceiling(isa: Isa, threads: usize, turn: impl Fn(Isa) -> u64 + Sync) -> Result<f64> {
    let best_turn = || {
        let mut best = 0.0f64;
        for _ in 0..10 {
            let start = Instant::now();
            let operations = turn(isa) as f64;
            best = best.max(operations / start.elapsed().as_secs_f64() / 1e9);
        }
        best
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(best_turn)).collect();
        all.into_iter().map(|t| t.join().ok().context("the ceiling's loop ended early")).sum()
    })
}

impl Listing {
    /// Prints it as a table.
    pub(crate) fn print(&self, model: &str) {
        let mut rows =
            table(&["step", "kind", "ms", "time", "MACs", "GOP/s", "of peak", "tile", "why"]);
        let total: f64 = self.steps.iter().map(|s| s.median_ms).sum();
        for s in &self.steps {
            let counted = |text: String| if s.macs > 0 { text } else { String::new() };
            let tile = s.tile.as_ref();
            rows.add_row([
                s.name.clone(),
                format!("{}{}", s.kind, if s.is_integer { "" } else { " (float)" }),
                format!("{:.3}", s.median_ms),
                format!("{:.1} %", 100.0 * s.median_ms / total),
                counted(grouped(s.macs)),
                counted(format!("{:.0}", s.gops)),
                counted(format!("{:.0} %", 100.0 * s.ceiling_share)),
                tile.map_or(String::new(), |t| format!("{} x {}", t.pixels, t.channels)),
                tile.map_or(String::new(), |t| t.why.clone()),
            ]);
        }
        align_right(&mut rows, 2);
        say!("{model}\n{rows}");
        let macs: u64 = self.steps.iter().map(|s| s.macs).sum();
        say!(
            "{total:.2} ms in all steps, {:.0} GOP/s on average; peak of this CPU {:.0} GOP/s in INT8, {:.0} GFLOP/s in FP32",
            2e-6 * macs as f64 / total,
            self.ceiling_gops.int8,
            self.ceiling_gops.fp32,
        );
    }
}
