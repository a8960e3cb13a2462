//! The data.yaml layout: a folder of images beside a folder of label files.
//!
//! Source: docs.ultralytics.com, "Object Detection Datasets Overview".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::label_file::{LabelTally, label_path};
use super::listing::Listing;
use super::yaml::Yaml;
use super::{Dataset, slashed};
use crate::{Streams, YoloError, regular_file};

const MAX_CLASSES: usize = 65_536;

/// Longest data.yaml that is read.
const MAX_YAML_BYTES: u64 = 16 << 20;

const SPLITS: [&str; 3] = ["train", "val", "test"];

/// What a data.yaml says.
struct Description {
    yaml: PathBuf,
    path: Option<String>,
    /// Folders and lists by split.
    splits: BTreeMap<&'static str, Vec<String>>,
    /// Class names; empty where the file names none.
    names: Vec<String>,
    streams: Streams,
    /// What was assumed or replaced.
    warnings: Vec<String>,
}

/// Opens one split; also returns how many labels were seen, bad ones included. Without class names no label is read.
pub(super) fn open(yaml: &Path, split: &str) -> Result<(Dataset, usize), YoloError> {
    let mut data = read(yaml)?;
    let listing = data.list(split)?;
    let mut dataset = Dataset {
        category_ids: (0..data.names.len() as u64).collect(),
        names: data.names,
        streams: data.streams,
        ..Dataset::unlabelled(listing)
    };
    dataset.warnings.splice(0..0, data.warnings);
    let mut tally = LabelTally::default();
    if !dataset.names.is_empty() {
        for image in &mut dataset.images {
            image.labels = tally.read(&label_path(&image.path), dataset.names.len());
        }
    }
    dataset.warnings.extend(tally.warnings());
    dataset.duplicate_labels = tally.duplicates;
    dataset.bad_labels = tally.bad;
    Ok((dataset, tally.lines))
}

/// The images of a split, without their labels.
pub(super) fn images(yaml: &Path, split: &str) -> Result<Vec<PathBuf>, YoloError> {
    Ok(read(yaml)?.list(split)?.into_images())
}

impl Streams {
    /// What a data.yaml says under `streams`.
    ///
    /// # Errors
    /// `Read`, `DataYaml` if it is no usable description.
    pub fn open(data_yaml: &Path) -> Result<Self, YoloError> {
        Ok(read(data_yaml)?.streams)
    }
}

fn read(yaml: &Path) -> Result<Description, YoloError> {
    let refuse = |reason: String| YoloError::DataYaml { path: yaml.to_owned(), reason };
    let text = regular_file::read_text(yaml, MAX_YAML_BYTES)?;
    // Ultralytics drops bytes that are no UTF-8 and characters that steer.
    let kept = |c: char| c != '\u{fffd}' && (!c.is_control() || "\t\n\r\u{85}".contains(c));
    let clean: String = text.chars().filter(|c| kept(*c)).collect();
    let Yaml::Map(entries) = Yaml::parse(&clean).map_err(refuse)? else {
        let reason = "expected the keys `path`, `train`, `val` and `names`";
        return Err(refuse(reason.to_owned()));
    };
    let mut warnings = Vec::new();
    if clean.len() < text.len() {
        let warning =
            "the text is not UTF-8 throughout, or has control characters: they are left out";
        warnings.push(warning.to_owned());
    }
    let entries = last_of_each(entries, &mut warnings);
    // An empty text says as little as nothing.
    let says = |value: &&Yaml| **value != Yaml::Null && value.text().is_none_or(|t| !t.is_empty());
    let get = |key: &str| entries.get(key).filter(says);
    let mut splits = BTreeMap::new();
    for split in SPLITS {
        let other_name = (split == "val").then(|| get("validation")).flatten();
        if let Some(value) = get(split).or(other_name) {
            splits.insert(split, places(split, value).map_err(refuse)?);
        }
    }
    let path = match get("path") {
        None => None,
        Some(Yaml::Text(path)) => Some(path.clone()),
        Some(other) => {
            let reason = format!("`path` is {}: expected a folder", other.kind());
            return Err(refuse(reason));
        }
    };
    let streams = get("streams").map(|value| places("streams", value));
    let streams = streams.transpose().map_err(refuse)?;
    Ok(Description {
        yaml: yaml.to_owned(),
        path,
        splits,
        names: class_names(yaml, get("names"), get("nc"), &mut warnings)?,
        streams: streams.map_or_else(Streams::default, Streams::new),
        warnings,
    })
}

/// The entries by key. Of two with one key the last counts, as for Python's YAML.
fn last_of_each(
    entries: Vec<(String, Yaml)>,
    warnings: &mut Vec<String>,
) -> BTreeMap<String, Yaml> {
    let mut last = BTreeMap::new();
    for (key, value) in entries {
        if last.insert(key.clone(), value).is_some() {
            warnings.push(format!("`{key}` is given twice: the last one counts"));
        }
    }
    last
}

/// A text, or a list of texts.
fn places(key: &str, value: &Yaml) -> Result<Vec<String>, String> {
    let list = match value {
        Yaml::List(list) => list.iter().map(Yaml::text).collect(),
        other => other.text().map(|text| vec![text]),
    };
    let list = list.filter(|l| !l.is_empty());
    let list = list.ok_or_else(|| {
        format!(
            "`{key}` is {}: expected a folder, a text file that lists images, or a list of them",
            value.kind()
        )
    })?;
    Ok(list.into_iter().map(str::to_owned).collect())
}

/// Class names by number; made up where the file gives only their count, none where it gives nothing.
fn class_names(
    yaml: &Path,
    names: Option<&Yaml>,
    count: Option<&Yaml>,
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, YoloError> {
    let refuse = |reason: String| YoloError::DataYaml { path: yaml.to_owned(), reason };
    let count = count.map(|count| {
        let number = count.text().and_then(|text| text.trim().parse().ok());
        let number = number.filter(|n| (1..=MAX_CLASSES).contains(n));
        let found = count.text().unwrap_or(count.kind());
        number.ok_or_else(|| {
            refuse(format!("`nc` is {found}: expected a number of classes from 1 to {MAX_CLASSES}"))
        })
    });
    let count = count.transpose()?;
    let names = match names {
        None => {
            let made_up = (0..count.unwrap_or(0)).map(|class| format!("class_{class}"));
            return Ok(made_up.collect());
        }
        Some(Yaml::List(names)) => names.iter().map(name).collect(),
        Some(Yaml::Map(names)) => numbered(yaml, names, warnings)?,
        Some(other) => {
            return Err(refuse(format!(
                "`names` is {}: expected a list of names, or a map from numbers to names",
                other.kind()
            )));
        }
    };
    match count {
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

/// The names of a map, whose keys may be numbers or texts.
fn numbered(
    yaml: &Path,
    names: &[(String, Yaml)],
    warnings: &mut Vec<String>,
) -> Result<Vec<String>, YoloError> {
    let mut by_class = BTreeMap::new();
    for (key, value) in last_of_each(names.to_vec(), warnings) {
        let class: usize = key.trim().parse().map_err(|_| YoloError::DataYaml {
            path: yaml.to_owned(),
            reason: format!("`names` has the key `{key}`: classes are numbered from 0"),
        })?;
        by_class.insert(class, name(&value));
    }
    let missing = (0..by_class.len()).find(|class| !by_class.contains_key(class));
    match missing {
        Some(missing) => {
            Err(YoloError::ClassNames { path: yaml.to_owned(), count: by_class.len(), missing })
        }
        None => Ok(by_class.into_values().collect()),
    }
}

/// A class name; what YAML takes for nothing is still a name.
fn name(value: &Yaml) -> String {
    value.text().unwrap_or("null").to_owned()
}

impl Description {
    /// The images of a split.
    fn list(&mut self, split: &str) -> Result<Listing, YoloError> {
        let entries = self.splits.get(split);
        let entries = entries.ok_or_else(|| YoloError::MissingSplit {
            path: self.yaml.clone(),
            split: split.to_owned(),
            found: SPLITS
                .iter()
                .filter(|name| self.splits.contains_key(*name))
                .map(|name| (*name).to_owned())
                .collect(),
        })?;
        let roots = roots(&self.yaml, self.path.as_deref());
        let mut listing = Listing::default();
        let mut searched = Vec::new();
        for entry in entries {
            let (root, place) = resolve(&roots, entry).ok_or_else(|| YoloError::SplitNotFound {
                path: self.yaml.clone(),
                split: split.to_owned(),
                entry: entry.clone(),
                searched: roots.iter().map(|root| shown(&root.join(entry))).collect(),
            })?;
            if root > 0 {
                self.warnings.push(format!(
                    "`{entry}` is not there beside the file as it is written: {} is read",
                    shown(&place).display()
                ));
            }
            listing.add(&place, &roots)?;
            searched.push(place);
        }
        if listing.is_empty() {
            return Err(YoloError::NoImages { split: split.to_owned(), searched, example: None });
        }
        Ok(listing)
    }
}

/// Where `path` may be: as it is written beside the data.yaml, then under the working directory and its `datasets`, and
/// in the `datasets` beside it, where Ultralytics and YOLOv5 keep theirs.
fn roots(yaml: &Path, path: Option<&str>) -> Vec<PathBuf> {
    let beside = yaml.parent().unwrap_or(Path::new(""));
    let Some(path) = path else {
        return distinct([beside.to_owned(), PathBuf::new()]);
    };
    let written = [Some(path.to_owned()), slashed(path)].into_iter().flatten();
    distinct(written.flat_map(|path| {
        [
            beside.join(&path),
            PathBuf::from(&path),
            Path::new("datasets").join(&path),
            Path::new("../datasets").join(&path),
        ]
    }))
}

fn distinct(paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    for path in paths {
        if !seen.contains(&path) {
            seen.push(path);
        }
    }
    seen
}

/// Where an entry of a split is, and under which of the roots. Exported archives often say `../train/images` and mean
/// `train/images`.
fn resolve(roots: &[PathBuf], entry: &str) -> Option<(usize, PathBuf)> {
    let written = [Some(entry.to_owned()), slashed(entry)].into_iter().flatten();
    let forms: Vec<String> = written
        .flat_map(|entry| {
            let inside = entry.strip_prefix("../").map(str::to_owned);
            [Some(entry.clone()), inside].into_iter().flatten()
        })
        .collect();
    roots.iter().enumerate().find_map(|(at, root)| {
        let mut places = forms.iter().map(|form| root.join(form));
        places.find(|place| place.exists()).map(|place| (at, place))
    })
}

/// A path that means the same wherever it is read.
fn shown(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
