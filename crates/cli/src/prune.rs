//! `prune`: fewer channels, without training.
use crate::args::{CommonArgs, PruneArgs};
use crate::model::{self, Subject};
use crate::output::{align_right, check_writable, grouped, table, write_json};
use anyhow::{Context, Result};
use compress::{PruneBudget, prune_detector};
use serde::Serialize;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    model: String,
    out: String,
    /// Null where outputs were compared as they are.
    family: Option<&'static str>,
    criterion: String,
    repair: bool,
    macs: u64,
    source_macs: u64,
    params: u64,
    source_params: u64,
    frozen: Vec<Frozen>,
    plan: prune::PrunePlan,
}

#[derive(Debug, Serialize)]
struct Frozen {
    group: String,
    width: usize,
    reason: String,
}

/// Runs the verb.
pub(crate) fn run(args: &PruneArgs, common: &CommonArgs) -> Result<()> {
    let model = model::load(&args.model)?;
    check_writable(Some(&args.out))?;
    let subject = Subject::open(&model, &args.images, common, "prune")?;
    let (graph, criterion) = (&model.graph, &args.criterion.criterion);
    let budget = match (args.ratio, args.macs) {
        (Some(ratio), _) => PruneBudget::Channels(ratio),
        (None, macs) => PruneBudget::Macs(macs.context("--ratio or --macs is needed")?),
    };
    let pruned = prune_detector(&subject.observation(), criterion, budget, !args.no_repair)?;
    model::report_bad(&pruned.bad_images, subject.images.len())?;
    model::save(&pruned.graph, &args.out)?;
    let reason = |g: &prune::DependencyGroup| {
        g.frozen.as_ref().map(|r| Frozen {
            group: g.name.clone(),
            width: g.width(),
            reason: r.to_string(),
        })
    };
    let record = Record {
        model: model.path.display().to_string(),
        out: args.out.display().to_string(),
        family: subject.family.map(|f| f.name),
        criterion: criterion.clone(),
        repair: !args.no_repair,
        macs: pruned.graph.macs(),
        source_macs: graph.macs(),
        params: pruned.graph.params(),
        source_params: graph.params(),
        frozen: pruned.groups.groups.iter().filter_map(reason).collect(),
        plan: pruned.plan,
    };
    print(&record, &pruned.groups);
    write_json(common.json.as_deref(), &record)
}

fn print(r: &Record, groups: &prune::Groups) {
    let mut rows = table(&["group", "channels", "removed"]);
    for (name, removed) in &r.plan.removed {
        let width = groups.get(name).map_or(0, prune::DependencyGroup::width);
        rows.add_row([name.clone(), width.to_string(), removed.len().to_string()]);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    say!("{}: {} channels removed", r.out, r.plan.removed_channels());
    let share = |now: u64, before: u64| 100.0 * now as f64 / before.max(1) as f64;
    say!(
        "  MACs        {} of {} ({:.1} %)",
        grouped(r.macs),
        grouped(r.source_macs),
        share(r.macs, r.source_macs)
    );
    say!(
        "  parameters  {} of {} ({:.1} %)",
        grouped(r.params),
        grouped(r.source_params),
        share(r.params, r.source_params)
    );
}
