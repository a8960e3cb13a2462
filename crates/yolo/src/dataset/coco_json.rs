//! COCO instances JSON as ground truth.
//!
//! Source: cocodataset.org, "Data Format", object detection.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::error::Category as Kind;

use super::coco_images::ImageFinder;
use super::{BadInput, Dataset, ImageItem, Label, LabelBox};
use crate::{YoloError, regular_file};

#[derive(Deserialize)]
struct Instances {
    images: Option<Vec<ImageRecord>>,
    annotations: Option<Vec<Annotation>>,
    categories: Option<Vec<CategoryRecord>>,
}

#[derive(Deserialize)]
struct ImageRecord {
    id: Option<Field<Id>>,
    file_name: Option<Field<String>>,
}

#[derive(Deserialize)]
struct CategoryRecord {
    id: Option<Field<Id>>,
    name: Option<Field<String>>,
    supercategory: Option<Field<String>>,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<Field<Id>>,
    image_id: Option<Field<Id>>,
    category_id: Option<Field<Id>>,
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

/// A number; some tools write it as a text.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "WrittenId")]
struct Id(u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenId {
    Number(u64),
    Text(String),
}

impl TryFrom<WrittenId> for Id {
    type Error = std::num::ParseIntError;

    fn try_from(written: WrittenId) -> Result<Self, Self::Error> {
        match written {
            WrittenId::Number(number) => Ok(Self(number)),
            WrittenId::Text(text) => text.trim().parse().map(Self),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Crowd {
    Number(u8),
    Flag(bool),
}

impl<T> Field<T> {
    fn good(field: Option<&Self>) -> Option<&T> {
        match field {
            Some(Self::Good(value)) => Some(value),
            Some(Self::Bad(_)) | None => None,
        }
    }
}

fn number(id: Option<&Field<Id>>) -> Option<u64> {
    Field::good(id).map(|id| id.0)
}

/// An image that the file names.
struct NamedImage {
    id: u64,
    file_name: String,
}

/// A class that the file names.
struct NamedCategory {
    id: u64,
    name: String,
    supercategory: Option<String>,
}

/// Opens the file; also returns how many annotations were seen, bad ones included.
pub(super) fn open(json: &Path, split: &str) -> Result<(Dataset, usize), YoloError> {
    let reader = regular_file::open_text(json)?;
    let instances: Instances =
        serde_json::from_reader(reader).map_err(|error| refuse(json, explain(&error)))?;
    let lacks = |key: &str| refuse(json, format!("there is no list `{key}`"));
    let images = named_images(json, instances.images.ok_or_else(|| lacks("images"))?)?;
    let categories = instances.categories.ok_or_else(|| lacks("categories"))?;
    let categories = named_categories(json, categories)?;
    let annotations = instances.annotations.unwrap_or_default();

    let mut dataset = Dataset {
        names: categories.iter().map(|c| c.name.clone()).collect(),
        category_ids: categories.iter().map(|c| c.id).collect(),
        ..Dataset::default()
    };
    let count = annotations.len();
    let ids: BTreeSet<u64> = images.iter().map(|image| image.id).collect();
    let mut labels = sort_labels(annotations, &ids, json, &mut dataset);
    dataset.supercategories = empty_supercategories(&categories, &labels);
    let mut finder = ImageFinder::new(json);
    let example = images.first().map(|image| image.file_name.clone());
    for NamedImage { id, file_name } in images {
        match finder.find(&file_name) {
            Ok(path) => {
                let labels = labels.remove(&id).unwrap_or_default();
                dataset.images.push(ImageItem { image_id: id, path, labels });
            }
            Err(reason) => {
                let reason = format!("image {id}: `{file_name}` {reason}");
                dataset.bad_images.push(BadInput::file(json, reason));
            }
        }
    }
    dataset.warnings.extend(finder.warning());
    if dataset.images.is_empty() {
        return Err(YoloError::NoImages {
            split: split.to_owned(),
            searched: finder.folders(),
            example,
        });
    }
    Ok((dataset, count))
}

/// The images by file name.
fn named_images(json: &Path, records: Vec<ImageRecord>) -> Result<Vec<NamedImage>, YoloError> {
    let named = records.iter().enumerate().map(|(index, record)| {
        let id = number(record.id.as_ref());
        let file_name = Field::good(record.file_name.as_ref()).cloned();
        let named = id.zip(file_name);
        let (id, file_name) = named.ok_or_else(|| {
            let reason = format!("image number {index} has no usable `id` and `file_name`");
            refuse(json, reason)
        })?;
        Ok(NamedImage { id, file_name })
    });
    let mut images = named.collect::<Result<Vec<_>, YoloError>>()?;
    check_unique("image", json, images.iter().map(|image| image.id))?;
    images.sort_by(|a, b| (&a.file_name, a.id).cmp(&(&b.file_name, b.id)));
    Ok(images)
}

/// The categories by id.
fn named_categories(
    json: &Path,
    records: Vec<CategoryRecord>,
) -> Result<Vec<NamedCategory>, YoloError> {
    let named = records.iter().enumerate().map(|(index, record)| {
        let text = |field: &Option<Field<String>>| Field::good(field.as_ref()).cloned();
        let named = number(record.id.as_ref()).zip(text(&record.name));
        let (id, name) = named.ok_or_else(|| {
            let reason = format!("category number {index} has no usable `id` and `name`");
            refuse(json, reason)
        })?;
        let supercategory = text(&record.supercategory);
        Ok(NamedCategory { id, name, supercategory })
    });
    let mut categories = named.collect::<Result<Vec<_>, YoloError>>()?;
    if categories.is_empty() {
        return Err(refuse(json, "no categories"));
    }
    check_unique("category", json, categories.iter().map(|c| c.id))?;
    categories.sort_by_key(|category| category.id);
    Ok(categories)
}

/// Categories that others name as what they belong to, and that nothing is labelled as: Roboflow writes the project's
/// name so.
fn empty_supercategories(
    categories: &[NamedCategory],
    labels: &BTreeMap<u64, Vec<Label>>,
) -> BTreeSet<usize> {
    let labelled: BTreeSet<usize> = labels.values().flatten().map(|l| l.class).collect();
    let is_super = |class: usize| {
        let mut others = categories.iter().enumerate().filter(|(c, _)| *c != class);
        let name = Some(categories[class].name.as_str());
        others.any(|(_, other)| other.supercategory.as_deref() == name)
    };
    let empty = (0..categories.len()).filter(|class| !labelled.contains(class));
    empty.filter(|class| is_super(*class)).collect()
}

/// Good annotations by image, in file order; bad ones go to the data set's list. Equal ones all count, as pycocotools
/// counts them, and it is said.
fn sort_labels(
    annotations: Vec<Annotation>,
    image_ids: &BTreeSet<u64>,
    json: &Path,
    dataset: &mut Dataset,
) -> BTreeMap<u64, Vec<Label>> {
    let classes: BTreeMap<u64, usize> = dataset.category_ids.iter().copied().zip(0..).collect();
    let mut labels: BTreeMap<u64, Vec<Label>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut equal = 0;
    for (index, annotation) in annotations.into_iter().enumerate() {
        match label(&annotation, &classes, image_ids) {
            Ok((image_id, label)) => {
                equal += usize::from(!seen.insert((image_id, label.key())));
                labels.entry(image_id).or_default().push(label);
            }
            Err(reason) => {
                let id = number(annotation.id.as_ref());
                let name = id.map_or_else(|| format!("number {index}"), |id| id.to_string());
                let reason = format!("annotation {name}: {reason}");
                dataset.bad_labels.push(BadInput::file(json, reason));
            }
        }
    }
    if equal > 0 {
        dataset.warnings.push(format!(
            "{equal} annotations are exact duplicates of others: all count, as pycocotools counts them (Ultralytics drops them when it converts the file)"
        ));
    }
    labels
}

fn label(
    annotation: &Annotation,
    classes: &BTreeMap<u64, usize>,
    image_ids: &BTreeSet<u64>,
) -> Result<(u64, Label), String> {
    let image_id = number(annotation.image_id.as_ref()).ok_or("no usable image_id")?;
    if !image_ids.contains(&image_id) {
        return Err(format!("image_id {image_id} is not among the images"));
    }
    let category_id = number(annotation.category_id.as_ref()).ok_or("no usable category_id")?;
    let &class = classes
        .get(&category_id)
        .ok_or_else(|| format!("category_id {category_id} is not among the categories"))?;
    let &bbox = Field::good(annotation.bbox.as_ref()).ok_or("no bbox of four numbers")?;
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
    Ok((image_id, Label { class, bbox: LabelBox::Pixels(bbox), area, crowd }))
}

fn check_unique(what: &str, json: &Path, ids: impl Iterator<Item = u64>) -> Result<(), YoloError> {
    let mut seen = BTreeSet::new();
    match ids.into_iter().find(|id| !seen.insert(*id)) {
        Some(id) => Err(refuse(json, format!("{what} id {id} appears twice"))),
        None => Ok(()),
    }
}

fn refuse(json: &Path, reason: impl ToString) -> YoloError {
    YoloError::CocoJson { path: json.to_owned(), reason: reason.to_string() }
}

/// A parser's error in words of the file.
fn explain(error: &serde_json::Error) -> String {
    let at = format!("line {}, column {}", error.line(), error.column());
    match error.classify() {
        Kind::Eof => format!("{at}: the file ends too early"),
        Kind::Syntax => format!("{at}: no JSON (NaN and Infinity are none either)"),
        Kind::Io => error.to_string(),
        Kind::Data => format!(
            "{at}: expected one object with the lists `images`, `annotations` and `categories`, each of objects"
        ),
    }
}
