//! Label files: the objects of one image each, a line an object.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::BadInput;
use super::labels::{Form, Label, parse_line};
use crate::{YoloError, regular_file};

/// Longest label file that is read.
const MAX_LABEL_BYTES: u64 = 64 << 20;

/// How far outside of the image, as a share of it, a box may reach before that is said.
const OVERHANG: f64 = 0.05;

/// What is told of the label files of a data set.
#[derive(Default)]
pub(super) struct LabelTally {
    /// Lines with something on them.
    pub(super) lines: usize,
    /// Lines dropped because the file has the same object already.
    pub(super) duplicates: usize,
    /// Labels that were skipped.
    pub(super) bad: Vec<BadInput>,
    /// Files with lines of both forms.
    mixed: usize,
    /// Boxes without area.
    flat: usize,
    /// Boxes that reach far outside of the image.
    overhanging: usize,
}

impl LabelTally {
    /// The objects of one image, in the order of their lines; no file means that nothing is in the image.
    ///
    /// Lines that give the same object are one object: Ultralytics drops them too, compared as it reads them, in
    /// 32 bits and polygons by their boxes.
    pub(super) fn read(&mut self, path: &Path, classes: usize) -> Vec<Label> {
        let text = match regular_file::read_text(path, MAX_LABEL_BYTES) {
            Ok(text) => text,
            Err(YoloError::Read { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                return Vec::new();
            }
            Err(error) => {
                self.lines += 1;
                self.bad.push(BadInput::file(path, error.reason()));
                return Vec::new();
            }
        };
        let mut labels = Vec::new();
        let mut seen = BTreeSet::new();
        let mut forms = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            self.lines += 1;
            match parse_line(line, classes) {
                Ok((label, form)) => {
                    forms.insert(form);
                    if !seen.insert(label.key()) {
                        self.duplicates += 1;
                        continue;
                    }
                    self.flat += usize::from(label.is_flat());
                    self.overhanging += usize::from(label.overhang() > OVERHANG);
                    labels.push(label);
                }
                Err(reason) => {
                    self.bad.push(BadInput { file: path.to_owned(), line: Some(index + 1), reason })
                }
            }
        }
        let both = [Form::Box, Form::Polygon];
        self.mixed += usize::from(both.iter().all(|form| forms.contains(form)));
        labels
    }

    /// What was dropped or looks wrong, in sentences.
    pub(super) fn warnings(&self) -> Vec<String> {
        let counted = [
            (
                self.duplicates,
                "labels are exact duplicates of others in their file: they count once",
            ),
            (
                self.mixed,
                "label files hold boxes and polygons: each line is read as what it is (Ultralytics reads the boxes of such a file as polygons)",
            ),
            (self.flat, "labels are boxes of no width or height, which nothing can find"),
            (
                self.overhanging,
                "labels reach more than 5 % outside of their image: a line is `class x_center y_center width height`, not two corners",
            ),
        ];
        let told = counted.into_iter().filter(|(count, _)| *count > 0);
        told.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// The label file of an image: its last `images` folder becomes `labels`, its extension `txt`.
pub(crate) fn label_path(image: &Path) -> PathBuf {
    let components: Vec<Component<'_>> = image.components().collect();
    let folders = &components[..components.len().saturating_sub(1)];
    let images = folders.iter().rposition(|folder| folder.as_os_str() == "images");
    let renamed = components.iter().enumerate().map(|(index, component)| {
        if Some(index) == images { OsStr::new("labels") } else { component.as_os_str() }
    });
    renamed.collect::<PathBuf>().with_extension("txt")
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
