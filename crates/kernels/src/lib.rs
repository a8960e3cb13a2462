//! The kernels room: f32 convolution and tensor operations on NHWC views, the thread pool and the arena's memory.
//!
//! The only room with `unsafe`. Everything public is safe: each kernel checks its views before it touches memory.

mod arena;
mod conv;
mod error;
mod isa;
mod pointwise;
mod simd;
mod threads;
mod view;

pub use arena::{Arena, Context};
pub use conv::{ConvSpec, Epilogue, PackedConv, TileChoice, conv2d};
pub use error::KernelError;
pub use isa::{CANDIDATES, Isa};
pub use pointwise::{Activation, FakeQuantize, UnaryOp};
pub use threads::{Active, ThreadPool};
pub use view::{Dims, MAX_RANK, View};
