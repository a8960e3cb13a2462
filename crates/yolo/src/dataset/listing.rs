//! The images of a split: folders with their folders, and text files that list images.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::image_names::{IMAGE_EXTENSIONS, extension_of, is_image_name};
use super::{BadInput, slashed};
use crate::{YoloError, regular_file};

/// Images by name, but of kinds that are not read: reported instead of passed over.
const UNREAD_EXTENSIONS: [&str; 7] = ["avif", "dng", "gif", "heic", "heif", "jp2", "pfm"];

/// Longest list that is read.
const MAX_LIST_BYTES: u64 = 1 << 30;

/// Images found so far.
#[derive(Default)]
pub(super) struct Listing {
    /// By the folder that is really meant, and the name in it: a folder has many names.
    images: BTreeMap<(PathBuf, OsString), PathBuf>,
    /// Images that are not there, or are of a kind that is not read.
    pub(super) bad: Vec<BadInput>,
    /// Text files in which images are listed.
    pub(super) lists: Vec<PathBuf>,
    /// Images that were found once more.
    pub(super) repeated: usize,
    /// The folder that is really meant, by folder.
    real: BTreeMap<PathBuf, PathBuf>,
    /// Folders walked: links may lead in circles.
    walked: BTreeSet<PathBuf>,
}

impl Listing {
    /// Adds a folder with its folders, an image, or a text file that lists images, relative to its own folder or to one
    /// of `roots`.
    pub(super) fn add(&mut self, place: &Path, roots: &[PathBuf]) -> Result<(), YoloError> {
        if place.is_dir() {
            self.add_folder(place)
        } else if is_image_name(place) {
            self.add_image(place.to_owned());
            Ok(())
        } else {
            self.add_list(place, roots)
        }
    }

    /// Whether no image was found.
    pub(super) fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// The images by file name.
    pub(super) fn into_images(self) -> Vec<PathBuf> {
        let mut images: Vec<PathBuf> = self.images.into_values().collect();
        images.sort_by(|a, b| (a.file_name(), a).cmp(&(b.file_name(), b)));
        images
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), YoloError> {
        let failed = |cause| YoloError::Read { path: folder.to_owned(), cause };
        let real = fs::canonicalize(folder).map_err(failed)?;
        if !self.walked.insert(real) {
            return Ok(());
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            entries.push(entry.map_err(failed)?.path());
        }
        entries.sort();
        for path in entries {
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if hidden {
                continue;
            }
            if path.is_dir() {
                self.add_folder(&path)?;
            } else if is_image_name(&path) {
                self.add_image(path);
            } else if let Some(extension) = extension_of(&path)
                && UNREAD_EXTENSIONS.contains(&extension.as_str())
            {
                let reason = format!(".{extension} images are not read");
                self.bad.push(BadInput::file(path, reason));
            }
        }
        Ok(())
    }

    fn add_image(&mut self, path: PathBuf) {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let real = self.real.entry(folder).or_insert_with_key(|folder| {
            let named =
                if folder.as_os_str().is_empty() { Path::new(".") } else { folder.as_path() };
            fs::canonicalize(named).unwrap_or_else(|_| folder.clone())
        });
        let name = path.file_name().unwrap_or_default().to_owned();
        let known = self.images.insert((real.clone(), name), path);
        self.repeated += usize::from(known.is_some());
    }

    fn add_list(&mut self, list: &Path, roots: &[PathBuf]) -> Result<(), YoloError> {
        let text = regular_file::read_text(list, MAX_LIST_BYTES)?;
        self.lists.push(list.to_owned());
        let beside = list.parent().unwrap_or(Path::new("")).to_owned();
        let bases: Vec<&Path> = [&beside].into_iter().chain(roots).map(PathBuf::as_path).collect();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let reason = match find(line, &bases) {
                Some(path) if is_image_name(&path) => {
                    self.add_image(path);
                    continue;
                }
                Some(_) => {
                    format!("`{line}` is no image that is read ({})", IMAGE_EXTENSIONS.join(", "))
                }
                None => format!("image `{line}` not found"),
            };
            self.bad.push(BadInput { file: list.to_owned(), line: Some(index + 1), reason });
        }
        Ok(())
    }
}

/// The file that a line of a list names: as it is written, or with Windows' separators made this system's.
fn find(line: &str, bases: &[&Path]) -> Option<PathBuf> {
    let written = [Some(line.to_owned()), slashed(line)].into_iter().flatten();
    let places = written.flat_map(|line| {
        let line = line.strip_prefix("./").unwrap_or(&line).to_owned();
        bases.iter().map(move |base| base.join(&line))
    });
    places.into_iter().find(|path| path.is_file())
}
