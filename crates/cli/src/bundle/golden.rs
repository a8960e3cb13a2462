//! Golden frames: images on which a device proves that its engine finds what the model finds here.
use crate::detect;
use anyhow::{Context, Result, bail};
use deliver::bundle::{Draft, FileRole};
use image::{ImageFormat, RgbImage};
use observe::Engine;
use serve::{Golden, Tolerance, labels};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use yolo::families::Head;
use yolo::{CocoResult, CompiledDetector, Dataset, read_rgb};
use yoloslim::Model;

/// What must be found.
pub(super) const FILE: &str = "golden/golden.json";

/// An object is clear where its confidence lies so far above that from which objects are reported: another engine, whose sums
/// differ, finds it too.
const CLEAR: f64 = 0.2;

/// What is found in an image.
struct Found<'a> {
    image: &'a Path,
    image_id: u64,
    /// Classes of clear objects.
    clear: BTreeSet<u64>,
    /// Objects that another engine may miss.
    unclear: usize,
}

/// Images on which the model finds clear objects and as few others as can be, spread over the classes.
pub(super) fn choose(
    results: &[CocoResult],
    head: &Head,
    val: &Dataset,
    count: usize,
) -> Result<Vec<PathBuf>> {
    let least = f64::from(head.family.thresholds.conf) + CLEAR;
    let mut candidates: Vec<Found<'_>> = val
        .images
        .iter()
        .map(|item| {
            let here = results.iter().filter(|r| r.image_id == item.image_id);
            let clear = here.clone().filter(|r| r.score >= least);
            Found {
                image: &item.path,
                image_id: item.image_id,
                clear: clear.map(|r| r.category_id).collect(),
                unclear: here.filter(|r| r.score < least).count(),
            }
        })
        .filter(|found| !found.clear.is_empty())
        .collect();
    let mut shown: BTreeMap<u64, usize> = BTreeMap::new();
    let mut chosen = Vec::new();
    while chosen.len() < count {
        // An image gains the more, the fewer images show its classes already.
        let gain = |found: &Found<'_>| {
            let of_class = |class: &u64| 1.0 / (1 + shown.get(class).unwrap_or(&0)) as f64;
            found.clear.iter().map(of_class).sum::<f64>()
        };
        let better = |a: &Found<'_>, b: &Found<'_>| {
            let clean = (b.unclear > 0).cmp(&(a.unclear > 0));
            let gains = || gain(a).total_cmp(&gain(b));
            let clear = || b.unclear.cmp(&a.unclear);
            clean.then_with(gains).then_with(clear).then_with(|| b.image_id.cmp(&a.image_id))
        };
        let best = (0..candidates.len()).max_by(|a, b| better(&candidates[*a], &candidates[*b]));
        let Some(best) = best else { break };
        let best = candidates.swap_remove(best);
        best.clear.iter().for_each(|class| *shown.entry(*class).or_default() += 1);
        chosen.push(best.image.to_owned());
    }
    if chosen.is_empty() {
        bail!(
            "the model finds no object in val with a confidence from {least}: nothing is clear enough to prove a device by"
        );
    }
    Ok(chosen)
}

/// Writes the images, to the pixel, and what the detector finds in them, as `detect --json` has it.
pub(super) fn write(
    draft: &Draft,
    images: &[PathBuf],
    detector: &CompiledDetector,
    model: &str,
) -> Result<Vec<(String, FileRole)>> {
    let thresholds = detector.head.family.thresholds;
    let mut session = detector.session(1)?;
    let mut roles = vec![(FILE.to_owned(), FileRole::Golden)];
    let mut records = Vec::new();
    for (i, path) in images.iter().enumerate() {
        let mut pixels: RgbImage = read_rgb(path)?;
        let mut png = Cursor::new(Vec::new());
        pixels.write_to(&mut png, ImageFormat::Png)?;
        let name = format!("frame-{}.png", i + 1);
        draft.write(&format!("golden/{name}"), png.get_ref())?;
        let found = session.detect(std::slice::from_ref(&pixels), thresholds)?;
        let name_in = Path::new(&name);
        let record = detect::image_record(name_in, &found, &detector.head, &mut pixels, None)?;
        records.push(record);
        roles.push((format!("golden/{name}"), FileRole::Image));
    }
    let record = detect::Record {
        model: format!("../{model}"),
        family: detector.head.family.name,
        reading: detector.head.reading(),
        conf: thresholds.conf,
        iou: thresholds.iou,
        warnings: vec![],
        images: records,
        bad_images: vec![],
        repaired_images: vec![],
    };
    draft.write(FILE, &serde_json::to_vec_pretty(&record)?)?;
    Ok(roles)
}

/// Runs the check that a device runs before it uses a model.
pub(super) fn prove(model: &Path, golden: &Path, engine: Engine) -> Result<()> {
    let Model { graph, reading, .. } = Model::open(model)?;
    let detector = CompiledDetector::open(graph, reading.family, &engine.options)?;
    let found = Golden::read(golden)?.check(&detector, &labels(&detector.head))?;
    found.judge(Tolerance::SAME_MODEL).with_context(|| {
        let name = model.file_name().unwrap_or_default().to_string_lossy();
        format!("models/{name} does not prove itself on the golden frames")
    })
}
