//! The ways in which a network's outputs can be read, given what its output convolutions predict.
use super::decoder::{Block, Corners, Decoder, Field, Grid, Place, Scores, Unit};
use super::predictions::{Kind, Level, Predictions};
use ir::{Graph, ValueId};

/// What is known beside the shapes of the outputs.
pub(crate) struct Context<'a> {
    pub(crate) graph: &'a Graph,
    /// Height and width of the network's input.
    pub(crate) size_px: [usize; 2],
    /// Whether the best positions are picked inside the graph.
    pub(crate) picks: bool,
    /// Whether a sigmoid stands between the convolutions and the outputs.
    pub(crate) has_sigmoid: bool,
}

/// Boxes of which an output has numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// Of every scale, one after another.
    All,
    /// Of one scale, or of one of its anchors.
    Part { level: usize, anchor: usize },
}

/// An output, or the part of it that is of one scope.
#[derive(Clone, Copy, Debug)]
struct View {
    scope: Scope,
    channels: usize,
    field: Field,
}

/// Which channels of which views are what, of the views of one scope.
#[derive(Clone, Copy, Debug)]
struct Roles {
    boxes: (usize, usize),
    /// Channels of a box.
    width: usize,
    objectness: Option<(usize, usize)>,
    scores: (usize, usize),
    /// The best class's number, where scores are of the best class alone.
    class: Option<(usize, usize)>,
}

/// All readings, the most usual first.
pub(crate) fn all(context: &Context<'_>, predictions: &Predictions) -> Vec<Decoder> {
    if context.picks {
        let picked = picked(context, predictions);
        if !picked.is_empty() {
            return picked;
        }
    }
    let views = views(context.graph, predictions);
    let views_in = |scope: Scope| -> Vec<View> {
        let own = views.iter().filter(|v| v.scope == scope);
        own.copied().collect()
    };
    let whole = vec![views_in(Scope::All)];
    let in_parts: Vec<Vec<View>> = parts(predictions).map(views_in).collect();
    [(whole, true), (in_parts, false)]
        .into_iter()
        .flat_map(|(groups, is_whole)| of_groups(context, predictions, &groups, is_whole))
        .collect()
}

/// Readings of groups of views: one of all boxes, or one for each scale and anchor, all of the same channels.
fn of_groups(
    context: &Context<'_>,
    predictions: &Predictions,
    groups: &[Vec<View>],
    is_whole: bool,
) -> Vec<Decoder> {
    let channels = |group: &Vec<View>| group.iter().map(|v| v.channels).collect::<Vec<_>>();
    let first = groups.first().map(channels).unwrap_or_default();
    if first.is_empty() || groups.iter().any(|g| channels(g) != first) {
        return vec![];
    }
    let stated = context.graph.metadata.get(super::PICKED);
    let most = stated.and_then(|text| text.trim().parse::<usize>().ok());
    let mut found = Vec::new();
    for roles in roles(&first, predictions) {
        for logits in [!context.has_sigmoid, context.has_sigmoid] {
            for way in ways(context, predictions, roles.width, is_whole) {
                // Without a grid, boxes need no order.
                let orders: &[bool] =
                    if is_whole && needs_grid(way) { &[false, true] } else { &[false] };
                let read = orders.iter().filter_map(|&coarse_first| {
                    let order = Order { is_whole, coarse_first };
                    Some(Decoder {
                        blocks: blocks(predictions, groups, roles, way, order)?,
                        classes: predictions.classes,
                        logits,
                        nms: most.is_none(),
                        most,
                    })
                });
                found.extend(read);
            }
        }
    }
    found
}

/// Which level's boxes come first in outputs of all levels.
#[derive(Clone, Copy)]
struct Order {
    is_whole: bool,
    coarse_first: bool,
}

/// A finished box, whatever its grid, or how it is computed on one.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Finished(Corners, Unit, bool),
    Raw,
}

fn needs_grid(way: Way) -> bool {
    matches!(way, Way::Raw | Way::Finished(_, Unit::Strides, _))
}

fn parts(p: &Predictions) -> impl Iterator<Item = Scope> {
    let anchors = p.per_cell();
    (0..p.levels.len())
        .flat_map(move |level| (0..anchors).map(move |anchor| Scope::Part { level, anchor }))
}

/// Rows that were picked: corners, score and class, or centre and size.
fn picked(context: &Context<'_>, p: &Predictions) -> Vec<Decoder> {
    let graph = context.graph;
    let mut found = Vec::new();
    for (output, value) in graph.outputs().iter().enumerate() {
        let Some(&[1, rows, 6]) = graph.ty(*value).ok().map(|t| t.shape.as_slice()) else {
            continue;
        };
        let field = Field { output, first: 0, channel: 1, candidate: 6 };
        for corners in [Corners::LeftTopRightBottom, Corners::Center, Corners::LeftTopSize] {
            for unit in [Unit::Pixels, Unit::Shares] {
                let place = finished(context.size_px, corners, unit, false);
                let scores = Scores::Best { score: field.from(4, 0), class: field.from(5, 0) };
                found.push(Decoder {
                    blocks: vec![Block {
                        candidates: rows,
                        boxes: field,
                        place,
                        objectness: None,
                        scores,
                    }],
                    classes: p.classes,
                    logits: false,
                    nms: false,
                    most: None,
                });
            }
        }
    }
    found
}

fn finished(size_px: [usize; 2], corners: Corners, unit: Unit, y_first: bool) -> Place {
    let scale = match unit {
        Unit::Shares => [size_px[1] as f32, size_px[0] as f32],
        _ => [1.0; 2],
    };
    Place::Finished { corners, unit, y_first, scale }
}

/// Every output, as numbers of all boxes, of a scale's, or of an anchor's of a scale.
fn views(graph: &Graph, p: &Predictions) -> Vec<View> {
    let shape = |v: &ValueId| graph.ty(*v).map_or(&[][..], |t| t.shape.as_slice());
    let is_map = |h: usize, w: usize| p.levels.iter().any(|l| [l.rows, l.columns] == [h, w]);
    let is_count = |n: usize| {
        let mut cells = p.levels.iter().map(Level::cells);
        n == p.total() || cells.any(|c| n == c || n == c * p.per_cell())
    };
    // One output may look like either; all of a rank are written alike.
    let channels_last = |rank: usize| {
        let mut alike = graph.outputs().iter().map(shape).filter(|s| s.len() == rank);
        !alike.all(|s| match *s {
            [_, _, h, w] => is_map(h, w),
            [_, _, n] => is_count(n),
            _ => true,
        })
    };
    let outputs = graph.outputs().iter().map(shape).enumerate();
    outputs.flat_map(|(output, s)| views_of(output, s, channels_last(s.len()), p)).collect()
}

/// The views of one output.
fn views_of(output: usize, shape: &[usize], channels_last: bool, p: &Predictions) -> Vec<View> {
    map_views(output, shape, channels_last, p)
        .unwrap_or_else(|| row_views(output, shape, channels_last, p))
}

/// The views of an output that is a map of one scale; `None` where it is none.
fn map_views(
    output: usize,
    shape: &[usize],
    channels_last: bool,
    p: &Predictions,
) -> Option<Vec<View>> {
    let level_of = |cells: [usize; 2]| {
        let mut levels = p.levels.iter();
        levels.position(|l| [l.rows, l.columns] == cells)
    };
    let field = |channel: usize, candidate: usize| Field { output, first: 0, channel, candidate };
    let per_cell = p.per_cell();
    match *shape {
        [1, c, h, w] if !channels_last && level_of([h, w]).is_some() => {
            Some(of_level(p, level_of([h, w])?, c, field(h * w, 1)))
        }
        [1, h, w, c] if level_of([h, w]).is_some() => {
            Some(of_level(p, level_of([h, w])?, c, field(1, c)))
        }
        [1, a, h, w, k] if a == per_cell && level_of([h, w]).is_some() => {
            let anchor = |a: usize| (a, k, field(1, k).from(0, a * h * w));
            Some(anchors(level_of([h, w])?, (0..a).map(anchor)))
        }
        [1, a, k, h, w] if a == per_cell && level_of([h, w]).is_some() => {
            let anchor = |a: usize| (a, k, field(h * w, 1).from(a * k, 0));
            Some(anchors(level_of([h, w])?, (0..a).map(anchor)))
        }
        [1, h, w, a, k] if a == per_cell && level_of([h, w]).is_some() => {
            let anchor = |i: usize| (i, k, field(1, a * k).from(i * k, 0));
            Some(anchors(level_of([h, w])?, (0..a).map(anchor)))
        }
        _ => None,
    }
}

/// The views of an output that has a row or a column for each box.
fn row_views(output: usize, shape: &[usize], channels_last: bool, p: &Predictions) -> Vec<View> {
    let field = |channel: usize, candidate: usize| Field { output, first: 0, channel, candidate };
    let kept: Vec<usize> = shape.iter().copied().filter(|&n| n != 1).collect();
    let (rows, columns) = match (kept.as_slice(), shape) {
        (&[rows, columns], _) => (rows, columns),
        // One number for each box, or one box.
        (&[one], &[1, 1, _]) => (1, one),
        (&[one], _) => (one, 1),
        _ => return vec![],
    };
    let mut ways = [(rows, columns, field(columns, 1)), (columns, rows, field(1, columns))];
    if channels_last {
        ways.reverse();
    }
    // The axis of candidates is as long as there are boxes.
    let whole = ways.iter().find(|(_, candidates, _)| *candidates == p.total());
    if let Some(&(channels, _, field)) = whole {
        return vec![View { scope: Scope::All, channels, field }];
    }
    for (channels, candidates, field) in ways {
        for (level, of) in p.levels.iter().enumerate() {
            let cells = of.cells();
            if candidates == cells {
                return of_level(p, level, channels, field);
            }
            if candidates == cells * p.per_cell() {
                let anchor = |a: usize| (a, channels, field.from(0, a * cells));
                return anchors(level, (0..p.per_cell()).map(anchor));
            }
        }
    }
    vec![]
}

/// A map of a scale; where there are anchors, its channels are theirs, one after another.
fn of_level(p: &Predictions, level: usize, channels: usize, field: Field) -> Vec<View> {
    let count = p.per_cell();
    if !channels.is_multiple_of(count) {
        return vec![];
    }
    let own = channels / count;
    anchors(level, (0..count).map(|a| (a, own, field.from(a * own, 0))))
}

fn anchors(level: usize, all: impl Iterator<Item = (usize, usize, Field)>) -> Vec<View> {
    let view =
        |(anchor, channels, field)| View { scope: Scope::Part { level, anchor }, channels, field };
    all.map(view).collect()
}

/// What views of so many channels can be. A view that is not needed (a sum of the classes, maps beside the finished
/// boxes) is left aside.
fn roles(channels: &[usize], p: &Predictions) -> Vec<Roles> {
    let bins = match p.kind {
        Kind::Distances(bins) => bins,
        _ => 1,
    };
    let mut widths = vec![4];
    widths.extend((bins > 1).then_some(4 * bins));
    let classes = p.classes;
    let mut found = Vec::new();
    for (i, &c) in channels.iter().enumerate() {
        for &width in &widths {
            let roles = |objectness, scores, class| Roles {
                boxes: (i, 0),
                width,
                objectness,
                scores: (i, scores),
                class,
            };
            if c == width + 1 + classes {
                found.push(roles(Some((i, width)), width + 1, None));
            }
            if c == width + classes {
                found.push(roles(None, width, None));
            }
            if c == width + 2 {
                found.push(roles(None, width, Some((i, width + 1))));
            }
        }
    }
    let indices = || 0..channels.len();
    let pairs = || indices().flat_map(|i| indices().map(move |j| (i, j)));
    for (i, j) in pairs().filter(|(i, j)| i != j && widths.contains(&channels[*i])) {
        let roles = |objectness, class| Roles {
            boxes: (i, 0),
            width: channels[i],
            objectness,
            scores: (j, 0),
            class,
        };
        let third = indices().filter(|&k| k != i && k != j && channels[k] == 1);
        if channels[j] == classes {
            let objectness = third.clone().filter(|_| p.has_objectness());
            found.extend(objectness.map(|k| roles(Some((k, 0)), None)));
            found.push(roles(None, None));
        }
        if channels[j] == classes + 1 && p.has_objectness() {
            found.push(Roles { scores: (j, 1), ..roles(Some((j, 0)), None) });
        }
        if channels[j] == 1 {
            found.extend(third.map(|k| roles(None, Some((k, 0)))));
        }
    }
    found
}

fn ways(context: &Context<'_>, p: &Predictions, width: usize, is_whole: bool) -> Vec<Way> {
    if width > 4 {
        return vec![Way::Raw];
    }
    let mut found = Vec::new();
    for unit in [Unit::Pixels, Unit::Shares, Unit::Strides] {
        for corners in [Corners::Center, Corners::LeftTopRightBottom, Corners::LeftTopSize] {
            for y_first in [false, true] {
                found.push(Way::Finished(corners, unit, y_first));
            }
        }
    }
    // Maps are most often as the convolutions give them, and YOLOX's rows too.
    let is_raw = !is_whole || (p.kind == Kind::Offsets && !context.picks);
    found.insert(if is_raw { 0 } else { 1 }, Way::Raw);
    found
}

fn blocks(
    p: &Predictions,
    groups: &[Vec<View>],
    roles: Roles,
    way: Way,
    order: Order,
) -> Option<Vec<Block>> {
    let size_px = p.size_px;
    let block = |views: &[View], start: usize, candidates: usize, place: Place| {
        let field = |(view, channel): (usize, usize)| views[view].field.from(channel, start);
        Block {
            candidates,
            boxes: field(roles.boxes),
            place,
            objectness: roles.objectness.map(field),
            scores: match roles.class {
                Some(class) => Scores::Best { score: field(roles.scores), class: field(class) },
                None => Scores::Each(field(roles.scores)),
            },
        }
    };
    if let (Way::Finished(corners, unit, y_first), true) = (way, order.is_whole)
        && unit != Unit::Strides
    {
        let place = finished(size_px, corners, unit, y_first);
        return Some(vec![block(&groups[0], 0, p.total(), place)]);
    }
    let mut scopes: Vec<Scope> = parts(p).collect();
    if order.coarse_first {
        let level = |scope: &Scope| match scope {
            Scope::Part { level, .. } => *level,
            Scope::All => 0,
        };
        scopes.sort_by_key(|s| std::cmp::Reverse(level(s)));
    }
    let mut found = Vec::new();
    let mut start = 0;
    for scope in scopes {
        let Scope::Part { level, anchor } = scope else {
            continue;
        };
        let own = &p.levels[level];
        let place = place(p, [level, anchor], roles.width, way)?;
        let (views, first) = if order.is_whole {
            (&groups[0], start)
        } else {
            (&groups[level * p.per_cell() + anchor], 0)
        };
        found.push(block(views, first, own.cells(), place));
        start += own.cells();
    }
    Some(found)
}

fn place(p: &Predictions, [level, anchor]: [usize; 2], width: usize, way: Way) -> Option<Place> {
    let own = p.levels.get(level)?;
    let grid = Grid { columns: own.columns, stride: own.stride };
    Some(match (way, p.kind) {
        (Way::Finished(corners, unit, y_first), _) => match unit {
            Unit::Strides => Place::Finished { corners, unit, y_first, scale: own.stride },
            _ => finished(p.size_px, corners, unit, y_first),
        },
        (Way::Raw, Kind::Offsets) => Place::Offsets { grid },
        // The graph may have taken the expectation over the bins.
        (Way::Raw, Kind::Distances(_)) => Place::Distances { grid, bins: width / 4 },
        (Way::Raw, Kind::Anchors(_)) => {
            Place::Anchor { grid, size_px: *p.anchors_px.get(level)?.get(anchor)? }
        }
    })
}
