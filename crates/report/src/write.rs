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
