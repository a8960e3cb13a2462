//! All searches over one observation, to be chosen from.
use super::profile::Profile;
use super::{Observer, entropy, mismatch, mse};
use crate::{QuantError, Range};
use std::any::Any;

/// Percentiles among the candidates.
///
/// None that keeps nearly every value: rare large ones carry confidence more than rank, so such ranges keep the detections'
/// scores and lose mAP.
const PERCENTILES: [(&str, f64); 2] = [("percentile 99.9", 99.9), ("percentile 99.99", 99.99)];

/// Watches once and offers the range of every search; which one is best, the error of the model's outputs tells.
///
/// By itself it gives the candidate with the least squared error.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auto {
    profile: Profile,
}

impl Auto {
    /// The range of every search, by its name; none before the first finite value.
    pub fn candidates(&self) -> Vec<(&'static str, Range)> {
        let named = PERCENTILES
            .iter()
            .map(|&(name, p)| (name, self.profile.percentile(p)));
        let searched = [
            ("mse", mse::search(&self.profile)),
            ("entropy", entropy::search(&self.profile)),
        ];
        let all = named.chain(searched);
        all.filter_map(|(name, r)| Some((name, r?))).collect()
    }
}

impl Observer for Auto {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn observe(&mut self, values: &[f32]) {
        self.profile.observe(values);
    }

    fn merge(&mut self, other: &dyn Observer) -> Result<(), QuantError> {
        let same = other.as_any().downcast_ref::<Self>();
        self.profile
            .merge(&same.ok_or_else(|| mismatch(self, other))?.profile);
        Ok(())
    }

    fn range(&self) -> Option<Range> {
        let bins = self.profile.bins();
        let error = |r: &Range| mse::squared_error(&bins, *r);
        let candidates = self.candidates().into_iter().map(|(_, r)| r);
        candidates.min_by(|a, b| error(a).total_cmp(&error(b)))
    }

    fn seen(&self) -> Option<Range> {
        self.profile.min_max.seen()
    }

    fn non_finite(&self) -> u64 {
        self.profile.min_max.rejected()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
