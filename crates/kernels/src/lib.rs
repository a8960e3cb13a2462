//! The kernels room: convolution and tensor operations in f32 and INT8 on NHWC views, the thread pool and the arena's memory.
//!
//! Images lie in memory with the channels of a pixel side by side (NHWC) and with their padding around them: the *halo*, a
//! border of pixels that a convolution reads like any other. Quantized values are `u8`; what they mean is `U8Params`.
//!
//! The only room with `unsafe`. Everything public is safe: each kernel checks its views before it touches memory.

mod arena;
mod chain;
mod checks;
mod conv;
mod elementwise;
mod error;
mod given;
mod gradients;
mod int8;
mod isa;
mod matmul;
mod memory;
mod nest;
mod peak;
mod pointwise;
mod pool;
mod region;
mod scratch;
mod softmax;
mod spatial;
mod tile_choice;
mod transpose;
mod vector;
mod view;
mod yuv;

pub use arena::{Arena, Context, Element};
pub use chain::{Link, chain};
pub use conv::{
    ConvGeometry, ConvSpec, Epilogue, FilterOrder, PackedConv, conv_weight_gradient, conv2d,
};
pub use elementwise::{BinaryOp, UnaryOp, binary, copy, map_elements, unary};
pub use error::KernelError;
pub use given::write;
pub use gradients::{activation_gradient, channel_sum, fake_quantize_gradient, max_pool_gradient};
pub use int8::{
    PackedQConv, QActivation, QConvSpec, QEpilogue, QOut, U8Params, U8Table, U8View, dequantize,
    q_binary, q_copy, q_fill_halo, q_matmul, q_max_pool, q_resize_nearest, qconv2d, quantize,
    quantize_nchw, write_pixels,
};
pub use isa::Isa;
pub use matmul::matmul;
pub use memory::available_bytes;
pub use peak::{dot_loop, fma_loop};
pub use pointwise::{Activation, FakeQuantize};
pub use pool::{Active, ThreadPool};
pub use region::Region;
pub use softmax::{softmax, softmax_mean};
pub use spatial::{Pool, avg_pool, fill_halo, max_pool, resize_nearest};
pub use tile_choice::TileChoice;
pub use view::{Dims, View};
pub use yuv::{Plane, YuvColours, YuvMatrix, YuvRange, YuvScaler, YuvScaling, chroma_px};
