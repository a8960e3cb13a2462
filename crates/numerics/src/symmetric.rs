//! Symmetric matrices, stored as the tiles of their lower triangle: half the memory, and work that threads share tile by tile.
use crate::block::{block, block_mut};
use crate::cholesky::Cholesky;
use crate::parallel::parallel_map;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use std::ops::Range;

/// Rows and columns of a tile, but for those of the last ones.
pub(crate) const TILE: usize = 256;
/// Rows of a product that a thread computes at a time.
const ROWS: usize = 64;

/// A symmetric matrix in f64.
#[derive(Clone, Debug)]
pub struct Symmetric {
    order: usize,
    /// Tile `[i, j]` with `j <= i` at `i * (i + 1) / 2 + j`; those of the diagonal are whole.
    tiles: Vec<Array2<f64>>,
}

/// Where a tile lies, in tiles.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    row: usize,
    column: usize,
}

impl Symmetric {
    /// All elements 0.
    pub fn zeros(order: usize) -> Self {
        let tile =
            |p: Place| Array2::zeros((span(order, p.row).len(), span(order, p.column).len()));
        Self { order, tiles: places(order).map(tile).collect() }
    }

    /// Bytes of a matrix of so many rows.
    pub fn bytes(order: usize) -> usize {
        let whole = order / TILE * TILE;
        let tiles = order.div_ceil(TILE);
        let lower = tiles * (tiles + 1) / 2;
        let cut = order - whole;
        let last = if cut == 0 { 0 } else { cut * order };
        let full = if cut == 0 { lower } else { lower - tiles };
        (full * TILE * TILE + last) * size_of::<f64>()
    }

    /// Rows, and columns.
    pub fn order(&self) -> usize {
        self.order
    }

    /// One element.
    pub fn get(&self, row: usize, column: usize) -> f64 {
        let (row, column) = (row.max(column), row.min(column));
        self.tile(row / TILE, column / TILE)[[row % TILE, column % TILE]]
    }

    /// The elements of the diagonal.
    pub fn diagonal(&self) -> Vec<f64> {
        (0..self.order).map(|i| self.get(i, i)).collect()
    }

    /// Adds a number to each element of the diagonal.
    pub fn add_to_diagonal(&mut self, number: f64) {
        for i in 0..self.order.div_ceil(TILE) {
            let diagonal = &mut self.tiles[at(i, i)];
            diagonal.diag_mut().mapv_inplace(|v| v + number);
        }
    }

    /// Each tile changed by `change`, which is given the rows and columns that it covers.
    pub(crate) fn for_each_tile(
        &mut self,
        threads: usize,
        change: impl Fn(&mut Array2<f64>, Range<usize>, Range<usize>) + Sync,
    ) {
        let order = self.order;
        parallel_map(
            threads,
            places(order).zip(&mut self.tiles).collect::<Vec<_>>(),
            |(p, tile)| {
                change(tile, span(order, p.row), span(order, p.column));
            },
        );
    }

    /// A tile of each of these columns, as rows: `[columns, rows of the tile]`.
    pub(crate) fn rows(&self, columns: &[usize], tile: usize) -> Array2<f64> {
        let mut rows = Array2::zeros((columns.len(), span(self.order, tile).len()));
        for (mut row, &c) in rows.rows_mut().into_iter().zip(columns) {
            let (own, within) = (c / TILE, c % TILE);
            let elements: ArrayView1<'_, f64> = if tile <= own {
                self.tile(own, tile).row(within)
            } else {
                self.tile(tile, own).column(within)
            };
            row.assign(&elements);
        }
        rows
    }

    /// The rows and columns of these indices.
    pub(crate) fn select(&self, indices: &[usize]) -> Array2<f64> {
        let n = indices.len();
        Array2::from_shape_fn((n, n), |(i, j)| self.get(indices[i], indices[j]))
    }

    /// `left` times this matrix: `[rows, order]`.
    pub fn multiplied(&self, left: &Array2<f64>, threads: usize) -> Array2<f64> {
        let mut product = Array2::zeros(left.dim());
        let starts = (0..left.nrows()).step_by(ROWS);
        let parts = starts.zip(product.axis_chunks_iter_mut(Axis(0), ROWS));
        parallel_map(threads, parts.collect::<Vec<_>>(), |(first, mut part)| {
            let rows = first..first + part.nrows();
            let all = 0..part.nrows();
            for (p, tile) in places(self.order).zip(&self.tiles) {
                let (i, j) = (span(self.order, p.row), span(self.order, p.column));
                let from = block(left.view(), rows.clone(), j.clone());
                let mut to = block_mut(part.view_mut(), all.clone(), i.clone());
                general_mat_mul(1.0, &from, &tile.t(), 1.0, &mut to);
                if p.row != p.column {
                    let from = block(left.view(), rows.clone(), i);
                    let mut to = block_mut(part.view_mut(), all.clone(), j);
                    general_mat_mul(1.0, &from, tile, 1.0, &mut to);
                }
            }
        });
        product
    }

    /// Takes `aᵀ b` off, which is symmetric, and sets the rows and columns of these indices to 0: `a` and `b` are `[any, order]`, in
    /// tiles of their columns.
    pub(crate) fn eliminate(
        &mut self,
        a: &[Array2<f64>],
        b: &[Array2<f64>],
        indices: &[usize],
        threads: usize,
    ) {
        self.for_each_tile(threads, |tile, rows, columns| {
            let (left, right) = (&a[rows.start / TILE], &b[columns.start / TILE]);
            general_mat_mul(-1.0, &left.t(), right, 1.0, tile);
            for index in indices {
                if rows.contains(index) {
                    tile.row_mut(index - rows.start).fill(0.0);
                }
                if columns.contains(index) {
                    tile.column_mut(index - columns.start).fill(0.0);
                }
            }
        });
    }

    /// Keeps these rows and columns, in the same memory; `kept` rises.
    pub(crate) fn keep(&mut self, kept: &[usize]) {
        // Whatever moves, moves towards the beginning, so that nothing is overwritten that is still to be read.
        for (row, &from_row) in kept.iter().enumerate() {
            for (column, &from_column) in kept[..=row].iter().enumerate() {
                let element = self.get(from_row, from_column);
                let to = &mut self.tiles[at(row / TILE, column / TILE)];
                to[[row % TILE, column % TILE]] = element;
            }
        }
        self.order = kept.len();
        self.tiles.truncate(places(self.order).count());
        for (place, tile) in places(self.order).zip(&mut self.tiles) {
            let shape = (span(self.order, place.row).len(), span(self.order, place.column).len());
            if tile.dim() != shape {
                *tile = block(tile.view(), 0..shape.0, 0..shape.1).to_owned();
            }
            if place.row == place.column {
                for row in 0..shape.0 {
                    (0..row).for_each(|column| tile[[column, row]] = tile[[row, column]]);
                }
            }
        }
    }

    /// The inverse, in the same memory; `None` where the matrix is not positive definite.
    ///
    /// Rows and columns are exchanged with those of the inverse tile by tile: Gauss and Jordan's elimination, whose pivots are
    /// positive definite as long as the matrix is (the sweep operator; Beaton, 1964).
    pub(crate) fn inverse(mut self, threads: usize) -> Option<Self> {
        let tiles = self.order.div_ceil(TILE);
        for pivot in 0..tiles {
            let inverse =
                Cholesky::factor(self.tile(pivot, pivot).clone(), threads)?.inverse(threads);
            let column = |i: usize| {
                if i >= pivot {
                    self.tile(i, pivot).clone()
                } else {
                    self.tile(pivot, i).t().to_owned()
                }
            };
            let before: Vec<Array2<f64>> = parallel_map(threads, 0..tiles, column);
            let scaled: Vec<Array2<f64>> =
                parallel_map(threads, 0..tiles, |i| before[i].dot(&inverse));
            let jobs: Vec<_> = places(self.order).zip(&mut self.tiles).collect();
            parallel_map(threads, jobs, |(Place { row, column }, tile)| {
                if row == pivot && column == pivot {
                    tile.assign(&(-&inverse));
                } else if column == pivot {
                    tile.assign(&scaled[row]);
                } else if row == pivot {
                    tile.assign(&scaled[column].t());
                } else {
                    let right: ArrayView2<'_, f64> = before[column].t();
                    general_mat_mul(-1.0, &scaled[row], &right, 1.0, tile);
                }
            });
        }
        self.tiles.iter_mut().for_each(|tile| tile.mapv_inplace(|v| -v));
        Some(self)
    }

    fn tile(&self, row: usize, column: usize) -> &Array2<f64> {
        &self.tiles[at(row, column)]
    }
}

/// Position of a tile of the lower triangle.
fn at(row: usize, column: usize) -> usize {
    row * (row + 1) / 2 + column
}

/// The tiles of the lower triangle, in their order.
fn places(order: usize) -> impl Iterator<Item = Place> {
    let of_row = |row| (0..=row).map(move |column| Place { row, column });
    (0..order.div_ceil(TILE)).flat_map(of_row)
}

/// What a row or column of tiles covers.
fn span(order: usize, tile: usize) -> Range<usize> {
    tile * TILE..((tile + 1) * TILE).min(order)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;
    use ndarray::{Axis, concatenate};

    /// Of two tiles and a bit in each direction.
    const ORDER: usize = 2 * TILE + 37;

    /// A positive definite matrix, whole.
    fn whole() -> Array2<f64> {
        let mut random = Rng::new(3);
        let root = Array2::from_shape_simple_fn((ORDER, 40), || f64::from(random.signed()));
        root.dot(&root.t()) + Array2::<f64>::eye(ORDER) * 0.7
    }

    fn tiled(whole: &Array2<f64>) -> Symmetric {
        let mut tiled = Symmetric::zeros(whole.nrows());
        tiled.for_each_tile(2, |tile, rows, columns| {
            tile.assign(&block(whole.view(), rows, columns));
        });
        tiled
    }

    fn rows(of: &Symmetric, indices: &[usize]) -> Array2<f64> {
        let tiles: Vec<_> = (0..of.order.div_ceil(TILE)).map(|t| of.rows(indices, t)).collect();
        let views: Vec<_> = tiles.iter().map(|t| t.view()).collect();
        concatenate(Axis(1), &views).unwrap()
    }

    fn worst(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
        (a - b).iter().fold(0.0, |w, d| w.max(d.abs()))
    }

    #[test]
    fn inverse_times_the_matrix_is_one_on_any_number_of_threads() {
        let whole = whole();
        let inverse = tiled(&whole).inverse(1).unwrap();
        let all: Vec<usize> = (0..ORDER).collect();
        let product = whole.dot(&rows(&inverse, &all));
        assert!(worst(&product, &Array2::eye(ORDER)) < 1e-9);
        assert_eq!(tiled(&whole).inverse(3).unwrap().tiles, inverse.tiles);
        let mut indefinite = whole;
        indefinite[[ORDER - 1, ORDER - 1]] = -1.0;
        assert!(tiled(&indefinite).inverse(2).is_none());
    }

    #[test]
    fn products_rows_and_selections_are_those_of_the_whole_matrix() {
        let whole = whole();
        let mut tiled = tiled(&whole);
        let left = Array2::from_shape_fn((ROWS + 3, ORDER), |(i, j)| ((i * 7 + j) % 11) as f64);
        assert!(worst(&tiled.multiplied(&left, 2), &left.dot(&whole)) < 1e-9);
        let some = [ORDER - 1, 3, TILE, 2 * TILE - 1];
        let chosen = whole.select(Axis(0), &some);
        assert_eq!(rows(&tiled, &some), chosen);
        assert_eq!(tiled.select(&some), chosen.select(Axis(1), &some));
        let parts: Vec<_> = (0..3).map(|tile| tiled.rows(&some, tile)).collect();
        tiled.eliminate(&parts, &parts, &some[..1], 2);
        let mut expected = &whole - &chosen.t().dot(&chosen);
        expected.row_mut(some[0]).fill(0.0);
        expected.column_mut(some[0]).fill(0.0);
        let all: Vec<usize> = (0..ORDER).collect();
        assert!(worst(&rows(&tiled, &all), &expected) < 1e-9);
    }

    #[test]
    fn rows_and_columns_that_are_kept_are_those_of_the_whole_matrix() {
        let whole = whole();
        for every in [2, 3, ORDER] {
            let kept: Vec<usize> = (0..ORDER).filter(|i| i % every != 1).collect();
            let mut matrix = tiled(&whole);
            matrix.keep(&kept);
            let expected = whole.select(Axis(0), &kept).select(Axis(1), &kept);
            assert_eq!(matrix.tiles, tiled(&expected).tiles);
            let all: Vec<usize> = (0..kept.len()).collect();
            assert_eq!(rows(&matrix, &all), expected);
        }
    }

    #[test]
    fn bytes_are_those_of_the_tiles() {
        for order in [1, TILE - 1, TILE, TILE + 1, ORDER] {
            let elements: usize = Symmetric::zeros(order).tiles.iter().map(|t| t.len()).sum();
            assert_eq!(Symmetric::bytes(order), elements * size_of::<f64>(), "{order}");
        }
    }
}
