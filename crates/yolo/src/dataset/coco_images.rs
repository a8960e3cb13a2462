//! Where the images of a COCO JSON lie: `file_name` is written by tools and on machines of all kinds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::slashed;

/// Looks for images in the folders where people keep them relative to the JSON.
pub(super) struct ImageFinder {
    folders: Vec<PathBuf>,
    /// The folder and the number of leading parts left out for the image found last: the next one is most likely found
    /// in the same way.
    last: (usize, usize),
    /// Which name led to a file.
    found: BTreeMap<PathBuf, String>,
    /// How many were found without leading parts of their name, and one of them.
    shortened: (usize, Option<(String, PathBuf)>),
}

impl ImageFinder {
    /// For `instances_val.json` in `D` or in `D/annotations`: `D`, `D/images/val`, `D/images`, `D/val`,
    /// `D/val2017` and the like.
    pub(super) fn new(json: &Path) -> Self {
        let stem = json.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let split = stem.rsplit_once('_').map_or(stem, |(_, split)| split);
        let bare = split.trim_end_matches(|c: char| c.is_ascii_digit());
        let mut relative = vec![String::new(), format!("images/{split}"), "images".to_owned()];
        relative.extend([split.to_owned(), format!("{split}2017"), format!("images/{split}2017")]);
        relative.extend([format!("images/{bare}"), bare.to_owned()]);
        let beside = json.parent().unwrap_or(Path::new(""));
        let folders = [beside.to_owned(), beside.join("..")]
            .iter()
            .flat_map(|base| relative.iter().map(|folder| base.join(folder)))
            .collect();
        Self { folders, last: (0, 0), found: BTreeMap::new(), shortened: (0, None) }
    }

    /// Where images are looked for.
    pub(super) fn folders(self) -> Vec<PathBuf> {
        self.folders
    }

    /// The file that a name leads to; the error is what is wrong with the name.
    ///
    /// A name is tried as it is written, with Windows' separators and escapes of addresses (`%20`) resolved, and then
    /// without its leading folders, which may be those of another machine. Two names never lead to one file.
    pub(super) fn find(&mut self, file_name: &str) -> Result<PathBuf, String> {
        let name = slashed(file_name).unwrap_or_else(|| file_name.to_owned());
        let mut names = vec![file_name.to_owned(), name.clone()];
        names.extend(unescaped(&name));
        names.dedup();
        let depth = |name: &String| name.split('/').count();
        let most = names.iter().map(depth).max().unwrap_or(1);
        let (last, left_out) = self.last;
        let all = |left_out: usize| (0..self.folders.len()).map(move |folder| (folder, left_out));
        // As it is written, wherever that is, before anything is left out.
        let tries = [(last, 0)].into_iter().chain(all(0));
        let tries = tries.chain([(last, left_out)]).chain((1..most).flat_map(all));
        let hit = { tries }.find_map(|(folder, left_out)| {
            let mut shorter = names.iter().filter_map(|name| without(name, left_out));
            let path = shorter.find_map(|name| {
                let path = self.folders[folder].join(name);
                path.is_file().then_some(path)
            });
            path.map(|path| (folder, left_out, path))
        });
        let (folder, left_out, path) = hit.ok_or("not found")?;
        if let Some(other) = self.found.get(&path).filter(|other| *other != file_name) {
            return Err(format!("not found: {} is what `{other}` leads to", path.display()));
        }
        self.found.insert(path.clone(), file_name.to_owned());
        self.last = (folder, left_out);
        if left_out > 0 {
            self.shortened.0 += 1;
            let example = (file_name.to_owned(), path.clone());
            self.shortened.1.get_or_insert(example);
        }
        Ok(path)
    }

    /// What was assumed.
    pub(super) fn warning(&self) -> Option<String> {
        let (count, example) = &self.shortened;
        let (name, path) = example.as_ref()?;
        Some(format!(
            "{count} images are not where their `file_name` says, and were found by the end of it: `{name}` at {}",
            path.display()
        ))
    }
}

/// A name without its first `left_out` parts.
fn without(name: &str, left_out: usize) -> Option<&str> {
    let mut rest = name;
    for _ in 0..left_out {
        rest = rest.split_once('/')?.1;
    }
    Some(rest).filter(|rest| !rest.is_empty())
}

/// A name with the escapes of addresses resolved, and what stands before it in Label Studio's links left out.
fn unescaped(name: &str) -> Option<String> {
    let name = name.rsplit_once("?d=").map_or(name, |(_, path)| path);
    let bytes = name.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let digits = digits.and_then(|d| std::str::from_utf8(d).ok());
        match digits.and_then(|d| u8::from_str_radix(d, 16).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).ok()
}
