//! A bundle that is being made: it takes its place when it is whole.
use super::{Bundle, MANIFEST, TIMINGS, files_below, refused, write_whole};
use crate::DeliverError;
use crate::files::sync_folder;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A folder beside the place of a bundle, in which the bundle is made; removed where it does not get that far.
#[derive(Debug)]
pub struct Draft {
    folder: PathBuf,
    place: PathBuf,
}

impl Draft {
    /// Begins a bundle that is to lie in `place`, where nothing lies yet, or a bundle that is to be replaced.
    ///
    /// # Errors
    /// `Bundle` where something else lies there, `Write`.
    pub fn begin(place: &Path) -> Result<Self, DeliverError> {
        let is_empty = fs::read_dir(place).is_ok_and(|mut entries| entries.next().is_none());
        if place.exists() && !is_empty && !Bundle::is_bundle(place) {
            let why = format!("it holds something else than {MANIFEST}: name another folder");
            return Err(refused(place, why));
        }
        let folder = beside(place, "partial")?;
        let made = remove_folder(&folder).and_then(|()| fs::create_dir_all(&folder));
        made.map_err(|e| DeliverError::write(&folder, e))?;
        Ok(Self { folder, place: place.to_path_buf() })
    }

    /// The folder for the bundle's files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file of the bundle; folders on the way are made.
    ///
    /// # Errors
    /// `Write`.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DeliverError> {
        let path = self.folder.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, bytes)).map_err(|e| DeliverError::write(&path, e))
    }

    /// Puts the bundle, which is sealed, into its place. One of the same digest that lies there stays, with its signature; only
    /// the timings are new.
    ///
    /// # Errors
    /// As [`Bundle::open`]; `Write`.
    pub fn finish(self) -> Result<Bundle, DeliverError> {
        let made = Bundle::open(&self.folder)?;
        let there = Bundle::open(&self.place).ok();
        if there.is_some_and(|there| there.digest == made.digest) {
            let timings = self.folder.join(TIMINGS);
            if let Ok(bytes) = fs::read(&timings) {
                write_whole(&self.place.join(TIMINGS), &bytes)?;
            }
            return Bundle::open(&self.place);
        }
        self.sync()?;
        let old = beside(&self.place, "old")?;
        let swapped = remove_folder(&old)
            .and_then(|()| if self.place.exists() { fs::rename(&self.place, &old) } else { Ok(()) })
            .and_then(|()| fs::rename(&self.folder, &self.place));
        swapped.map_err(|e| DeliverError::write(&self.place, e))?;
        sync_folder(old.parent().unwrap_or(&self.place))?;
        remove_folder(&old).map_err(|e| DeliverError::write(&old, e))?;
        Bundle::open(&self.place)
    }

    /// After a power loss files that were renamed into their place are whole.
    fn sync(&self) -> Result<(), DeliverError> {
        let mut names = BTreeSet::new();
        files_below(&self.folder, "", &mut names)?;
        for name in names {
            let path = self.folder.join(name);
            let synced = File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|e| DeliverError::write(&path, e))?;
            sync_folder(path.parent().unwrap_or(&self.folder))?;
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A folder that was renamed is not there any more.
        let _ = remove_folder(&self.folder);
    }
}

/// A hidden folder beside another one, so that it is on the same file system.
fn beside(place: &Path, what: &str) -> Result<PathBuf, DeliverError> {
    let place = std::path::absolute(place).map_err(|e| DeliverError::write(place, e))?;
    let name = place.file_name().ok_or_else(|| refused(&place, "it is no folder of its own"))?;
    Ok(place.with_file_name(format!(".{}.{what}", name.to_string_lossy())))
}

fn remove_folder(folder: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
