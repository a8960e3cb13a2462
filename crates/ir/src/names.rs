//! Names that are used once.
use std::collections::{BTreeMap, BTreeSet};

/// The names that are taken; another use of one gets a number behind it.
#[derive(Clone, Debug, Default)]
pub struct UniqueNames {
    used: BTreeSet<String>,
    /// The next number to try behind a name: a model may use one name a hundred thousand times.
    next: BTreeMap<String, usize>,
}

impl UniqueNames {
    /// These names are taken.
    pub fn new(used: impl IntoIterator<Item = String>) -> Self {
        Self { used: used.into_iter().collect(), next: BTreeMap::new() }
    }

    /// The name itself where it is free, else with the lowest free number behind it; it is taken from now on.
    pub fn unique(&mut self, name: &str) -> String {
        if self.used.insert(name.to_owned()) {
            return name.to_owned();
        }
        let next = self.next.entry(name.to_owned()).or_insert(1);
        loop {
            let numbered = format!("{name}_{next}");
            *next += 1;
            if self.used.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_name_skips_what_is_taken() {
        let mut names = UniqueNames::new(["a".to_owned(), "a_2".to_owned()]);
        let given = ["a", "a", "b", "a_1"].map(|n| names.unique(n));
        assert_eq!(given, ["a_1", "a_3", "b", "a_1_1"]);
    }

    #[test]
    fn unique_name_used_very_often_is_found_at_once() {
        let mut names = UniqueNames::default();
        let last = (0..200_000).map(|_| names.unique("x")).last();
        assert_eq!(last.as_deref(), Some("x_199999"));
    }
}
