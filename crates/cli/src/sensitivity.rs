//! `inspect --sensitivity`: what each group is worth, by pruning it alone.
use crate::args::{CommonArgs, SensitivityArgs};
use crate::format::{grouped, layer_name};
use crate::output::{align_right, check_writable, table};
use crate::subject::{Subject, report_bad};
use anyhow::{Context, Result};
use compress::{GroupSensitivity, PruneStudy, RepairStep};
use report::sensitivity_svg;
use serde::Serialize;
use std::collections::BTreeSet;
use yoloslim::Model;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    model: String,
    criterion: &'static str,
    repair: BTreeSet<RepairStep>,
    images: usize,
    shares: Vec<f64>,
    groups: Vec<GroupSensitivity>,
}

/// Measures, prints and draws.
pub(crate) fn run(model: &Model, args: &SensitivityArgs, common: &CommonArgs) -> Result<Record> {
    let options = args.ranking.options()?;
    check_writable(args.plot.as_deref())?;
    quant::check_float(&model.graph).with_context(|| model.path.display().to_string())?;
    let subject = Subject::open(model, &args.images()?, common, "inspect")?;
    let mut study = PruneStudy::new(subject.observation(), &options)?;
    report_bad(study.bad_images(), subject.images.len())?;
    let mut shares = args.steps.clone();
    shares.sort_by(f64::total_cmp);
    let record = Record {
        model: model.path.display().to_string(),
        images: subject.images.len() - study.bad_images().len(),
        groups: study.sensitivity(&shares)?,
        shares,
        criterion: options.criterion.name,
        repair: options.repair,
    };
    print(&record);
    if let Some(path) = &args.plot {
        yolo::write_file(path, sensitivity_svg(&record.groups).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        say!("{}", path.display());
    }
    Ok(record)
}

fn print(r: &Record) {
    let shares = r.shares.iter().map(|s| format!("-{} %", 100.0 * s));
    let titles = ["group", "channels", "MACs"].map(str::to_owned).into_iter();
    let header: Vec<String> = titles.chain(shares).chain([String::new()]).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut rows = table(&header);
    let points = r.groups.iter().flat_map(|g| &g.points);
    let most = points.map(|p| p.output_error).fold(1e-9, f64::max);
    for g in &r.groups {
        let mut row = vec![layer_name(&g.group), g.channels.to_string(), grouped(g.macs)];
        row.extend(g.points.iter().map(|p| format!("{:.4}", p.output_error)));
        row.push(bars(g, most));
        rows.add_row(row);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    say!(
        "output error of {} when one group alone loses channels, chosen by {}; most fragile group first; 0: the same detections, 1: none of them",
        r.model,
        r.criterion
    );
}

/// A bar a step, full at the largest error of all.
fn bars(group: &GroupSensitivity, most: f64) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let level = |error: f64| (8.0 * (error / most).clamp(0.0, 1.0)).round() as usize;
    let points = group.points.iter();
    points.map(|p| LEVELS[level(p.output_error)]).collect()
}
