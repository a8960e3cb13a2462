//! `tune`: a pruned or quantized detector learns again from the one it was made of.
use crate::args::{CommonArgs, TuneArgs};
use crate::memory::allowed_bytes;
use crate::model;
use crate::output::{check_writable, write_json};
use crate::progress::Pace;
use crate::subject::report_bad;
use crate::{data, engine, files};
use anyhow::{Context, Result, bail};
use compress::{
    HeadedModel, LabelTrial, LabelUse, RecoverHooks, RecoverOptions, RecoverSubject, RecoveryPoint,
    recover_detector, remove_state,
};
use observe::ImageSet;
use serde::Serialize;
use std::time::Instant;
use yolo::Dataset;
use yolo::families::{self, Head};
use yoloslim::Model;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    teacher: String,
    out: String,
    family: &'static str,
    options: RecoverOptions,
    /// The rate that was used, typed or found.
    rate: f64,
    /// How labels were used, typed or found.
    labels: LabelUse,
    /// What the two tries detect by which that was found.
    label_trial: Option<LabelTrial>,
    /// The looks at the held-out images.
    curve: Vec<RecoveryPoint>,
    /// The one whose weights are kept.
    best: RecoveryPoint,
    seconds: f64,
}

/// Runs the verb.
pub(crate) fn run(args: &TuneArgs, common: &CommonArgs) -> Result<()> {
    let reading = args.model.reading.reading();
    let student = model::load_widened(&args.model.model, &reading)?;
    let teacher = model::load_float(&args.teacher, &reading)?;
    check_writable(Some(&args.out))?;
    let (student_head, teacher_head) = (head(&student)?, head(&teacher)?);
    let engine = engine::builtin(common, "tune")?;
    let dataset = data::open(&args.data, &args.split, common, Some(&teacher_head))?;
    if let Some(first) = dataset.bad_labels.first() {
        let bad = dataset.bad_labels.len();
        note!("skipped labels: {bad}, the first: {first}");
    }
    let images = images(args, common, &dataset, &teacher_head, engine.threads)?;
    let options = options(args, common);
    let subject = RecoverSubject {
        student: HeadedModel { graph: &student.graph, head: &student_head },
        teacher: HeadedModel { graph: &teacher.graph, head: &teacher_head },
        images: &images,
        labels: dataset.is_labelled().then_some(&dataset),
        engine,
    };
    let state = files::state_path(&args.out);
    let start = Instant::now();
    let pace = Pace::default();
    let hooks = RecoverHooks {
        log: &|line| note!("{line}"),
        progress: &|point| note!("{point}{}", pace.left(point.step, point.steps)),
        is_enough: None,
        state: Some(&state),
    };
    let recovered = recover_detector(&subject, &options, &hooks)?;
    model::save(&recovered.graph, &args.out)?;
    remove_state(&state)?;
    let record = Record {
        model: student.path.display().to_string(),
        teacher: teacher.path.display().to_string(),
        out: args.out.display().to_string(),
        family: teacher_head.family.name,
        options,
        rate: recovered.rate,
        labels: recovered.labels,
        label_trial: recovered.label_trial,
        best: recovered.best,
        curve: recovered.curve,
        seconds: start.elapsed().as_secs_f64(),
    };
    say!("{}", summary(&record));
    write_json(common.json.as_deref(), &record)?;
    match recovered.ended {
        Some(reason) => bail!("{reason}; {} holds what was best until then", record.out),
        None => Ok(()),
    }
}

/// How it is trained.
fn options(args: &TuneArgs, common: &CommonArgs) -> RecoverOptions {
    RecoverOptions {
        steps: args.steps.map(|steps| steps as usize),
        most_steps: usize::MAX,
        batch: usize::from(args.batch),
        memory_bytes: allowed_bytes(&args.memory).map(|bytes| bytes as usize),
        optimizer: args.optimizer,
        rate: args.rate,
        labels: args.labels,
        window: args.window.map(usize::from),
        augmentation: args.augment.unwrap_or_default(),
        seed: common.seed(),
    }
}

/// What came out, in a sentence.
fn summary(record: &Record) -> String {
    let [before, after] = [&record.curve[0], &record.best];
    let accuracy = before.map_50_95.zip(after.map_50_95);
    let accuracy =
        accuracy.map_or(String::new(), |(b, a)| format!(", their map_50_95 {b:.4} → {a:.4}"));
    format!(
        "{}: loss of the held-out images {:.4} → {:.4}{accuracy} at step {} of {}, rate {}, labels {}, {:.0} s",
        record.out,
        before.held_out,
        after.held_out,
        after.step,
        record.curve.last().map_or(0, |point| point.step),
        record.rate,
        record.labels,
        record.seconds
    )
}

/// The images that can be read.
fn images(
    args: &TuneArgs,
    common: &CommonArgs,
    dataset: &Dataset,
    head: &Head,
    threads: usize,
) -> Result<ImageSet> {
    data::warn(&args.data, &dataset.warnings);
    let all = ImageSet::from(dataset);
    let count = args.images.map_or(all.len(), |count| count as usize);
    let sampled = all.sample(count, common.seed());
    let copies = data::copies(&sampled, &args.data, &args.split, "val");
    data::warn(&args.data, &copies);
    let (images, bad) = sampled.readable(head.input.images(), threads)?;
    report_bad(&bad, sampled.len())?;
    Ok(images)
}

fn head(model: &Model) -> Result<Head> {
    let head = families::identify(&model.graph, model.reading.family)
        .with_context(|| model.path.display().to_string())?;
    model::warn(model, &head.notes);
    Ok(head)
}
