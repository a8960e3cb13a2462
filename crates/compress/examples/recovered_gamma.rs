//! How well the scale of a BatchNormalization that was folded away is recovered from what the convolution gives on
//! images: Spearman's rank correlation of |gamma| and the standard deviation, layer by layer.
//!
//! `cargo run --release -p yoloslim-compress --example recovered_gamma -- FUSED.onnx WITH_BN.onnx IMAGES_DIR COUNT`
#![allow(missing_docs, clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

use ir::{Graph, Op, ValueId};
use observe::ImageSet;
use onnx::LoadOptions;
use runtime::{Plan, PlanOptions, Session};
use yolo::{families, read_rgb};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// |gamma| by the name of the convolution before it.
fn gammas(graph: &Graph) -> Result<BTreeMap<String, Vec<f64>>> {
    let mut found = BTreeMap::new();
    for (_, node) in graph.nodes() {
        let conv = graph.producer(node.inputs[0]).map(|id| graph.node(id));
        if let (Op::BatchNormalization(_), Some(conv)) = (&node.op, conv) {
            let gamma = graph.constant(node.inputs[1]).ok_or("gamma is computed")?;
            let gamma = gamma.to_f64()?.iter().map(|g| g.abs()).collect();
            found.insert(conv.name.clone(), gamma);
        }
    }
    Ok(found)
}

/// Standard deviation of every channel of the convolutions, over all pixels of all images.
fn deviations(graph: &Graph, images: &[PathBuf]) -> Result<BTreeMap<ValueId, Vec<f64>>> {
    let head = families::identify(graph, None)?;
    let convs = graph.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
    let values: Vec<ValueId> = convs.map(|(_, n)| n.outputs[0]).collect();
    let plan = Plan::compile(graph, &values, &PlanOptions::default())?;
    let mut session = Session::new(&plan.into(), 1)?;
    let mut sums: BTreeMap<ValueId, (f64, Vec<[f64; 2]>)> = BTreeMap::new();
    for path in images {
        let planes = head.input.prepare(&[read_rgb(path)?])?;
        session.run_observed(&planes.slices(), &mut |value, seen| {
            let shape = seen.shape().to_vec();
            let (count, sums) = sums.entry(value).or_default();
            *count += shape[2..].iter().product::<usize>() as f64;
            sums.resize(shape[1], [0.0; 2]);
            seen.for_each_run(&mut |at, run| {
                for (sum, &x) in sums[at[1]..].iter_mut().zip(run) {
                    sum[0] += f64::from(x);
                    sum[1] += f64::from(x) * f64::from(x);
                }
            })
        })?;
    }
    let deviation = |(n, sums): (f64, Vec<[f64; 2]>)| {
        let of = |[sum, squares]: [f64; 2]| (squares / n - (sum / n).powi(2)).max(0.0).sqrt();
        sums.into_iter().map(of).collect()
    };
    Ok(sums.into_iter().map(|(v, s)| (v, deviation(s))).collect())
}

/// Ranks; equal numbers share the mean of theirs.
fn ranks(numbers: &[f64]) -> Vec<f64> {
    let below = |x: f64| numbers.iter().filter(|&&y| y < x).count() as f64;
    let equal = |x: f64| numbers.iter().filter(|&&y| y == x).count() as f64;
    let rank = |&x: &f64| below(x) + (equal(x) - 1.0) / 2.0;
    numbers.iter().map(rank).collect()
}

fn rank_correlation(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (ranks(a), ranks(b));
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let of = |x: &[f64], y: &[f64]| -> f64 {
        let pairs = x.iter().zip(y);
        pairs.map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    of(&a, &b) / (of(&a, &a) * of(&b, &b)).sqrt().max(1e-12)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [fused, with_bn, folder, count] = &arguments[..] else {
        return Err("expected FUSED.onnx WITH_BN.onnx IMAGES_DIR COUNT".into());
    };
    let read = |path: &str| onnx::load(Path::new(path), &LoadOptions::default());
    let (fused, gammas) = (read(fused)?, gammas(&read(with_bn)?)?);
    let entries = std::fs::read_dir(folder)?.map(|e| Ok(e?.path()));
    let mut images = entries.collect::<std::io::Result<Vec<_>>>()?;
    images.sort();
    let images = ImageSet { paths: images, ..ImageSet::default() };
    let images = images.sample(count.parse()?, 0);
    let deviations = deviations(&fused, &images.paths)?;
    let mut all = vec![];
    for (_, node) in fused.nodes() {
        if let (Some(gamma), Some(deviation)) =
            (gammas.get(&node.name), deviations.get(&node.outputs[0]))
        {
            let correlation = rank_correlation(gamma, deviation);
            println!("{correlation:6.3}  {:4} channels  {}", gamma.len(), node.name);
            all.push(correlation);
        }
    }
    all.sort_by(f64::total_cmp);
    let at = |share: f64| all[((all.len() - 1) as f64 * share).round() as usize];
    println!(
        "{} layers: median {:.3}, least {:.3}, a tenth below {:.3}",
        all.len(),
        at(0.5),
        at(0.0),
        at(0.1)
    );
    Ok(())
}
