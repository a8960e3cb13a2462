//! `tune`: a pruned detector learns again from the one it was made of.
use crate::args::{CommonArgs, TuneArgs};
use crate::model;
use crate::output::{check_writable, write_json};
use crate::subject::report_bad;
use crate::{data, engine};
use anyhow::{Context, Result};
use compress::{
    HeadedModel, LabelTrial, LabelUse, RecoverOptions, RecoverSubject, Recovered, RecoveryPoint,
    recover_detector,
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
    let student = model::load_float(&args.model.model, &reading)?;
    let teacher = model::load_float(&args.teacher, &reading)?;
    check_writable(Some(&args.out))?;
    let (student_head, teacher_head) = (head(&student)?, head(&teacher)?);
    let engine = engine::builtin(common, "tune")?;
    let split = &args.images.sampling.split;
    let dataset = data::open(&args.images.data, split, common, Some(&teacher_head))?;
    if let Some(first) = dataset.bad_labels.first() {
        let bad = dataset.bad_labels.len();
        note!("skipped labels: {bad}, the first: {first}");
    }
    let images = images(args, common, &dataset, &teacher_head, engine.threads)?;
    let options = RecoverOptions {
        steps: args.steps as usize,
        batch: usize::from(args.batch),
        rate: args.rate,
        labels: args.labels,
        window: args.window.map(usize::from),
        augmentation: args.augment.unwrap_or_default(),
        seed: common.seed(),
    };
    let subject = RecoverSubject {
        student: HeadedModel { graph: &student.graph, head: &student_head },
        teacher: HeadedModel { graph: &teacher.graph, head: &teacher_head },
        images: &images,
        labels: dataset.is_labelled().then_some(&dataset),
        engine,
    };
    let start = Instant::now();
    let show = |point: &RecoveryPoint| note!("{}", line(point, &options, start));
    let recovered = recover_detector(&subject, &options, &show)?;
    note!("{}", told_of_labels(&recovered));
    model::save(&recovered.graph, &args.out)?;
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
    say!(
        "{}: loss of the held-out images {:.4} → {:.4} at step {} of {}, rate {}, {:.0} s",
        record.out,
        record.curve[0].held_out,
        record.best.held_out,
        record.best.step,
        options.steps,
        record.rate,
        record.seconds
    );
    write_json(common.json.as_deref(), &record)
}

/// The images that can be read.
fn images(
    args: &TuneArgs,
    common: &CommonArgs,
    dataset: &Dataset,
    head: &Head,
    threads: usize,
) -> Result<ImageSet> {
    let split = &args.images.sampling.split;
    data::warn(&args.images.data, &dataset.warnings);
    let sampled =
        ImageSet::from(dataset).sample(args.images.sampling.images as usize, common.seed());
    let copies = data::copies(&sampled, &args.images.data, split, "val");
    data::warn(&args.images.data, &copies);
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

/// How labels were used, and why.
fn told_of_labels(recovered: &Recovered) -> String {
    let used = match recovered.labels {
        LabelUse::Auto | LabelUse::Off => "not used",
        LabelUse::Mixed => "used beside the teacher",
        LabelUse::Only => "used in place of the teacher",
    };
    let why = recovered.label_trial.map_or(String::new(), |LabelTrial { with, without }| {
        format!(": short tries detect {with:.4} of the held-out images with them, {without:.4} without (map_50_95)")
    });
    format!("labels were {used}{why}")
}

/// A look at the held-out images, with the time that is left.
fn line(point: &RecoveryPoint, options: &RecoverOptions, start: Instant) -> String {
    let seconds = start.elapsed().as_secs_f64();
    let left = match point.step {
        0 => String::new(),
        done => {
            let left = seconds / done as f64 * (options.steps - done) as f64;
            format!(", {left:.0} s left")
        }
    };
    let loss = point.loss.map_or(String::new(), |l| format!(", loss {l:.4}"));
    let accuracy = point.map_50_95.map_or(String::new(), |map| format!(", map_50_95 {map:.4}"));
    format!(
        "step {}/{}{loss}, held-out images: loss {:.4}{accuracy}{left}",
        point.step, options.steps, point.held_out
    )
}
