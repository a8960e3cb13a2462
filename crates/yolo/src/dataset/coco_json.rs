//! COCO instances JSON as ground truth.
//!
//! Source: cocodataset.org, "Data Format", object detection.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{BadInput, Dataset, ImageItem, Label, LabelBox};
use crate::{Streams, YoloError};

#[derive(Deserialize)]
struct Instances {
    images: Vec<ImageRecord>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<CategoryRecord>,
}

#[derive(Deserialize)]
struct ImageRecord {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct CategoryRecord {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<Field<u64>>,
    image_id: Option<Field<u64>>,
    category_id: Option<Field<u64>>,
    bbox: Option<Field<[f64; 4]>>,
    area: Option<Field<f64>>,
    iscrowd: Option<Field<Crowd>>,
}

/// A value, or something else in its place: that costs one annotation, not the whole file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Field<T> {
    Good(T),
    Bad(IgnoredAny),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Crowd {
    Number(u8),
    Flag(bool),
}

impl<T: Copy> Field<T> {
    fn good(field: &Option<Self>) -> Option<T> {
        match field {
            Some(Self::Good(value)) => Some(*value),
            Some(Self::Bad(_)) | None => None,
        }
    }
}

/// Opens the file; also returns how many annotations were seen, bad ones included.
pub(super) fn open(json: &Path, split: &str) -> Result<(Dataset, usize), YoloError> {
    let file = File::open(json).map_err(|source| read_error(json, source))?;
    let mut instances: Instances =
        serde_json::from_reader(BufReader::new(file)).map_err(|error| refuse(json, error))?;
    instances.categories.sort_by_key(|category| category.id);
    instances
        .images
        .sort_by(|a, b| (&a.file_name, a.id).cmp(&(&b.file_name, b.id)));
    if instances.categories.is_empty() {
        return Err(refuse(json, "no categories"));
    }
    check_unique(
        "category",
        json,
        instances.categories.iter().map(|category| category.id),
    )?;
    check_unique("image", json, instances.images.iter().map(|image| image.id))?;

    let mut dataset = Dataset {
        images: Vec::with_capacity(instances.images.len()),
        names: instances
            .categories
            .iter()
            .map(|category| category.name.clone())
            .collect(),
        category_ids: instances
            .categories
            .iter()
            .map(|category| category.id)
            .collect(),
        streams: Streams::default(),
        bad_images: Vec::new(),
        bad_labels: Vec::new(),
    };
    let count = instances.annotations.len();
    let ids: BTreeSet<u64> = instances.images.iter().map(|image| image.id).collect();
    let mut labels = sort_labels(instances.annotations, &ids, json, &mut dataset);
    let mut finder = ImageFinder::new(json);
    for ImageRecord { id, file_name } in instances.images {
        match finder.find(&file_name) {
            Some(path) => {
                let labels = labels.remove(&id).unwrap_or_default();
                dataset.images.push(ImageItem {
                    image_id: id,
                    path,
                    labels,
                });
            }
            None => {
                let reason = format!("image {id}: `{file_name}` not found");
                dataset.bad_images.push(BadInput::file(json, reason));
            }
        }
    }
    if dataset.images.is_empty() {
        return Err(YoloError::NoImages {
            split: split.to_owned(),
            searched: finder.folders,
        });
    }
    Ok((dataset, count))
}

/// Good annotations by image, in file order; bad ones go to the data set's list.
fn sort_labels(
    annotations: Vec<Annotation>,
    image_ids: &BTreeSet<u64>,
    json: &Path,
    dataset: &mut Dataset,
) -> BTreeMap<u64, Vec<Label>> {
    let classes: BTreeMap<u64, usize> = dataset
        .category_ids
        .iter()
        .enumerate()
        .map(|(class, &id)| (id, class))
        .collect();
    let mut labels: BTreeMap<u64, Vec<Label>> = BTreeMap::new();
    for (index, annotation) in annotations.into_iter().enumerate() {
        match label(&annotation, &classes, image_ids) {
            Ok((image_id, label)) => labels.entry(image_id).or_default().push(label),
            Err(reason) => {
                let id = Field::good(&annotation.id);
                let name = id.map_or_else(|| format!("number {index}"), |id| id.to_string());
                let reason = format!("annotation {name}: {reason}");
                dataset.bad_labels.push(BadInput::file(json, reason));
            }
        }
    }
    labels
}

fn label(
    annotation: &Annotation,
    classes: &BTreeMap<u64, usize>,
    image_ids: &BTreeSet<u64>,
) -> Result<(u64, Label), String> {
    let image_id = Field::good(&annotation.image_id).ok_or("no usable image_id")?;
    if !image_ids.contains(&image_id) {
        return Err(format!("image_id {image_id} is not among the images"));
    }
    let category_id = Field::good(&annotation.category_id).ok_or("no usable category_id")?;
    let &class = classes
        .get(&category_id)
        .ok_or_else(|| format!("category_id {category_id} is not among the categories"))?;
    let bbox = Field::good(&annotation.bbox).ok_or("no bbox of four numbers")?;
    if bbox.iter().any(|value| !value.is_finite()) || bbox[2] < 0.0 || bbox[3] < 0.0 {
        return Err(format!("bbox {bbox:?} is no box"));
    }
    let area = match annotation.area {
        None => None,
        Some(Field::Good(area)) if area.is_finite() && area >= 0.0 => Some(area),
        Some(_) => return Err("area is no area".to_owned()),
    };
    let crowd = match annotation.iscrowd {
        None => false,
        Some(Field::Good(Crowd::Number(number))) => number != 0,
        Some(Field::Good(Crowd::Flag(flag))) => flag,
        Some(Field::Bad(_)) => return Err("iscrowd is neither 0 nor 1".to_owned()),
    };
    Ok((
        image_id,
        Label {
            class,
            bbox: LabelBox::Pixels(bbox),
            area,
            crowd,
        },
    ))
}

/// Looks for images in the folders where people keep them relative to the JSON.
struct ImageFinder {
    folders: Vec<PathBuf>,
    /// The folder of the image found last: the next one is most likely there too.
    last: usize,
}

impl ImageFinder {
    /// For `instances_val.json` in `D` or in `D/annotations`: `D`, `D/images/val`, `D/images`, `D/val`,
    /// `D/val2017` and the like.
    fn new(json: &Path) -> Self {
        let stem = json
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let split = stem.rsplit_once('_').map_or(stem, |(_, split)| split);
        let bare = split.trim_end_matches(|c: char| c.is_ascii_digit());
        let mut relative = vec![
            String::new(),
            format!("images/{split}"),
            "images".to_owned(),
        ];
        relative.extend([
            split.to_owned(),
            format!("{split}2017"),
            format!("images/{split}2017"),
        ]);
        relative.extend([format!("images/{bare}"), bare.to_owned()]);
        let beside = json.parent().unwrap_or(Path::new(""));
        let folders = [beside.to_owned(), beside.join("..")]
            .iter()
            .flat_map(|base| relative.iter().map(|folder| base.join(folder)))
            .collect();
        Self { folders, last: 0 }
    }

    fn find(&mut self, file_name: &str) -> Option<PathBuf> {
        let found = |folder: usize| {
            let path = self.folders[folder].join(file_name);
            path.is_file().then_some((folder, path))
        };
        let (folder, path) =
            found(self.last).or_else(|| (0..self.folders.len()).find_map(found))?;
        self.last = folder;
        Some(path)
    }
}

fn check_unique(what: &str, json: &Path, ids: impl Iterator<Item = u64>) -> Result<(), YoloError> {
    let mut seen = BTreeSet::new();
    match ids.into_iter().find(|id| !seen.insert(*id)) {
        Some(id) => Err(refuse(json, format!("{what} id {id} appears twice"))),
        None => Ok(()),
    }
}

fn refuse(json: &Path, reason: impl ToString) -> YoloError {
    YoloError::CocoJson {
        path: json.to_owned(),
        reason: reason.to_string(),
    }
}

fn read_error(path: &Path, source: std::io::Error) -> YoloError {
    YoloError::Read {
        path: path.to_owned(),
        source,
    }
}
