//! A graph whose head is to be understood.
use super::decoder::Decoder;
use super::family::{Evidence, Family};
use super::predictions::{Kind, Level, Predictions};
use super::probe::Probe;
use super::readings::{self, Context};
use ir::ops::UnaryKind;
use ir::{Graph, Op, Tail};

/// Pixels from cell to cell at the scales of a head of which nothing else is known.
const STRIDES_PX: [usize; 3] = [8, 16, 32];

/// A graph whose head is to be understood.
pub(crate) struct Subject<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) tail: &'a Tail,
    /// Height and width of its input.
    pub(crate) size_px: [usize; 2],
    /// How many class names it carries.
    pub(crate) names: Option<usize>,
}

/// What came out.
pub(crate) enum Recognised {
    /// The family, how its outputs are read, and what of that is in no graph.
    Read(&'static Family, Decoder, Vec<String>),
    /// A family fits, and why its outputs are only assumed to be the usual ones.
    Assumed(&'static Family, Decoder, String),
    /// Raw maps of so many anchors that nothing names.
    WithoutAnchors(usize),
    Nothing,
}

impl Subject<'_> {
    /// Tries the ways to understand the head until one is confirmed by the graph.
    pub(crate) fn recognise(&self, families: &[&'static Family], is_forced: bool) -> Recognised {
        let mut assumed = Recognised::Nothing;
        for predictions in Predictions::all(self.graph, self.tail, self.size_px, self.names) {
            let readings = readings::all(&self.context(), &predictions);
            let Some(usual) = readings.first() else {
                continue;
            };
            let evidence = Evidence {
                graph: self.graph,
                tail: self.tail,
                kind: predictions.kind,
                is_picked: !usual.nms,
                is_forced,
            };
            let Some(family) = families.iter().find(|f| (f.fits)(&evidence)) else {
                continue;
            };
            let why = match Probe::new(self.graph, &predictions) {
                Ok(probe) => match probe.choose(&readings) {
                    Some(reading) => {
                        let notes = notes(self.graph, reading);
                        return Recognised::Read(family, reading.clone(), notes);
                    }
                    None => {
                        "objects planted into the head are not found again in any known form".into()
                    }
                },
                Err(why) => why,
            };
            if matches!(predictions.kind, Kind::Anchors(_))
                && predictions.anchors_px.is_empty()
                && usual.blocks.len() > 1
            {
                assumed = Recognised::WithoutAnchors(predictions.total_anchors());
            }
            if matches!(assumed, Recognised::Nothing) {
                assumed = Recognised::Assumed(family, usual.clone(), why);
            }
        }
        assumed
    }

    /// How a family's outputs are read where the rest of the graph tells nothing.
    pub(crate) fn assume(&self, family: &Family) -> Option<Decoder> {
        let ty = self.graph.ty(*self.graph.outputs().first()?).ok()?;
        let &[1, a, b] = ty.shape.as_slice() else {
            return None;
        };
        let (channels, boxes) = (a.min(b), a.max(b));
        let row = Level::new([1, boxes], self.size_px);
        let (classes, levels) = match family.kind {
            _ if family.picks => (self.names?, vec![row]),
            Kind::Distances(_) => (channels.checked_sub(4)?, vec![row]),
            Kind::Anchors(_) => (channels.checked_sub(5)?, vec![row]),
            Kind::Offsets => {
                let cells = |s: &usize| self.size_px.map(|px| px / s);
                let levels = STRIDES_PX.iter().map(cells);
                let levels = levels.map(|cells| Level::new(cells, self.size_px));
                (channels.checked_sub(5)?, levels.collect())
            }
        };
        let predictions = Predictions {
            kind: family.kind,
            classes,
            levels,
            size_px: self.size_px,
            anchors_px: vec![],
        };
        let context = Context {
            picks: family.picks,
            // Outputs of a family's own exports are scores.
            has_sigmoid: true,
            ..self.context()
        };
        let readings = readings::all(&context, &predictions);
        let mut fitting = readings.into_iter().filter(|r| r.nms != context.picks);
        fitting.next().filter(|_| classes > 0)
    }

    fn context(&self) -> Context<'_> {
        let is_sigmoid = |op: &Op| matches!(op, Op::Unary(u) if u.kind == UnaryKind::Sigmoid);
        let mut nodes = self.tail.nodes.iter();
        Context {
            graph: self.graph,
            size_px: self.size_px,
            picks: self.tail.picks(self.graph),
            has_sigmoid: nodes.any(|id| is_sigmoid(&self.graph.node(*id).op)),
        }
    }
}

/// What no graph holds of a reading.
fn notes(graph: &Graph, reading: &Decoder) -> Vec<String> {
    let is_stated = graph.metadata.contains_key(super::ANCHORS);
    let assumed = reading.needs_anchors() && !is_stated;
    let note = "the outputs are raw maps, and no graph holds the anchors for them: YOLOv5's are assumed; --anchors names others, such as v7's";
    assumed.then(|| note.to_owned()).into_iter().collect()
}
