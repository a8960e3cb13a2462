//! `train`: a detector learns from labelled images, from given weights or from random ones.
use crate::args::{CommonArgs, TrainArgs};
use crate::output::{check_writable, write_json};
use crate::progress::Pace;
use crate::subject::report_bad;
use crate::{data, engine, files, model};
use anyhow::{Context, Result, bail};
use compress::{
    TrainHooks, TrainOptions, TrainPoint, TrainSubject, Trained, remove_state, standardise,
    train_detector,
};
use ir::{Graph, Op};
use observe::{Engine, ImageSet};
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use yolo::families::{self, Family, Head};
use yolo::{Dataset, NetworkOptions};

/// Input size of a network where none is asked for, in pixels.
const IMGSZ: [usize; 2] = [640; 2];

/// Training images on which random weights are scaled.
const START_IMAGES: usize = 16;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    /// The model that was given.
    model: Option<String>,
    /// The network that was built.
    network: Option<NetworkRecord>,
    out: String,
    family: &'static str,
    options: TrainOptions,
    /// The looks at the held-out images.
    curve: Vec<TrainPoint>,
    /// The one whose weights are kept.
    best: TrainPoint,
    /// Why it ended before the last step.
    ended: Option<String>,
    seconds: f64,
}

/// The sizes of a network that was built.
#[derive(Debug, Serialize)]
struct NetworkRecord {
    width: f64,
    depth: f64,
    imgsz: [usize; 2],
    params: u64,
    macs: u64,
}

/// A detector that is to be trained, and on what.
struct Beginning {
    graph: Graph,
    head: Head,
    dataset: Dataset,
    network: Option<NetworkRecord>,
}

/// Runs the verb.
pub(crate) fn run(args: &TrainArgs, common: &CommonArgs) -> Result<()> {
    check_writable(Some(&args.out))?;
    let engine = engine::builtin(common, "train")?;
    let beginning = match (&args.model, args.arch) {
        (Some(path), _) => given(path, args, common, engine)?,
        (None, Some(family)) => built(family, args, common, engine)?,
        (None, None) => bail!("a model or --arch is needed"),
    };
    let Beginning { graph, head, dataset, network } = beginning;
    let options = options(args, common);
    let head = Arc::new(head);
    let subject = TrainSubject { graph: &graph, head: &head, dataset: &dataset, engine };
    let state = files::state_path(&args.out);
    let start = Instant::now();
    let pace = Pace::default();
    let hooks = TrainHooks {
        log: &|line| note!("{line}"),
        progress: &|point| note!("{}{}", line(point), pace.left(point.step, point.steps)),
        state: Some(&state),
    };
    let trained = train_detector(&subject, &options, &hooks)?;
    model::save(&trained.graph, &args.out)?;
    remove_state(&state)?;
    let Trained { curve, best, ended, .. } = trained;
    let record = Record {
        model: args.model.as_ref().map(|path| path.display().to_string()),
        network,
        out: args.out.display().to_string(),
        family: head.family.name,
        options,
        best,
        curve,
        ended,
        seconds: start.elapsed().as_secs_f64(),
    };
    if let Some(reason) = &record.ended {
        note!("warning: training ended early: {reason}");
    }
    say!(
        "{}: map_50_95 of the held-out images {:.4} → {:.4} at step {} of {}, {:.0} s",
        record.out,
        record.curve[0].map_50_95,
        record.best.map_50_95,
        record.best.step,
        record.best.steps,
        record.seconds
    );
    write_json(common.json.as_deref(), &record)
}

/// How it is trained.
fn options(args: &TrainArgs, common: &CommonArgs) -> TrainOptions {
    TrainOptions {
        epochs: args.epochs as usize,
        batch: usize::from(args.batch),
        memory_bytes: args.memory_mb.map(|mb| mb as usize * 1_000_000),
        optimizer: args.optimizer,
        rate: args.rate,
        batch_statistics: args.batch_statistics,
        sparsify: args.sparsify.unwrap_or(0.0),
        multi_scale: args.multi_scale,
        augmentation: args.augment.unwrap_or_default(),
        seed: common.seed(),
    }
}

/// The model that was given.
fn given(path: &Path, args: &TrainArgs, common: &CommonArgs, engine: Engine) -> Result<Beginning> {
    let model = model::load_float(path, &args.reading.reading())?;
    let head = families::identify(&model.graph, model.reading.family)
        .with_context(|| path.display().to_string())?;
    model::warn(&model, &head.notes);
    if !args.batch_statistics
        && model.graph.nodes().any(|(_, node)| matches!(node.op, Op::BatchNormalization(_)))
    {
        note!(
            "{}: BatchNormalization is folded into the convolutions before it and learns with them; its statistics stay those of the file (--batch-statistics keeps it)",
            path.display()
        );
    }
    let dataset = images(args, common, Some(&head), engine)?;
    Ok(Beginning { graph: model.graph, head, dataset, network: None })
}

/// A network with random weights, for the classes of the data set.
fn built(
    family: &'static Family,
    args: &TrainArgs,
    common: &CommonArgs,
    engine: Engine,
) -> Result<Beginning> {
    if args.reading.family.is_some() || args.reading.anchors.is_some() {
        bail!("--family and --anchors say how a model is read; --arch builds one");
    }
    let dataset = images(args, common, None, engine)?;
    let options = NetworkOptions {
        names: dataset.names.clone(),
        size_px: args.reading.imgsz.unwrap_or(IMGSZ),
        width: args.width,
        depth: args.depth,
        seed: common.seed(),
    };
    let graph = family.network(&options)?;
    let head = families::identify(&graph, Some(family))?;
    let network = NetworkRecord {
        width: options.width,
        depth: options.depth,
        imgsz: options.size_px,
        params: graph.params(),
        macs: graph.macs(),
    };
    note!("a network of {} parameters and {} MACs", network.params, network.macs);
    let sample = ImageSet::from(&dataset).sample(START_IMAGES, common.seed());
    let graph = standardise(&graph, &head.input, &sample, engine)?;
    Ok(Beginning { graph, head, dataset, network: Some(network) })
}

/// The labelled images that can be read.
fn images(
    args: &TrainArgs,
    common: &CommonArgs,
    head: Option<&Head>,
    engine: Engine,
) -> Result<Dataset> {
    let mut dataset = data::open(&args.data, &args.split, common, head)?;
    data::warn(&args.data, &dataset.warnings);
    let all = ImageSet::from(&dataset);
    data::warn(&args.data, &data::copies(&all, &args.data, &args.split, "val"));
    let per_scene = head.map_or(1, |head| head.input.images());
    let (readable, bad) = all.readable(per_scene, engine.threads)?;
    report_bad(&bad, all.len())?;
    dataset.images.retain(|image| readable.paths.contains(&image.path));
    Ok(dataset)
}

/// A look at the held-out images.
fn line(point: &TrainPoint) -> String {
    let TrainPoint { step, steps, loss, map_50_95 } = point;
    let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.4}"));
    format!("step {step}/{steps}{loss}, held-out images map_50_95 {map_50_95:.4}")
}
