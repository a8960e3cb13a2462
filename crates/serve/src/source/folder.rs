//! A folder of images as a source: its files by name, one after another.
use super::doubt::Doubts;
use super::pace::Pace;
use super::{Run, Source};
use crate::ServeError;
use crate::frame::Picture;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use yolo::{is_image_name, read_rgb};

/// Images a second where the settings name no rate.
const USUAL_FPS: f64 = 1.0;

impl Source {
    /// Reads the images of the folder, at the source's rate, over and over where that is asked for. New files are found at the
    /// beginning of each round; one that cannot be read is told and left out.
    pub(super) fn read_folder(&self, doubts: &mut Doubts) -> Result<(), ServeError> {
        let folder = self.settings.location.path().unwrap_or(Path::new(""));
        let interval = Duration::from_secs_f64(1.0 / self.settings.fps.unwrap_or(USUAL_FPS));
        let mut pace = Pace::new(None);
        *self.run() = Run { last: Some(Instant::now()), ..Run::default() };
        loop {
            let images = images(folder)?;
            let mut read = 0;
            for path in images {
                let started = Instant::now();
                match read_rgb(&path) {
                    Ok(image) => {
                        read += 1;
                        self.offer(Picture::Rgb(image), doubts, &mut pace);
                    }
                    Err(error) => self.reject(error.to_string()),
                }
                self.pause(interval.saturating_sub(started.elapsed()));
                if self.hub.is_stopping() {
                    return Ok(());
                }
            }
            if read == 0 {
                return Err(ServeError::NoImages { path: folder.to_path_buf() });
            }
            if !self.settings.looped {
                return Ok(());
            }
        }
    }
}

fn images(folder: &Path) -> Result<Vec<PathBuf>, ServeError> {
    let entries = std::fs::read_dir(folder)
        .map_err(|source| ServeError::Read { path: folder.to_path_buf(), source })?;
    let mut images: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_image_name(path)).collect();
    images.sort();
    Ok(images)
}
