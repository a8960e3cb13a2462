//! Where a training stands, in a file from which it goes on after an interruption with the same results.
use crate::CompressError;
use crate::digest::stage_key;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// The file of a training's state: a safetensors file that names the inputs it is of.
#[derive(Clone, Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Digest of all that the training depends on.
    key: String,
}

/// What is stored: lists of numbers by name, and a record of all else.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LearningState<P> {
    pub(crate) progress: P,
    pub(crate) numbers: BTreeMap<String, Vec<Vec<f32>>>,
}

/// Keys of the file's metadata.
const KEY: &str = "key";
const PROGRESS: &str = "progress";

impl StateFile {
    /// The file of a training on these inputs: all that its result depends on, large things by their digests.
    ///
    /// # Errors
    /// As the digest of the inputs.
    pub(crate) fn new(path: &Path, inputs: &impl Serialize) -> Result<Self, CompressError> {
        Ok(Self { path: path.to_owned(), key: stage_key("learning", inputs)? })
    }

    /// What an earlier process stored; `None` where there is nothing, or nothing of these inputs.
    pub(crate) fn read<P: DeserializeOwned>(&self) -> Option<LearningState<P>> {
        let bytes = fs::read(&self.path).ok()?;
        let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
        let metadata = header.metadata().as_ref()?;
        if metadata.get(KEY)? != &self.key {
            return None;
        }
        let progress = serde_json::from_str(metadata.get(PROGRESS)?).ok()?;
        let tensors = SafeTensors::deserialize(&bytes).ok()?;
        let mut named: Vec<(String, TensorView<'_>)> = tensors.tensors();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let mut numbers: BTreeMap<String, Vec<Vec<f32>>> = BTreeMap::new();
        for (name, tensor) in named {
            let (list, _) = name.rsplit_once('.')?;
            let four = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            let elements = tensor.data().chunks_exact(4).map(four).collect();
            numbers.entry(list.to_owned()).or_default().push(elements);
        }
        Some(LearningState { progress, numbers })
    }

    /// Stores a state in place of the one before.
    ///
    /// # Errors
    /// `Write` when the system refuses; the state before is left then.
    pub(crate) fn write<P: Serialize>(
        &self,
        progress: &P,
        lists: &[(&str, Vec<&[f32]>)],
    ) -> Result<(), CompressError> {
        let failed = |cause| CompressError::Write { path: self.path.clone(), cause };
        let progress = serde_json::to_string(progress).map_err(|e| failed(e.into()))?;
        let metadata =
            HashMap::from([(KEY.to_owned(), self.key.clone()), (PROGRESS.to_owned(), progress)]);
        let named = lists.iter().flat_map(|(list, each)| {
            let each = each.iter().enumerate();
            each.map(move |(at, elements)| (format!("{list}.{at:06}"), *elements))
        });
        let bytes = named.map(|(name, elements)| {
            let bytes: Vec<u8> = elements.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, elements.len(), bytes)
        });
        let bytes: Vec<(String, usize, Vec<u8>)> = bytes.collect();
        let views = bytes
            .iter()
            .map(|(name, len, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![*len], bytes)?)));
        let views: Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
        let file = views.and_then(|views| serialize(views, Some(metadata)));
        let file = file.map_err(|e| failed(std::io::Error::other(e.to_string())))?;
        yolo::write_file(&self.path, &file).map_err(failed)
    }
}

/// Removes the file of a training whose result is kept.
///
/// # Errors
/// `Write` when the system refuses.
pub fn remove_state(path: &Path) -> Result<(), CompressError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(CompressError::Write { path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_gives_what_was_written_for_the_same_inputs_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let file = StateFile::new(&path, &("model", 1)).unwrap();
        assert_eq!(file.read::<u32>(), None);
        let weights: [&[f32]; 2] = [&[1.0, f32::MIN_POSITIVE], &[]];
        file.write(&7u32, &[("weights", weights.to_vec()), ("means", vec![&[0.5]])]).unwrap();
        let state = file.read::<u32>().unwrap();
        assert_eq!(state.progress, 7);
        assert_eq!(state.numbers["weights"], weights.map(<[f32]>::to_vec));
        assert_eq!(state.numbers["means"], [[0.5]]);
        assert_eq!(StateFile::new(&path, &("model", 2)).unwrap().read::<u32>(), None);
        fs::write(&path, b"cut short").unwrap();
        assert_eq!(file.read::<u32>(), None);
        remove_state(&path).unwrap();
        remove_state(&path).unwrap();
        assert!(!path.exists());
    }
}
