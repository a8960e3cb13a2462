//! All convolutions but depthwise ones.

use super::pack::{PackedConv, Panel};
use super::tile::{TILE_ELEMENTS, Tile, TileFn};
use super::{Epilogue, Finish, Out};
use crate::nest::Base;
use crate::vector::{dispatch_f32, tiles};
use crate::{Context, View};

/// Multiply-accumulates that make a task worth handing out.
const TASK_MACS: usize = 1 << 20;

/// Scratch for one tile's sums.
#[repr(align(64))]
struct Sums(#[expect(dead_code, reason = "filled through its pointer")] [f32; TILE_ELEMENTS]);

struct Job<'a> {
    conv: &'a PackedConv,
    base: Base,
    window: View,
    y: View,
    residual: Option<View>,
    finish: Finish,
    height: usize,
    width: usize,
    /// Taps of a kernel row, and the values each reads; dense pixels make a kernel row one tap.
    taps_w: usize,
    run: usize,
    /// Elements between the pixels of a tile.
    x_step: usize,
}

/// The convolution over the widened view.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedConv,
    window: &View,
    y: &View,
    epilogue: &Epilogue,
) {
    let inner = conv.in_channels_per_group;
    let dense = conv.group == 1 && window.strides[3] == inner && conv.dilations[1] == 1;
    let (taps_w, run) = if dense {
        (1, conv.kernel[1] * inner)
    } else {
        (conv.kernel[1], inner)
    };
    let mut job = Job {
        conv,
        base: Base(ctx.f32_arena.as_mut_ptr()),
        window: *window,
        y: *y,
        residual: epilogue.residual,
        finish: Finish::new(epilogue),
        height: y.shape[2],
        width: y.shape[3],
        taps_w,
        run,
        // Steps that no pixel or tap takes may wrap.
        x_step: conv.strides[1].wrapping_mul(window.strides[3]),
    };
    job.flatten();
    let macs_per_row = job.width * conv.kernel[0] * conv.kernel[1] * inner * 48;
    let rows = TASK_MACS.div_ceil(macs_per_row).clamp(1, job.height);
    let blocks = job.height.div_ceil(rows);
    let images = window.shape[0];
    ctx.pool.run(images * conv.panels.len() * blocks, &|task| {
        let (image, rest) = (
            task / (conv.panels.len() * blocks),
            task % (conv.panels.len() * blocks),
        );
        let (panel, block) = (&conv.panels[rest / blocks], rest % blocks);
        for row in block * rows..((block + 1) * rows).min(job.height) {
            job.row(image, panel, row);
        }
    });
}

impl Job<'_> {
    /// A 1x1 convolution whose pixels lie at one stride over the whole image has rows of any length.
    fn flatten(&mut self) {
        let even = |v: &View| v.strides[2] == v.strides[3] * self.width;
        let plain =
            self.conv.kernel == [1, 1] && self.conv.strides == [1, 1] && self.conv.pads == [0; 4];
        if !plain
            || ![Some(&self.window), Some(&self.y), self.residual.as_ref()]
                .into_iter()
                .flatten()
                .all(even)
        {
            return;
        }
        let pixels = self.height * self.width;
        // Rows of about a hundred pixels keep the split fine enough for threads.
        self.height = pixels.div_ceil(120);
        self.width = pixels.div_ceil(self.height);
        let row = |v: &mut View, width: usize| {
            let mut strides = [v.strides[0], 1, 0, v.strides[3]];
            strides[2] = v.strides[3] * width;
            v.strides = crate::Dims::new(&strides);
        };
        row(&mut self.window, self.width);
        row(&mut self.y, self.width);
        if let Some(v) = &mut self.residual {
            row(v, self.width);
        }
        self.height = pixels.div_ceil(self.width);
    }

    fn row(&self, image: usize, panel: &Panel, row: usize) {
        let conv = self.conv;
        let kernels = tiles(conv.isa)[panel.nv - 1];
        let total = self.y.shape[2] * self.y.shape[3];
        // The last row of a flattened image may be shorter.
        let width = self.width.min(total - row * self.width);
        let at = |v: &View| v.offset + image * v.strides[0];
        let x =
            at(&self.window) + row * conv.strides[0] * self.window.strides[2] + panel.in_channel;
        let y = at(&self.y) + row * self.y.strides[2] + panel.channel;
        let residual = self
            .residual
            .as_ref()
            .map(|v| at(v) + row * v.strides[2] + panel.channel);
        // Tiles that differ by one pixel at most: 20 pixels are 10 + 10, not 14 + 6.
        let count = width.div_ceil(kernels.len());
        let mut first = 0;
        for index in 0..count {
            let pixels = width / count + usize::from(index < width % count);
            let kernel = kernels[pixels - 1];
            let step = self.residual.map_or(0, |v| v.strides[3]);
            let out = Out {
                finish: &self.finish,
                sums: std::ptr::null(),
                width: 0,
                pixels,
                channels: panel.channels,
                y: self.base.at(y + first * self.y.strides[3]),
                y_step: self.y.strides[3],
                residual: residual.map_or(std::ptr::null(), |r| {
                    self.base.at(r + first * step).cast_const()
                }),
                residual_step: step,
            };
            self.tile(panel, kernel, x + first * self.x_step, out);
            first += pixels;
        }
    }

    fn tile(&self, panel: &Panel, kernel: TileFn, x: usize, mut out: Out) {
        let conv = self.conv;
        let args = Tile {
            x: self.base.at(x),
            x_step: self.x_step,
            weight: conv.weight[panel.weight..].as_ptr(),
            bias: conv.bias[panel.bias..].as_ptr(),
            taps_h: conv.kernel[0],
            taps_w: self.taps_w,
            run: self.run,
            tap_h_step: conv.dilations[0].wrapping_mul(self.window.strides[2]),
            tap_w_step: conv.dilations[1].wrapping_mul(self.window.strides[3]),
        };
        let mut sums = std::mem::MaybeUninit::<Sums>::uninit();
        out.sums = sums.as_ptr().cast();
        out.width = panel.nv * crate::vector::lanes(conv.isa);
        // SAFETY: the instruction set and the views were checked, `sums` holds the largest tile, and no two tiles
        // share outputs.
        unsafe {
            kernel(&args, sums.as_mut_ptr().cast());
            dispatch_f32(conv.isa, &out);
        }
    }
}
