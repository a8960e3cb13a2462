//! Memory that the tasks of a kernel compute in.

use crate::KernelError;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Elements of f32 with anything in them, 64-byte aligned.
pub(crate) struct Scratch(Vec<Line>);

impl Scratch {
    /// # Errors
    /// `Memory` when there is not that much.
    pub(crate) fn new(len: usize) -> Result<Scratch, KernelError> {
        let (mut lines, count) = (Vec::new(), len.div_ceil(16));
        let bytes = len.saturating_mul(size_of::<f32>());
        lines.try_reserve_exact(count).map_err(|_| KernelError::Memory { bytes })?;
        lines.resize(count, Line([0.0; 16]));
        Ok(Scratch(lines))
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        16 * self.0.len()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}
