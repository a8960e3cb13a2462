//! Checkpoints that the tests make: modules as PyTorch pickles them, in the zip container or the legacy one.
#![allow(dead_code, unreachable_pub)]
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

pub mod modules;
pub mod plain;

/// A value of Python.
#[derive(Clone, Debug)]
pub enum Py {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Tuple(Vec<Py>),
    List(Vec<Py>),
    Dict(Vec<(Py, Py)>),
    Tensor(Tensor),
    Module(Module),
}

/// A tensor, with the element type of its storage.
#[derive(Clone, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
    pub dtype: DType,
    /// Elements before it in its storage.
    pub offset: usize,
    /// Whether it is wrapped as a parameter.
    pub parameter: bool,
    /// In legacy files: whether its storage is a part of another one.
    pub part: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DType {
    Half,
    BFloat16,
    Float,
    Double,
    Long,
}

impl DType {
    fn bytes(self, v: f32) -> Vec<u8> {
        match self {
            DType::Half => half::f16::from_f32(v).to_le_bytes().to_vec(),
            DType::BFloat16 => half::bf16::from_f32(v).to_le_bytes().to_vec(),
            DType::Float => v.to_le_bytes().to_vec(),
            DType::Double => f64::from(v).to_le_bytes().to_vec(),
            DType::Long => (v as i64).to_le_bytes().to_vec(),
        }
    }
}

/// An instance of a class of modules.
#[derive(Clone, Debug)]
pub struct Module {
    pub class: String,
    pub attributes: Vec<(String, Py)>,
    pub parameters: Vec<(String, Py)>,
    pub children: Vec<(String, Module)>,
}

/// Which container a checkpoint is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    Zip,
    Legacy,
}

/// A file as `torch.save` writes it.
pub fn save(value: &Py, container: Container) -> Vec<u8> {
    let mut pickler = Pickler {
        bytes: vec![0x80, 2],
        storages: Vec::new(),
        legacy: container == Container::Legacy,
        classes: Vec::new(),
    };
    pickler.value(value);
    pickler.bytes.push(b'.');
    match container {
        Container::Zip => zip(&pickler),
        Container::Legacy => legacy(&pickler),
    }
}

fn zip(pickler: &Pickler) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut entry = |name: String, bytes: &[u8]| {
        writer.start_file(name, stored).expect("memory is writable");
        writer.write_all(bytes).expect("memory is writable");
    };
    entry("made/data.pkl".to_owned(), &pickler.bytes);
    entry("made/byteorder".to_owned(), b"little");
    for (key, (_, bytes)) in pickler.storages.iter().enumerate() {
        entry(format!("made/data/{key}"), bytes);
    }
    writer.finish().expect("memory is writable").into_inner()
}

fn legacy(pickler: &Pickler) -> Vec<u8> {
    let mut file = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    file.extend(b"\x80\x02M\xe9\x03.\x80\x02}X\x0d\0\0\0little_endian\x88s.");
    file.extend(&pickler.bytes);
    let mut keys =
        Pickler { bytes: vec![0x80, 2], storages: Vec::new(), legacy: true, classes: Vec::new() };
    let names = (0..pickler.storages.len()).map(|k| Py::Str(k.to_string()));
    keys.value(&Py::List(names.collect()));
    file.extend(keys.bytes);
    file.push(b'.');
    for (width, bytes) in &pickler.storages {
        file.extend(((bytes.len() / width) as u64).to_le_bytes());
        file.extend(bytes);
    }
    file
}

struct Pickler {
    bytes: Vec<u8>,
    /// Bytes of an element, and all elements, by key.
    storages: Vec<(usize, Vec<u8>)>,
    legacy: bool,
    /// Classes of modules whose source was written.
    classes: Vec<String>,
}

impl Pickler {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    fn str(&mut self, text: &str) {
        self.put(b"X");
        self.put(&(text.len() as u32).to_le_bytes());
        self.put(text.as_bytes());
    }

    fn global(&mut self, path: &str) {
        let (package, name) = path.rsplit_once('.').expect("a package and a name");
        self.put(format!("c{package}\n{name}\n").as_bytes());
    }

    fn int(&mut self, i: i64) {
        match i32::try_from(i) {
            Ok(i) => {
                self.put(b"J");
                self.put(&i.to_le_bytes());
            }
            Err(_) => {
                self.put(&[0x8a, 8]);
                self.put(&i.to_le_bytes());
            }
        }
    }

    fn pairs<'v>(&mut self, pairs: impl Iterator<Item = (&'v str, &'v Py)>) {
        self.put(b"ccollections\nOrderedDict\n)R(");
        for (key, value) in pairs {
            self.str(key);
            self.value(value);
        }
        self.put(b"u");
    }

    fn value(&mut self, value: &Py) {
        match value {
            Py::None => self.put(b"N"),
            Py::Bool(b) => self.put(if *b { b"\x88" } else { b"\x89" }),
            Py::Int(i) => self.int(*i),
            Py::Float(f) => {
                self.put(b"G");
                self.put(&f.to_be_bytes());
            }
            Py::Str(text) => self.str(text),
            Py::Tuple(values) => {
                self.put(b"(");
                values.iter().for_each(|v| self.value(v));
                self.put(b"t");
            }
            Py::List(values) => {
                self.put(b"](");
                values.iter().for_each(|v| self.value(v));
                self.put(b"e");
            }
            Py::Dict(pairs) => {
                self.put(b"}(");
                for (key, value) in pairs {
                    self.value(key);
                    self.value(value);
                }
                self.put(b"u");
            }
            Py::Tensor(tensor) => self.tensor(tensor),
            Py::Module(module) => self.module(module),
        }
    }

    fn tensor(&mut self, tensor: &Tensor) {
        if tensor.parameter {
            self.put(b"ctorch._utils\n_rebuild_parameter\n(");
        }
        let key = self.storages.len();
        let before = vec![9.0; tensor.offset];
        let all = [&before[..], &tensor.values].concat();
        let bytes: Vec<u8> = all.iter().flat_map(|&v| tensor.dtype.bytes(v)).collect();
        let width = tensor.dtype.bytes(0.0).len();
        self.storages.push((width, bytes));
        self.put(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        self.str("storage");
        self.global(&format!("torch.{:?}Storage", tensor.dtype));
        self.str(&key.to_string());
        self.str("cpu");
        self.int(all.len() as i64);
        let mut offset = tensor.offset;
        if self.legacy && tensor.part {
            // A part of the storage from there on, by a key of its own.
            self.put(b"(");
            self.str(&format!("part of {key}"));
            self.int(offset as i64);
            self.int(tensor.values.len() as i64);
            self.put(b"t");
            offset = 0;
        } else if self.legacy {
            self.put(b"N");
        }
        self.put(b"tQ");
        self.int(offset as i64);
        let strides: Vec<usize> =
            (0..tensor.shape.len()).map(|a| tensor.shape[a + 1..].iter().product()).collect();
        for list in [&tensor.shape, &strides] {
            self.put(b"(");
            list.iter().for_each(|&n| self.int(n as i64));
            self.put(b"t");
        }
        self.put(b"\x89ccollections\nOrderedDict\n)RtR");
        if tensor.parameter {
            self.put(b"\x88ccollections\nOrderedDict\n)RtR");
        }
    }

    fn module(&mut self, module: &Module) {
        let first = !self.classes.contains(&module.class);
        if self.legacy && first {
            // The source of a class goes with it, as PyTorch writes it.
            self.classes.push(module.class.clone());
            self.put(b"(");
            self.str("module");
            self.global(&module.class);
            self.str("/some/where/module.py");
            self.str("class Some(nn.Module):\n    pass\n");
            self.put(b"tQ");
        } else {
            self.global(&module.class);
        }
        self.put(b")\x81}(");
        self.str("training");
        self.put(b"\x89");
        self.str("_parameters");
        self.pairs(module.parameters.iter().map(|(k, v)| (k.as_str(), v)));
        self.str("_buffers");
        self.put(b"}");
        self.str("_modules");
        let children: Vec<(&str, Py)> =
            module.children.iter().map(|(k, m)| (k.as_str(), Py::Module(m.clone()))).collect();
        self.pairs(children.iter().map(|(k, v)| (*k, v)));
        for (name, value) in &module.attributes {
            self.str(name);
            self.value(value);
        }
        self.put(b"ub");
    }
}
