//! What each criterion leaves of the accuracy, with and without repair of the same plan, each as a share of the dense
//! model's mAP with its paired interval.
//!
//! `cargo run --release -p yoloslim-compress --example criteria -- MODEL.onnx data.yaml MACS_RATIO IMAGES`
#![allow(missing_docs, clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use compress::{PruneBudget, PruneOptions, THRESHOLDS, prune_detector};
use ir::Graph;
use observe::{Engine, ImageSet, Model, Observation};
use onnx::LoadOptions;
use runtime::PlanOptions;
use yolo::metrics::{Matches, paired_bootstrap};
use yolo::{CompiledDetector, Dataset, evaluate_detector, families};

const THREADS: usize = 2;
const RESAMPLES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, data, ratio, count] = &arguments[..] else {
        return Err("expected MODEL.onnx data.yaml MACS_RATIO IMAGES".into());
    };
    let graph = ir::canonicalise(onnx::load(Path::new(model), &LoadOptions::default())?)?;
    let head = Arc::new(families::identify(&graph, None)?);
    let train = Dataset::open(Path::new(data), "train")?;
    let images = ImageSet::from(&train).sample(count.parse()?, 0);
    let val = Dataset::open(Path::new(data), "val")?;
    let options = PlanOptions::default();
    let matches = |graph: &Graph| -> Result<Matches, Box<dyn Error>> {
        let graph = ir::normalise(graph.clone())?;
        let detector = CompiledDetector::compile(&graph, &head, &options)?;
        Ok(evaluate_detector(&detector, &val, THRESHOLDS, THREADS, &|_| ())?.matches)
    };
    let observation = Observation {
        model: Model::new(&graph, &head),
        images: &images,
        engine: Engine { options, threads: THREADS, ..Engine::default() },
        progress: &|_| (),
    };
    let dense = matches(&graph)?;
    println!("dense: map_50_95 {:.4}", dense.accumulate(None).map_50_95);
    for criterion in prune::CRITERIA {
        let options = PruneOptions { criterion, ..PruneOptions::default() };
        let budget = PruneBudget::Macs(ratio.parse()?);
        let pruned = prune_detector(&observation, &options, budget)?;
        let bare = prune::apply(&graph, &pruned.groups, &pruned.account.plan)?;
        for (repair, graph) in [("without", &bare), ("with", &pruned.graph)] {
            let found = matches(graph)?;
            let share = paired_bootstrap(&dense, &found, 0, RESAMPLES)?;
            println!(
                "{:15} {repair:8} map_50_95 {:.4}, {:.3} of dense [{:.3}, {:.3}]",
                criterion.name,
                found.accumulate(None).map_50_95,
                share.ratio,
                share.lower,
                share.upper
            );
        }
    }
    Ok(())
}
