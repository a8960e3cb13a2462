//! `inspect --groups`: which channels are coupled, and which layers write and read them.
use crate::format::{grouped, layer_name};
use crate::output::{align_right, table};
use anyhow::Result;
use ir::{Graph, NodeId};
use prune::{DependencyGroup, Groups};
use serde::Serialize;
use std::collections::BTreeMap;
use yoloslim::Model;

/// Layers named in a cell of a table, at most.
const NAMED: usize = 3;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    model: String,
    groups: Vec<Group>,
    frozen: Vec<FrozenCount>,
}

#[derive(Debug, Serialize)]
struct Group {
    name: String,
    channels: usize,
    /// Null when channels may be removed.
    frozen: Option<String>,
    macs: u64,
    written_by: Vec<String>,
    read_by: Vec<String>,
    members: Vec<Member>,
}

#[derive(Debug, Serialize)]
struct Member {
    value: String,
    axis: usize,
    constant: bool,
}

/// Frozen groups of one reason.
#[derive(Debug, Serialize)]
pub(crate) struct FrozenCount {
    pub(crate) reason: String,
    pub(crate) groups: usize,
    pub(crate) channels: usize,
}

/// Finds the groups and prints them.
pub(crate) fn run(model: &Model) -> Result<Record> {
    let groups = prune::analyse(&model.graph)?;
    let record = Record {
        model: model.path.display().to_string(),
        groups: groups.groups.iter().map(|g| group(&model.graph, g)).collect(),
        frozen: frozen_by_reason(&groups),
    };
    print(&record);
    Ok(record)
}

/// How many groups are frozen, by reason.
pub(crate) fn frozen_by_reason(groups: &Groups) -> Vec<FrozenCount> {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for g in &groups.groups {
        if let Some(reason) = &g.frozen {
            let (groups, channels) = counts.entry(reason.to_string()).or_default();
            *groups += 1;
            *channels += g.width();
        }
    }
    let count = |(reason, (groups, channels))| FrozenCount { reason, groups, channels };
    counts.into_iter().map(count).collect()
}

/// Prints what is frozen, a line a reason.
pub(crate) fn print_frozen(frozen: &[FrozenCount]) {
    for f in frozen {
        let plural = if f.groups == 1 { "group" } else { "groups" };
        say!("  frozen      {} {plural}, {} channels: {}", f.groups, f.channels, f.reason);
    }
}

fn group(graph: &Graph, g: &DependencyGroup) -> Group {
    let layers = g.layers(graph);
    let name = |id: NodeId| graph.node(id).name.clone();
    let written = layers.iter().filter(|l| l.writes > 0.0);
    let read = layers.iter().filter(|l| l.reads > 0.0);
    let member = |m: &prune::Member| Member {
        value: graph.value(m.value).name.clone(),
        axis: m.axis,
        constant: graph.constant(m.value).is_some(),
    };
    Group {
        name: g.name.clone(),
        channels: g.width(),
        frozen: g.frozen.as_ref().map(ToString::to_string),
        macs: g.macs(graph),
        written_by: written.map(|l| name(l.node)).collect(),
        read_by: read.map(|l| name(l.node)).collect(),
        members: g.members.iter().map(member).collect(),
    }
}

fn print(r: &Record) {
    let mut rows = table(&["group", "channels", "MACs", "written by", "read by", ""]);
    for g in &r.groups {
        rows.add_row([
            layer_name(&g.name),
            g.channels.to_string(),
            grouped(g.macs),
            list(&g.written_by),
            list(&g.read_by),
            g.frozen.as_ref().map_or(String::new(), |_| "frozen".into()),
        ]);
    }
    align_right(&mut rows, 1);
    for column in rows.column_iter_mut().skip(3) {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    say!("{}", r.model);
    say!("{rows}");
    let prunable = || r.groups.iter().filter(|g| g.frozen.is_none());
    say!(
        "  prunable    {} groups, {} channels",
        prunable().count(),
        prunable().map(|g| g.channels).sum::<usize>()
    );
    print_frozen(&r.frozen);
}

/// The first few names, and how many more there are.
fn list(names: &[String]) -> String {
    let mut texts: Vec<String> = names.iter().take(NAMED).map(|n| layer_name(n)).collect();
    if names.len() > NAMED {
        texts.push(format!("+{}", names.len() - NAMED));
    }
    texts.join(", ")
}
