//! All f32 convolutions but depthwise ones.

use super::job::{Job, Tiles};
use super::pack::PackedConv;
use super::tile::{TILE_ELEMENTS, Tile, tile_fn};
use super::{Epilogue, Finish, Out, Pixels};
use crate::nest::Base;
use crate::{Context, View};

/// Multiply-accumulates that make a task worth handing out.
const TASK_MACS: usize = 1 << 20;

/// Scratch for one tile's sums.
#[repr(align(64))]
struct Sums(#[expect(dead_code, reason = "filled through its pointer")] [f32; TILE_ELEMENTS]);

/// The convolution over all that its windows read.
pub(super) fn run(
    ctx: &mut Context,
    conv: &PackedConv,
    window: &View,
    y: &View,
    epilogue: &Epilogue,
) {
    let direct = Direct {
        conv,
        base: Base(ctx.f32_arena.as_mut_ptr()),
        job: Job::new(&conv.geometry, window, y, epilogue.beside()),
        finish: Finish::new(epilogue),
    };
    let tile_pixels = conv.isa.f32().tiles;
    direct.job.run(ctx.pool, &conv.panels, tile_pixels, TASK_MACS, &|tiles| direct.tiles(tiles));
}

struct Direct<'a> {
    conv: &'a PackedConv,
    base: Base,
    job: Job,
    finish: Finish,
}

impl Direct<'_> {
    fn tiles(&self, tiles: &Tiles) {
        let (conv, job) = (self.conv, &self.job);
        let panel = &conv.panels[tiles.panel];
        let kernel = tile_fn(conv.isa, panel.vectors, tiles.pixels);
        let mut sums = std::mem::MaybeUninit::<Sums>::uninit();
        for first in (0..tiles.count).map(|index| index * tiles.pixels) {
            let tile = Tile {
                x: self.base.at(tiles.x + first * job.x_step),
                x_step: job.x_step,
                weight: conv.weight[panel.lane * conv.geometry.depth()..].as_ptr(),
                bias: conv.bias[panel.lane..].as_ptr(),
                taps_h: conv.geometry.kernel[0],
                taps_w: job.taps_w,
                run: job.run,
                tap_steps: job.tap_steps,
            };
            let out = Out {
                finish: &self.finish,
                sums: sums.as_ptr().cast(),
                width: panel.vectors * conv.isa.f32().lanes,
                pixels: tiles.pixels,
                channels: panel.channels,
                y: self.base.at(tiles.y + first * job.y_step()),
                y_step: job.y_step(),
                beside: tiles.beside_from(job, first).zip(job.beside_steps()).map(|(at, step)| {
                    Pixels { at: at.map_or(std::ptr::null_mut(), |at| self.base.at(at)), step }
                }),
            };
            // SAFETY: the views were checked, `sums` holds the largest tile, and no two tiles share outputs.
            unsafe {
                kernel(&tile, sums.as_mut_ptr().cast());
                conv.isa.run_f32(&out);
            }
        }
    }
}
