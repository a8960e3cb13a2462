//! `AttributeProto` to attribute and back.
use crate::external::Folder;
use crate::proto::{AttributeProto, NodeProto};
use crate::{OnnxError, tensors};
use ir::{Attribute, Attributes};

/// Codes of `AttributeProto.AttributeType`.
mod kind {
    pub(super) const FLOAT: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const STRING: i32 = 3;
    pub(super) const TENSOR: i32 = 4;
    pub(super) const FLOATS: i32 = 6;
    pub(super) const INTS: i32 = 7;
    pub(super) const STRINGS: i32 = 8;
}

/// Old exporters leave `type` out; the field that is set then decides.
fn kind_of(a: &AttributeProto) -> i32 {
    match a.r#type {
        Some(code) if code != 0 => code,
        _ if a.f.is_some() => kind::FLOAT,
        _ if a.i.is_some() => kind::INT,
        _ if a.s.is_some() => kind::STRING,
        _ if a.t.is_some() => kind::TENSOR,
        _ if !a.floats.is_empty() => kind::FLOATS,
        _ if !a.ints.is_empty() => kind::INTS,
        _ if !a.strings.is_empty() => kind::STRINGS,
        _ => 0,
    }
}

/// The attributes of a node.
///
/// # Errors
/// What is wrong with a tensor attribute.
pub(crate) fn decode(node: &NodeProto, folder: &Folder) -> Result<Attributes, OnnxError> {
    let named = |a: &AttributeProto| Ok((a.name().to_owned(), decode_one(a, folder)?));
    Ok(Attributes::new(node.attribute.iter().map(named).collect::<Result<Vec<_>, OnnxError>>()?))
}

fn decode_one(a: &AttributeProto, folder: &Folder) -> Result<Attribute, OnnxError> {
    Ok(match kind_of(a) {
        kind::FLOAT => Attribute::Float(a.f()),
        kind::INT => Attribute::Int(a.i()),
        kind::STRING => Attribute::String(a.s().to_vec()),
        kind::TENSOR => a
            .t
            .as_ref()
            .map_or(Ok(Attribute::Other), |t| tensors::decode(t, folder).map(Attribute::Tensor))?,
        kind::FLOATS => Attribute::Floats(a.floats.clone()),
        kind::INTS => Attribute::Ints(a.ints.clone()),
        kind::STRINGS => Attribute::Strings(a.strings.clone()),
        _ => Attribute::Other,
    })
}

/// An attribute as the file has it.
///
/// # Errors
/// As [`tensors::encode`].
pub(crate) fn encode(name: &str, attribute: &Attribute) -> Result<AttributeProto, OnnxError> {
    let mut a = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    let code = match attribute {
        Attribute::Float(v) => {
            a.f = Some(*v);
            kind::FLOAT
        }
        Attribute::Int(v) => {
            a.i = Some(*v);
            kind::INT
        }
        Attribute::String(v) => {
            a.s = Some(v.clone());
            kind::STRING
        }
        Attribute::Tensor(v) => {
            a.t = Some(tensors::encode(None, v)?);
            kind::TENSOR
        }
        Attribute::Floats(v) => {
            a.floats = v.clone();
            kind::FLOATS
        }
        Attribute::Ints(v) => {
            a.ints = v.clone();
            kind::INTS
        }
        Attribute::Strings(v) => {
            a.strings = v.clone();
            kind::STRINGS
        }
        Attribute::Other => {
            return Err(OnnxError::Unsupported {
                feature: "an attribute that is no number, string or tensor",
                name: name.to_owned(),
            });
        }
    };
    a.r#type = Some(code);
    Ok(a)
}
