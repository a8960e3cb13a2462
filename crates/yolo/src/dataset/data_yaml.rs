//! The data.yaml layout: a folder of images beside a folder of label files.
//!
//! Source: docs.ultralytics.com, "Object Detection Datasets Overview".

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::labels::parse_line;
use super::{BadInput, Dataset, ImageItem, Label};
use crate::{Streams, YoloError};

const READ_EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "bmp", "webp"];

/// Images by name, but of kinds that are not read: reported instead of passed over.
const UNREAD_EXTENSIONS: [&str; 8] = ["tif", "tiff", "dng", "heic", "heif", "mpo", "pfm", "gif"];

const MAX_CLASSES: usize = 65_536;

#[derive(Deserialize)]
struct DataYaml {
    path: Option<String>,
    train: Option<Split>,
    val: Option<Split>,
    test: Option<Split>,
    nc: Option<usize>,
    names: Option<Names>,
    #[serde(default)]
    streams: Streams,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Split {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    List(Vec<Name>),
    Map(BTreeMap<usize, Name>),
}

/// A class name; one that YAML takes for a number or a truth value is still a name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Integer(i64),
    Real(f64),
    Truth(bool),
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        match name {
            Name::Text(text) => text,
            Name::Integer(number) => number.to_string(),
            Name::Real(number) => number.to_string(),
            Name::Truth(truth) => truth.to_string(),
        }
    }
}

/// Opens one split; also returns how many labels were seen, bad ones included.
pub(super) fn open(yaml: &Path, split: &str) -> Result<(Dataset, usize), YoloError> {
    let data = read(yaml)?;
    let entries = data.split(yaml, split)?;
    let folder = yaml.parent().unwrap_or(Path::new(""));
    let root = folder.join(data.path.as_deref().unwrap_or(""));
    let streams = data.streams.clone();
    let names = data.class_names(yaml)?;

    let mut listing = Listing::default();
    let mut searched = Vec::new();
    for entry in &entries {
        let place = resolve(&root, entry);
        listing.add(&place, &root)?;
        searched.push(place);
    }
    if listing.images.is_empty() {
        return Err(YoloError::NoImages {
            split: split.to_owned(),
            searched,
        });
    }
    let mut images: Vec<PathBuf> = listing.images.into_iter().collect();
    images.sort_by(|a, b| (a.file_name(), a).cmp(&(b.file_name(), b)));

    let mut dataset = Dataset {
        images: Vec::with_capacity(images.len()),
        category_ids: (0..names.len() as u64).collect(),
        names,
        streams,
        bad_images: listing.bad,
        bad_labels: Vec::new(),
    };
    let mut count = 0;
    for (image_id, path) in (0..).zip(images) {
        let found = read_labels(
            &label_path(&path),
            dataset.names.len(),
            &mut dataset.bad_labels,
        );
        count += found.count;
        dataset.images.push(ImageItem {
            image_id,
            path,
            labels: found.labels,
        });
    }
    Ok((dataset, count))
}

/// Where the other images of a scene lie.
pub(crate) fn streams(yaml: &Path) -> Result<Streams, YoloError> {
    Ok(read(yaml)?.streams)
}

fn read(yaml: &Path) -> Result<DataYaml, YoloError> {
    let text = fs::read_to_string(yaml).map_err(|source| read_error(yaml, source))?;
    // YAML 1.2: a class called `no` is no truth value.
    let options = serde_saphyr::options! { strict_booleans: true };
    let data = serde_saphyr::from_str_with_options(&text, options);
    data.map_err(|error| YoloError::DataYaml {
        path: yaml.to_owned(),
        reason: error.to_string(),
    })
}

impl DataYaml {
    fn split(&self, yaml: &Path, split: &str) -> Result<Vec<String>, YoloError> {
        let known = [
            ("train", &self.train),
            ("val", &self.val),
            ("test", &self.test),
        ];
        let entry = known
            .iter()
            .find(|(name, _)| *name == split)
            .and_then(|(_, entry)| entry.as_ref());
        match entry {
            Some(Split::One(entry)) => Ok(vec![entry.clone()]),
            Some(Split::Many(entries)) => Ok(entries.clone()),
            None => Err(YoloError::MissingSplit {
                path: yaml.to_owned(),
                split: split.to_owned(),
                found: known
                    .iter()
                    .filter(|(_, entry)| entry.is_some())
                    .map(|(name, _)| (*name).to_owned())
                    .collect(),
            }),
        }
    }

    fn class_names(self, yaml: &Path) -> Result<Vec<String>, YoloError> {
        let names: Vec<String> = match (self.names, self.nc) {
            (Some(Names::List(names)), _) => names.into_iter().map(String::from).collect(),
            (Some(Names::Map(names)), _) => {
                if let Some(missing) = (0..names.len()).find(|class| !names.contains_key(class)) {
                    let count = names.len();
                    return Err(YoloError::ClassNames {
                        path: yaml.to_owned(),
                        count,
                        missing,
                    });
                }
                names.into_values().map(String::from).collect()
            }
            (None, Some(count)) if count <= MAX_CLASSES => {
                (0..count).map(|class| format!("class_{class}")).collect()
            }
            (None, _) => Vec::new(),
        };
        if names.is_empty() {
            return Err(YoloError::DataYaml {
                path: yaml.to_owned(),
                reason: "neither `names` nor a usable `nc`".to_owned(),
            });
        }
        match self.nc {
            Some(expected) if expected != names.len() => Err(YoloError::ClassCount {
                path: yaml.to_owned(),
                expected,
                expected_by: "nc".to_owned(),
                found: names.len(),
                found_by: "names".to_owned(),
            }),
            _ => Ok(names),
        }
    }
}

/// Where a split entry is. Exported archives often say `../train/images` and mean `train/images`.
fn resolve(root: &Path, entry: &str) -> PathBuf {
    let place = root.join(entry);
    match entry.strip_prefix("../") {
        Some(inside) if !place.exists() && root.join(inside).exists() => root.join(inside),
        _ => place,
    }
}

#[derive(Default)]
struct Listing {
    images: BTreeSet<PathBuf>,
    bad: Vec<BadInput>,
    /// Folders walked: links may lead in circles.
    walked: BTreeSet<PathBuf>,
}

impl Listing {
    /// Adds a folder, with its folders, or a .txt list.
    fn add(&mut self, place: &Path, root: &Path) -> Result<(), YoloError> {
        if extension_of(place).as_deref() == Some("txt") && !place.is_dir() {
            self.add_list(place, root)
        } else {
            self.add_folder(place)
        }
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), YoloError> {
        let real = fs::canonicalize(folder).map_err(|source| read_error(folder, source))?;
        if !self.walked.insert(real) {
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(|source| read_error(folder, source))? {
            entries.push(entry.map_err(|source| read_error(folder, source))?.path());
        }
        entries.sort();
        for path in entries {
            let hidden = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if hidden {
                continue;
            }
            if path.is_dir() {
                self.add_folder(&path)?;
            } else if let Some(extension) = extension_of(&path) {
                self.add_image(path, &extension);
            }
        }
        Ok(())
    }

    fn add_image(&mut self, path: PathBuf, extension: &str) {
        if READ_EXTENSIONS.contains(&extension) {
            self.images.insert(path);
        } else if UNREAD_EXTENSIONS.contains(&extension) {
            self.bad.push(BadInput::file(
                path,
                format!(".{extension} images are not read"),
            ));
        }
    }

    /// Lines are absolute, or relative to the list's folder, or else to the data set's root.
    fn add_list(&mut self, list: &Path, root: &Path) -> Result<(), YoloError> {
        let text = fs::read_to_string(list).map_err(|source| read_error(list, source))?;
        let beside = list.parent().unwrap_or(Path::new(""));
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let line = line.strip_prefix("./").unwrap_or(line);
            let found = [beside.join(line), root.join(line)]
                .into_iter()
                .find(|path| path.is_file());
            let reason = match found {
                Some(path) => match extension_of(&path) {
                    Some(extension) if READ_EXTENSIONS.contains(&extension.as_str()) => {
                        self.images.insert(path);
                        continue;
                    }
                    _ => format!(
                        "`{line}` is no image that is read ({})",
                        READ_EXTENSIONS.join(", ")
                    ),
                },
                None => format!("image `{line}` not found"),
            };
            self.bad.push(BadInput {
                file: list.to_owned(),
                line: Some(index + 1),
                reason,
            });
        }
        Ok(())
    }
}

fn extension_of(path: &Path) -> Option<String> {
    path.extension()
        .and_then(OsStr::to_str)
        .map(str::to_ascii_lowercase)
}

/// The label file of an image: its last `images` folder becomes `labels`, its extension `txt`.
pub(super) fn label_path(image: &Path) -> PathBuf {
    let components: Vec<Component<'_>> = image.components().collect();
    let folders = &components[..components.len().saturating_sub(1)];
    let images = folders
        .iter()
        .rposition(|folder| folder.as_os_str() == "images");
    let renamed = components.iter().enumerate().map(|(index, component)| {
        if Some(index) == images {
            OsStr::new("labels")
        } else {
            component.as_os_str()
        }
    });
    renamed.collect::<PathBuf>().with_extension("txt")
}

struct FileLabels {
    labels: Vec<Label>,
    /// Lines with something on them.
    count: usize,
}

/// Labels of one image; no file means nothing is in the image.
fn read_labels(path: &Path, classes: usize, bad: &mut Vec<BadInput>) -> FileLabels {
    let mut found = FileLabels {
        labels: Vec::new(),
        count: 0,
    };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return found,
        Err(error) => {
            bad.push(BadInput::file(path, error));
            return FileLabels { count: 1, ..found };
        }
    };
    for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        found.count += 1;
        match parse_line(line, classes) {
            Ok(label) => found.labels.push(label),
            Err(reason) => {
                bad.push(BadInput {
                    file: path.to_owned(),
                    line: Some(index + 1),
                    reason,
                });
            }
        }
    }
    found
}

fn read_error(path: &Path, source: std::io::Error) -> YoloError {
    YoloError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_path_replaces_the_last_images_folder() {
        let cases = [
            ("/d/images/val/a.jpg", "/d/labels/val/a.txt"),
            ("images/a.b.png", "labels/a.b.txt"),
            ("/images/x/images/a.jpg", "/images/x/labels/a.txt"),
            ("/d/val/a.jpg", "/d/val/a.txt"),
            ("/d/images_2/images", "/d/images_2/images.txt"),
        ];
        for (image, expected) in cases {
            assert_eq!(label_path(Path::new(image)), Path::new(expected));
        }
    }
}
