//! The two containers PyTorch writes: a zip archive (since 1.6) and a run of pickles with raw storages behind them.
use crate::CheckpointError;
use crate::budget::Budget;
use crate::error::EXPORT;
use crate::storages::{DType, Storages, read_entry};
use crate::tree::{Tree, Value};
use crate::{foreign, pickle};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Cursor;
use zip::ZipArchive;

#[cfg(test)]
mod tests;

/// A checkpoint holds about a thousand storages; the archive reader needs memory for each entry.
const MAX_ENTRIES: usize = 1 << 14;
const CENTRAL_HEADER: &[u8] = b"PK\x01\x02";

/// PyTorch's `MAGIC_NUMBER` 0x1950a86a20f9469cfc6c as a pickle holds it; the pickle of a legacy file that has it is the first
/// and, whatever its protocol, no longer than this.
const LEGACY_MAGIC: &[u8] =
    &[0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const MAGIC_WITHIN: usize = 32;

/// The main pickle of a checkpoint and the storages it refers to.
pub(crate) struct Container<'a> {
    pub(crate) pickle: Cow<'a, [u8]>,
    pub(crate) storages: Storages<'a>,
}

/// Opens either container.
///
/// # Errors
/// `NotACheckpoint` for another kind of file; what is wrong with the container otherwise.
pub(crate) fn open<'a>(file: &'a [u8], budget: &Budget) -> Result<Container<'a>, CheckpointError> {
    if file.starts_with(b"PK") {
        return open_zip(file, budget);
    }
    let start = &file[..file.len().min(MAGIC_WITHIN)];
    if memchr::memmem::find(start, LEGACY_MAGIC).is_some() {
        return open_legacy(file, budget);
    }
    Err(foreign::refuse(file))
}

fn open_zip<'a>(file: &'a [u8], budget: &Budget) -> Result<Container<'a>, CheckpointError> {
    let headers = memchr::memmem::find_iter(file, CENTRAL_HEADER);
    let found = headers.take(MAX_ENTRIES + 1).count();
    if found > MAX_ENTRIES {
        return Err(CheckpointError::TooManyEntries { allowed: MAX_ENTRIES, found });
    }
    let mut archive = ZipArchive::new(Cursor::new(file))?;
    let mut folders: Vec<String> = archive
        .file_names()
        .filter_map(|n| n.ok()?.strip_suffix("data.pkl").map(str::to_owned))
        .filter(|folder| folder.is_empty() || folder.ends_with('/'))
        .collect();
    folders.sort_by_key(|f| (f.matches('/').count(), f.clone()));
    let folder = folders.into_iter().next();
    let folder = folder.ok_or_else(|| CheckpointError::NotACheckpoint {
        found: "a zip archive that torch.save did not write (it has no `data.pkl`)".to_owned(),
        way: EXPORT,
    })?;
    if archive.index_for_name(&format!("{folder}constants.pkl")).is_some() {
        return Err(CheckpointError::NotACheckpoint {
            found: "a TorchScript archive, which holds code in place of layers".to_owned(),
            way: "give the checkpoint it was made from, or export that to ONNX",
        });
    }
    let order_at = format!("{folder}byteorder");
    if archive.index_for_name(&order_at).is_some() {
        let order = read_entry(&mut archive, &order_at, file.len())?;
        if order != b"little" {
            let found = order.escape_ascii().to_string();
            return Err(CheckpointError::ByteOrder { found });
        }
    }
    let pickle = read_entry(&mut archive, &format!("{folder}data.pkl"), file.len())?;
    budget.charge(pickle.len(), || "data.pkl".to_owned())?;
    Ok(Container {
        pickle: Cow::Owned(pickle),
        storages: Storages::zip(archive, folder, file.len()),
    })
}

fn open_legacy<'a>(file: &'a [u8], budget: &Budget) -> Result<Container<'a>, CheckpointError> {
    let mut at = 0;
    let mut next = || -> Result<(Tree<'a>, &'a [u8]), CheckpointError> {
        let rest = &file[at..];
        let (tree, taken) = pickle::read(rest, budget)?;
        at += taken;
        Ok((tree, rest))
    };
    next()?;
    next()?;
    let (system, _) = next()?;
    if let Some(Value::Bool(false)) =
        system.get(system.root, "little_endian").map(|v| system.value(v))
    {
        let found = "big".to_owned();
        return Err(CheckpointError::ByteOrder { found });
    }
    let (main, pickle) = next()?;
    let (keys, _) = next()?;
    let dtypes = storage_types(&main);
    let listed = keys.sequence(keys.root);
    let listed = listed.ok_or_else(|| keys.unexpected("storage keys", "a list", keys.root))?;
    let mut storages = BTreeMap::new();
    for &key in listed {
        let name = keys.str(key);
        let name = name.ok_or_else(|| keys.unexpected("storage keys", "a string", key))?;
        let width = dtypes.get(name).map(|d| d.size_bytes());
        let width =
            width.ok_or_else(|| keys.unexpected("storage keys", "a storage in use", key))?;
        let bytes = raw_storage(&file[at..], name, width)?;
        at += 8 + bytes.len();
        budget.charge(128, || "the storage keys".to_owned())?;
        storages.insert(name, bytes);
    }
    Ok(Container { pickle: Cow::Borrowed(pickle), storages: Storages::legacy(storages) })
}

/// A storage as it lies in the file: its number of elements in 8 bytes, then the elements.
fn raw_storage<'a>(rest: &'a [u8], key: &str, width: usize) -> Result<&'a [u8], CheckpointError> {
    let too_short = |expected: u128| CheckpointError::StorageBytes {
        at: "storages".to_owned(),
        key: key.to_owned(),
        expected,
        found: rest.len() as u128,
    };
    let (count, data) = rest.split_first_chunk::<8>().ok_or(too_short(8))?;
    let bytes = u128::from(u64::from_le_bytes(*count)) * width as u128;
    let len = usize::try_from(bytes).ok();
    len.and_then(|n| data.get(..n)).ok_or(too_short(bytes + 8))
}

/// The element type of every storage that the pickle names, by key.
fn storage_types<'a>(tree: &Tree<'a>) -> BTreeMap<&'a str, DType> {
    let named = tree.values.iter().filter_map(|value| {
        let Value::Persistent(id) = value else {
            return None;
        };
        let &[_, class, key, ..] = tree.sequence(*id)? else {
            return None;
        };
        Some((tree.str(key)?, DType::of_storage(tree.global(class)?.1)?))
    });
    named.collect()
}
