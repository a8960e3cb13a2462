//! Node attributes: a map that knows what has been read.
use crate::{OpError, Tensor};
use std::collections::BTreeMap;

/// One attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// `INT`.
    Int(i64),
    /// `FLOAT`.
    Float(f32),
    /// `STRING`, not necessarily UTF-8.
    String(Vec<u8>),
    /// `TENSOR`.
    Tensor(Tensor),
    /// `INTS`.
    Ints(Vec<i64>),
    /// `FLOATS`.
    Floats(Vec<f32>),
    /// `STRINGS`.
    Strings(Vec<Vec<u8>>),
    /// A graph, a sparse tensor, a type: kept only inside an opaque node.
    Other,
}

/// The attributes of a node while its operator is being read; what is left unread at the end is an error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes(BTreeMap<String, Attribute>);

macro_rules! take {
    ($name:ident, $variant:ident, $ty:ty, $what:literal) => {
        #[doc = concat!("Takes ", $what, ", if present.\n\n# Errors\n`Attribute` when it has another kind.")]
        pub fn $name(&mut self, name: &'static str) -> Result<Option<$ty>, OpError> {
            match self.0.remove(name) {
                None => Ok(None),
                Some(Attribute::$variant(v)) => Ok(Some(v)),
                Some(other) => Err(OpError::Attribute { name: name.to_owned(), expected: $what, found: format!("{other:?}") }),
            }
        }
    };
}

impl Attributes {
    /// Attributes from name and value pairs.
    pub fn new(pairs: impl IntoIterator<Item = (String, Attribute)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    take!(int, Int, i64, "an integer");
    take!(float, Float, f32, "a float");
    take!(ints, Ints, Vec<i64>, "integers");
    take!(floats, Floats, Vec<f32>, "floats");
    take!(tensor, Tensor, Tensor, "a tensor");
    take!(bytes, String, Vec<u8>, "a string");

    /// Takes a string, if present.
    ///
    /// # Errors
    /// `Attribute` when it has another kind or is not UTF-8.
    pub fn string(&mut self, name: &'static str) -> Result<Option<String>, OpError> {
        self.bytes(name)?
            .map(|b| {
                String::from_utf8(b).map_err(|e| OpError::Attribute {
                    name: name.to_owned(),
                    expected: "UTF-8",
                    found: format!("{:?}", e.as_bytes()),
                })
            })
            .transpose()
    }

    /// Takes an integer that means yes or no, if present.
    ///
    /// # Errors
    /// `Attribute` when it has another kind.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, OpError> {
        Ok(self.int(name)?.map(|v| v != 0))
    }

    /// Takes non-negative integers, if present.
    ///
    /// # Errors
    /// `Attribute` when it has another kind or a negative member.
    pub fn usizes(&mut self, name: &'static str) -> Result<Option<Vec<usize>>, OpError> {
        let Some(v) = self.ints(name)? else {
            return Ok(None);
        };
        let found = || OpError::Attribute {
            name: name.to_owned(),
            expected: "non-negative integers",
            found: format!("{v:?}"),
        };
        v.iter()
            .map(|&x| usize::try_from(x).map_err(|_| found()))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// Drops attributes that have no meaning for inference.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `UnknownAttribute` when something is left.
    pub fn finish(self) -> Result<(), OpError> {
        match self.0.into_keys().next() {
            None => Ok(()),
            Some(name) => Err(OpError::UnknownAttribute { name }),
        }
    }
}
