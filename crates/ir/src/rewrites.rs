//! Rewrites: named identities, applied until none fits; the graph is checked after each.
use crate::{Edit, Graph, IrError, NodeId};

mod fold_batch_normalization;
mod silu;

pub use fold_batch_normalization::FOLD_BATCH_NORMALIZATION;
pub use silu::SILU;

/// A named identity: where it fits, the edit that applies it.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite {
    /// Name, for errors and listings.
    pub name: &'static str,
    /// The edit at a node, if the identity fits there.
    pub find: fn(&Graph, NodeId) -> Option<Edit>,
}

/// All rewrites, in the order in which they are applied.
pub const REWRITES: &[Rewrite] = &[SILU, FOLD_BATCH_NORMALIZATION];

/// Applies one rewrite wherever it fits and gives the number of places.
///
/// # Errors
/// `Rewrite` when the graph it would make is not valid.
pub fn apply(graph: &mut Graph, rewrite: &Rewrite) -> Result<usize, IrError> {
    let ids: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let mut count = 0;
    for id in ids {
        if !graph.contains(id) {
            continue;
        }
        if let Some(edit) = (rewrite.find)(graph, id) {
            graph.apply(edit).map_err(|e| IrError::Rewrite {
                rewrite: rewrite.name,
                source: Box::new(e),
            })?;
            count += 1;
        }
    }
    Ok(count)
}
