//! The report of a run: one HTML file that opens offline.

use std::path::PathBuf;

use base64::Engine as _;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};
use ir::{Graph, Normalised, Op, normalise};
use quant::QuantPlan;
use runtime::PlanOptions;
use yolo::{CocoResult, Dataset, Streams, YoloError, read_results, read_rgb};

use crate::{
    Agreement, CompressError, CompressRecord, Histogram, LayerError, Recipe, RunDir, SHOWN_CONF,
    Watched, agreement, drawn,
};

mod charts;
mod page;
mod sensitivity;

pub use page::percent;
pub use sensitivity::sensitivity_svg;

/// Layers whose values are shown.
const HISTOGRAMS: usize = 9;
/// Longest side of a picture, in pixels.
const PICTURE_PX: u32 = 560;

/// What a report is made from, besides the run directory.
pub struct ReportSource<'a> {
    /// The model as it came, where it is still there.
    pub source: Option<&'a Graph>,
    /// The images that judged, where they are still there.
    pub val: Option<&'a Dataset>,
    /// A few training images, on which layers are compared.
    pub images: &'a [PathBuf],
    /// Where the other images of a scene lie, for models that read several.
    pub streams: &'a Streams,
    /// How plans are compiled.
    pub engine: PlanOptions,
    /// Threads of one inference.
    pub threads: usize,
    /// How many pictures.
    pub pictures: usize,
    /// Told the number of finished images.
    pub progress: &'a (dyn Fn(usize) + Sync),
}

/// Channels of one layer.
struct Channels {
    layer: String,
    before: usize,
    after: usize,
}

/// The values of one tensor with the range that its codes span.
struct Spread {
    histogram: Histogram,
    range: (f32, f32),
    /// Relative error of the layer.
    error: f64,
}

/// One image, as both models see it.
struct Pictures {
    name: String,
    /// JPEG, in Base64.
    before: String,
    after: String,
    matched: usize,
    /// Found by one model alone.
    only_before: usize,
    only_after: usize,
}

/// All that a page shows.
struct Report {
    recipe: Recipe,
    record: CompressRecord,
    channels: Vec<Channels>,
    errors: Vec<LayerError>,
    spreads: Vec<Spread>,
    agreement: Option<Agreement>,
    pictures: Vec<Pictures>,
}

/// Writes `report.html` into a finished run directory and gives its path.
///
/// # Errors
/// `Read` and `Record` when the run is not finished, `Onnx` and `Runtime` when its models cannot be run, `Write` when the folder refuses.
pub fn write_report(dir: &RunDir, source: &ReportSource<'_>) -> Result<PathBuf, CompressError> {
    let record: CompressRecord = dir.read_json("metrics.json")?;
    let recipe = Recipe::read(&dir.file("recipe.toml"))?;
    let plan: QuantPlan = dir.read_json("quant.plan.json")?;
    let [pruned, model] = [read(dir, "pruned.onnx")?, read(dir, "model.onnx")?];
    let head = yolo::families::identify(&pruned, recipe.family.as_deref())?;
    let readable = |p: &&PathBuf| source.streams.read(p, head.input.images()).is_ok();
    let images: Vec<PathBuf> = source.images.iter().filter(readable).cloned().collect();
    let watched = Watched {
        input: &head.input,
        streams: source.streams,
        images: &images,
        options: source.engine,
        threads: source.threads,
        progress: source.progress,
    };
    let mut errors = match images.is_empty() {
        true => vec![],
        false => watched.layer_errors(&pruned, &model)?,
    };
    errors.retain(|e| e.relative_error.is_some());
    let error = |e: &LayerError| e.relative_error.unwrap_or(-1.0);
    errors.sort_by(|a, b| error(b).total_cmp(&error(a)));
    let spreads = spreads(&watched, &pruned, &plan, &errors)?;
    let (agreement, pictures) = match source.val {
        Some(val) => {
            let (agreement, pictures) = pictures(dir, &record, val, source.pictures)?;
            (Some(agreement), pictures)
        }
        None => (None, vec![]),
    };
    let report = Report {
        channels: source.source.map_or(vec![], |s| channels(s, &pruned)),
        recipe,
        record,
        errors,
        spreads,
        agreement,
        pictures,
    };
    dir.write(
        "report.html",
        page::render(&report).into_string().as_bytes(),
    )?;
    Ok(dir.file("report.html"))
}

fn read(dir: &RunDir, name: &str) -> Result<Normalised, CompressError> {
    let graph = onnx::load(&dir.file(name), &onnx::LoadOptions::default())?;
    Ok(normalise(graph)?)
}

/// Output channels of every convolution before and after pruning.
fn channels(source: &Graph, pruned: &Graph) -> Vec<Channels> {
    let width = |graph: &Graph, node: &ir::Node| {
        let ty = graph.ty(node.outputs[0]).ok();
        ty.and_then(|t| t.shape.get(1).copied()).unwrap_or(0)
    };
    let convs = |graph: &Graph| -> Vec<(String, usize)> {
        let convs = graph.nodes().filter(|(_, n)| matches!(n.op, Op::Conv(_)));
        convs
            .map(|(_, n)| (n.name.clone(), width(graph, n)))
            .collect()
    };
    let after = convs(pruned);
    let kept = |layer: &str| after.iter().find(|(n, _)| n == layer).map(|(_, w)| *w);
    let both = convs(source).into_iter().filter_map(|(layer, before)| {
        let after = kept(&layer)?;
        Some(Channels {
            layer,
            before,
            after,
        })
    });
    both.collect()
}

/// Values of the worst layers, of those whose values become codes.
fn spreads(
    watched: &Watched<'_>,
    pruned: &Graph,
    plan: &QuantPlan,
    errors: &[LayerError],
) -> Result<Vec<Spread>, CompressError> {
    let coded = |e: &&LayerError| code_range(plan, &e.value).is_some();
    let worst: Vec<&LayerError> = errors.iter().filter(coded).take(HISTOGRAMS).collect();
    let names: Vec<String> = worst.iter().map(|e| e.value.clone()).collect();
    let spread = |histogram: Histogram| {
        let layer = worst.iter().find(|e| e.value == histogram.value)?;
        Some(Spread {
            range: code_range(plan, &histogram.value)?,
            error: layer.relative_error?,
            histogram,
        })
    };
    let histograms = watched.histograms(pruned, &names)?;
    Ok(histograms.into_iter().filter_map(spread).collect())
}

/// The reals that the codes of a value span.
fn code_range(plan: &QuantPlan, value: &str) -> Option<(f32, f32)> {
    let params = plan.activations.get(value)?;
    let (scale, zero_point) = (*params.scale().first()?, *params.zero_point().first()?);
    let (low, high) = params.range();
    let real = |code: i64| scale * (code - i64::from(zero_point)) as f32;
    Some((real(low), real(high)))
}

/// Images on which both models are shown: the two on which they differ most, then those with most objects.
fn pictures(
    dir: &RunDir,
    record: &CompressRecord,
    val: &Dataset,
    count: usize,
) -> Result<(Agreement, Vec<Pictures>), CompressError> {
    let folder = record
        .gate
        .attempts
        .last()
        .map_or("", |a| a.folder.as_str());
    let dets = |who: &str| read_results(&dir.file(&format!("dets/val.{who}.json")));
    let (before, after): (Vec<CocoResult>, Vec<CocoResult>) = (dets("baseline")?, dets(folder)?);
    let agreement = agreement(&before, &after);
    let mut chosen: Vec<_> = agreement.images.iter().take(count.min(2)).collect();
    let mut typical: Vec<_> = agreement.images.iter().skip(chosen.len()).collect();
    typical.sort_by_key(|i| (usize::MAX - i.matched, i.image_id));
    chosen.extend(typical.into_iter().take(count - chosen.len()));
    let mut pictures = Vec::new();
    for found in chosen {
        let image = val.images.iter().find(|i| i.image_id == found.image_id);
        let Some(image) = image else { continue };
        let pixels = read_rgb(&image.path)?;
        let only = |results: &[CocoResult]| {
            let here = results.iter().filter(|r| r.image_id == found.image_id);
            here.filter(|r| r.score >= SHOWN_CONF).count() - found.matched
        };
        let picture = |results: &[CocoResult]| jpeg(&drawn(&pixels, results, found.image_id, val));
        pictures.push(Pictures {
            name: image
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            before: picture(&before)?,
            after: picture(&after)?,
            matched: found.matched,
            only_before: only(&before),
            only_after: only(&after),
        });
    }
    Ok((agreement, pictures))
}

/// A picture small enough for a page, as JPEG in Base64.
fn jpeg(picture: &RgbImage) -> Result<String, CompressError> {
    let longest = picture.width().max(picture.height());
    let side = |px: u32| (px * PICTURE_PX.min(longest) / longest.max(1)).max(1);
    let (width, height) = (side(picture.width()), side(picture.height()));
    let small = resize(picture, width, height, FilterType::Triangle);
    let mut bytes = Vec::new();
    let encoded = JpegEncoder::new_with_quality(&mut bytes, 82).encode_image(&small);
    encoded.map_err(|error| YoloError::Write {
        path: PathBuf::from("report.html"),
        source: std::io::Error::other(error),
    })?;
    Ok(base64::prelude::BASE64_STANDARD.encode(bytes))
}
