//! The report as a file.

use std::path::PathBuf;

use compress::RunDir;
use observe::{Engine, Progress};

use crate::contents::{Contents, Material};
use crate::{ReportError, page};

/// Writes `report.html` into a finished run directory and gives its path.
///
/// # Errors
/// `Compress` when the run is not finished or the folder refuses, `Onnx`, `Observe` and `Yolo` when its models cannot be run.
pub fn write_report(
    dir: &RunDir,
    material: &Material<'_>,
    engine: Engine,
    progress: Progress<'_>,
) -> Result<PathBuf, ReportError> {
    let contents = Contents::gather(dir, material, engine, progress)?;
    let page = page::render(&contents).into_string();
    dir.write("report.html", page.as_bytes())?;
    Ok(dir.file("report.html"))
}

/// The same page without times, energy and folders: the same run gives the same bytes, wherever and whenever it was made.
///
/// # Errors
/// As [`write_report`].
pub fn portable_report(
    dir: &RunDir,
    material: &Material<'_>,
    engine: Engine,
    progress: Progress<'_>,
) -> Result<String, ReportError> {
    let contents = Contents::gather(dir, material, engine, progress)?.without_place_and_time();
    Ok(page::render(&contents).into_string())
}
