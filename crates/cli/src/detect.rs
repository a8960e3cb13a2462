//! `detect`: objects in images, as a table and as pictures.
use crate::args::{CommonArgs, DetectArgs};
use crate::files::Files;
use crate::output::{align_right, table, write_json};
use crate::progress::Progress;
use crate::{data, engine, model, ranges};
use anyhow::{Context, Result, bail};
use image::RgbImage;
use observe::ImageSet;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use yolo::families::Head;
use yolo::{
    Detection, IMAGE_EXTENSIONS, Streams, Thresholds, draw_detections, is_image_name, save_image,
};
use yoloslim::Model;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) model: String,
    pub(crate) family: &'static str,
    /// How boxes and pixels are read.
    pub(crate) reading: String,
    pub(crate) conf: f32,
    pub(crate) iou: f32,
    pub(crate) warnings: Vec<String>,
    pub(crate) images: Vec<ImageRecord>,
    pub(crate) bad_images: Vec<String>,
    /// JPEGs that were read although they lack the marker of their end.
    pub(crate) repaired_images: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ImageRecord {
    image: String,
    drawn: Option<String>,
    detections: Vec<DetectionRecord>,
}

#[derive(Debug, Serialize)]
struct DetectionRecord {
    name: String,
    #[serde(flatten)]
    detection: Detection,
}

/// Runs the verb.
pub(crate) fn run(args: &DetectArgs, common: &CommonArgs) -> Result<()> {
    let model = model::load(&args.model)?;
    let (head, mut sessions) = engine::detectors(&model, common, 1, engine::threads(common))?;
    let images = list_images(&args.source)?;
    let streams = match &args.data {
        Some(data) => Streams::open(data)?,
        None => Streams::default(),
    };
    let scene = |path: &PathBuf| streams.paths(path, head.input.images()).unwrap_or_default();
    let pictures = match &args.out {
        Some(dir) => pictures(dir, &images, &common.files, scene)?,
        None => vec![],
    };
    let thresholds = thresholds(args, head.family.thresholds);
    let mut record = Record {
        model: model.path.display().to_string(),
        family: head.family.name,
        reading: head.reading(),
        conf: thresholds.conf,
        iou: thresholds.iou,
        warnings: model::warnings(&model, Some(&head)),
        images: vec![],
        bad_images: vec![],
        repaired_images: vec![],
    };
    let progress = Progress::new("images", images.len());
    for (i, path) in images.iter().enumerate() {
        progress.at(i);
        match streams.read(path, head.input.images()) {
            Ok(mut scene) => {
                let found = sessions[0].detect(&scene, thresholds)?;
                let picture = pictures.get(i).map(PathBuf::as_path);
                // Boxes lie in pixels of every image of the scene; the first one is shown.
                let image = &mut scene[0];
                let image = image_record(path, &found, &head, image, picture)?;
                record.images.push(image);
                let repaired = data::repaired([path.as_path()].into_iter());
                record.repaired_images.extend(repaired);
            }
            Err(error) if !error.is_of_an_image() => return Err(error.into()),
            Err(error) => {
                note!("skipped image: {error}");
                record.bad_images.push(error.to_string());
            }
        }
    }
    progress.at(images.len());
    drop(progress);
    doubt(&mut record, &model, &head, streams, common)?;
    print(&record);
    write_json(common.json.as_deref(), &record)?;
    if record.images.is_empty() {
        bail!("none of {} images could be read", images.len());
    }
    let bad = record.bad_images.len();
    Ok(observe::check_bad_images(bad, images.len())?)
}

/// Says what looks wrong about the images that were read.
fn doubt(
    record: &mut Record,
    model: &Model,
    head: &Head,
    streams: Streams,
    common: &CommonArgs,
) -> Result<()> {
    if let Some(warning) = data::repaired_warning(&record.repaired_images) {
        note!("warning: {warning}");
    }
    let paths = record.images.iter().map(|i| PathBuf::from(&i.image)).collect();
    let read = ImageSet { paths, streams };
    let shift = ranges::shift_warning(model, head, &read, common)?;
    model::warn(model, shift.as_slice());
    record.warnings.extend(shift);
    Ok(())
}

/// The thresholds that were typed, and those of the family's own tools where none were.
fn thresholds(args: &DetectArgs, usual: Thresholds) -> Thresholds {
    Thresholds { conf: args.conf.unwrap_or(usual.conf), iou: args.iou.unwrap_or(usual.iou) }
}

/// What was found in an image, which is drawn where a picture is asked for.
pub(crate) fn image_record(
    path: &Path,
    found: &[Detection],
    head: &Head,
    image: &mut RgbImage,
    picture: Option<&Path>,
) -> Result<ImageRecord> {
    let numbered = || (0..head.classes).map(|c| format!("class {c}")).collect();
    let names: Vec<String> = head.names.clone().unwrap_or_else(numbered);
    if let Some(picture) = picture {
        draw_detections(image, found, &names);
        save_image(image, picture)?;
    }
    let named = |d: &Detection| DetectionRecord {
        name: names.get(d.class).map_or_else(|| format!("class {}", d.class), String::clone),
        detection: *d,
    };
    Ok(ImageRecord {
        image: path.display().to_string(),
        drawn: picture.map(|p| p.display().to_string()),
        detections: found.iter().map(named).collect(),
    })
}

/// Files as they are named, folders as their images by name.
fn list_images(sources: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut images = Vec::new();
    for source in sources {
        if !source.is_dir() {
            images.push(source.clone());
            continue;
        }
        let entries = std::fs::read_dir(source)
            .with_context(|| format!("cannot read {}", source.display()))?;
        let mut inside: Vec<PathBuf> =
            entries.flatten().map(|e| e.path()).filter(|p| is_image_name(p)).collect();
        if inside.is_empty() {
            bail!("{}: no images ({})", source.display(), IMAGE_EXTENSIONS.join(", "));
        }
        inside.sort();
        images.extend(inside);
    }
    Ok(images)
}

/// Where each image is drawn, in a folder that is made; of two images with one name each has its own picture. No file of a scene is
/// drawn over.
fn pictures(
    dir: &Path,
    images: &[PathBuf],
    files: &Files,
    scene: impl Fn(&PathBuf) -> Vec<PathBuf>,
) -> Result<Vec<PathBuf>> {
    let mut taken = BTreeSet::new();
    let picture = |path: &PathBuf| dir.join(free_name(path, &mut taken));
    let pictures: Vec<PathBuf> = images.iter().map(picture).collect();
    files.draws(&pictures, images.iter().flat_map(scene))?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot write {}", dir.display()))?;
    Ok(pictures)
}

/// The image's own name, as PNG where it is of a kind that is not written; numbered when two folders share a name.
fn free_name(path: &Path, taken: &mut BTreeSet<String>) -> String {
    let stem = path.file_stem().map_or("image".to_owned(), |s| s.to_string_lossy().into_owned());
    let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    let extension = extension
        .filter(|e| ["jpg", "jpeg", "png"].contains(&e.as_str()))
        .unwrap_or("png".to_owned());
    let name =
        (1..)
            .map(|n| {
                if n == 1 {
                    format!("{stem}.{extension}")
                } else {
                    format!("{stem}_{n}.{extension}")
                }
            })
            .find(|name| !taken.contains(name))
            .expect("a free number exists");
    taken.insert(name.clone());
    name
}

fn print(record: &Record) {
    let mut rows = table(&["image", "class", "score", "left", "top", "right", "bottom"]);
    for image in &record.images {
        for d in &image.detections {
            let b = d.detection.bbox;
            let px = |v: f32| format!("{v:.1}");
            rows.add_row([
                image.image.clone(),
                d.name.clone(),
                format!("{:.3}", d.detection.score),
                px(b.left),
                px(b.top),
                px(b.right),
                px(b.bottom),
            ]);
        }
    }
    align_right(&mut rows, 2);
    say!("{rows}");
    let total: usize = record.images.iter().map(|i| i.detections.len()).sum();
    say!(
        "{total} objects in {} images (confidence from {}, overlap to {})",
        record.images.len(),
        record.conf,
        record.iou
    );
}
