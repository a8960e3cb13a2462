//! A bound on what a file may make us allocate.
use crate::CheckpointError;
use std::cell::Cell;

/// Bytes that may still be allocated; everything whose size the file decides is charged before it is made.
#[derive(Debug)]
pub(crate) struct Budget {
    total: usize,
    left: Cell<usize>,
}

impl Budget {
    /// A budget of `total` bytes.
    pub(crate) fn new(total: usize) -> Self {
        Self { total, left: Cell::new(total) }
    }

    /// Takes `bytes` out of the budget.
    ///
    /// # Errors
    /// `TooLarge`, naming `at`, when it does not hold as many.
    pub(crate) fn charge(
        &self,
        bytes: usize,
        at: impl FnOnce() -> String,
    ) -> Result<(), CheckpointError> {
        let left = self.left.get().checked_sub(bytes);
        let left =
            left.ok_or_else(|| CheckpointError::TooLarge { budget_bytes: self.total, at: at() })?;
        self.left.set(left);
        Ok(())
    }
}
