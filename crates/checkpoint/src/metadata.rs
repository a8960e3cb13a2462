//! What travels with the graph: class names, stride, image size and task, under the keys exporters write.
use crate::CheckpointError;
use crate::module::Module;
use crate::tree::{Id, Tree};
use std::collections::BTreeMap;

/// Names are short; what all of them may take together.
const MAX_NAMES_BYTES: usize = 1 << 20;

/// Class names in order of their index: a list, or a dictionary by index.
///
/// # Errors
/// `Expected` where they are neither, `TooLarge` where they are no names.
pub(crate) fn names(model: &Module<'_>) -> Result<Option<Vec<String>>, CheckpointError> {
    let (tree, at) = (model.tree, format!("{}.names", model.path));
    let Some(id) = model.attribute("names") else {
        return Ok(None);
    };
    let unexpected =
        |id| tree.unexpected(&at, "a list of names or a dictionary of them by index", id);
    let ids = match (tree.sequence(id), tree.pairs(id)) {
        (Some(list), _) => list.to_vec(),
        (None, Some(pairs)) => by_index(tree, pairs).ok_or_else(|| unexpected(id))?,
        (None, None) => return Err(unexpected(id)),
    };
    let mut bytes = 0usize;
    let mut names = Vec::with_capacity(ids.len());
    for name in ids {
        let text = tree.str(name).ok_or_else(|| unexpected(name))?;
        bytes = bytes.saturating_add(text.len() + size_of::<String>());
        if bytes > MAX_NAMES_BYTES {
            return Err(CheckpointError::TooLarge { budget_bytes: MAX_NAMES_BYTES, at });
        }
        names.push(text.to_owned());
    }
    Ok(Some(names))
}

/// The values of a dictionary whose keys are 0, 1, 2 and so on, in that order.
fn by_index(tree: &Tree<'_>, pairs: &[(Id, Id)]) -> Option<Vec<Id>> {
    let map: Option<BTreeMap<i64, Id>> =
        pairs.iter().map(|&(k, v)| Some((tree.int(k)?, v))).collect();
    let map = map?;
    let dense = map.keys().copied().eq(0..map.len() as i64);
    dense.then(|| map.into_values().collect())
}

/// Class names as exporters write them: a Python dictionary, which is a YAML flow mapping as well.
pub(crate) fn names_text(names: &[String]) -> String {
    let quoted = |name: &String| {
        if name.contains('\'') && !name.contains(['"', '\\']) {
            format!("\"{name}\"")
        } else {
            format!("'{}'", name.replace('\'', "''"))
        }
    };
    let entries = names.iter().enumerate();
    let entries: Vec<String> = entries.map(|(i, n)| format!("{i}: {}", quoted(n))).collect();
    format!("{{{}}}", entries.join(", "))
}
