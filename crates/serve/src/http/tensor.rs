//! Tensors in JSON, as the Open Inference Protocol has them: elements flat in row-major order, or nested as the shape says.
use ir::{DataType, Tensor, TensorData};
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Elements as they were given, and how they were nested.
#[derive(Debug, PartialEq)]
pub(super) struct Elements {
    pub(super) values: Vec<f32>,
    /// Lengths of the lists, the outermost first.
    nesting: Vec<usize>,
}

impl Elements {
    /// Whether they lie as a tensor of this shape does.
    pub(super) fn fit(&self, shape: &[usize]) -> bool {
        let flat = self.nesting.len() == 1 && self.values.len() == shape.iter().product::<usize>();
        flat || self.nesting == shape
    }
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut values = Vec::new();
        let nesting = Level(&mut values).deserialize(deserializer)?;
        Ok(Self { values, nesting })
    }
}

/// A number or a list: adds its numbers, and gives the lengths of its lists; none for a number.
struct Level<'v>(&'v mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Vec<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a list of them")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        let value = value as f32;
        if !value.is_finite() {
            return Err(E::custom("a number too large for FP32"));
        }
        self.0.push(value);
        Ok(Vec::new())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.visit_f64(value as f64)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut inner: Option<Vec<usize>> = None;
        let mut count = 0;
        while let Some(lengths) = list.next_element_seed(Level(self.0))? {
            count += 1;
            match &inner {
                Some(before) if *before != lengths => {
                    return Err(A::Error::custom("lists of different lengths beside each other"));
                }
                Some(_) => {}
                None => inner = Some(lengths),
            }
        }
        let mut nesting = vec![count];
        nesting.extend(inner.unwrap_or_default());
        Ok(nesting)
    }
}

/// The protocol's name of a type; none for one that it does not have. Source: Open Inference Protocol v2, "Tensor Data Types".
pub(super) fn datatype(dtype: DataType) -> Option<&'static str> {
    Some(match dtype {
        DataType::Bool => "BOOL",
        DataType::U8 => "UINT8",
        DataType::U16 => "UINT16",
        DataType::U32 => "UINT32",
        DataType::U64 => "UINT64",
        DataType::I8 => "INT8",
        DataType::I16 => "INT16",
        DataType::I32 => "INT32",
        DataType::I64 => "INT64",
        DataType::F16 => "FP16",
        DataType::F32 => "FP32",
        DataType::F64 => "FP64",
        DataType::BF16 => "BF16",
        DataType::Other(_) => return None,
    })
}

/// The elements of a tensor, flat. What is no finite number is `null`, since JSON has no other word for it.
pub(super) struct Flat(pub(super) Tensor);

impl Serialize for Flat {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.data() {
            TensorData::F32(v) => v.serialize(serializer),
            TensorData::F64(v) => v.serialize(serializer),
            TensorData::F16(v) => serializer.collect_seq(v.iter().map(|v| v.to_f32())),
            TensorData::BF16(v) => serializer.collect_seq(v.iter().map(|v| v.to_f32())),
            TensorData::I8(v) => v.serialize(serializer),
            TensorData::I16(v) => v.serialize(serializer),
            TensorData::I32(v) => v.serialize(serializer),
            TensorData::I64(v) => v.serialize(serializer),
            TensorData::U8(v) => v.serialize(serializer),
            TensorData::U16(v) => v.serialize(serializer),
            TensorData::U32(v) => v.serialize(serializer),
            TensorData::U64(v) => v.serialize(serializer),
            TensorData::Bool(v) => v.serialize(serializer),
            TensorData::Other { .. } => {
                Err(serde::ser::Error::custom("elements of a type that JSON has no numbers for"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Elements, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn elements_flat_and_nested_are_the_same_numbers() {
        let flat = read("[1, 2.5, -3, 4, 5, 6]").unwrap();
        let nested = read("[[[1, 2.5, -3], [4, 5, 6]]]").unwrap();
        assert_eq!(flat.values, nested.values);
        assert!(flat.fit(&[1, 2, 3]) && flat.fit(&[6]) && nested.fit(&[1, 2, 3]));
        assert!(!nested.fit(&[1, 3, 2]) && !nested.fit(&[6]) && !flat.fit(&[5]));
    }

    #[test]
    fn elements_that_are_no_tensor_are_refused() {
        for text in ["[[1, 2], [3]]", "[1, [2]]", "[\"1\"]", "[null]", "[1e39]", "{}", "[true]"] {
            assert!(read(text).is_err(), "{text}");
        }
        // A single number, and empty lists, are read, and fit no shape of a model's input.
        assert!(!read("1").unwrap().fit(&[1]) && !read("[]").unwrap().fit(&[1]));
        let deep = "[".repeat(100_000);
        assert!(read(&deep).unwrap_err().contains("recursion"));
    }

    #[test]
    fn flat_integers_and_floats_are_written_as_they_are() {
        let written = |tensor: Tensor| serde_json::to_string(&Flat(tensor)).unwrap();
        assert_eq!(written(Tensor::vector(vec![1.5_f32, f32::NAN])), "[1.5,null]");
        assert_eq!(written(Tensor::vector(vec![i64::MAX])), "[9223372036854775807]");
    }
}
