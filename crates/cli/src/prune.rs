//! `prune`: fewer channels, without training.
use crate::args::{CommonArgs, PruneArgs};
use crate::format::{about, grouped, layer_name};
use crate::groups::{frozen_by_reason, print_frozen};
use crate::memory::Room;
use crate::model;
use crate::output::{align_right, check_writable, table, write_json};
use crate::subject::{Subject, report_bad};
use anyhow::Result;
use comfy_table::CellAlignment;
use compress::{GroupCut, PruneAccount, PruneBudget, PruneStudy, RepairStep, ThinnedLayer};
use serde::Serialize;
use std::collections::BTreeSet;

/// Layers named in a cell of the table, at most.
const NAMED: usize = 3;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    out: String,
    /// Null where outputs were compared as they are.
    family: Option<&'static str>,
    warnings: Vec<String>,
    criterion: &'static str,
    repair: BTreeSet<RepairStep>,
    macs: u64,
    source_macs: u64,
    params: u64,
    source_params: u64,
    plan: PruneAccount,
}

/// Runs the verb.
pub(crate) fn run(args: &PruneArgs, common: &CommonArgs) -> Result<()> {
    let options = args.limits.within(args.ranking.options()?);
    let budget = args.budget.budget()?;
    let model = model::load_float(&args.model.model, &args.model.reading.reading())?;
    check_writable(Some(&args.out))?;
    let room = Room::beside(&model, &args.memory);
    let subject = Subject::open(&model, &args.images, common, "prune")?.within(room);
    let study = PruneStudy::new(subject.observation(), &options);
    let mut study = study.map_err(|e| room.explained(e))?;
    note!("{}", told(&study, budget, room));
    let pruned = study.prune(budget)?;
    report_bad(&pruned.bad_images, subject.images.len())?;
    model::save(&pruned.graph, &args.out)?;
    let record = Record {
        model: model.path.display().to_string(),
        out: args.out.display().to_string(),
        family: subject.family.map(|f| f.name),
        warnings: subject.warnings,
        criterion: options.criterion.name,
        repair: options.repair,
        macs: pruned.graph.macs(),
        source_macs: model.graph.macs(),
        params: pruned.graph.params(),
        source_params: model.graph.params(),
        plan: pruned.account,
    };
    print(&record);
    print_frozen(&frozen_by_reason(&pruned.groups));
    write_json(common.json.as_deref(), &record)
}

/// What pruning will take, as a sentence.
fn told(study: &PruneStudy<'_>, budget: PruneBudget, room: Room) -> String {
    let reckoning = study.reckoning();
    let (time, memory) =
        (about(study.reckoned_time(budget)), room.whole_mb(reckoning.memory_bytes));
    format!("{reckoning}: about {time} and at most {memory} MB of memory")
}

fn print(r: &Record) {
    print_groups(&r.plan.groups);
    let mut rows = table(&["allocation", "channels removed", "MACs", "output error", ""]);
    for c in &r.plan.candidates {
        rows.add_row([
            c.allocation.to_owned(),
            c.removed_channels.to_string(),
            grouped(c.macs),
            format!("{:.4}", c.output_error),
            if c.chosen { "chosen" } else { "" }.to_owned(),
        ]);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    let reached = &r.plan.reached;
    say!("{}: by {}; asked: {}", r.out, r.criterion, reached.asked);
    if let Some(shortfall) = &reached.shortfall {
        say!("  less was removed than was asked: {shortfall}");
    }
    let share = |now: u64, before: u64| 100.0 * now as f64 / before.max(1) as f64;
    say!(
        "  channels    {} removed in {} groups ({:.1} % of those that may be pruned)",
        r.plan.plan.removed_channels(),
        r.plan.groups.len(),
        100.0 * reached.channels_ratio
    );
    say!(
        "  MACs        {} of {} left ({:.1} %), {:.1} % removed",
        grouped(r.macs),
        grouped(r.source_macs),
        share(r.macs, r.source_macs),
        100.0 * reached.macs_ratio
    );
    say!(
        "  parameters  {} of {} left ({:.1} %)",
        grouped(r.params),
        grouped(r.source_params),
        share(r.params, r.source_params)
    );
}

fn print_groups(groups: &[GroupCut]) {
    let mut rows = table(&[
        "group",
        "channels",
        "removed",
        "contribution kept",
        "error alone",
        "thinner layers",
    ]);
    for g in groups {
        let number = |v: Option<f64>, text: &dyn Fn(f64) -> String| v.map_or("–".to_owned(), text);
        rows.add_row([
            layer_name(&g.group),
            format!("{} → {}", g.channels, g.channels - g.removed),
            g.removed.to_string(),
            number(g.contribution_kept, &|v| format!("{:.1} %", 100.0 * v)),
            number(g.output_error_alone, &|v| format!("{v:.4}")),
            layers(&g.layers),
        ]);
    }
    align_right(&mut rows, 1);
    if let Some(column) = rows.column_mut(5) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    say!("{rows}");
}

/// The first few layers with what they lost, and how many more there are.
fn layers(layers: &[ThinnedLayer]) -> String {
    let side = |what: &str, [before, after]: [usize; 2]| {
        if before == after { String::new() } else { format!(" {what} {before} → {after}") }
    };
    let text = |l: &ThinnedLayer| {
        let name = layer_name(&l.layer);
        format!("{name}{}{}", side("in", l.inputs), side("out", l.outputs))
    };
    let mut all: Vec<String> = layers.iter().take(NAMED).map(text).collect();
    if layers.len() > NAMED {
        all.push(format!("+{}", layers.len() - NAMED));
    }
    all.join("; ")
}
