//! All INT8 convolutions but depthwise ones.

use super::finish::Finish;
use super::pack::PackedQConv;
use super::tile::{QTiles, tiles_fn};
use super::weights::Weights;
use super::{QEpilogue, QOut};
use crate::conv::beside::Beside;
use crate::conv::job::{Job, Tiles};
use crate::nest::Base;
use crate::{Context, View};
use std::cell::Cell;

/// Multiply-accumulates that make a task worth handing out.
const TASK_MACS: usize = 2 << 20;

struct Direct<'a> {
    conv: &'a PackedQConv,
    weights: &'a Weights,
    /// Values between a window's start and each of the weights' blocks of four.
    offsets: &'a [usize],
    u8s: Base<u8>,
    /// Where y lies, and the bytes of its elements.
    y_base: Base<u8>,
    y_bytes: usize,
    job: Job,
    finish: Finish<'a>,
}

thread_local! {
    /// Memory for offsets: a warm session allocates nothing.
    static OFFSETS: Cell<Vec<usize>> = const { Cell::new(Vec::new()) };
}

/// The convolution over all that its windows read.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedQConv,
    window: &View,
    y: &QOut,
    epilogue: &QEpilogue,
) {
    let weights = match &conv.row_weights {
        Some(rows) if conv.geometry.has_dense_rows(window) => rows,
        _ => &conv.weights,
    };
    let residual = epilogue.residual.map(|residual| residual.view);
    let beside = Beside { residual, ..Beside::default() };
    let job = Job::new(&conv.geometry, window, y.view(), beside);
    let mut offsets = OFFSETS.take();
    offsets.clear();
    offsets.extend(weights.offsets.iter().map(|offset| {
        let row = (offset.tap_h as usize).wrapping_mul(job.tap_steps[0]);
        let tap = (offset.tap_w as usize).wrapping_mul(job.tap_steps[1]);
        row.wrapping_add(tap).wrapping_add(offset.at as usize)
    }));
    let (y_base, y_bytes) = y.base(ctx);
    let direct = Direct {
        conv,
        weights,
        offsets: &offsets,
        u8s: Base(ctx.u8_arena.as_mut_ptr()),
        y_base,
        y_bytes,
        job,
        finish: Finish::new(conv, y, epilogue),
    };
    let tile_pixels = conv.isa.int8().tiles;
    direct.job.run(ctx.pool, &conv.panels, tile_pixels, TASK_MACS, &|tiles| direct.tiles(tiles));
    OFFSETS.set(offsets);
}

impl Direct<'_> {
    fn tiles(&self, tiles: &Tiles) {
        let (conv, job) = (self.conv, &self.job);
        let panel = &conv.panels[tiles.panel];
        let weights = &self.weights.panels[tiles.panel];
        let residual = tiles.beside.residual.map(|at| self.u8s.at(at).cast_const());
        let args = QTiles {
            count: tiles.count,
            x: self.u8s.at(tiles.x),
            x_step: job.x_step,
            weight: self.weights.data[weights.data..].as_ptr(),
            start: conv.start[panel.lane..].as_ptr(),
            multiplier: conv.multiplier[panel.lane..].as_ptr(),
            bias: conv.bias[panel.lane..].as_ptr(),
            taps_h: conv.geometry.kernel[0],
            taps_w: job.taps_w,
            tap_steps: job.tap_steps,
            run: job.run,
            tail: self.weights.tail,
            offsets: self.offsets[weights.offset..].as_ptr(),
            counts: weights.counts,
            finish: &self.finish,
            channels: panel.channels,
            y: self.y_base.at(tiles.y * self.y_bytes),
            y_step: job.y_step(),
            y_bytes: self.y_bytes,
            residual: residual.unwrap_or(std::ptr::null()),
            residual_step: job.beside_steps().residual,
        };
        let sorted = !self.offsets.is_empty();
        // SAFETY: the views were checked, and no two tiles share outputs.
        unsafe { tiles_fn(conv.isa, panel.vectors, tiles.pixels, sorted)(&args) };
    }
}
