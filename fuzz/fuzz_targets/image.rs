//! An image of any kind that is read: the kind is told by its content.
#![no_main]
use fuzz_files::DataSet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let data = DataSet::shared();
    data.write("image.jpg", bytes);
    let path = data.path().join("image.jpg");
    let _ = yolo::read_size(&path);
    let _ = yolo::read_rgb(&path);
});
