//! All convolutions of quantized values but depthwise ones.

use super::finish::Finish;
use super::pack::{PackedQConv, Panel};
use super::tile::{QTile, QTileFn};
use super::weights::{PanelWeights, Weights};
use super::{QEpilogue, QOut};
use crate::int8::vector::{i32_body, int8_sorted_tiles, int8_tiles};
use crate::nest::Base;
use crate::{Context, View};
use std::cell::Cell;

/// Multiply-accumulates that make a task worth handing out.
const TASK_MACS: usize = 2 << 20;

struct Job<'a> {
    conv: &'a PackedQConv,
    weights: &'a Weights,
    tiles: &'static [&'static [QTileFn]],
    /// Quantized values between a window's start and each of the weights' places.
    places: &'a [usize],
    taps_w: usize,
    u8s: Base<u8>,
    /// Where y lies, and the bytes of its elements.
    y_base: Base<u8>,
    y_bytes: usize,
    window: View,
    y: View,
    residual: Option<View>,
    finish: Finish<'a>,
    height: usize,
    width: usize,
    /// Quantized values between the pixels of a tile.
    x_step: usize,
    /// Quantized values between kernel rows and kernel columns.
    tap_steps: [usize; 2],
}

thread_local! {
    /// Memory for places: a warm session allocates nothing.
    static PLACES: Cell<Vec<usize>> = const { Cell::new(Vec::new()) };
}

/// The convolution over the widened view.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedQConv,
    window: &View,
    y: &QOut,
    epilogue: &QEpilogue,
) {
    let mut places = PLACES.take();
    let job = Job::new(ctx, (conv, window), (y, epilogue), &mut places);
    let [kernel_h, kernel_w] = conv.window.kernel;
    let widest = conv.panels.iter().map(|p| p.channels).max().unwrap_or(1);
    let macs_per_row = job.width * kernel_h * kernel_w * conv.in_channels_per_group * widest;
    let rows = TASK_MACS.div_ceil(macs_per_row).clamp(1, job.height);
    let blocks = job.height.div_ceil(rows);
    let (images, panels) = (window.shape[0], conv.panels.len());
    ctx.pool.run(images * panels * blocks, &|task| {
        let (image, rest) = (task / (panels * blocks), task % (panels * blocks));
        let (panel, block) = (rest / blocks, rest % blocks);
        for row in block * rows..((block + 1) * rows).min(job.height) {
            job.row(image, panel, row);
        }
    });
    PLACES.set(places);
}

impl<'a> Job<'a> {
    fn new(
        ctx: &mut Context,
        (conv, window): (&'a PackedQConv, &View),
        (y, epilogue): (&QOut, &QEpilogue<'a>),
        places: &'a mut Vec<usize>,
    ) -> Job<'a> {
        let size = &conv.window;
        let inner = conv.in_channels_per_group;
        let dense = conv.group == 1 && window.strides[3] == inner && size.dilations[1] == 1;
        let u8s = Base(ctx.u8_arena.as_mut_ptr());
        let (y_base, y_bytes) = match y {
            QOut::U8 { .. } => (u8s, 1),
            QOut::F32 { .. } => (Base(ctx.f32_arena.as_mut_ptr().cast::<u8>()), 4),
        };
        let weights = match &conv.row_weights {
            Some(rows) if dense => rows,
            _ => &conv.weights,
        };
        // Steps that no pixel or tap takes may wrap.
        let x_step = size.strides[1].wrapping_mul(window.strides[3]);
        let tap_steps = [0, 1].map(|i| size.dilations[i].wrapping_mul(window.strides[2 + i]));
        places.clear();
        places.extend(weights.places.iter().map(|place| {
            let [h, w, at] = [place.tap_h, place.tap_w, place.at].map(|i| i as usize);
            let row = h.wrapping_mul(tap_steps[0]);
            row.wrapping_add(w.wrapping_mul(tap_steps[1]))
                .wrapping_add(at)
        }));
        let mut job = Job {
            conv,
            weights,
            tiles: match int8_sorted_tiles(conv.isa) {
                Some(tiles) if !places.is_empty() => tiles,
                _ => int8_tiles(conv.isa),
            },
            places,
            taps_w: if dense { 1 } else { size.kernel[1] },
            u8s,
            y_base,
            y_bytes,
            window: *window,
            y: *y.view(),
            residual: epilogue.residual.map(|(view, _)| view),
            finish: Finish::new(conv, y, epilogue),
            height: y.view().shape[2],
            width: y.view().shape[3],
            x_step,
            tap_steps,
        };
        job.flatten();
        job
    }

    /// A 1x1 convolution whose pixels lie at one stride over the whole image has rows of any length.
    fn flatten(&mut self) {
        let even = |v: &View| v.strides[2] == v.strides[3] * self.width;
        let size = &self.conv.window;
        let plain = size.kernel == [1, 1] && size.strides == [1, 1] && size.pads == [0; 4];
        if !plain
            || ![Some(&self.window), Some(&self.y), self.residual.as_ref()]
                .into_iter()
                .flatten()
                .all(even)
        {
            return;
        }
        let pixels = self.height * self.width;
        // Rows of 120 pixels, which all tiles divide, keep the split fine enough for threads.
        self.width = pixels.min(120);
        self.height = pixels.div_ceil(self.width);
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
    }

    fn row(&self, image: usize, panel: usize, row: usize) {
        let conv = self.conv;
        let weights = &self.weights.panels[panel];
        let panel = &conv.panels[panel];
        let kernels = self.tiles[panel.nv - 1];
        let total = self.y.shape[2] * self.y.shape[3];
        // The last row of a flattened image may be shorter.
        let width = self.width.min(total - row * self.width);
        let at = |v: &View| v.offset + image * v.strides[0];
        let x_row = row * conv.window.strides[0] * self.window.strides[2];
        let x = at(&self.window) + x_row + panel.in_channel;
        let y = at(&self.y) + row * self.y.strides[2] + panel.channel;
        let residual = self
            .residual
            .as_ref()
            .map(|v| (at(v) + row * v.strides[2] + panel.channel, v.strides[3]));
        // Tiles that differ by one pixel at most: 20 pixels are 10 + 10, not 12 + 8.
        let count = width.div_ceil(kernels.len());
        let (pixels, wider) = (width / count, width % count);
        let mut first = 0;
        for (tiles, pixels) in [(wider, pixels + 1), (count - wider, pixels)] {
            if tiles == 0 {
                continue;
            }
            let mut tile = self.tile(panel, weights, x + first * self.x_step);
            tile.tiles = tiles;
            tile.y = self
                .y_base
                .at((y + first * self.y.strides[3]) * self.y_bytes);
            if let Some((at, step)) = residual {
                tile.residual = self.u8s.at(at + first * step);
                tile.residual_step = step;
            }
            // SAFETY: the instruction set and the views were checked, and no two tiles share outputs.
            unsafe { kernels[pixels - 1](&tile) };
            first += tiles * pixels;
        }
    }

    fn tile(&self, panel: &Panel, weights: &PanelWeights, x: usize) -> QTile<'_> {
        let conv = self.conv;
        let size = &conv.window;
        QTile {
            tiles: 0,
            x: self.u8s.at(x),
            x_step: self.x_step,
            weight: self.weights.data[weights.data..].as_ptr(),
            start: conv.start[panel.lane..].as_ptr(),
            multiplier: conv.multiplier[panel.lane..].as_ptr(),
            bias: conv.bias[panel.lane..].as_ptr(),
            taps_h: size.kernel[0],
            taps_w: self.taps_w,
            tap_h_step: self.tap_steps[0],
            tap_w_step: self.tap_steps[1],
            run: size.kernel[1] / self.taps_w * conv.in_channels_per_group,
            tail: self.weights.tail,
            places: self.places[weights.place..].as_ptr(),
            counts: weights.counts,
            finish: &self.finish,
            channels: panel.channels,
            y: std::ptr::null_mut(),
            y_step: self.y.strides[3],
            y_bytes: self.y_bytes,
            residual: std::ptr::null(),
            residual_step: 0,
            end: i32_body(conv.isa),
        }
    }
}
