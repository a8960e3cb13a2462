//! The kernels room: f32 convolution and tensor operations on NHWC views, the thread pool and the arena's memory.
//!
//! The only room with `unsafe`. Everything public is safe: each kernel checks its views before it touches memory.
//! Tasks are cut by shape alone, so results do not depend on the number of threads.

mod arena;
mod conv;
mod copy;
mod elementwise;
mod error;
mod isa;
mod matmul;
mod nest;
mod pointwise;
mod pooling;
mod simd;
mod softmax;
mod threads;
mod view;

pub use arena::{Arena, Context};
pub use conv::{ConvSpec, Epilogue, PackedConv, TileChoice, conv2d};
pub use copy::{copy, fill_halo, normalize_u8, resize_nearest};
pub use elementwise::{BinaryOp, binary, unary};
pub use error::KernelError;
pub use isa::{CANDIDATES, Isa};
pub use matmul::matmul;
pub use pointwise::{Activation, FakeQuantize, UnaryOp};
pub use pooling::{Pool, avg_pool, global_avg_pool, max_pool};
pub use softmax::softmax;
pub use threads::{Active, ThreadPool};
pub use view::{Dims, MAX_RANK, View};
