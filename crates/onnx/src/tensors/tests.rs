use super::*;
use crate::proto::StringStringEntryProto;
use std::path::Path;

fn entry(key: &str, value: &str) -> StringStringEntryProto {
    StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) }
}

fn tensor(data_type: i32, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: Some("w".to_owned()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        ..TensorProto::default()
    }
}

fn external(location: &str, offset: u64, length: u64) -> TensorProto {
    let external_data = vec![
        entry("location", location),
        entry("offset", &offset.to_string()),
        entry("length", &length.to_string()),
    ];
    TensorProto { external_data, data_location: Some(EXTERNAL), ..tensor(1, &[2]) }
}

fn message(proto: &TensorProto, folder: Option<&Path>) -> String {
    decode(proto, &Folder::new(folder))
        .map_or_else(|e| e.to_string(), |t| format!("read {}", t.ty()))
}

#[test]
fn decode_every_typed_field_equals_raw_data() {
    let narrow =
        |code, values: &[i32]| TensorProto { int32_data: values.to_vec(), ..tensor(code, &[2]) };
    let wide = |code| TensorProto { uint64_data: vec![3, 4_000_000_000], ..tensor(code, &[2]) };
    let cases = [
        TensorProto { float_data: vec![1.5, -2.0], ..tensor(1, &[2]) },
        TensorProto { double_data: vec![1.5, -2.0], ..tensor(11, &[2]) },
        TensorProto { int64_data: vec![i64::MIN, 7], ..tensor(7, &[2]) },
        wide(12),
        wide(13),
        narrow(2, &[0, 255]),
        narrow(3, &[-128, 127]),
        narrow(4, &[0, 65535]),
        narrow(5, &[-32768, 32767]),
        narrow(6, &[i32::MIN, i32::MAX]),
        narrow(9, &[0, 1]),
        narrow(10, &[0x3c00, 0xc000]),
        narrow(16, &[0x3f80, 0xc000]),
    ];
    for typed in cases {
        let read = decode(&typed, &Folder::default()).unwrap();
        let raw = encode(Some("w"), &read).unwrap();
        assert!(raw.raw_data.is_some(), "{}", read.ty());
        assert_eq!(decode(&raw, &Folder::default()).unwrap(), read);
        assert_eq!(read.dtype().to_onnx(), typed.data_type());
    }
    let halves = decode(&narrow(10, &[0x3c00, 0xc000]), &Folder::default()).unwrap();
    assert_eq!(halves.to_f64().unwrap(), [1.0, -2.0]);
}

#[test]
fn decode_unknown_type_is_carried_and_written_back() {
    let strings = TensorProto { string_data: vec![b"a".to_vec()], ..tensor(8, &[1]) };
    let read = decode(&strings, &Folder::default()).unwrap();
    assert_eq!(read.dtype(), DataType::Other(8));
    let back = encode(Some("v"), &read).unwrap();
    assert_eq!(back, TensorProto { name: Some("v".to_owned()), ..strings });
}

#[test]
fn decode_shape_that_does_not_fit_names_tensor_and_sizes() {
    let huge = TensorProto { raw_data: Some(vec![0; 8].into()), ..tensor(1, &[1 << 40]) };
    assert_eq!(
        message(&huge, None),
        "tensor `w`: its shape [1099511627776] needs 4398046511104 bytes, found 8"
    );
    let overflowing = tensor(1, &[i64::MAX, i64::MAX, i64::MAX]);
    assert!(message(&overflowing, None).contains("found 0"));
    let negative = tensor(1, &[2, -1]);
    assert_eq!(message(&negative, None), "tensor `w`: axis 1 has the length -1");
}

#[test]
fn decode_external_data_reads_its_range_only() {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = [9.0f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.path().join("w.bin"), bytes).unwrap();
    let read = decode(&external("w.bin", 4, 8), &Folder::new(Some(folder.path()))).unwrap();
    assert_eq!(read.as_slice::<f32>().unwrap(), [1.0, 2.0]);
    let mut embedded = external("w.bin", 4, 8);
    embed(&mut embedded, &Folder::new(Some(folder.path()))).unwrap();
    assert_eq!(decode(&embedded, &Folder::default()).unwrap(), read);
}

#[test]
fn decode_bad_external_data_says_what_is_wrong() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("model");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(outer.path().join("secret"), [0; 8]).unwrap();
    std::fs::write(folder.join("w.bin"), [0; 8]).unwrap();
    let absolute = outer.path().join("secret");
    let outside = "must lie inside the model's folder";
    let mut cases = vec![
        (external("../secret", 0, 8), outside),
        (external(absolute.to_str().unwrap(), 0, 8), outside),
        (external("", 0, 8), outside),
        (external(".", 0, 8), outside),
        (external("absent", 0, 8), "cannot be read"),
        (external("w.bin", 4, 8), "bytes 4..12 are asked for, the file has 8"),
        (external("w.bin", u64::MAX, 8), "the file has 8"),
        (external("w.bin", 0, 4), "needs 8 bytes, found 4"),
        (
            TensorProto {
                external_data: vec![entry("location", "w.bin"), entry("offset", "x")],
                ..external("", 0, 0)
            },
            "expected a number, found `x`",
        ),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, folder.join("link")).unwrap();
        cases.push((external("link", 0, 8), outside));
    }
    for (proto, expected) in cases {
        let found = message(&proto, Some(&folder));
        assert!(found.contains(expected), "{found}");
    }
    assert!(message(&external("w.bin", 0, 8), None).contains(outside));
}

#[test]
fn decode_external_data_of_a_git_lfs_pointer_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 900\n";
    std::fs::write(folder.path().join("w.bin"), pointer).unwrap();
    let found = message(&external("w.bin", 800, 8), Some(folder.path()));
    assert!(found.contains("git lfs pull"), "{found}");
}

#[test]
fn decode_external_data_that_many_tensors_share_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(folder.path().join("w.bin")).unwrap();
    // A sparse file, which takes no room.
    file.set_len(1 << 30).unwrap();
    let all = Folder::new(Some(folder.path()));
    let length = 8 << 20;
    let mut proto = external("w.bin", 0, length);
    proto.dims = vec![(length / 4) as i64];
    let first = decode(&proto, &all).unwrap();
    for _ in 0..2_000 {
        let again = decode(&proto, &all).unwrap();
        assert!(std::ptr::eq(first.data(), again.data()));
    }
}

#[test]
fn decode_external_data_that_overlaps_beyond_measure_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("w.bin"), vec![0; 4 << 20]).unwrap();
    let all = Folder::new(Some(folder.path()));
    let length = 2 << 20;
    let refused = (0..200).find_map(|i| {
        let mut proto = external("w.bin", 4 * i, length);
        proto.dims = vec![(length / 4) as i64];
        decode(&proto, &all).err()
    });
    let refused = refused.expect("400 MiB of 4").to_string();
    assert!(refused.contains("its tensors overlap"), "{refused}");
}
