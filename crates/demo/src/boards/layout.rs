//! Where pads, traces and letters of a board lie.
use super::grid::{Cell, Grid, center, columns, step};
use super::lettering::letters;
use super::raster::{Point, Shape};
use super::{between, happens};
use numerics::Rng;

/// The eight directions in which copper runs, each an eighth of a turn from the last.
const DIRECTIONS: [Cell; 8] =
    [[1, 0], [1, 1], [0, 1], [-1, 1], [-1, 0], [-1, -1], [0, -1], [1, -1]];

/// How often a component is tried to be placed.
const COMPONENTS: usize = 26;

/// A line of copper from cell to cell.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    pub(super) net: usize,
    pub(super) cells: Vec<Cell>,
    pub(super) width: f32,
}

/// A pad with a hole.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrilledPad {
    pub(super) center: Point,
    pub(super) radius: f32,
    pub(super) hole: f32,
}

/// Everything on a board, ready to be damaged and drawn.
#[derive(Clone, Debug)]
pub(super) struct Artwork {
    pub(super) grid: Grid,
    pub(super) traces: Vec<Trace>,
    /// Copper beside traces and drilled pads.
    pub(super) copper: Vec<Shape>,
    /// Copper that is missing.
    pub(super) gaps: Vec<Shape>,
    /// Where the solder mask leaves copper bare.
    pub(super) openings: Vec<Shape>,
    pub(super) silkscreen: Vec<Shape>,
    /// Pads of parts whose legs go through the board.
    pub(super) drilled: Vec<DrilledPad>,
    /// Small pads that lead to the board's other side.
    pub(super) vias: Vec<DrilledPad>,
}

/// A pad from which a trace may start.
struct Exit {
    cell: Cell,
    /// Position in [`DIRECTIONS`].
    heading: usize,
    component: usize,
}

/// A board that is being laid out.
pub(super) struct Layout<'a> {
    rng: &'a mut Rng,
    width: f32,
    nets: usize,
    exits: Vec<Exit>,
    artwork: Artwork,
}

impl<'a> Layout<'a> {
    /// Buses first, then components where there is room, then what leads away from them.
    pub(super) fn new(rng: &'a mut Rng) -> Self {
        let width = between(rng, 3.8, 5.2);
        let artwork = Artwork {
            grid: Grid::new(),
            traces: Vec::new(),
            copper: Vec::new(),
            gaps: Vec::new(),
            openings: Vec::new(),
            silkscreen: Vec::new(),
            drilled: Vec::new(),
            vias: Vec::new(),
        };
        let mut layout = Self { rng, width, nets: 0, exits: Vec::new(), artwork };
        let stands = happens(layout.rng, 0.5);
        for _ in 0..1 + layout.rng.below(3) {
            layout.bus(stands);
        }
        for number in 0..COMPONENTS {
            match layout.rng.below(7) {
                0 | 1 => layout.chip(number),
                2..=4 => layout.connector(number),
                _ => layout.passive(number),
            }
        }
        layout.route();
        layout
    }

    pub(super) fn artwork(self) -> Artwork {
        self.artwork
    }

    fn net(&mut self) -> usize {
        self.nets += 1;
        self.nets
    }

    fn trace(&mut self, net: usize, cells: Vec<Cell>, width: f32) {
        for &cell in &cells {
            self.artwork.grid.take(cell, net);
        }
        self.artwork.traces.push(Trace { net, cells, width });
    }

    /// Traces side by side across the whole board, with a bend or two.
    fn bus(&mut self, stands: bool) {
        let lines = 3 + self.rng.below(4) as i32;
        let first = self.rng.below((columns().end - lines) as usize) as i32;
        let mut offset = 0;
        let bends: Vec<[i32; 3]> = (0..self.rng.below(3))
            .map(|_| {
                let start = self.rng.below(columns().end as usize) as i32;
                let length = 1 + self.rng.below(5) as i32;
                [start, start + length, if happens(self.rng, 0.5) { 1 } else { -1 }]
            })
            .collect();
        let mut path = Vec::new();
        for along in columns().start - 2..columns().end + 2 {
            let bend = bends.iter().find(|[start, end, _]| (*start..*end).contains(&along));
            path.push([along, first + offset]);
            offset += bend.map_or(0, |[.., direction]| *direction);
        }
        let turned = |[a, b]: Cell| if stands { [b, a] } else { [a, b] };
        let lines: Vec<Vec<Cell>> = (0..lines)
            .map(|line| path.iter().map(|&cell| turned(step(cell, [0, 1], line))).collect())
            .collect();
        let is_free = |cells: &Vec<Cell>| {
            let on_board = cells.iter().filter(|&&cell| self.artwork.grid.holds(cell));
            on_board.into_iter().all(|&cell| self.artwork.grid.is_free(cell))
        };
        if lines.iter().all(is_free) {
            for cells in lines {
                let net = self.net();
                self.trace(net, cells, self.width);
            }
        }
    }

    fn place(&mut self) -> Cell {
        let across = columns().end as usize;
        [0; 2].map(|_| self.rng.below(across) as i32)
    }

    /// Takes the cells of pads, and keeps others away from what lies around them; gives whether there was room.
    fn reserve(&mut self, component: usize, pads: &[Cell], around: &[Cell]) -> bool {
        let grid = &mut self.artwork.grid;
        let is_free = |cell: &Cell| grid.is_free(*cell);
        if !pads.iter().all(is_free) || !around.iter().all(is_free) {
            return false;
        }
        for &cell in pads {
            self.nets += 1;
            grid.take(cell, self.nets);
        }
        around.iter().for_each(|&cell| grid.keep_free(cell, component));
        true
    }

    fn exit(&mut self, component: usize, cell: Cell, heading: usize) {
        self.exits.push(Exit { cell, heading, component });
    }

    fn bare(&mut self, pad: Shape) {
        self.artwork.copper.push(pad);
        self.artwork.openings.push(pad.grown(0.8));
    }

    /// Two rows of narrow pads beside a body.
    fn chip(&mut self, component: usize) {
        let (origin, pins) = (self.place(), 3 + self.rng.below(5) as i32);
        let depth = 4 + self.rng.below(3) as i32;
        let column = |pin: i32| [0, depth].map(|y| step(step(origin, [1, 0], pin), [0, 1], y));
        let pads: Vec<Cell> = (0..pins).flat_map(column).collect();
        let frame = |y: i32| (-1..=pins).map(move |x| [origin[0] + x, origin[1] + y]);
        let around: Vec<Cell> =
            (-1..=depth + 1).flat_map(frame).filter(|cell| !pads.contains(cell)).collect();
        if !self.reserve(component, &pads, &around) {
            return;
        }
        for (i, &pad) in pads.iter().enumerate() {
            self.bare(Shape::rectangle(center(pad), [3.4, 7.0]));
            self.exit(component, pad, if i % 2 == 0 { 6 } else { 2 });
        }
        let [a, b] = [step(origin, [0, 1], 1), step(origin, [1, 1], pins - 1)];
        let bottom = [b[0], origin[1] + depth - 1];
        self.outline(center(a), center(bottom), 3.0);
        let text = format!("U{}", 1 + component);
        let at = center(step(origin, [1, 2], 1));
        self.artwork.silkscreen.extend(letters(&text, [at[0] - 8.0, at[1] - 4.0], false));
    }

    /// A row of drilled pads.
    fn connector(&mut self, component: usize) {
        let (origin, pins) = (self.place(), 2 + self.rng.below(4) as i32);
        let stands = happens(self.rng, 0.5);
        let along: Cell = if stands { [0, 1] } else { [1, 0] };
        let pads: Vec<Cell> = (0..pins).map(|pin| step(origin, along, 2 * pin)).collect();
        let ring = |&pad: &Cell| DIRECTIONS.map(|direction| step(pad, direction, 1));
        let mut around: Vec<Cell> = pads.iter().flat_map(ring).collect();
        around.sort_unstable();
        around.dedup();
        if !self.reserve(component, &pads, &around) {
            return;
        }
        let radius = between(self.rng, 7.5, 9.0);
        let hole = radius * between(self.rng, 0.38, 0.5);
        for &pad in &pads {
            let at = center(pad);
            self.artwork.drilled.push(DrilledPad { center: at, radius, hole });
            let heading = 4 * self.rng.below(2) + if stands { 0 } else { 2 };
            self.exit(component, pad, heading);
        }
        let last = pads[pads.len() - 1];
        if happens(self.rng, 0.6) {
            self.outline(center(origin), center(last), radius + 2.5);
        }
        let text = format!("J{}", 1 + component);
        let [x, y] = center(origin);
        self.artwork.silkscreen.extend(letters(&text, [x - radius, y - radius - 13.0], false));
    }

    /// Two wide pads: a resistor or a capacitor.
    fn passive(&mut self, component: usize) {
        let origin = self.place();
        let stands = happens(self.rng, 0.5);
        let along: Cell = if stands { [0, 1] } else { [1, 0] };
        let pads = [origin, step(origin, along, 2)];
        let ring = |pad: &Cell| DIRECTIONS.map(|direction| step(*pad, direction, 1));
        let mut around: Vec<Cell> = pads.iter().flat_map(ring).collect();
        around.sort_unstable();
        around.dedup();
        if !self.reserve(component, &pads, &around) {
            return;
        }
        let half = if stands { [6.5, 5.5] } else { [5.5, 6.5] };
        let [back, ahead] = if stands { [6, 2] } else { [4, 0] };
        for (pad, heading) in [(pads[0], back), (pads[1], ahead)] {
            self.bare(Shape::rectangle(center(pad), half));
            self.exit(component, pad, heading);
        }
        self.outline(center(pads[0]), center(pads[1]), 9.5);
        let text = format!("{}{}", if happens(self.rng, 0.5) { "R" } else { "C" }, 1 + component);
        let [x, y] = center(origin);
        let at = if stands { [x + 20.0, y - 4.0] } else { [x - 4.0, y - 19.0] };
        self.artwork.silkscreen.extend(letters(&text, at, stands));
    }

    /// A frame of the silkscreen around two points.
    fn outline(&mut self, from: Point, to: Point, margin: f32) {
        let [left, top] = from.map(|p| p - margin);
        let [right, bottom] = to.map(|p| p + margin);
        let corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
        for (i, &corner) in corners.iter().enumerate() {
            let ends = [corner, corners[(i + 1) % corners.len()]];
            self.artwork.silkscreen.push(Shape::Capsule { ends, radius: 0.7 });
        }
    }

    /// Lets a trace run from most pads.
    fn route(&mut self) {
        for exit in std::mem::take(&mut self.exits) {
            if !happens(self.rng, 0.9) {
                continue;
            }
            let net = self.artwork.grid.net(exit.cell).expect("a pad has a net");
            let length = 6 + self.rng.below(20);
            let cells = self.walk(&exit, length);
            if cells.len() < 4 {
                continue;
            }
            let last = cells[cells.len() - 1];
            let width = self.width;
            self.trace(net, cells, width);
            if columns().contains(&last[0]) && columns().contains(&last[1]) {
                let radius = between(self.rng, 4.6, 5.4);
                let via = DrilledPad { center: center(last), radius, hole: 0.42 * radius };
                self.artwork.vias.push(via);
            }
        }
    }

    /// Cells from a pad on, seldom in another direction.
    fn walk(&mut self, exit: &Exit, length: usize) -> Vec<Cell> {
        let mut cells = vec![exit.cell];
        let mut heading = exit.heading;
        for done in 0..length {
            let last = cells[cells.len() - 1];
            let turn =
                if done < 2 || happens(self.rng, 0.8) { 0 } else { 1 + 6 * self.rng.below(2) };
            let ways = [heading + turn, heading, heading + 1, heading + 7].map(|h| h % 8);
            let ways = if done < 2 { &ways[..1] } else { &ways[..] };
            let open =
                ways.iter().find(|&&way| self.is_open(last, DIRECTIONS[way], exit.component));
            let Some(&way) = open else {
                break;
            };
            heading = way;
            let next = step(last, DIRECTIONS[way], 1);
            if cells.contains(&next) {
                break;
            }
            cells.push(next);
        }
        cells
    }

    /// Whether a trace may go one step on; between two others that lie across the corner it may not.
    fn is_open(&self, from: Cell, direction: Cell, component: usize) -> bool {
        let open = |cell| self.artwork.grid.is_open_to(cell, component);
        let [dx, dy] = direction;
        let is_straight = dx == 0 || dy == 0;
        let corners = [step(from, [dx, 0], 1), step(from, [0, dy], 1)];
        open(step(from, direction, 1)) && (is_straight || corners.into_iter().all(open))
    }
}

impl Artwork {
    /// The lines of a trace.
    pub(super) fn lines(trace: &Trace) -> impl Iterator<Item = Shape> + '_ {
        let radius = trace.width / 2.0;
        trace.cells.windows(2).map(move |pair| {
            let ends = [center(pair[0]), center(pair[1])];
            Shape::Capsule { ends, radius }
        })
    }
}
