//! Small ONNX models written without any of the code under test.

/// An attribute's value.
#[derive(Clone, Debug)]
pub enum Value {
    /// `INT`.
    Int(i64),
    /// `INTS`.
    Ints(Vec<i64>),
    /// `FLOAT`.
    Float(f32),
    /// `STRING`.
    Text(&'static str),
}

/// A constant.
#[derive(Clone, Debug)]
pub enum Content {
    /// A vector of int64.
    Ints(Vec<i64>),
    /// Float32 of that shape, each its own value between `low` and `high`.
    Floats {
        /// Length of each axis; a lie where it is negative or claims more than 65 536 elements.
        shape: Vec<i64>,
        /// Smallest value.
        low: f32,
        /// Largest value.
        high: f32,
    },
    /// A vector of float32.
    Vector(Vec<f32>),
}

impl Content {
    /// Float32 between -0.5 and 0.5.
    pub fn weights(shape: &[i64]) -> Self {
        let (low, high) = (-0.5, 0.5);
        Content::Floats { shape: shape.to_vec(), low, high }
    }

    /// Elements of float constants.
    pub fn floats(&self) -> Vec<f32> {
        match self {
            Content::Ints(_) => vec![],
            Content::Vector(v) => v.clone(),
            Content::Floats { shape, low, high } => {
                let n = shape.iter().try_fold(1i64, |n, &d| n.checked_mul(d));
                let n = n.unwrap_or(0).clamp(0, 1 << 16);
                // The golden ratio spreads any number of values evenly (Weyl, 1916).
                let at = |i: i64| (i as f64 * 0.618_033_988_749_895 + 0.37).fract() as f32;
                (0..n).map(|i| low + (high - low) * at(i)).collect()
            }
        }
    }
}

/// One node of the default domain.
#[derive(Clone, Debug)]
pub struct Node {
    /// ONNX operator name.
    pub op: &'static str,
    /// Names of the inputs; empty where one is left out.
    pub inputs: Vec<String>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Attributes in order.
    pub attributes: Vec<(&'static str, Value)>,
}

/// A model of one float32 input `x`.
#[derive(Clone, Debug)]
pub struct Model {
    /// Opset version of the default domain.
    pub opset: i64,
    /// Shape of the input.
    pub input: Vec<i64>,
    /// Nodes in order.
    pub nodes: Vec<Node>,
    /// Constants with their names.
    pub constants: Vec<(String, Content)>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

fn number(out: &mut Vec<u8>, tag: u64, v: i64) {
    varint(out, tag << 3);
    varint(out, v as u64);
}

fn bytes(out: &mut Vec<u8>, tag: u64, content: &[u8]) {
    varint(out, tag << 3 | 2);
    varint(out, content.len() as u64);
    out.extend(content);
}

fn message(out: &mut Vec<u8>, tag: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, tag, &inner);
}

fn value_info(out: &mut Vec<u8>, tag: u64, name: &str, shape: Option<&[i64]>) {
    message(out, tag, |info| {
        bytes(info, 1, name.as_bytes());
        let Some(shape) = shape else { return };
        message(info, 2, |ty| {
            message(ty, 1, |tensor| {
                number(tensor, 1, 1);
                message(tensor, 2, |s| {
                    shape.iter().for_each(|&d| message(s, 1, |dim| number(dim, 1, d)));
                });
            });
        });
    });
}

fn tensor(out: &mut Vec<u8>, name: &str, content: &Content) {
    bytes(out, 8, name.as_bytes());
    match content {
        Content::Ints(v) => {
            number(out, 1, v.len() as i64);
            number(out, 2, 7);
            v.iter().for_each(|&x| number(out, 7, x));
            return;
        }
        Content::Floats { shape, .. } => shape.iter().for_each(|&d| number(out, 1, d)),
        Content::Vector(v) => number(out, 1, v.len() as i64),
    }
    number(out, 2, 1);
    let raw: Vec<u8> = content.floats().iter().flat_map(|x| x.to_le_bytes()).collect();
    bytes(out, 9, &raw);
}

impl Model {
    /// The model as a file has it (onnx.proto, field numbers of the ONNX IR specification).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        number(&mut out, 1, 8);
        message(&mut out, 8, |opset| number(opset, 2, self.opset));
        message(&mut out, 7, |graph| {
            self.nodes.iter().for_each(|n| message(graph, 1, |out| n.encode(out)));
            bytes(graph, 2, b"made");
            for (name, content) in &self.constants {
                message(graph, 5, |out| tensor(out, name, content));
            }
            value_info(graph, 11, "x", Some(&self.input));
            for name in &self.outputs {
                value_info(graph, 12, name, None);
            }
        });
        out
    }
}

impl Node {
    fn encode(&self, out: &mut Vec<u8>) {
        self.inputs.iter().for_each(|n| bytes(out, 1, n.as_bytes()));
        self.outputs.iter().for_each(|n| bytes(out, 2, n.as_bytes()));
        bytes(out, 4, self.op.as_bytes());
        for (name, value) in &self.attributes {
            message(out, 5, |a| {
                bytes(a, 1, name.as_bytes());
                match value {
                    Value::Int(v) => {
                        number(a, 3, *v);
                        number(a, 20, 2);
                    }
                    Value::Float(v) => {
                        varint(a, 2 << 3 | 5);
                        a.extend(v.to_le_bytes());
                        number(a, 20, 1);
                    }
                    Value::Ints(v) => {
                        v.iter().for_each(|&x| number(a, 8, x));
                        number(a, 20, 7);
                    }
                    Value::Text(v) => {
                        bytes(a, 4, v.as_bytes());
                        number(a, 20, 3);
                    }
                }
            });
        }
    }
}
