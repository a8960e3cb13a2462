//! Boxes that several objects claim: each finds one of them.

use super::Target;
use crate::losses::overlap::Edges;
use crate::losses::predictions::Place;
use std::collections::BTreeMap;

/// An object that a box could find.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) place: Place,
    /// Position among the targets.
    pub(super) object: usize,
    /// How far the box overlaps the object now.
    pub(super) iou: f64,
    /// How well they suit each other: the larger, the better.
    pub(super) merit: f64,
}

/// One claim for each place, in the order of places: of several the one that is the largest by `value`, of equal ones the first.
pub(super) fn settled(claims: Vec<Claim>, value: fn(&Claim) -> f64) -> Vec<Claim> {
    let mut owners: BTreeMap<Place, Claim> = BTreeMap::new();
    for claim in claims {
        let owner = owners.entry(claim.place).or_insert(claim);
        if value(&claim) > value(owner) {
            *owner = claim;
        }
    }
    owners.into_values().collect()
}

/// The best claims by merit, at most so many; of equal ones those of the finest scale.
pub(super) fn best(mut claims: Vec<Claim>, most: usize) -> Vec<Claim> {
    claims.sort_by(|a, b| b.merit.total_cmp(&a.merit).then(a.place.cmp(&b.place)));
    claims.truncate(most);
    claims
}

/// Boxes of places, computed when they are first asked for.
pub(super) struct Decoded<F> {
    decode: F,
    known: BTreeMap<Place, Edges>,
}

impl<F: Fn(Place) -> Edges> Decoded<F> {
    pub(super) fn new(decode: F) -> Self {
        Self { decode, known: BTreeMap::new() }
    }

    /// How far the box of a place overlaps an object.
    pub(super) fn iou(&mut self, place: Place, target: &Target) -> f64 {
        let edges = *self.known.entry(place).or_insert_with(|| (self.decode)(place));
        crate::losses::overlap::iou(edges, target.edges).value
    }
}
