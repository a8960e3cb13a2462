//! `demo`: draws circuit boards, compresses a detector of their defects, and writes the report, as a user would type it.
use crate::args::{Args, CommonArgs, DemoArgs, Verb};
use crate::output::write_json;
use crate::{Verdict, compress, engine, model, report};
use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use demo::{DETECTOR, DatasetSize, write_dataset};
use serde::Serialize;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use yoloslim::{Model, Reading};

/// Files and folders of the demo, below its folder.
const MODEL: &str = "boards.onnx";
const BOARDS: &str = "boards";
const RUN: &str = "run";

/// Share of the MACs that is removed at first; less where that costs too much.
const MACS: &str = "0.35";

/// Steps of recovery at most, where pruning alone takes too much: a demo is to end soon.
const RECOVER: &str = "120";

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    data: String,
    /// The run of `compress`, whose `metrics.json` holds what was measured.
    run: String,
    report: String,
    /// Whether the gate passed.
    passed: bool,
    seconds: f64,
}

/// Runs the verb.
pub(crate) fn run(args: &DemoArgs, common: &CommonArgs) -> Result<Verdict> {
    let start = Instant::now();
    let folder = &args.out;
    own(folder)?;
    let size = DatasetSize { train: args.boards as usize, val: (args.boards as usize).div_ceil(2) };
    note!("drawing {} boards to learn from and {} to judge by", size.train, size.val);
    let threads = engine::threads(common);
    let data = write_dataset(&folder.join(BOARDS), size, common.seed(), threads)?;
    let model = folder.join(MODEL);
    write_model(&model)?;
    let run = folder.join(RUN);
    let typed = |words: &[&dyn AsRef<std::ffi::OsStr>]| {
        let words = words.iter().map(|word| word.as_ref().to_owned());
        let words: Vec<OsString> = words.chain(passed_on(common)).collect();
        command(words)
    };
    let compress: &[&dyn AsRef<std::ffi::OsStr>] = &[
        &"compress",
        &model,
        &"--data",
        &data,
        &"-o",
        &run,
        &"--macs",
        &MACS,
        &"--recover",
        &RECOVER,
    ];
    let verdict = typed(compress)?;
    typed(&[&"report", &run])?;
    let record = Record {
        model: model.display().to_string(),
        data: data.display().to_string(),
        report: run.join("report.html").display().to_string(),
        run: run.display().to_string(),
        passed: verdict == Verdict::Done,
        seconds: start.elapsed().as_secs_f64(),
    };
    say!("with a detector of your own: yoloslim compress best.onnx --data data.yaml -o run");
    write_json(common.json.as_deref(), &record)?;
    Ok(verdict)
}

/// Refuses a folder that holds something else than a demo.
fn own(folder: &Path) -> Result<()> {
    let is_empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    ensure!(
        is_empty || folder.join(MODEL).is_file() && folder.join(BOARDS).is_dir(),
        "{} is not empty and holds no demo of yoloslim, so it is left as it is: name a new folder with -o",
        folder.display()
    );
    fs::create_dir_all(folder).with_context(|| format!("cannot write {}", folder.display()))
}

/// Writes the detector with 32-bit floats, as trained models come; the program holds it with 16 bits.
fn write_model(path: &Path) -> Result<()> {
    yolo::write_file(path, DETECTOR).with_context(|| format!("cannot write {}", path.display()))?;
    let model = Model::open_as(path, &Reading::default())?;
    model::save(&model.graph, path)?;
    Ok(())
}

/// What was typed for all verbs, for those that the demo runs.
fn passed_on(common: &CommonArgs) -> Vec<OsString> {
    let threads = common.threads.map(|n| ["--threads".into(), n.to_string().into()]);
    let seed = common.typed_seed().map(|seed| ["--seed".into(), seed.to_string().into()]);
    let isa = common.isa.as_ref().map(|isa| ["--isa".into(), isa.into()]);
    [threads, seed, isa].into_iter().flatten().flatten().collect()
}

/// Shows a command and runs it as if it had been typed.
fn command(words: Vec<OsString>) -> Result<Verdict> {
    let shown: Vec<_> =
        words.iter().map(|word| PathBuf::from(word).display().to_string()).collect();
    say!("$ yoloslim {}", shown.join(" "));
    let typed = std::iter::once("yoloslim".into()).chain(words);
    let Args { verb, mut common } = Args::try_parse_from(typed)?;
    common.files = verb.files(&common)?;
    match &verb {
        Verb::Compress(verb) => compress::run(verb, &common),
        Verb::Report(verb) => report::run(verb, &common).map(|()| Verdict::Done),
        _ => bail!("the demo runs `compress` and `report` only"),
    }
}
