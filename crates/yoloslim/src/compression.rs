//! The whole way, for callers that have a model and data.

use compress::{CompressRecord, Recipe, Run, compress_detector};
use observe::Splits;

use crate::{Error, Model};

/// Prunes and quantizes a model by a recipe, and measures what is left of its accuracy. Everything is written into the run's
/// directory: `model.onnx`, the plans, `metrics.json`.
///
/// The same model, data and recipe give the same bytes. A gate that does not pass is no error: `gate.passed` of the record tells.
///
/// # Errors
/// `Compress` for a recipe that cannot be, data by which nothing can be judged, and a folder that refuses.
///
/// # Examples
/// ```
/// use yoloslim::{Engine, Model, Run, RunDir, compress};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let tiny = testkit::tiny_folder::TinyFolder::new(30, 20);
/// # let [best, data, run] = ["tiny.onnx", "data.yaml", "run"].map(|file| tiny.path(file));
/// let model = Model::open(best)?;
/// let recipe = model.recipe(data)?;
/// let data = model.splits(&recipe)?;
/// let dir = RunDir::create(&run, false)?;
/// let record = compress(&model, &data, &recipe, &Run::quiet(&dir, Engine::default()))?;
/// println!("{:.1} % of the mAP kept", 100.0 * record.gate.ratio);
/// # Ok(())
/// # }
/// ```
pub fn compress(
    model: &Model,
    data: &Splits,
    recipe: &Recipe,
    run: &Run<'_>,
) -> Result<CompressRecord, Error> {
    Ok(compress_detector(&model.graph, recipe, data, run)?)
}
