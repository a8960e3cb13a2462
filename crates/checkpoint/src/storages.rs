//! Storages: element types, how a pickle refers to them, and the bytes behind them.
use crate::CheckpointError;
use crate::budget::Budget;
use crate::tree::{Id, Tree, Value};
use half::{bf16, f16};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use zip::ZipArchive;

/// Element types of storages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

const STORAGES: &[(&str, DType, usize)] = &[
    ("DoubleStorage", DType::F64, 8),
    ("FloatStorage", DType::F32, 4),
    ("HalfStorage", DType::F16, 2),
    ("BFloat16Storage", DType::BF16, 2),
    ("LongStorage", DType::I64, 8),
    ("IntStorage", DType::I32, 4),
    ("ShortStorage", DType::I16, 2),
    ("CharStorage", DType::I8, 1),
    ("ByteStorage", DType::U8, 1),
    ("BoolStorage", DType::Bool, 1),
];

impl DType {
    /// The element type of a storage class.
    pub(crate) fn of_storage(class: &str) -> Option<Self> {
        STORAGES.iter().find(|s| s.0 == class).map(|s| s.1)
    }

    pub(crate) fn size_bytes(self) -> usize {
        STORAGES.iter().find(|s| s.1 == self).map_or(1, |s| s.2)
    }

    pub(crate) fn read(self, b: &[u8]) -> f64 {
        fn array<const N: usize>(b: &[u8]) -> [u8; N] {
            *b.first_chunk().expect("elements are cut by size_bytes")
        }
        match self {
            DType::F64 => f64::from_le_bytes(array(b)),
            DType::F32 => f64::from(f32::from_le_bytes(array(b))),
            DType::F16 => f16::from_le_bytes(array(b)).to_f64(),
            DType::BF16 => bf16::from_le_bytes(array(b)).to_f64(),
            DType::I64 => i64::from_le_bytes(array(b)) as f64,
            DType::I32 => f64::from(i32::from_le_bytes(array(b))),
            DType::I16 => f64::from(i16::from_le_bytes(array(b))),
            DType::I8 => f64::from(i8::from_le_bytes(array(b))),
            DType::U8 | DType::Bool => f64::from(b[0]),
        }
    }
}

/// Where the bytes of the storages come from.
pub(crate) struct Storages<'a> {
    source: Source<'a>,
    /// The storage read last, since views of one storage follow each other.
    last: Option<(String, Vec<u8>)>,
    reads: Budget,
}

enum Source<'a> {
    Zip { archive: Box<ZipArchive<Cursor<&'a [u8]>>>, folder: String, file_bytes: usize },
    Legacy(BTreeMap<&'a str, &'a [u8]>),
}

impl<'a> Storages<'a> {
    pub(crate) fn zip(
        archive: ZipArchive<Cursor<&'a [u8]>>,
        folder: String,
        file_bytes: usize,
    ) -> Self {
        Self {
            source: Source::Zip { archive: Box::new(archive), folder, file_bytes },
            last: None,
            reads: Budget::new(file_bytes.saturating_mul(4).saturating_add(1 << 20)),
        }
    }

    pub(crate) fn legacy(storages: BTreeMap<&'a str, &'a [u8]>) -> Self {
        Self { source: Source::Legacy(storages), last: None, reads: Budget::new(0) }
    }

    /// The bytes of a storage.
    ///
    /// # Errors
    /// `NoEntry` or `Entry` where there is none or it is damaged; `TooLarge` where the same bytes are read over and over.
    pub(crate) fn bytes(&mut self, key: &str) -> Result<&[u8], CheckpointError> {
        match &mut self.source {
            Source::Legacy(map) => map.get(key).copied().ok_or_else(|| {
                let entry = format!("storage {key}");
                CheckpointError::NoEntry { entry }
            }),
            Source::Zip { archive, folder, file_bytes } => {
                if self.last.as_ref().is_none_or(|(k, _)| k != key) {
                    self.last = None;
                    let entry = format!("{folder}data/{key}");
                    let bytes = read_entry(archive, &entry, *file_bytes)?;
                    self.reads.charge(bytes.len(), || entry.clone())?;
                    self.last = Some((key.to_owned(), bytes));
                }
                Ok(self.last.as_ref().map_or(&[], |(_, bytes)| bytes))
            }
        }
    }
}

/// Reads an entry and checks its CRC; its size is believed only as far as the file reaches.
pub(crate) fn read_entry(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    file_bytes: usize,
) -> Result<Vec<u8>, CheckpointError> {
    let damaged = |cause| CheckpointError::Entry { entry: name.to_owned(), cause };
    let entry = archive.by_name(name)?;
    let size = usize::try_from(entry.size()).unwrap_or(usize::MAX);
    if size > file_bytes {
        let kind = std::io::ErrorKind::UnexpectedEof;
        let reason = format!("it claims {size} bytes in a file of {file_bytes}");
        return Err(damaged(std::io::Error::new(kind, reason)));
    }
    let mut bytes = Vec::with_capacity(size);
    let limit = file_bytes as u64;
    entry.take(limit).read_to_end(&mut bytes).map_err(damaged)?;
    Ok(bytes)
}

/// A persistent id, as PyTorch writes it: `("storage", class, key, location, elements, ..)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StorageRef<'a> {
    pub(crate) key: &'a str,
    pub(crate) dtype: DType,
    /// Where it starts in the storage of that key, in elements: legacy files may cut one storage out of another.
    pub(crate) start: usize,
}

impl<'a> StorageRef<'a> {
    /// Reads a persistent id.
    ///
    /// # Errors
    /// `Expected` for any other value, or a storage of elements that no weight has.
    pub(crate) fn read(tree: &Tree<'a>, id: Id, at: &str) -> Result<Self, CheckpointError> {
        let Value::Persistent(inner) = tree.value(id) else {
            return Err(tree.unexpected(at, "a storage", id));
        };
        let Some(&[_, class, key, ..]) = tree.sequence(*inner) else {
            return Err(tree.unexpected(at, "a storage", *inner));
        };
        let view = tree.sequence(*inner).and_then(|s| s.get(5).copied());
        let view = view.filter(|&v| !matches!(tree.value(v), Value::None));
        let start = match view {
            None => 0,
            Some(view) => start(tree, view)
                .ok_or_else(|| tree.unexpected(at, "the part of a storage", view))?,
        };
        let dtype = tree.global(class).and_then(|c| DType::of_storage(c.1));
        let dtype = dtype.ok_or_else(|| tree.unexpected(at, "a storage of numbers", class))?;
        let key = tree.str(key);
        let key = key.ok_or_else(|| tree.unexpected(at, "a storage key", *inner))?;
        Ok(Self { key, dtype, start })
    }
}

/// Where a part of a storage starts: a part is stored as its key, its start and its length.
fn start(tree: &Tree<'_>, view: Id) -> Option<usize> {
    match tree.sequence(view)? {
        &[_, start, _] => usize::try_from(tree.int(start)?).ok(),
        _ => None,
    }
}
