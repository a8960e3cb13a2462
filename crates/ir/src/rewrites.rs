//! Rewrites: named identities, applied until none fits; the graph is checked after each.
use crate::{Edit, Graph, IrError, NodeId};
use std::collections::BTreeSet;

mod cut_nms;
mod dense_output;
mod dynamic_products;
mod fake_quantize;
mod focus;
mod fold_batch_normalization;
mod hard_swish;
mod mish;
mod move_quantized;
mod own_parameters;
mod silu;

pub use cut_nms::{CUT_NMS, SUPPRESSIONS};
pub use dense_output::DENSE_OUTPUT;
pub use dynamic_products::DYNAMIC_PRODUCTS;
use fake_quantize::FAKE_QUANTIZE;
pub use focus::FOCUS;
pub use fold_batch_normalization::FOLD_BATCH_NORMALIZATION;
pub use hard_swish::HARD_SWISH;
pub use mish::MISH;
pub use move_quantized::MOVE_QUANTIZED;
pub use own_parameters::OWN_PARAMETERS;
pub use silu::SILU;

/// A named identity: where it fits, the edit that applies it.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite {
    /// Name, for errors and listings.
    pub name: &'static str,
    /// The edit at a node, if the identity fits there.
    pub find: fn(&Graph, NodeId) -> Option<Edit>,
}

/// Rewrites that every file goes through when it is read ([`crate::recognise`]), in the order in which they are applied: one
/// spelling for what files spell in several ways.
pub(crate) const ON_READING: &[Rewrite] =
    &[OWN_PARAMETERS, SILU, MISH, MOVE_QUANTIZED, DYNAMIC_PRODUCTS];

/// Rewrites that follow before a model is executed or quantized ([`crate::normalise`]).
pub(crate) const BEFORE_EXECUTION: &[Rewrite] = &[FOLD_BATCH_NORMALIZATION];

/// Rewrites with which a quantized graph is evaluated in f32 ([`crate::fake_quantize`]).
pub(crate) const IN_FLOAT: &[Rewrite] = &[FAKE_QUANTIZE];

/// Rewrites that are asked for: for engines that want another form of the same model, or a cheaper model.
pub const ON_REQUEST: &[Rewrite] = &[FOCUS, HARD_SWISH, DENSE_OUTPUT, CUT_NMS];

/// A rewrite that was asked for, and in how many places it fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Name of the rewrite.
    pub rewrite: &'static str,
    /// Places that were rewritten.
    pub places: usize,
}

/// Applies those of [`ON_REQUEST`] that are named, in the order of the list.
///
/// # Errors
/// As [`apply`].
pub fn apply_on_request(graph: &mut Graph, names: &[String]) -> Result<Vec<Applied>, IrError> {
    let asked = |r: &&Rewrite| names.iter().any(|name| name == r.name);
    let apply = |r: &Rewrite| Ok(Applied { rewrite: r.name, places: apply(graph, r)? });
    ON_REQUEST.iter().filter(asked).map(apply).collect()
}

/// Applies rewrites in order, each until it fits nowhere.
///
/// # Errors
/// As [`apply`].
pub(crate) fn apply_all(graph: &mut Graph, rewrites: &[Rewrite]) -> Result<(), IrError> {
    for rewrite in rewrites {
        apply(graph, rewrite)?;
    }
    Ok(())
}

/// Applies one rewrite until it fits nowhere, and gives the number of places.
///
/// # Errors
/// `Rewrite` when the graph it would make is not valid.
pub fn apply(graph: &mut Graph, rewrite: &Rewrite) -> Result<usize, IrError> {
    let mut count = 0;
    loop {
        let (edit, places) = find_all(graph, rewrite);
        if places == 0 {
            return Ok(count);
        }
        graph
            .apply(edit)
            .map_err(|e| IrError::Rewrite { rewrite: rewrite.name, cause: Box::new(e) })?;
        count += places;
    }
}

/// The edits of all places that share nothing, as one: applying an edit costs a walk over the whole graph.
fn find_all(graph: &Graph, rewrite: &Rewrite) -> (Edit, usize) {
    let (mut joined, mut places) = (graph.edit(), 0);
    let (mut nodes, mut written) = (BTreeSet::new(), BTreeSet::new());
    for (id, _) in graph.nodes() {
        let Some(edit) = (rewrite.find)(graph, id) else {
            continue;
        };
        let touched = edit.touched();
        let free = !touched.0.iter().any(|n| nodes.contains(n))
            && !touched.1.iter().any(|v| written.contains(v));
        if free {
            nodes.extend(touched.0);
            written.extend(edit.replaced());
            joined.join(edit, graph.next);
            places += 1;
        }
    }
    (joined, places)
}
