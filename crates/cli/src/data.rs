//! The data that the user names, and what is said of it before it is used.
use crate::args::CommonArgs;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use yolo::families::Head;
use yolo::{Dataset, first_of_content, lacks_end_marker};

/// Opens a split of a data set, which no output of the command may replace, its classes in the order of the model's head
/// where there is one. What was assumed is to be told by the caller.
pub(crate) fn open(
    data: &Path,
    split: &str,
    common: &CommonArgs,
    head: Option<&Head>,
) -> Result<Dataset> {
    let mut dataset = Dataset::open(data, split)?;
    common.files.spare(&dataset)?;
    if let Some(head) = head {
        let fitted = dataset.fit_classes(head.classes, head.names.as_deref());
        fitted.with_context(|| data.display().to_string())?;
    }
    Ok(dataset)
}

/// Warns of a data set, on stderr.
pub(crate) fn warn(data: &Path, warnings: &[String]) {
    for warning in warnings {
        note!("warning: {}: {warning}", data.display());
    }
}

/// What is to be said of images that are there twice: under another name in the same split, or in the split `other`.
///
/// Images are told by their content, whatever they are called and wherever they lie.
pub(crate) fn copies(images: &[PathBuf], (data, split, other): (&Path, &str, &str)) -> Vec<String> {
    let others = match split == other {
        true => Vec::new(),
        false => Dataset::images_of(data, other).unwrap_or_default(),
    };
    let all: Vec<&Path> = others.iter().chain(images).map(PathBuf::as_path).collect();
    let first = first_of_content(&all);
    let own = first.iter().enumerate().skip(others.len());
    let shared = own
        .clone()
        .filter(|(_, first)| **first < others.len())
        .count();
    let repeated = own
        .filter(|(at, first)| *at != **first && **first >= others.len())
        .count();
    let total = images.len();
    let mut told = Vec::new();
    if shared > 0 {
        told.push(format!(
            "{shared} of {total} images of `{split}` are images of `{other}` too, by their content: mAP on images that a model has seen flatters it"
        ));
    }
    if repeated > 0 {
        told.push(format!(
            "{repeated} of {total} images of `{split}` are copies of others of it, by their content"
        ));
    }
    told
}

/// Leaves out of a split what is in `judged` too, whatever it is called there, and all but one of equal images; gives
/// what is to be said of that.
pub(crate) fn leave_out((train, split): (&mut Dataset, &str), judged: &Dataset) -> Vec<String> {
    let paths = |dataset: &Dataset| dataset.images.iter().map(|i| i.path.clone()).collect();
    let all: [Vec<PathBuf>; 2] = [paths(judged), paths(train)];
    let all: Vec<&Path> = all.iter().flatten().map(PathBuf::as_path).collect();
    let first = first_of_content(&all);
    let (known, before) = (judged.images.len(), train.images.len());
    let mut own = first.iter().enumerate().skip(known);
    train
        .images
        .retain(|_| own.next().is_some_and(|(at, first)| at == *first));
    let shared = first.iter().skip(known).filter(|first| **first < known);
    let shared = shared.count();
    let counted = [
        (shared, "images of the split that judges too"),
        (
            before - train.images.len() - shared,
            "copies of others of it",
        ),
    ];
    let counted = counted.into_iter().filter(|(count, _)| *count > 0);
    let told = counted.map(|(count, what)| {
        format!("{count} of {before} images of `{split}` are {what}, by their content: left out")
    });
    told.collect()
}

/// Images that are read although they lack their end marker.
pub(crate) fn repaired<'p>(images: impl Iterator<Item = &'p Path>) -> Vec<String> {
    let lacking = images.filter(|path| lacks_end_marker(path));
    lacking.map(|path| path.display().to_string()).collect()
}

/// What is said of them.
pub(crate) fn told_of_repaired(repaired: &[String]) -> Option<String> {
    let first = repaired.first()?;
    let count = repaired.len();
    Some(format!(
        "{count} JPEGs lack the marker of their end and are read as if it were there, the first: {first}"
    ))
}
