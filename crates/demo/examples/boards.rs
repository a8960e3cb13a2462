//! Writes drawn boards as a data set: `cargo run --release -p yoloslim-demo --example boards -- FOLDER TRAIN VAL SEED`.
use demo::{DatasetSize, write_dataset};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, train, val, seed] = &arguments[..] else {
        return Err("boards FOLDER TRAIN VAL SEED".into());
    };
    let size = DatasetSize { train: train.parse()?, val: val.parse()? };
    let threads = std::thread::available_parallelism()?.get();
    let yaml = write_dataset(&PathBuf::from(folder), size, seed.parse()?, threads)?;
    println!("{}", yaml.display());
    Ok(())
}
