//! Files that are taken for training checkpoints and are none: what they are, by how they start.
use crate::CheckpointError;
use crate::error::EXPORT;

/// A kind of file: how it is recognised, what it is called, and the way on.
struct Kind {
    fits: fn(&[u8]) -> bool,
    found: &'static str,
    way: &'static str,
}

const SAVE: &str =
    "load it with PyTorch and save the whole model with torch.save, or export it to ONNX";

const KINDS: &[Kind] = &[
    Kind { fits: <[u8]>::is_empty, found: "an empty file", way: "copy it anew" },
    Kind {
        fits: |f| {
            let start = f[..f.len().min(64)].trim_ascii_start().to_ascii_lowercase();
            start.starts_with(b"<!doctype html") || start.starts_with(b"<html")
        },
        found: "a web page",
        way: "download the file itself",
    },
    Kind {
        fits: is_safetensors,
        found: "weights alone (safetensors), without the network they belong to",
        way: EXPORT,
    },
    Kind {
        fits: |f| f.get(257..262) == Some(b"ustar") || f.starts_with(b"storages\0"),
        found: "a tar archive, as PyTorch wrote them before version 0.1.10",
        way: SAVE,
    },
    Kind { fits: |f| f.starts_with(b"\x1f\x8b"), found: "a gzip archive", way: "unpack it first" },
    Kind {
        fits: |f| f.starts_with(b"\x89HDF"),
        found: "an HDF5 file, as Keras writes them",
        way: EXPORT,
    },
    Kind { fits: |f| f.get(4..8) == Some(b"TFL3"), found: "a TensorFlow Lite model", way: EXPORT },
    Kind {
        fits: |f| is_pickle(f) && memchr::memmem::find(f, b"StructuredToParameterName").is_some(),
        found: "weights alone of PaddlePaddle",
        way: EXPORT,
    },
    Kind {
        fits: is_pickle,
        found: "a plain Python pickle, which torch.save did not write",
        way: SAVE,
    },
    Kind {
        fits: |f| f.starts_with(b"\x08") && f.get(2) == Some(&0x12),
        found: "what looks like an ONNX model",
        way: "name it .onnx",
    },
];

/// Whether a file starts with the length of a JSON header in eight bytes, and the header.
fn is_safetensors(file: &[u8]) -> bool {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    length <= rest.len() as u64 && rest.starts_with(b"{\"")
}

fn is_pickle(file: &[u8]) -> bool {
    matches!(file, [0x80, 2..=5, ..])
}

/// What a file is that is no checkpoint.
pub(crate) fn refuse(file: &[u8]) -> CheckpointError {
    if let Some(kind) = KINDS.iter().find(|k| (k.fits)(file)) {
        return CheckpointError::NotACheckpoint { found: kind.found.to_owned(), way: kind.way };
    }
    let start = &file[..file.len().min(8)];
    CheckpointError::NotACheckpoint {
        found: format!("a file that starts with `{}`", start.escape_ascii()),
        way: "expected the zip archive or the legacy pickle that torch.save writes",
    }
}

#[cfg(test)]
mod tests {
    use super::refuse;

    #[test]
    fn files_of_other_kinds_are_named() {
        let tar = [&[0; 257][..], b"ustar\0"].concat();
        let safetensors = [&14u64.to_le_bytes()[..], b"{\"weight\":{}} "].concat();
        let paddle = b"\x80\x04}X\x1b\0\0\0StructuredToParameterName@@}s.";
        for (file, expected) in [
            (&b""[..], "an empty file"),
            (b"\n<!DOCTYPE html><html>", "a web page"),
            (&safetensors, "safetensors"),
            (&tar, "a tar archive"),
            (paddle, "PaddlePaddle"),
            (b"\x80\x02K\x01.", "a plain Python pickle"),
            (b"\x08\x08\x12\x07pytorch", "name it .onnx"),
            (b"\x7fELF", "starts with `\\x7fELF`"),
        ] {
            let error = refuse(file).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
