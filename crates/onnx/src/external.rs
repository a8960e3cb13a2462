//! External data: tensors whose bytes lie in files beside the model.
use crate::OnnxError;
use crate::proto::TensorProto;
use ir::{Tensor, git_lfs};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// What ranges of one file that overlap may take beside the size of all files that were read from.
const MAX_OVERLAP_BYTES: u64 = 64 << 20;

/// What a tensor's external data is, with its type and shape.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    entries: Vec<(String, String)>,
    data_type: i32,
    dims: Vec<i64>,
}

/// The folder of a model; tensors of the same bytes are read once, and files are read no more than twice.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    path: Option<PathBuf>,
    tensors: RefCell<BTreeMap<Range, Tensor>>,
    files: RefCell<BTreeMap<PathBuf, u64>>,
    read_bytes: Cell<u64>,
}

impl Folder {
    /// The folder; without one, external data is refused.
    pub(crate) fn new(path: Option<&Path>) -> Self {
        Self { path: path.map(Path::to_owned), ..Self::default() }
    }

    /// The tensor that was read of these bytes before, or else what `read` gives.
    pub(crate) fn shared(
        &self,
        proto: &TensorProto,
        read: impl FnOnce() -> Result<Tensor, OnnxError>,
    ) -> Result<Tensor, OnnxError> {
        let entry = |e: &crate::proto::StringStringEntryProto| (e.key().into(), e.value().into());
        let range = Range {
            entries: proto.external_data.iter().map(entry).collect(),
            data_type: proto.data_type(),
            dims: proto.dims.clone(),
        };
        if let Some(tensor) = self.tensors.borrow().get(&range) {
            return Ok(tensor.clone());
        }
        let tensor = read()?;
        self.tensors.borrow_mut().insert(range, tensor.clone());
        Ok(tensor)
    }

    /// The bytes of a tensor, `expected` of them where its type says how many.
    ///
    /// # Errors
    /// What is wrong with the place that the tensor states, or with the file there.
    pub(crate) fn read(
        &self,
        proto: &TensorProto,
        expected: Option<u128>,
    ) -> Result<Vec<u8>, OnnxError> {
        let location = entry(proto, "location").unwrap_or_default();
        let unreadable = |cause| OnnxError::ExternalRead {
            tensor: proto.name().to_owned(),
            location: location.clone(),
            cause,
        };
        let path = self.locate(proto, &location)?;
        let mut file = File::open(&path).map_err(unreadable)?;
        let file_bytes = file.metadata().map_err(unreadable)?.len();
        let offset = number(proto, "offset")?.unwrap_or(0);
        let length = number(proto, "length")?.unwrap_or(file_bytes.saturating_sub(offset));
        let end = u128::from(offset) + u128::from(length);
        if end > u128::from(file_bytes) {
            let mut start = Vec::new();
            (&file).take(64).read_to_end(&mut start).map_err(unreadable)?;
            if git_lfs::is_pointer(&start) {
                return Err(unreadable(std::io::Error::other(git_lfs::POINTER)));
            }
            return Err(OnnxError::ExternalRange {
                tensor: proto.name().to_owned(),
                location,
                offset,
                end,
                file_bytes,
            });
        }
        if let Some(expected) = expected {
            check_bytes(proto, expected, u128::from(length))?;
        }
        self.files.borrow_mut().insert(path, file_bytes);
        self.count(proto, length)?;
        file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    /// Where the file lies; inside the folder, links followed.
    fn locate(&self, proto: &TensorProto, location: &str) -> Result<PathBuf, OnnxError> {
        let outside = || OnnxError::ExternalOutside {
            tensor: proto.name().to_owned(),
            location: location.to_owned(),
        };
        let unreadable = |cause| OnnxError::ExternalRead {
            tensor: proto.name().to_owned(),
            location: location.to_owned(),
            cause,
        };
        let relative = Path::new(location);
        let inside =
            relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        let folder = self.path.as_deref();
        let folder = folder.filter(|_| inside && !location.is_empty()).ok_or_else(outside)?;
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let root = folder.canonicalize().map_err(unreadable)?;
        let path = root.join(relative).canonicalize().map_err(unreadable)?;
        if path.starts_with(&root) && path.is_file() { Ok(path) } else { Err(outside()) }
    }

    /// Counts what is read: a file of a few megabytes could state a thousand tensors that each take all of it.
    fn count(&self, proto: &TensorProto, length: u64) -> Result<(), OnnxError> {
        let files = self.files.borrow();
        let all = files.values().fold(0u64, |n, &b| n.saturating_add(b));
        let allowed = all.saturating_mul(2).saturating_add(MAX_OVERLAP_BYTES);
        let found = self.read_bytes.get().saturating_add(length);
        self.read_bytes.set(found);
        if found <= allowed {
            return Ok(());
        }
        Err(OnnxError::ExternalOverlap { tensor: proto.name().to_owned(), found, allowed })
    }
}

/// Refuses a tensor whose bytes are more or fewer than its type and shape need.
///
/// # Errors
/// `TensorBytes`, naming the tensor.
pub(crate) fn check_bytes(
    proto: &TensorProto,
    expected: u128,
    found: u128,
) -> Result<(), OnnxError> {
    if expected == found {
        return Ok(());
    }
    Err(OnnxError::TensorBytes {
        tensor: proto.name().to_owned(),
        dims: proto.dims.clone(),
        expected,
        found,
    })
}

fn entry(proto: &TensorProto, key: &str) -> Option<String> {
    let entry = proto.external_data.iter().find(|e| e.key() == key);
    entry.map(|e| e.value().to_owned())
}

fn number(proto: &TensorProto, key: &str) -> Result<Option<u64>, OnnxError> {
    let Some(found) = entry(proto, key) else {
        return Ok(None);
    };
    let number = found.parse::<u64>();
    number.map(Some).map_err(|_| OnnxError::ExternalKey {
        tensor: proto.name().to_owned(),
        key: key.to_owned(),
        found,
    })
}
