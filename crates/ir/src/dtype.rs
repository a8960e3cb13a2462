//! Element types, with their ONNX codes.
use serde::{Deserialize, Serialize};
use std::fmt;

/// Element type of a tensor, one for each ONNX `TensorProto.DataType` we compute with.
///
/// Source: ONNX IR specification, `TensorProto.DataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DataType {
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
    /// IEEE half.
    F16,
    /// bfloat16.
    BF16,
    /// Signed byte.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned byte.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// Boolean.
    Bool,
    /// A type we carry without computing with it (strings, float8, int4, complex); holds its ONNX code.
    Other(i32),
}

const CODES: &[(DataType, i32, usize, &str)] = &[
    (DataType::F32, 1, 4, "f32"),
    (DataType::U8, 2, 1, "u8"),
    (DataType::I8, 3, 1, "i8"),
    (DataType::U16, 4, 2, "u16"),
    (DataType::I16, 5, 2, "i16"),
    (DataType::I32, 6, 4, "i32"),
    (DataType::I64, 7, 8, "i64"),
    (DataType::Bool, 9, 1, "bool"),
    (DataType::F16, 10, 2, "f16"),
    (DataType::F64, 11, 8, "f64"),
    (DataType::U32, 12, 4, "u32"),
    (DataType::U64, 13, 8, "u64"),
    (DataType::BF16, 16, 2, "bf16"),
];

impl DataType {
    /// The type behind an ONNX code; unknown codes become [`DataType::Other`].
    pub fn from_onnx(code: i32) -> Self {
        CODES.iter().find(|c| c.1 == code).map_or(DataType::Other(code), |c| c.0)
    }

    /// The ONNX code of this type.
    pub fn to_onnx(self) -> i32 {
        match self {
            DataType::Other(code) => code,
            known => CODES.iter().find(|c| c.0 == known).map_or(0, |c| c.1),
        }
    }

    /// Bytes of one element, or `None` for a type we only carry.
    pub fn size_bytes(self) -> Option<usize> {
        CODES.iter().find(|c| c.0 == self).map(|c| c.2)
    }

    /// Whether the type is a floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, DataType::F32 | DataType::F64 | DataType::F16 | DataType::BF16)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Other(code) => write!(f, "onnx type {code}"),
            known => f.write_str(CODES.iter().find(|c| c.0 == *known).map_or("?", |c| c.3)),
        }
    }
}
