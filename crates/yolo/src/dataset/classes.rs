//! A data set's classes beside a model's: how many there are, and in which order.

use std::collections::BTreeMap;

use super::Dataset;
use crate::YoloError;

/// How many classes of different names are told.
const TOLD: usize = 3;

impl Dataset {
    /// Brings the classes into the order of a head that has `classes` of them, called `names` where the model says so.
    ///
    /// Labels are compared with what the model predicts by class number. Where both give the same names in another order,
    /// the names count, and it is said; where they give other names, the numbers count, and it is said. A supercategory
    /// that nothing is labelled as is no class where the head has none for it.
    ///
    /// # Errors
    /// `HeadClasses` when the head has another number of classes than the data set, and something is labelled.
    pub fn fit_classes(
        &mut self,
        classes: usize,
        names: Option<&[String]>,
    ) -> Result<(), YoloError> {
        if self.names.is_empty() {
            return Ok(());
        }
        if self.names.len() == classes + self.supercategories.len() {
            self.drop_supercategories();
        }
        if self.names.len() != classes {
            let found = self.names.len();
            // Nothing depends on the names of what is not labelled.
            if !self.is_labelled() {
                return Ok(());
            }
            return Err(YoloError::HeadClasses { head: classes, names: found });
        }
        if let Some(names) = names.filter(|n| n.len() == classes) {
            self.order_by(names);
        }
        Ok(())
    }

    fn drop_supercategories(&mut self) {
        for class in std::mem::take(&mut self.supercategories).into_iter().rev() {
            let name = self.names.remove(class);
            self.category_ids.remove(class);
            self.warnings.push(format!(
                "category `{name}` is no class: it is the supercategory of the others, and nothing is labelled as it"
            ));
            let labels = self.images.iter_mut().flat_map(|image| &mut image.labels);
            for label in labels.filter(|label| label.class > class) {
                label.class -= 1;
            }
        }
    }

    fn order_by(&mut self, names: &[String]) {
        let alike = |name: &String| name.trim().to_lowercase();
        let numbers: BTreeMap<String, usize> = names.iter().map(alike).zip(0..).collect();
        let order: Option<Vec<usize>> =
            self.names.iter().map(|n| numbers.get(&alike(n)).copied()).collect();
        let mut distinct = order.clone().unwrap_or_default();
        distinct.sort_unstable();
        distinct.dedup();
        match order {
            Some(order) if distinct.len() == names.len() => self.reorder(&order),
            _ => self.warn_of_other_names(names),
        }
    }

    /// Gives the class `i` the number `order[i]`.
    fn reorder(&mut self, order: &[usize]) {
        if order.iter().copied().eq(0..order.len()) {
            return;
        }
        self.warnings.push(
            "the classes are in another order than the model's: they are matched by their names"
                .to_owned(),
        );
        let (mut names, mut ids) = (self.names.clone(), self.category_ids.clone());
        for (class, &number) in order.iter().enumerate() {
            names[number].clone_from(&self.names[class]);
            ids[number] = self.category_ids[class];
        }
        (self.names, self.category_ids) = (names, ids);
        for label in self.images.iter_mut().flat_map(|image| &mut image.labels) {
            label.class = order[label.class];
        }
    }

    fn warn_of_other_names(&mut self, names: &[String]) {
        let pairs = names.iter().zip(&self.names);
        let differing = pairs.enumerate().filter(|(_, (ours, theirs))| {
            !is_made_up(ours)
                && !is_made_up(theirs)
                && ours.trim().to_lowercase() != theirs.trim().to_lowercase()
        });
        let told: Vec<String> = differing
            .map(|(class, (ours, theirs))| format!("{class} is `{ours}` and `{theirs}`"))
            .collect();
        if !told.is_empty() {
            let more = told.len().saturating_sub(TOLD);
            let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
            self.warnings.push(format!(
                "model and data set name their classes differently, and they are matched by number: {}{rest}",
                told[..told.len().min(TOLD)].join(", ")
            ));
        }
    }
}

/// Whether a name is only a number, as tools make them up.
fn is_made_up(name: &str) -> bool {
    let name = name.trim().to_lowercase();
    let number = name.strip_prefix("class").unwrap_or(&name).trim_start_matches(['_', ' ', '-']);
    !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}
