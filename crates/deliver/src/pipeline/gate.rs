//! What a bundle must be like before it is pushed: floors for what is measured, ceilings for what is counted. Times differ from
//! machine to machine and day to day, and are no part of it.
use crate::bundle::{Manifest, Metric};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is measured; a floor makes sense.
const MEASURED: &[&str] =
    &["map_50_95", "map_50", "map_small", "map_medium", "map_large", "recall"];
/// Of these each class has its own.
const OF_CLASSES: &[&str] = &["map_50_95", "map_50", "recall"];
/// What each further target has too.
const OF_TARGETS: &[&str] = &["map_50_95", "map_50", "recall"];
/// What is counted; a ceiling makes sense.
const COUNTED: &[&str] = &["macs", "params", "file_bytes"];
/// All classes that have labels.
const EVERY: &str = "*";

/// What a bundle must be like.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateSettings {
    /// By metric.
    pub metrics: BTreeMap<String, Rule>,
    /// By class, `*` for all that have labels, and metric.
    pub classes: BTreeMap<String, BTreeMap<String, Rule>>,
}

/// Between which figures a metric must lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The least value.
    pub least: Option<f64>,
    /// The least share of the value before compression.
    pub keep: Option<f64>,
    /// The largest value.
    pub most: Option<f64>,
    /// The fewest images, or objects of a class, that it must have been measured on.
    pub samples: Option<u64>,
}

/// A rule held against a bundle.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The metric.
    pub metric: String,
    /// What was asked, in words.
    pub asked: String,
    /// What the bundle has; none where it has no such metric.
    pub found: Option<Metric>,
    /// How it came out.
    pub result: Judgement,
}

/// How a rule came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum Judgement {
    /// Kept.
    Passed,
    /// Broken, and why.
    Failed(String),
    /// Not judged, and why: a class that `*` meets and that has too few objects.
    NotJudged(String),
}

impl GateSettings {
    pub(crate) fn check(&self) -> Result<(), String> {
        for (name, rule) in &self.metrics {
            let key = format!("gate.metrics.{name}");
            let measured = MEASURED.contains(&name.as_str());
            if !measured && !COUNTED.contains(&name.as_str()) {
                let known = [MEASURED, COUNTED].concat().join(", ");
                return Err(format!("{key}: only {known} are gated"));
            }
            rule.check(&key, measured)?;
        }
        for (class, rules) in &self.classes {
            for (name, rule) in rules {
                let key = format!("gate.classes.{class}.{name}");
                if !OF_CLASSES.contains(&name.as_str()) {
                    return Err(format!("{key}: classes have {}", OF_CLASSES.join(", ")));
                }
                rule.check(&key, true)?;
            }
        }
        Ok(())
    }

    /// Holds all rules against a bundle. A metric that is missing breaks its rule.
    pub fn judge(&self, manifest: &Manifest) -> Vec<Finding> {
        let mut findings = Vec::new();
        let others = targets_of(manifest);
        for (name, rule) in &self.metrics {
            findings.push(rule.judge(name, manifest.metrics.get(name)));
            // Which of the models a device runs is not known here: each must be good enough.
            for target in others.iter().filter(|_| OF_TARGETS.contains(&name.as_str())) {
                let name = format!("target.{target}.{name}");
                findings.push(rule.judge(&name, manifest.metrics.get(&name)));
            }
        }
        for (class, rules) in &self.classes {
            for (name, rule) in rules {
                findings.extend(Self::judge_class(class, name, rule, manifest, &others));
            }
        }
        findings
    }

    fn judge_class(
        class: &str,
        name: &str,
        rule: &Rule,
        manifest: &Manifest,
        others: &[&str],
    ) -> Vec<Finding> {
        let prefixes = others.iter().map(|target| format!("target.{target}."));
        let mut findings = Vec::new();
        for prefix in std::iter::once(String::new()).chain(prefixes) {
            if class != EVERY {
                let name = format!("{prefix}class.{class}.{name}");
                findings.push(rule.judge(&name, manifest.metrics.get(&name)));
                continue;
            }
            let (start, end) = (format!("{prefix}class."), format!(".{name}"));
            let of_classes = manifest.metrics.iter();
            let of_classes = of_classes.filter(|(n, _)| n.starts_with(&start) && n.ends_with(&end));
            let before = findings.len();
            findings.extend(of_classes.map(|(name, metric)| rule.judge_any(name, metric)));
            if findings.len() == before {
                findings.push(rule.judge(&format!("{start}{EVERY}{end}"), None));
            }
        }
        findings
    }
}

/// Targets of models beside the run's own, whose metrics have no prefix.
fn targets_of(manifest: &Manifest) -> Vec<&str> {
    let measured = |target: &&String| {
        let prefix = format!("target.{target}.");
        manifest.metrics.keys().any(|name| name.starts_with(&prefix))
    };
    let measured: Vec<&str> = manifest.models.keys().filter(measured).map(String::as_str).collect();
    if measured.len() + 1 == manifest.models.len() {
        return measured;
    }
    // One that was not measured must not slip through: its metrics are missing, and break the rules.
    let all = manifest.models.keys().map(String::as_str);
    if manifest.models.len() == 1 { vec![] } else { all.collect() }
}

impl Rule {
    fn check(&self, key: &str, measured: bool) -> Result<(), String> {
        if self.least.is_none() && self.keep.is_none() && self.most.is_none() {
            return Err(format!("{key}: it asks for nothing: least, keep or most"));
        }
        if measured && self.most.is_some() {
            return Err(format!("{key}.most: more of it is better"));
        }
        if !measured && (self.least.is_some() || self.keep.is_some() || self.samples.is_some()) {
            return Err(format!("{key}: it is counted, and only `most` makes sense"));
        }
        let share = |v: Option<f64>| v.is_none_or(|v| (0.0..=1.0).contains(&v));
        if !share(self.least) || !share(self.keep) {
            return Err(format!("{key}: least and keep are from 0 to 1"));
        }
        if self.most.is_some_and(|most| !most.is_finite() || most < 0.0) {
            return Err(format!("{key}.most: a number from 0 is needed"));
        }
        Ok(())
    }

    fn judge(&self, name: &str, metric: Option<&Metric>) -> Finding {
        let why = match metric {
            None => Some("it was not measured".to_owned()),
            Some(metric) => self.breach(metric),
        };
        Finding {
            metric: name.to_owned(),
            asked: self.describe(),
            found: metric.copied(),
            result: why.map_or(Judgement::Passed, Judgement::Failed),
        }
    }

    /// As [`Rule::judge`], of a class that nobody named: of one with too few objects nothing can be said.
    fn judge_any(&self, name: &str, metric: &Metric) -> Finding {
        let finding = self.judge(name, Some(metric));
        match self.too_few(metric) {
            Some(why) => Finding { result: Judgement::NotJudged(why), ..finding },
            None => finding,
        }
    }

    fn too_few(&self, metric: &Metric) -> Option<String> {
        let (asked, found) = (self.samples?, metric.samples.unwrap_or(0));
        (found < asked).then(|| format!("measured on {found}, and {asked} are the least"))
    }

    fn breach(&self, metric: &Metric) -> Option<String> {
        if let Some(why) = self.too_few(metric) {
            return Some(why);
        }
        let value = metric.value;
        if let Some(least) = self.least.filter(|least| value < *least) {
            return Some(format!("{value:.4} is below {least}"));
        }
        if let Some(most) = self.most.filter(|most| value > *most) {
            return Some(format!("{value} is above {most}"));
        }
        let keep = self.keep?;
        match metric.before {
            None => Some("it is not known what it was before".to_owned()),
            Some(before) if value < keep * before => {
                Some(format!("{value:.4} is less than {keep} of the {before:.4} before"))
            }
            Some(_) => None,
        }
    }

    fn describe(&self) -> String {
        let part = |value: Option<f64>, word: &str| value.map(|value| format!("{word} {value}"));
        let samples = self.samples.map(|samples| format!("on {samples} at least"));
        let parts = [
            part(self.least, "at least"),
            part(self.keep, "of that before at least"),
            part(self.most, "at most"),
            samples,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A metric that compression made worse.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Loss {
    /// The metric.
    pub metric: String,
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// On how many images or objects.
    pub samples: Option<u64>,
}

/// What was lost of what is measured, the largest share first: the whole, sizes of objects, classes, targets.
pub(crate) fn losses(metrics: &BTreeMap<String, Metric>) -> Vec<Loss> {
    let measured = |name: &str| {
        let kind = name.rsplit('.').next().unwrap_or(name);
        MEASURED.contains(&kind)
    };
    let loss = |(name, metric): (&String, &Metric)| {
        let before = metric.before?;
        let lost = measured(name) && metric.value < before;
        let samples = metric.samples;
        lost.then(|| Loss { metric: name.clone(), before, after: metric.value, samples })
    };
    let mut losses: Vec<Loss> = metrics.iter().filter_map(loss).collect();
    let kept = |loss: &Loss| loss.after / loss.before;
    losses.sort_by(|a, b| kept(a).total_cmp(&kept(b)));
    losses
}

#[cfg(test)]
mod tests;
