//! Boards as a data set in the form that training tools read.
use crate::{Board, NAMES, SIDE_PX, board};
use numerics::parallel_map;
use std::fs;
use std::path::{Path, PathBuf};
use yolo::{YoloError, save_image, write_file};

/// How many boards of each split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatasetSize {
    /// Boards to train on.
    pub train: usize,
    /// Boards that judge.
    pub val: usize,
}

/// Seeds of the two splits lie this far apart, so that no board is in both.
const BETWEEN_SPLITS: u64 = 1 << 32;

/// Writes boards as JPEG files with label files beside them, and gives the path of their `data.yaml`.
///
/// # Errors
/// `Write` where the folder or the disk refuses.
pub fn write_dataset(
    folder: &Path,
    size: DatasetSize,
    seed: u64,
    threads: usize,
) -> Result<PathBuf, YoloError> {
    for (split, count, first) in
        [("train", size.train, seed), ("val", size.val, seed.wrapping_add(BETWEEN_SPLITS))]
    {
        let [images, labels] = ["images", "labels"].map(|kind| folder.join(kind).join(split));
        for folder in [&images, &labels] {
            fs::create_dir_all(folder)
                .map_err(|cause| YoloError::Write { path: folder.clone(), cause })?;
        }
        let write = |i: usize| {
            // Spread by an odd factor, so that two data sets of neighbouring seeds share no board.
            let seed = first.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(i as u64);
            let board = board(seed);
            save_image(&board.image, &images.join(format!("{i:05}.jpg")))?;
            write_text(&labels.join(format!("{i:05}.txt")), &label_file(&board))
        };
        let written = parallel_map(threads, 0..count, write);
        written.into_iter().collect::<Result<(), YoloError>>()?;
    }
    let yaml = folder.join("data.yaml");
    let names = NAMES.join(", ");
    write_text(&yaml, &format!("train: images/train\nval: images/val\nnames: [{names}]\n"))?;
    Ok(yaml)
}

/// A line for each defect: class, centre and size as shares of the picture.
fn label_file(board: &Board) -> String {
    let line = |defect: &crate::Defect| {
        let [left, top, right, bottom] = defect.bbox.map(|p| p / SIDE_PX as f32);
        let (x, y) = ((left + right) / 2.0, (top + bottom) / 2.0);
        format!("{} {x:.6} {y:.6} {:.6} {:.6}\n", defect.class, right - left, bottom - top)
    };
    board.defects.iter().map(line).collect()
}

fn write_text(path: &Path, text: &str) -> Result<(), YoloError> {
    write_file(path, text.as_bytes())
        .map_err(|cause| YoloError::Write { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use yolo::Dataset;

    #[test]
    fn written_boards_are_read_as_a_data_set_and_are_the_same_again() {
        let [first, again] = [1, 2].map(|threads| {
            let folder = tempfile::tempdir().unwrap();
            let yaml =
                write_dataset(folder.path(), DatasetSize { train: 3, val: 2 }, 7, threads).unwrap();
            let [train, val] = ["train", "val"].map(|split| Dataset::open(&yaml, split).unwrap());
            assert_eq!((train.images.len(), val.images.len()), (3, 2));
            assert!(train.warnings.is_empty(), "{:?}", train.warnings);
            let bytes = |item: &yolo::ImageItem| std::fs::read(&item.path).unwrap();
            train.images.iter().chain(&val.images).map(bytes).collect::<Vec<_>>()
        });
        assert_eq!(first, again);
        assert!((1..5).all(|i| first[i] != first[0]));
    }
}
