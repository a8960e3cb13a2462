//! Parts of images.

/// A rectangle of an image.
///
/// # Units
/// Pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Columns left of it.
    pub left: usize,
    /// Rows above it.
    pub top: usize,
    /// Its columns.
    pub width: usize,
    /// Its rows.
    pub height: usize,
}

impl Region {
    /// Whether it has pixels, all of them in an image of `[width, height]`.
    pub fn lies_in(&self, [width, height]: [usize; 2]) -> bool {
        let inside = |start: usize, len: usize, limit: usize| {
            len > 0 && start < limit && len <= limit - start
        };
        inside(self.left, self.width, width) && inside(self.top, self.height, height)
    }
}
