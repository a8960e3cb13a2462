//! `TensorProto` to tensor and back, in every encoding that exporters use.
use crate::OnnxError;
use crate::external::{Folder, check_bytes};
use crate::proto::TensorProto;
use half::{bf16, f16};
use ir::{DataType, Tensor, TensorData};
use prost::Message;
use prost::bytes::Bytes;
use std::borrow::Cow;

/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i32 = 1;

/// Reads a tensor; types we only carry become [`TensorData::Other`].
///
/// # Errors
/// Names the tensor when its bytes do not fit its shape or lie outside `folder`.
pub(crate) fn decode(proto: &TensorProto, folder: &Folder) -> Result<Tensor, OnnxError> {
    if proto.data_location() != EXTERNAL {
        return decode_one(proto, folder);
    }
    folder.shared(proto, || decode_one(proto, folder))
}

fn decode_one(proto: &TensorProto, folder: &Folder) -> Result<Tensor, OnnxError> {
    let shape = shape_of(proto)?;
    let dtype = DataType::from_onnx(proto.data_type());
    let data = match dtype.size_bytes() {
        None => {
            let mut carried = proto.clone();
            embed(&mut carried, folder)?;
            TensorData::Other { data_type: proto.data_type(), proto: carried.encode_to_vec() }
        }
        Some(size) => {
            let expected = expected_bytes(proto, size);
            match raw_bytes(proto, folder, Some(expected))? {
                Some(raw) => {
                    check_bytes(proto, expected, raw.len() as u128)?;
                    from_raw(dtype, &raw)
                }
                None => {
                    check_bytes(proto, expected, typed_len(proto, dtype) as u128 * size as u128)?;
                    from_typed(dtype, proto)
                }
            }
        }
    };
    Tensor::from_data(shape, data)
        .map_err(|cause| OnnxError::Tensor { tensor: proto.name().to_owned(), cause })
}

/// Writes a tensor as little-endian `raw_data`; a carried tensor as it was read, under the new name.
///
/// # Errors
/// `Decode` when the bytes of a carried tensor are no `TensorProto`.
pub(crate) fn encode(name: Option<&str>, tensor: &Tensor) -> Result<TensorProto, OnnxError> {
    if let TensorData::Other { proto, .. } = tensor.data() {
        let mut carried = TensorProto::decode(proto.as_slice())?;
        carried.name = name.map(str::to_owned);
        return Ok(carried);
    }
    Ok(TensorProto {
        dims: tensor.shape().iter().map(|&d| d as i64).collect(),
        data_type: Some(tensor.dtype().to_onnx()),
        name: name.map(str::to_owned),
        raw_data: Some(to_raw(tensor.data()).into()),
        ..TensorProto::default()
    })
}

/// Moves external data into the message, so that it no longer depends on its folder.
///
/// # Errors
/// As [`decode`].
pub(crate) fn embed(proto: &mut TensorProto, folder: &Folder) -> Result<(), OnnxError> {
    if proto.data_location() != EXTERNAL {
        return Ok(());
    }
    shape_of(proto)?;
    let expected =
        DataType::from_onnx(proto.data_type()).size_bytes().map(|s| expected_bytes(proto, s));
    let raw = raw_bytes(proto, folder, expected)?.map(Cow::into_owned);
    proto.raw_data = raw.map(Bytes::from);
    proto.external_data.clear();
    proto.data_location = None;
    Ok(())
}

fn shape_of(proto: &TensorProto) -> Result<Vec<usize>, OnnxError> {
    let dim = |(axis, &found): (usize, &i64)| {
        usize::try_from(found).map_err(|_| OnnxError::TensorDim {
            tensor: proto.name().to_owned(),
            axis,
            found,
        })
    };
    proto.dims.iter().enumerate().map(dim).collect()
}

fn expected_bytes(proto: &TensorProto, size: usize) -> u128 {
    proto.dims.iter().fold(size as u128, |n, &d| n.saturating_mul(d as u128))
}

fn raw_bytes<'a>(
    proto: &'a TensorProto,
    folder: &Folder,
    expected: Option<u128>,
) -> Result<Option<Cow<'a, [u8]>>, OnnxError> {
    if proto.data_location() == EXTERNAL {
        return folder.read(proto, expected).map(|v| Some(Cow::Owned(v)));
    }
    Ok(proto.raw_data.as_deref().map(Cow::Borrowed))
}

fn typed_len(proto: &TensorProto, dtype: DataType) -> usize {
    match dtype {
        DataType::F32 => proto.float_data.len(),
        DataType::F64 => proto.double_data.len(),
        DataType::I64 => proto.int64_data.len(),
        DataType::U32 | DataType::U64 => proto.uint64_data.len(),
        _ => proto.int32_data.len(),
    }
}

/// Narrow types sit in `int32_data` by their bits, as the specification has it.
fn from_typed(dtype: DataType, p: &TensorProto) -> TensorData {
    let narrow = p.int32_data.iter();
    match dtype {
        DataType::F32 => TensorData::F32(p.float_data.clone()),
        DataType::F64 => TensorData::F64(p.double_data.clone()),
        DataType::I64 => TensorData::I64(p.int64_data.clone()),
        DataType::U64 => TensorData::U64(p.uint64_data.clone()),
        DataType::U32 => TensorData::U32(p.uint64_data.iter().map(|&v| v as u32).collect()),
        DataType::F16 => TensorData::F16(narrow.map(|&v| f16::from_bits(v as u16)).collect()),
        DataType::BF16 => TensorData::BF16(narrow.map(|&v| bf16::from_bits(v as u16)).collect()),
        DataType::I8 => TensorData::I8(narrow.map(|&v| v as i8).collect()),
        DataType::I16 => TensorData::I16(narrow.map(|&v| v as i16).collect()),
        DataType::I32 => TensorData::I32(p.int32_data.clone()),
        DataType::U8 => TensorData::U8(narrow.map(|&v| v as u8).collect()),
        DataType::U16 => TensorData::U16(narrow.map(|&v| v as u16).collect()),
        DataType::Bool => TensorData::Bool(narrow.map(|&v| v != 0).collect()),
        DataType::Other(data_type) => TensorData::Other { data_type, proto: p.encode_to_vec() },
    }
}

fn from_raw(dtype: DataType, raw: &[u8]) -> TensorData {
    macro_rules! read {
        ($ty:ty) => {
            raw.as_chunks().0.iter().map(|c| <$ty>::from_le_bytes(*c)).collect()
        };
    }
    match dtype {
        DataType::F32 => TensorData::F32(read!(f32)),
        DataType::F64 => TensorData::F64(read!(f64)),
        DataType::F16 => TensorData::F16(read!(f16)),
        DataType::BF16 => TensorData::BF16(read!(bf16)),
        DataType::I8 => TensorData::I8(read!(i8)),
        DataType::I16 => TensorData::I16(read!(i16)),
        DataType::I32 => TensorData::I32(read!(i32)),
        DataType::I64 => TensorData::I64(read!(i64)),
        DataType::U8 => TensorData::U8(raw.to_vec()),
        DataType::U16 => TensorData::U16(read!(u16)),
        DataType::U32 => TensorData::U32(read!(u32)),
        DataType::U64 => TensorData::U64(read!(u64)),
        DataType::Bool => TensorData::Bool(raw.iter().map(|&v| v != 0).collect()),
        DataType::Other(data_type) => TensorData::Other { data_type, proto: raw.to_vec() },
    }
}

/// The elements as little-endian bytes.
pub(crate) fn to_raw(data: &TensorData) -> Vec<u8> {
    macro_rules! le_bytes {
        ($v:expr) => {
            $v.iter().flat_map(|x| x.to_le_bytes()).collect()
        };
    }
    match data {
        TensorData::F32(v) => le_bytes!(v),
        TensorData::F64(v) => le_bytes!(v),
        TensorData::F16(v) => le_bytes!(v),
        TensorData::BF16(v) => le_bytes!(v),
        TensorData::I8(v) => le_bytes!(v),
        TensorData::I16(v) => le_bytes!(v),
        TensorData::I32(v) => le_bytes!(v),
        TensorData::I64(v) => le_bytes!(v),
        TensorData::U8(v) => v.clone(),
        TensorData::U16(v) => le_bytes!(v),
        TensorData::U32(v) => le_bytes!(v),
        TensorData::U64(v) => le_bytes!(v),
        TensorData::Bool(v) => v.iter().map(|&x| u8::from(x)).collect(),
        TensorData::Other { proto, .. } => proto.clone(),
    }
}

#[cfg(test)]
mod tests;
