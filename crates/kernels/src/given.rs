//! Values as a model is given them, on their way into the arena.

use crate::nest::Base;
use crate::{Context, KernelError, View};

/// Stores values given in row-major logical order, as [`Arena::write`](crate::Arena::write): images, which are given channel
/// after channel (`[N, C, H, W]`), by all threads.
///
/// # Shapes
/// `y` in the f32 arena, of any shape.
///
/// # Errors
/// `OutOfBounds`, `SelfOverlap`, or `Length` when the number of values is not the view's.
pub fn write(ctx: &mut Context, values: &[f32], y: &View) -> Result<(), KernelError> {
    let is_whole = values.len() == y.elements() && !values.is_empty();
    if !is_whole || ctx.check_f32(y, &[], false).is_err() || !has_rows_apart(y) {
        return ctx.f32_arena.write(y, values);
    }
    let [images, channels, height, width] = std::array::from_fn(|axis| y.shape[axis]);
    let (base, step) = (Base(ctx.f32_arena.as_mut_ptr()), y.strides[3]);
    ctx.pool.run(images * height, &|row| {
        let (image, h) = (row / height, row % height);
        let channel = |c: usize| &values[((image * channels + c) * height + h) * width..][..width];
        let first = y.offset + image * y.strides[0] + h * y.strides[2];
        // SAFETY: the row lies inside the checked view, and rows lie apart.
        let pixels = unsafe { std::slice::from_raw_parts_mut(base.at(first), row_span(y)) };
        if (channels, step) == (3, 3) {
            let [red, green, blue] = [0, 1, 2].map(channel);
            let given = red.iter().zip(green).zip(blue);
            for (pixel, ((&r, &g), &b)) in pixels.as_chunks_mut::<3>().0.iter_mut().zip(given) {
                *pixel = [r, g, b];
            }
            return;
        }
        for c in 0..channels {
            for (i, &value) in channel(c).iter().enumerate() {
                pixels[i * step + c] = value;
            }
        }
    });
    Ok(())
}

/// Elements from a row's first to its last.
fn row_span(image: &View) -> usize {
    (image.shape[3] - 1) * image.strides[3] + image.shape[1]
}

/// Whether it, which has elements, is an image whose rows lie one behind the other, with nothing of one between the elements of another.
fn has_rows_apart(y: &View) -> bool {
    if y.check_nhwc("y").is_err() {
        return false;
    }
    let row = row_span(y);
    let image = (y.shape[2] - 1) * y.strides[2] + row;
    (y.shape[2] == 1 || y.strides[2] >= row) && (y.shape[0] == 1 || y.strides[0] >= image)
}
