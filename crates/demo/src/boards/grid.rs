//! The cells of a board, so that copper of two nets never meets where it should not.
use super::SIDE_PX;
use super::raster::Point;

/// Height and width of a cell.
pub(super) const PITCH_PX: f32 = 12.0;

/// Cells beyond the picture on each side, so that traces run out of it.
const MARGIN: i32 = 3;

/// Cells along a side of the picture.
const ACROSS: i32 = (SIDE_PX as f32 / PITCH_PX) as i32 + 1;

/// Cells along a side of the board.
const SIDE: i32 = ACROSS + 2 * MARGIN;

/// Column and row of a cell; those in the picture start at 0.
pub(super) type Cell = [i32; 2];

/// Where the middle of a cell lies.
pub(super) fn center(cell: Cell) -> Point {
    cell.map(|c| (c as f32 + 0.5) * PITCH_PX)
}

/// A cell that lies some steps further on.
pub(super) fn step(cell: Cell, direction: Cell, steps: i32) -> Cell {
    [cell[0] + steps * direction[0], cell[1] + steps * direction[1]]
}

/// Columns and rows in the picture.
pub(super) fn columns() -> std::ops::Range<i32> {
    0..ACROSS
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Free,
    /// Copper of a net.
    Net(usize),
    /// Nothing, but too near to the pads of a component for other copper.
    Beside(usize),
}

/// All cells of a board.
#[derive(Clone, Debug)]
pub(super) struct Grid(Vec<Content>);

impl Grid {
    pub(super) fn new() -> Self {
        Self(vec![Content::Free; (SIDE * SIDE) as usize])
    }

    /// Whether a cell lies on the board.
    pub(super) fn holds(&self, cell: Cell) -> bool {
        cell.iter().all(|c| (0..SIDE).contains(&(c + MARGIN)))
    }

    fn content(&self, cell: Cell) -> Option<Content> {
        self.holds(cell).then(|| self.0[index(cell)])
    }

    pub(super) fn is_free(&self, cell: Cell) -> bool {
        self.content(cell) == Some(Content::Free)
    }

    /// Whether a trace of the component may run through: what is free, and what was kept free for it.
    pub(super) fn is_open_to(&self, cell: Cell, component: usize) -> bool {
        let content = self.content(cell);
        content == Some(Content::Free) || content == Some(Content::Beside(component))
    }

    /// The net whose copper a cell holds.
    pub(super) fn net(&self, cell: Cell) -> Option<usize> {
        match self.content(cell)? {
            Content::Net(net) => Some(net),
            _ => None,
        }
    }

    pub(super) fn take(&mut self, cell: Cell, net: usize) {
        self.set(cell, Content::Net(net));
    }

    /// Keeps other copper away from a cell, where it is free.
    pub(super) fn keep_free(&mut self, cell: Cell, component: usize) {
        if self.is_free(cell) {
            self.set(cell, Content::Beside(component));
        }
    }

    fn set(&mut self, cell: Cell, content: Content) {
        if self.holds(cell) {
            self.0[index(cell)] = content;
        }
    }
}

fn index([column, row]: Cell) -> usize {
    ((row + MARGIN) * SIDE + column + MARGIN) as usize
}
