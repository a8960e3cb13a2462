//! Changes to the list of items, with who reads and who writes each value always up to date.
use super::Lowered;
use crate::RuntimeError;
use crate::steps::Item;
use crate::values::{Operand, Values};
use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

/// The list while a pass changes it. Items are known by their position, which stays the same until the pass ends.
pub(crate) struct Rewriter<'l, 'g> {
    pub(crate) values: &'l mut Values<'g>,
    /// How each input of the model is held.
    pub(crate) inputs: &'l mut Vec<Operand>,
    items: &'l mut Vec<Item>,
    is_removed: Vec<bool>,
    wiring: Wiring,
}

/// Who reads and who writes each value, by position.
#[derive(Default)]
pub(crate) struct Wiring {
    /// How often each item reads it.
    readers: BTreeMap<Operand, BTreeMap<usize, usize>>,
    writers: BTreeMap<Operand, usize>,
}

impl Wiring {
    /// Of a list.
    pub(crate) fn new(items: &[Item]) -> Self {
        let mut wiring = Self::default();
        for (i, item) in items.iter().enumerate() {
            wiring.read(i, &item.inputs);
            wiring.writers.extend(item.outputs.iter().map(|&v| (v, i)));
        }
        wiring
    }

    /// The item that writes a value.
    pub(crate) fn writer(&self, v: Operand) -> Option<usize> {
        self.writers.get(&v).copied()
    }

    /// The only item that reads a value, if it reads it once and nothing else needs the value.
    pub(crate) fn only_reader(&self, v: Operand, values: &Values<'_>) -> Option<usize> {
        let readers = self.readers.get(&v).filter(|_| !values.is_kept(v.value))?;
        match readers.first_key_value() {
            Some((&reader, 1)) if readers.len() == 1 => Some(reader),
            _ => None,
        }
    }

    fn read(&mut self, i: usize, values: &[Operand]) {
        for &v in values {
            *self.readers.entry(v).or_default().entry(i).or_default() += 1;
        }
    }

    fn unread(&mut self, i: usize, values: &[Operand]) {
        for v in values {
            if let Some(readers) = self.readers.get_mut(v) {
                readers.remove(&i);
            }
        }
    }
}

impl<'l, 'g> Rewriter<'l, 'g> {
    /// Over a list that is to be changed.
    pub(crate) fn new(lowered: &'l mut Lowered<'g>) -> Self {
        Self {
            wiring: Wiring::new(&lowered.items),
            is_removed: vec![false; lowered.items.len()],
            values: &mut lowered.values,
            inputs: &mut lowered.inputs,
            items: &mut lowered.items,
        }
    }

    /// Takes out what was removed.
    pub(crate) fn finish(self) {
        let mut removed = self.is_removed.into_iter();
        self.items.retain(|_| !removed.next().expect("one flag for each item"));
    }

    /// The positions of the items that are left now.
    pub(crate) fn positions(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let left = (0..self.items.len()).filter(|&i| !self.is_removed[i]);
        left.collect::<Vec<_>>().into_iter()
    }

    /// Whether an item is left.
    pub(crate) fn contains(&self, i: usize) -> bool {
        !self.is_removed[i]
    }

    /// The item that writes a value.
    pub(crate) fn writer(&self, v: Operand) -> Option<usize> {
        self.wiring.writer(v)
    }

    /// The only item that reads a value, if it reads it once and nothing else needs the value.
    pub(crate) fn only_reader(&self, v: Operand) -> Option<usize> {
        self.wiring.only_reader(v, self.values)
    }

    /// The items that read a value, in their order; `None` where something else needs it too.
    pub(crate) fn readers(&self, v: Operand) -> Option<Vec<usize>> {
        let readers = self.wiring.readers.get(&v).filter(|_| !self.values.is_kept(v.value))?;
        Some(readers.keys().copied().collect())
    }

    /// Removes an item.
    pub(crate) fn remove(&mut self, i: usize) {
        self.is_removed[i] = true;
        let item = &self.items[i];
        self.wiring.unread(i, &item.inputs);
        for v in &item.outputs {
            if self.wiring.writers.get(v) == Some(&i) {
                self.wiring.writers.remove(v);
            }
        }
    }

    /// Item `into` computes what item `next` gave, which goes, in place of its own result.
    pub(crate) fn fuse(&mut self, next: usize, into: usize) {
        let old = self.items[into].outputs[0];
        self.fuse_beside(next, into);
        self.items[into].outputs.retain(|&v| v != old);
        self.wiring.writers.remove(&old);
    }

    /// Item `into` computes what item `next` gave, which goes, before its own results.
    pub(crate) fn fuse_beside(&mut self, next: usize, into: usize) {
        self.remove(next);
        let outputs = self.items[next].outputs.clone();
        self.items[into].outputs.splice(0..0, outputs);
        let written = self.items[into].outputs.iter().map(|&v| (v, into));
        self.wiring.writers.extend(written);
    }

    /// Gives an item other inputs.
    pub(crate) fn set_inputs(&mut self, i: usize, inputs: Vec<Operand>) {
        let old = std::mem::replace(&mut self.items[i].inputs, inputs);
        self.wiring.unread(i, &old);
        self.wiring.read(i, &self.items[i].inputs);
    }

    /// Gives an item one more input.
    pub(crate) fn add_input(&mut self, i: usize, v: Operand) {
        self.items[i].inputs.push(v);
        self.wiring.read(i, &[v]);
    }

    /// Lets everything that reads `old` read `new`.
    pub(crate) fn redirect(&mut self, old: Operand, new: Operand) {
        for (reader, times) in self.wiring.readers.remove(&old).unwrap_or_default() {
            let inputs = self.items[reader].inputs.iter_mut();
            inputs.filter(|v| **v == old).for_each(|v| *v = new);
            let readers = self.wiring.readers.entry(new).or_default();
            *readers.entry(reader).or_default() += times;
        }
    }

    /// Replaces the whole list.
    ///
    /// # Errors
    /// What `build` returns; the list is lost then.
    pub(crate) fn rebuild(
        &mut self,
        build: impl FnOnce(Vec<Item>, &Values<'_>) -> Result<Vec<Item>, RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let removed = std::mem::take(&mut self.is_removed);
        let left = std::mem::take(self.items).into_iter().zip(removed);
        let left = left.filter(|(_, removed)| !removed).map(|(item, _)| item);
        *self.items = build(left.collect(), self.values)?;
        self.is_removed = vec![false; self.items.len()];
        self.wiring = Wiring::new(self.items);
        Ok(())
    }
}

impl Index<usize> for Rewriter<'_, '_> {
    type Output = Item;

    fn index(&self, i: usize) -> &Item {
        &self.items[i]
    }
}

/// Inputs and outputs are changed by the methods above, which keep the wiring.
impl IndexMut<usize> for Rewriter<'_, '_> {
    fn index_mut(&mut self, i: usize) -> &mut Item {
        &mut self.items[i]
    }
}
