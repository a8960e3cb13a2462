//! Tensors: a shape and typed, shared, row-major elements.
use crate::{DataType, OpError};
use half::{bf16, f16};
use std::fmt;
use std::sync::Arc;

/// Largest number of elements a tensor may have; a larger claim is an error, never an allocation.
const MAX_ELEMENTS: usize = 1 << 31;

/// Element type and shape of a tensor; shapes are static everywhere in the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorType {
    /// Element type.
    pub dtype: DataType,
    /// Length of each axis.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A tensor type.
    pub fn new(dtype: DataType, shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype, shape: shape.into() }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; saturates, so that a hostile shape compares as too large.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1usize, |n, &d| n.saturating_mul(d))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// Number of elements of a shape.
///
/// # Errors
/// `TooLarge` when the product overflows or exceeds what a tensor may hold.
pub fn elements(shape: &[usize]) -> Result<usize, OpError> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| OpError::TooLarge { shape: shape.to_vec() })
}

/// A Rust type that can be the element of a [`Tensor`].
pub trait Element: Copy + Send + Sync + 'static {
    /// The element type's name in ONNX terms.
    const DTYPE: DataType;
    /// Wraps a vector of this type.
    fn wrap(data: Vec<Self>) -> TensorData;
    /// The elements, if `data` holds this type.
    fn slice(data: &TensorData) -> Option<&[Self]>;
}

macro_rules! tensor_data {
    ($($variant:ident($ty:ty)),* $(,)?) => {
        /// Row-major elements of a tensor, by type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum TensorData {
            $(#[doc = concat!("Elements of type `", stringify!($ty), "`.")] $variant(Vec<$ty>),)*
            /// An encoded `TensorProto` of a type we only carry.
            Other {
                /// ONNX code of the type.
                data_type: i32,
                /// The tensor as it was encoded.
                proto: Vec<u8>,
            },
        }

        $(impl Element for $ty {
            const DTYPE: DataType = DataType::$variant;
            fn wrap(data: Vec<Self>) -> TensorData { TensorData::$variant(data) }
            fn slice(data: &TensorData) -> Option<&[Self]> {
                match data { TensorData::$variant(v) => Some(v), _ => None }
            }
        })*

        impl TensorData {
            /// The element type.
            pub fn dtype(&self) -> DataType {
                match self {
                    $(TensorData::$variant(_) => DataType::$variant,)*
                    TensorData::Other { data_type, .. } => DataType::Other(*data_type),
                }
            }

            /// Number of elements held; 0 for a type we only carry.
            pub fn len(&self) -> usize {
                match self {
                    $(TensorData::$variant(v) => v.len(),)*
                    TensorData::Other { .. } => 0,
                }
            }

            /// Whether no element is held.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The elements at `indices`, in that order.
            pub fn gather(&self, indices: impl Iterator<Item = usize>) -> TensorData {
                match self {
                    $(TensorData::$variant(v) => TensorData::$variant(indices.map(|i| v[i]).collect()),)*
                    TensorData::Other { data_type, proto } => TensorData::Other { data_type: *data_type, proto: proto.clone() },
                }
            }
        }
    };
}

tensor_data! {
    F32(f32), F64(f64), F16(f16), BF16(bf16),
    I8(i8), I16(i16), I32(i32), I64(i64),
    U8(u8), U16(u16), U32(u32), U64(u64),
    Bool(bool),
}

/// A constant or computed array; cloning shares the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Arc<TensorData>,
}

impl Tensor {
    /// A tensor of the given shape and row-major elements.
    ///
    /// # Errors
    /// `TooLarge` for an impossible shape, `ElementCount` when shape and data disagree.
    pub fn new<T: Element>(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, OpError> {
        Self::from_data(shape, T::wrap(data))
    }

    /// A tensor from typed elements.
    ///
    /// # Errors
    /// As [`Tensor::new`].
    pub fn from_data(shape: impl Into<Vec<usize>>, data: TensorData) -> Result<Self, OpError> {
        let shape = shape.into();
        let expected = elements(&shape)?;
        if data.len() != expected && !matches!(data, TensorData::Other { .. }) {
            return Err(OpError::ElementCount { shape, expected, found: data.len() });
        }
        Ok(Self { shape, data: Arc::new(data) })
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { shape: vec![], data: Arc::new(T::wrap(vec![value])) }
    }

    /// A tensor of rank 1.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self { shape: vec![values.len()], data: Arc::new(T::wrap(values)) }
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element type.
    pub fn dtype(&self) -> DataType {
        self.data.dtype()
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype(), self.shape.clone())
    }

    /// Typed elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether an axis has length 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as `T`, without conversion.
    ///
    /// # Errors
    /// `DType` when the tensor holds another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], OpError> {
        T::slice(&self.data).ok_or(OpError::DType { expected: T::DTYPE, found: self.dtype() })
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// `ElementCount` when the shapes hold different numbers of elements.
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Result<Self, OpError> {
        let shape = shape.into();
        let expected = elements(&shape)?;
        if expected != self.len() {
            return Err(OpError::ElementCount { shape, expected, found: self.len() });
        }
        Ok(Self { shape, data: Arc::clone(&self.data) })
    }

    /// Every element as f64 (booleans as 0 and 1).
    ///
    /// # Errors
    /// `DType` for a type we only carry.
    pub fn to_f64(&self) -> Result<Vec<f64>, OpError> {
        Ok(match &*self.data {
            TensorData::F32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            TensorData::F64(v) => v.clone(),
            TensorData::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            TensorData::BF16(v) => v.iter().map(|x| x.to_f64()).collect(),
            TensorData::I8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            TensorData::I16(v) => v.iter().map(|&x| f64::from(x)).collect(),
            TensorData::I32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            TensorData::I64(v) => v.iter().map(|&x| x as f64).collect(),
            TensorData::U8(v) => v.iter().map(|&x| f64::from(x)).collect(),
            TensorData::U16(v) => v.iter().map(|&x| f64::from(x)).collect(),
            TensorData::U32(v) => v.iter().map(|&x| f64::from(x)).collect(),
            TensorData::U64(v) => v.iter().map(|&x| x as f64).collect(),
            TensorData::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
            TensorData::Other { .. } => {
                return Err(OpError::DType { expected: DataType::F64, found: self.dtype() });
            }
        })
    }

    /// Every element as i64, for shapes, axes and indices.
    ///
    /// # Errors
    /// `DType` for floating-point and carried types.
    pub fn to_i64(&self) -> Result<Vec<i64>, OpError> {
        Ok(match &*self.data {
            TensorData::I8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            TensorData::I16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            TensorData::I32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            TensorData::I64(v) => v.clone(),
            TensorData::U8(v) => v.iter().map(|&x| i64::from(x)).collect(),
            TensorData::U16(v) => v.iter().map(|&x| i64::from(x)).collect(),
            TensorData::U32(v) => v.iter().map(|&x| i64::from(x)).collect(),
            TensorData::U64(v) => v.iter().map(|&x| x as i64).collect(),
            TensorData::Bool(v) => v.iter().map(|&x| i64::from(x)).collect(),
            _ => {
                return Err(OpError::DType { expected: DataType::I64, found: self.dtype() });
            }
        })
    }

    /// f64 values rounded into a float type, saturated into an integer type, or tested against 0 for booleans.
    ///
    /// # Errors
    /// `DType` for a type we only carry; as [`Tensor::new`] otherwise.
    pub fn from_f64(
        dtype: DataType,
        shape: impl Into<Vec<usize>>,
        v: &[f64],
    ) -> Result<Self, OpError> {
        let data = match dtype {
            DataType::F32 => TensorData::F32(v.iter().map(|&x| x as f32).collect()),
            DataType::F64 => TensorData::F64(v.to_vec()),
            DataType::F16 => TensorData::F16(v.iter().map(|&x| f16::from_f64(x)).collect()),
            DataType::BF16 => TensorData::BF16(v.iter().map(|&x| bf16::from_f64(x)).collect()),
            DataType::I8 => TensorData::I8(v.iter().map(|&x| x as i8).collect()),
            DataType::I16 => TensorData::I16(v.iter().map(|&x| x as i16).collect()),
            DataType::I32 => TensorData::I32(v.iter().map(|&x| x as i32).collect()),
            DataType::I64 => TensorData::I64(v.iter().map(|&x| x as i64).collect()),
            DataType::U8 => TensorData::U8(v.iter().map(|&x| x as u8).collect()),
            DataType::U16 => TensorData::U16(v.iter().map(|&x| x as u16).collect()),
            DataType::U32 => TensorData::U32(v.iter().map(|&x| x as u32).collect()),
            DataType::U64 => TensorData::U64(v.iter().map(|&x| x as u64).collect()),
            DataType::Bool => TensorData::Bool(v.iter().map(|&x| x != 0.0).collect()),
            DataType::Other(_) => {
                return Err(OpError::DType { expected: DataType::F64, found: dtype });
            }
        };
        Self::from_data(shape, data)
    }

    /// The tensor restricted to `indices` along `axis`, in that order.
    ///
    /// # Errors
    /// `Axis` when there is no such axis, `Index` when an index is out of range.
    pub fn take(&self, axis: usize, indices: &[usize]) -> Result<Self, OpError> {
        let &len = self
            .shape
            .get(axis)
            .ok_or(OpError::Axis { axis: axis as i64, rank: self.shape.len() })?;
        if let Some(&index) = indices.iter().find(|&&i| i >= len) {
            return Err(OpError::Index { axis, index: index as i64, length: len });
        }
        let outer: usize = self.shape[..axis].iter().product();
        let inner: usize = self.shape[axis + 1..].iter().product();
        let picks = (0..outer).flat_map(|o| {
            indices.iter().flat_map(move |&i| (o * len + i) * inner..(o * len + i + 1) * inner)
        });
        let mut shape = self.shape.clone();
        shape[axis] = indices.len();
        Self::from_data(shape, self.data.gather(picks))
    }
}
