//! Data sets for a model.

use std::path::Path;

use yolo::Dataset;
use yolo::families::Head;

use crate::Error;

/// Opens a split of a data set, an Ultralytics data.yaml or a COCO instances JSON, with its classes in the order of a model's head
/// where there is one.
///
/// # Errors
/// `Yolo` for data that cannot be read or has other classes than the model.
pub fn open_split(data: &Path, split: &str, head: Option<&Head>) -> Result<Dataset, Error> {
    let mut dataset = Dataset::open(data, split)?;
    if let Some(head) = head {
        let fitted = dataset.fit_classes(head.classes, head.names.as_deref());
        fitted.map_err(|error| Error::in_file(data, error))?;
    }
    Ok(dataset)
}
