//! How a convolution is cut: into tasks for threads, rows of pixels, and tiles of a row.

use super::beside::Beside;
use super::geometry::ConvGeometry;
use super::panels::Panel;
use crate::{Dims, ThreadPool, View};

/// Pixels of a row where rows may have any length: most tiles divide it, and it leaves enough rows for threads.
const ROW_PIXELS: usize = 120;

/// Tasks that a panel's rows are cut into come in such numbers.
const TASKS: usize = 4;

/// A convolution's images, as its tiles walk over them.
pub(crate) struct Job {
    /// x with its halo.
    window: View,
    y: View,
    beside: Beside<Option<View>>,
    /// Rows of y, and the pixels of each; the last one may have fewer.
    rows: usize,
    width: usize,
    /// Elements between the windows of neighbouring rows, and of neighbouring pixels.
    row_step: usize,
    pub(crate) x_step: usize,
    /// Taps of a kernel row, and the neighbouring values that each reads: dense pixels make a kernel row one tap.
    pub(crate) taps_w: usize,
    pub(crate) run: usize,
    /// Elements between kernel rows, and between the taps of a row.
    pub(crate) tap_steps: [usize; 2],
    /// Multiply-accumulates of a pixel and a channel.
    depth: usize,
}

/// Neighbouring tiles of one panel with equally many pixels each; `x`, `y` and those beside it are elements of their arenas.
pub(crate) struct Tiles {
    pub(crate) panel: usize,
    /// The first pixel's first tap.
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) beside: Beside<Option<usize>>,
    pub(crate) count: usize,
    pub(crate) pixels: usize,
}

impl Tiles {
    /// What lies beside `y`, so many pixels on.
    pub(crate) fn beside_from(&self, job: &Job, pixels: usize) -> Beside<Option<usize>> {
        self.beside.zip(job.beside_steps()).map(|(at, step)| at.map(|at| at + pixels * step))
    }
}

impl Job {
    /// Of checked views; `window` is what [`ConvGeometry::window`] gives.
    pub(crate) fn new(
        geometry: &ConvGeometry,
        window: &View,
        y: &View,
        beside: Beside<Option<View>>,
    ) -> Job {
        let inner = geometry.in_channels_per_group;
        let (taps_w, run) = if geometry.has_dense_rows(window) {
            (1, geometry.kernel[1] * inner)
        } else {
            (geometry.kernel[1], inner)
        };
        let mut job = Job {
            window: *window,
            y: *y,
            beside,
            rows: y.shape[2],
            width: y.shape[3],
            // Steps that no pixel or tap takes may wrap.
            row_step: geometry.strides[0].wrapping_mul(window.strides[2]),
            x_step: geometry.strides[1].wrapping_mul(window.strides[3]),
            taps_w,
            run,
            tap_steps: [0, 1].map(|i| geometry.dilations[i].wrapping_mul(window.strides[2 + i])),
            depth: geometry.depth(),
        };
        if geometry.kernel == [1, 1] && geometry.strides == [1, 1] && geometry.pads == [0; 4] {
            job.flatten();
        }
        job
    }

    /// Pixels that lie at one stride over a whole image are rows of any length.
    fn flatten(&mut self) {
        let even = |v: &View| v.strides[2] == v.strides[3] * self.width;
        let Beside { residual, factor, slope } = &mut self.beside;
        let beside = || residual.iter().chain(factor.iter()).chain(slope.iter());
        if ![&self.window, &self.y].into_iter().chain(beside()).all(even) {
            return;
        }
        let pixels = self.rows * self.width;
        self.width = pixels.min(ROW_PIXELS);
        self.rows = pixels.div_ceil(self.width);
        let width = self.width;
        let beside = residual.iter_mut().chain(factor).chain(slope);
        for view in [&mut self.window, &mut self.y].into_iter().chain(beside) {
            let [image, pixel] = [view.strides[0], view.strides[3]];
            view.strides = Dims::new(&[image, 1, pixel * width, pixel]);
        }
        self.row_step = self.window.strides[2];
    }

    /// Elements between the pixels of y.
    pub(crate) fn y_step(&self) -> usize {
        self.y.strides[3]
    }

    /// Elements between the pixels of what lies beside it.
    pub(crate) fn beside_steps(&self) -> Beside<usize> {
        self.beside.map(|view| view.map_or(0, |view| view.strides[3]))
    }

    /// Calls `f` for all tiles of all panels, in tasks of about `task_macs` multiply-accumulates; `tile_pixels` says how
    /// many pixels the tiles of 1, 2, … vectors may have. No two calls share outputs.
    pub(crate) fn run(
        &self,
        pool: &ThreadPool,
        panels: &[Panel],
        tile_pixels: &[usize],
        task_macs: usize,
        f: &(dyn Fn(&Tiles) + Sync),
    ) {
        let widest = panels.iter().map(|panel| panel.channels).max().unwrap_or(1);
        let rows = task_macs.div_ceil(self.width * self.depth * widest);
        let rows = self.rows_of_a_task(rows);
        let blocks = self.rows.div_ceil(rows);
        pool.run(self.y.shape[0] * panels.len() * blocks, &|task| {
            let (image, rest) = (task / (panels.len() * blocks), task % (panels.len() * blocks));
            let (index, block) = (rest / blocks, rest % blocks);
            let panel = &panels[index];
            for row in block * rows..((block + 1) * rows).min(self.rows) {
                let first = Tiles {
                    panel: index,
                    x: self.window.offset
                        + image * self.window.strides[0]
                        + row * self.row_step
                        + panel.in_channel,
                    y: at(&self.y, image, row) + panel.channel,
                    beside: self.beside.map(|v| v.map(|v| at(&v, image, row) + panel.channel)),
                    count: 0,
                    pixels: 0,
                };
                self.row(row, tile_pixels[panel.vectors - 1], first, f);
            }
        });
    }

    /// About as many rows as that, so that tasks come in fours: threads, two or four of them, end together.
    fn rows_of_a_task(&self, rows: usize) -> usize {
        let blocks = self.rows.div_ceil(rows.clamp(1, self.rows));
        if blocks == 1 {
            return self.rows;
        }
        self.rows.div_ceil(blocks.next_multiple_of(TASKS)).max(1)
    }

    /// Cuts a row into tiles that differ by one pixel at most: 20 pixels are 10 + 10, not 12 + 8.
    fn row(&self, row: usize, most: usize, mut tiles: Tiles, f: &(dyn Fn(&Tiles) + Sync)) {
        let pixels = self.y.shape[2] * self.y.shape[3];
        // The last row of a flattened image may be shorter.
        let width = self.width.min(pixels - row * self.width);
        let count = width.div_ceil(most);
        let (pixels, wider) = (width / count, width % count);
        for (count, pixels) in [(wider, pixels + 1), (count - wider, pixels)] {
            if count > 0 {
                (tiles.count, tiles.pixels) = (count, pixels);
                f(&tiles);
                tiles.x += count * pixels * self.x_step;
                tiles.y += count * pixels * self.y_step();
                tiles.beside = tiles.beside_from(self, count * pixels);
            }
        }
    }
}

/// The first element of a row of an image.
fn at(view: &View, image: usize, row: usize) -> usize {
    view.offset + image * view.strides[0] + row * view.strides[2]
}
