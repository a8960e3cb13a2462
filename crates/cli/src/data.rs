//! The data that the user names, and what is said of it before it is used.
use crate::args::CommonArgs;
use anyhow::Result;
use observe::ImageSet;
use std::path::Path;
use yolo::families::Head;
use yolo::{Dataset, lacks_end_marker};

/// Opens a split of a data set, which no output of the command may replace, its classes in the order of the model's head
/// where there is one. The caller prints what was assumed.
pub(crate) fn open(
    data: &Path,
    split: &str,
    common: &CommonArgs,
    head: Option<&Head>,
) -> Result<Dataset> {
    let dataset = yoloslim::open_split(data, split, head)?;
    common.files.spare(&dataset)?;
    Ok(dataset)
}

/// Warns of a data set, on stderr.
pub(crate) fn warn(data: &Path, warnings: &[String]) {
    for warning in warnings {
        note!("warning: {}: {warning}", data.display());
    }
}

/// What is to be said of images of `split` that are there twice, in it or in the split `other` of the same data.
pub(crate) fn copies(images: &ImageSet, data: &Path, split: &str, other: &str) -> Vec<String> {
    let others = if split == other {
        Vec::new()
    } else {
        Dataset::images_of(data, other).unwrap_or_default()
    };
    observe::copies(images, split, other, &others)
}

/// Images that are read although they lack their end marker.
pub(crate) fn repaired<'p>(images: impl Iterator<Item = &'p Path>) -> Vec<String> {
    let lacking = images.filter(|path| lacks_end_marker(path));
    lacking.map(|path| path.display().to_string()).collect()
}

/// The warning about such images.
pub(crate) fn repaired_warning(repaired: &[String]) -> Option<String> {
    let first = repaired.first()?;
    let count = repaired.len();
    Some(format!(
        "{count} JPEGs lack the marker of their end and are read as if it were there, the first: {first}"
    ))
}
