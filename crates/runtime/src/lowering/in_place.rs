//! Which values are written where they end up: inside the Concat that joins them, or as rows of a table of anchors.
use super::Lowered;
use super::rewriter::Wiring;
use crate::placement::{AnchorRows, Destination, Destinations};
use crate::steps::{Concat, Item, Rearrange, Work};
use crate::values::{Form, Operand, Values};

/// Finds the destinations, the last Concat first, so that a Concat of Concats is one buffer.
pub(crate) fn destinations(lowered: &Lowered<'_>) -> Destinations {
    let list = List {
        values: &lowered.values,
        items: &lowered.items,
        wiring: Wiring::new(&lowered.items),
    };
    let mut found = Destinations::default();
    for item in lowered.items.iter().rev() {
        if let Work::Concat(concat) = item.work {
            list.keep_channels_last(item, concat, &mut found);
            list.adopt_anchors(item, concat, &mut found);
            list.adopt_inputs(item, concat, &mut found);
        }
    }
    found
}

struct List<'a> {
    values: &'a Values<'a>,
    items: &'a [Item],
    wiring: Wiring,
}

impl List<'_> {
    fn writer(&self, v: Operand) -> Option<&Item> {
        self.wiring.writer(v).map(|i| &self.items[i])
    }

    /// The only reader of a value that nothing else needs.
    fn only_reader(&self, v: Operand) -> Option<usize> {
        self.wiring.only_reader(v, self.values)
    }

    /// A Concat of flattened images keeps their channels side by side.
    fn keep_channels_last(&self, item: &Item, concat: Concat, found: &mut Destinations) {
        let y = item.output();
        let is_flat = |v: &Operand| self.flattened(*v, concat.axis).is_some();
        let is_output = self.values.graph.outputs().contains(&y.value);
        if !item.inputs.iter().any(is_flat) || is_output {
            return;
        }
        found.channels_last.insert(y);
        let whole = found.of.get(&y).map(|destination| destination.value);
        if whole.is_some_and(|whole| !found.channels_last.contains(&whole)) {
            found.of.remove(&y);
        }
    }

    /// Lets what a Concat joins be written into its result.
    fn adopt_inputs(&self, item: &Item, concat: Concat, found: &mut Destinations) {
        let (axis, y) = (concat.axis, item.output());
        let length = |v: Operand| self.values.shape(v).map_or(0, |shape| shape[axis]);
        let (mut i, mut start) = (0, 0);
        while i < item.inputs.len() {
            let image = self.flattened(item.inputs[i], axis);
            let image = image.filter(|_| found.channels_last.contains(&y));
            let (v, taken) = match image {
                Some(image) => (image, 1),
                None => self.source(&item.inputs[i..], axis),
            };
            let len = item.inputs[i..i + taken].iter().map(|&v| length(v)).sum();
            if self.is_written(v) && v != y && self.is_alike(v, y) {
                found.of.entry(v).or_insert(Destination { value: y, axis, start, len });
            }
            start += len;
            i += taken;
        }
    }

    /// The image `[N, C, H, W]` that `v` is as `[N, C, H * W]`, where a Concat joins it with others along the pixels.
    fn flattened(&self, v: Operand, axis: usize) -> Option<Operand> {
        let item = self.writer(v)?;
        let is_reshape = matches!(item.work, Work::Rearrange(Rearrange::Reshape));
        let image = *item.inputs.first().filter(|_| is_reshape && axis == 2)?;
        match (self.values.shape(image)?, self.values.shape(v)?) {
            (&[n, c, h, w], flat) if *flat == [n, c, h * w] => Some(image),
            _ => None,
        }
    }

    /// The value that fills the first of these inputs, and how many it fills: all parts of a Split that follow each other
    /// are the value that was split, and a Reshape of fewer than four axes is what was reshaped.
    fn source(&self, inputs: &[Operand], axis: usize) -> (Operand, usize) {
        let Some(item) = self.writer(inputs[0]) else {
            return (inputs[0], 1);
        };
        match &item.work {
            Work::Split(split) if split.0.axis == axis && inputs.starts_with(&item.outputs) => {
                (item.inputs[0], item.outputs.len())
            }
            Work::Rearrange(Rearrange::Reshape) if self.values.rank(item.inputs[0]) != 4 => {
                (item.inputs[0], 1)
            }
            _ => (inputs[0], 1),
        }
    }

    /// Whether a step writes this value, so that it can be told where.
    fn is_written(&self, v: Operand) -> bool {
        let work = self.writer(v).map(|item| &item.work);
        work.is_some_and(|work| !matches!(work, Work::Split(_) | Work::Rearrange(_)))
    }

    /// Whether two values are held alike: in f32, or quantized with the same parameters.
    fn is_alike(&self, a: Operand, b: Operand) -> bool {
        let params = |v: Operand| self.values.params.get(&v.value);
        a.form == b.form && (a.form == Form::F32 || params(a) == params(b))
    }

    /// Finds the convolution behind a Concat of a table's columns, some of them changed one by one: it can write the table
    /// itself, and the changes happen in place.
    fn adopt_anchors(&self, item: &Item, concat: Concat, found: &mut Destinations) {
        if concat.axis == 4
            && let Some((image, rows)) = self.anchors(item)
            && let Some(len) = self.values.shape(rows.table).map(|shape| shape[4])
        {
            found.anchors.insert(image, rows);
            let destination = Destination { value: item.output(), axis: 4, start: 0, len };
            found.of.insert(rows.table, destination);
        }
    }

    /// The image that a convolution gives whose groups of channels become the rows of a Concat's result.
    fn anchors(&self, item: &Item) -> Option<(Operand, AnchorRows)> {
        let columns = item.inputs.iter().map(|&v| self.column(v));
        let columns: Vec<Operand> = columns.collect::<Option<_>>()?;
        let split = self.writer(*columns.first()?)?;
        let table = *split.inputs.first()?;
        self.only_reader(table)?;
        if !matches!(&split.work, Work::Split(split) if split.0.axis == 4)
            || split.outputs != columns
        {
            return None;
        }
        let transposed = self.writer(table)?;
        let grouped = *transposed.inputs.first()?;
        self.only_reader(grouped)?;
        let Work::Rearrange(Rearrange::Transpose(transpose)) = &transposed.work else {
            return None;
        };
        if transpose.perm != [0, 1, 3, 4, 2] {
            return None;
        }
        let reshaped = self.writer(grouped)?;
        let image = *reshaped.inputs.first()?;
        self.only_reader(image)?;
        let item_of_image = self.writer(image)?;
        let Work::Conv(conv) = &item_of_image.work else {
            return None;
        };
        let is_reshape = matches!(reshaped.work, Work::Rearrange(Rearrange::Reshape));
        let shape = |v: Operand| self.values.shape(v);
        let (&[n, c, h, w], &[_, anchors, k, _, _]) = (shape(image)?, shape(grouped)?) else {
            return None;
        };
        let fits = *shape(grouped)? == [n, anchors, k, h, w] && anchors * k == c;
        let is_bare = conv.attributes.group == 1 && item_of_image.inputs.len() == 1;
        let is_whole = shape(table) == shape(item.output());
        let rows = AnchorRows { table, anchors };
        (is_reshape && fits && is_bare && is_whole).then_some((image, rows))
    }

    /// A column of a table before it was changed.
    fn column(&self, v: Operand) -> Option<Operand> {
        let change = self.writer(v)?;
        match &change.work {
            Work::Chain(_) | Work::Unary(_) | Work::FakeQuantize(_) => {
                let column = change.inputs[0];
                self.only_reader(column).map(|_| column)
            }
            _ => Some(v),
        }
    }
}
