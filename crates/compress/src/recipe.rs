//! The whole configuration of a run.

use std::collections::BTreeSet;
use std::fs;
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::path::{Path, PathBuf};

use observe::Sampling;
use prune::{Criterion, Limits};
use quant::{Calibrator, Target};
use runtime::PlanOptions;
use serde::{Deserialize, Serialize};
use train::optimizers::ADAM;
use yolo::Augmentation;
use yolo::families::Family;

use crate::{
    CompressError, HeadPrecision, LabelUse, PruneBudget, PruneOptions, RecoverOptions, RepairStep,
};

/// `recipe.toml`: everything that decides what a run gives, seeds included.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The detector.
    pub model: PathBuf,
    /// Its content.
    pub model_sha256: String,
    /// Family, where it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<&'static Family>,
    /// Anchors of raw maps, where they were named: width, height, width …, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Vec<f32>>,
    /// Height and width that dynamic axes are bound to, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imgsz: Option<[usize; 2]>,
    /// The data set.
    pub data: PathBuf,
    /// Seed of everything drawn.
    pub seed: u64,
    /// Instruction set of the engine: sums differ in their last bits between them.
    pub isa: String,
    /// Images on which the model is observed while it is changed.
    pub images: Sampling,
    /// Pruning.
    pub prune: PruneRecipe,
    /// Recovery of what pruning alone takes too much of; `None` for less pruning at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<RecoverRecipe>,
    /// Quantization.
    pub quantize: QuantizeRecipe,
    /// The gate.
    pub gate: GateRecipe,
}

/// Pruning.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PruneRecipe {
    /// Shares of the MACs to remove, tried in order.
    pub macs: Vec<f64>,
    /// Shares of each group's cumulative contribution to keep, tried in order before `macs`.
    pub keep_contribution: Vec<f64>,
    /// How channels are ranked.
    pub criterion: &'static Criterion,
    /// How what is left is repaired.
    pub repair: BTreeSet<RepairStep>,
    /// Surviving widths are multiples of this.
    pub round_to: usize,
    /// No group falls below this many channels.
    pub floor: usize,
    /// Largest share that the first group may lose.
    pub shallow_ratio: f64,
    /// Largest share that the deepest group may lose.
    pub deep_ratio: f64,
}

impl Default for PruneRecipe {
    fn default() -> Self {
        Self::new(PruneOptions::default())
    }
}

impl PruneRecipe {
    /// These options, with nothing to try yet.
    pub fn new(options: PruneOptions) -> Self {
        Self {
            macs: vec![],
            keep_contribution: vec![],
            criterion: options.criterion,
            repair: options.repair,
            round_to: options.limits.round_to,
            floor: options.limits.floor,
            shallow_ratio: options.limits.shallow_ratio,
            deep_ratio: options.limits.deep_ratio,
        }
    }

    /// How channels are chosen and repaired.
    pub fn options(&self) -> PruneOptions {
        PruneOptions {
            criterion: self.criterion,
            repair: self.repair.clone(),
            limits: Limits {
                round_to: self.round_to,
                floor: self.floor,
                shallow_ratio: self.shallow_ratio,
                deep_ratio: self.deep_ratio,
            },
        }
    }

    /// How channels are chosen and repaired, whatever is tried.
    pub(crate) fn without_budgets(&self) -> Self {
        Self { macs: vec![], keep_contribution: vec![], ..self.clone() }
    }

    /// Shares of the MACs to remove: what is asked, and less where that costs too much.
    pub fn removing_macs(options: PruneOptions, share: f64) -> Self {
        Self { macs: back_off(share), ..Self::new(options) }
    }

    /// Shares of each group's contribution to keep: what is asked, and more where that costs too much.
    pub fn keeping_contribution(options: PruneOptions, share: f64) -> Self {
        let removed = back_off(1.0 - share).into_iter();
        Self {
            keep_contribution: removed.map(|removed| 1.0 - removed).collect(),
            ..Self::new(options)
        }
    }

    /// What to try, in order.
    pub(crate) fn budgets(&self) -> Vec<PruneBudget> {
        let kept = self.keep_contribution.iter().copied();
        let macs = self.macs.iter().copied().map(PruneBudget::Macs);
        kept.map(PruneBudget::Contribution).chain(macs).collect()
    }
}

/// Shares to remove, one after the other: what was asked, half of it, a fifth, and nothing.
fn back_off(asked: f64) -> Vec<f64> {
    if asked == 0.0 {
        return vec![0.0];
    }
    vec![asked, asked / 2.0, asked / 5.0, 0.0]
}

/// Recovery.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecoverRecipe {
    /// Steps; `None` for as many as gain, or as the gate needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Images of a step.
    pub batch: usize,
    /// The largest rate, relative to each weight's size; `None` to find it by short tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How labels are used.
    pub labels: LabelUse,
}

impl Default for RecoverRecipe {
    fn default() -> Self {
        Self { steps: None, batch: 8, rate: None, labels: LabelUse::default() }
    }
}

impl RecoverRecipe {
    /// How it is trained, with a seed.
    pub(crate) fn options(&self, seed: u64) -> RecoverOptions {
        RecoverOptions {
            steps: self.steps,
            most_steps: usize::MAX,
            batch: self.batch,
            memory_bytes: None,
            optimizer: &ADAM,
            rate: self.rate,
            labels: self.labels,
            window: None,
            augmentation: Augmentation::default(),
            seed,
        }
    }
}

/// Quantization.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizeRecipe {
    /// Engine that will run the model.
    pub target: Target,
    /// How ranges are chosen.
    pub calibrator: &'static Calibrator,
    /// In which numbers the head's output convolutions compute.
    #[serde(default)]
    pub head: HeadPrecision,
    /// Layers that stay float: names with `*` and `?`, or positions such as `#12`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub float: Vec<String>,
}

/// The gate.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GateRecipe {
    /// Share of the model's mAP that the result must keep.
    pub keep: f64,
    /// Whether the lower end of the 95 % interval must keep it.
    pub strict: bool,
}

impl Default for QuantizeRecipe {
    fn default() -> Self {
        Self {
            target: quant::BUILTIN,
            calibrator: &quant::AUTO,
            head: HeadPrecision::default(),
            float: vec![],
        }
    }
}

impl Default for GateRecipe {
    fn default() -> Self {
        Self { keep: 0.95, strict: false }
    }
}

impl Recipe {
    /// The default settings for a model, with the digest of its file, and a data set.
    pub fn new(model: PathBuf, model_sha256: String, data: PathBuf) -> Self {
        Self {
            model,
            model_sha256,
            family: None,
            anchors: None,
            imgsz: None,
            data,
            seed: 0,
            isa: PlanOptions::default().isa.to_string(),
            images: Sampling::default(),
            prune: PruneRecipe::removing_macs(PruneOptions::default(), 0.05),
            recover: Some(RecoverRecipe::default()),
            quantize: QuantizeRecipe::default(),
            gate: GateRecipe::default(),
        }
    }

    /// As it is written to `recipe.toml`.
    ///
    /// # Errors
    /// `Setting` for a path that is no text.
    pub fn to_toml(&self) -> Result<String, CompressError> {
        toml::to_string_pretty(self).map_err(|error| CompressError::Setting {
            key: "model` and `data",
            expected: "paths in UTF-8".to_owned(),
            found: plain(&error.to_string()),
        })
    }

    /// Reads a recipe.
    ///
    /// # Errors
    /// `Read` when it is not there; `Record` when it is none, or says what cannot be, with the key or the line.
    pub fn read(path: &Path) -> Result<Self, CompressError> {
        let text = fs::read_to_string(path)
            .map_err(|cause| CompressError::Read { path: path.to_owned(), cause })?;
        let refuse = |reason: String| CompressError::Record { path: path.to_owned(), reason };
        let recipe: Self = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            refuse(format!("line {line}: {}", plain(error.message())))
        })?;
        recipe.check().map_err(|error| refuse(error.to_string()))?;
        Ok(recipe)
    }

    /// Refuses numbers out of range.
    ///
    /// # Errors
    /// `Setting`, with the key; `NoAttempts`; `VendorQuantizes`.
    pub fn check(&self) -> Result<(), CompressError> {
        let p = &self.prune;
        p.macs.iter().try_for_each(|&v| share("prune.macs", v, 0.0..1.0))?;
        let kept = |&v: &f64| share("prune.keep_contribution", v, 0.0..=1.0);
        p.keep_contribution.iter().try_for_each(kept)?;
        share("prune.shallow_ratio", p.shallow_ratio, 0.0..=1.0)?;
        share("prune.deep_ratio", p.deep_ratio, 0.0..=1.0)?;
        share("gate.keep", self.gate.keep, 0.0..=1.0)?;
        count("prune.round_to", p.round_to, 1..=65_535)?;
        count("prune.floor", p.floor, 1..=65_535)?;
        if let Some(recover) = self.recover {
            let steps = recover.steps.unwrap_or(1);
            count("recover.steps", steps, 1..=1_000_000)?;
            count("recover.batch", recover.batch, 1..=256)?;
            recover.rate.map_or(Ok(()), |rate| share("recover.rate", rate, 0.0..=1.0))?;
        }
        count("images.calibration", self.images.calibration as usize, 1..=usize::MAX)?;
        for side in self.imgsz.into_iter().flatten() {
            count("imgsz", side, 32..=8192)?;
        }
        let no_side = |px: &f32| !(0.1..=1e5).contains(px);
        let mut anchors = self.anchors.iter().flatten();
        if let Some(found) = anchors.find(|px| no_side(px)) {
            return Err(CompressError::Setting {
                key: "anchors",
                expected: "a list of numbers from 0.1 to 100000 px".to_owned(),
                found: found.to_string(),
            });
        }
        if p.budgets().is_empty() {
            return Err(CompressError::NoAttempts);
        }
        if self.quantize.target.engine().placement.is_vendors() {
            return Err(CompressError::VendorQuantizes {
                target: self.quantize.target.engine().name,
            });
        }
        Ok(())
    }
}

fn share(key: &'static str, found: f64, range: impl RangeBounds<f64>) -> Result<(), CompressError> {
    // No range holds what is not a number.
    if range.contains(&found) {
        return Ok(());
    }
    let below = matches!(range.end_bound(), Bound::Excluded(_));
    Err(CompressError::Setting {
        key,
        expected: format!("a share from 0 to {}1", if below { "below " } else { "" }),
        found: found.to_string(),
    })
}

fn count(
    key: &'static str,
    found: usize,
    range: RangeInclusive<usize>,
) -> Result<(), CompressError> {
    if range.contains(&found) {
        return Ok(());
    }
    let expected = match *range.end() {
        usize::MAX => format!("a whole number from {}", range.start()),
        end => format!("a whole number from {} to {end}", range.start()),
    };
    Err(CompressError::Setting { key, expected, found: found.to_string() })
}

/// The parser's message in words that a reader of TOML knows.
fn plain(message: &str) -> String {
    const WORDS: &[(&str, &str)] = &[
        ("unknown field", "unknown key"),
        ("missing field", "missing key"),
        ("unknown variant", "unknown name"),
        ("invalid type: ", "found "),
        ("invalid value: ", "found "),
        ("invalid length ", "found a list of length "),
        ("floating point", "the number"),
        ("expected f64", "expected a number"),
        ("expected u32", "expected a whole number from 0"),
        ("expected u64", "expected a whole number from 0"),
        ("expected usize", "expected a whole number from 0"),
        ("expected a sequence", "expected a list"),
        ("expected an array of length", "expected a list of length"),
        ("found sequence", "found a list"),
        ("found map", "found a table"),
        ("struct ", "a table for "),
        ("path string", "a path in quotes"),
    ];
    let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    WORDS.iter().fold(message.to_owned(), replace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prune_recipe_with_little_written_takes_the_defaults_for_the_rest() {
        let written = "macs = [0.1]\nkeep_contribution = [0.9]\nrepair = [\"absorb\", \"match\"]\nround_to = 16\n";
        let recipe: PruneRecipe = toml::from_str(written).unwrap();
        let options = recipe.options();
        assert_eq!(options.criterion, PruneOptions::default().criterion);
        assert_eq!(options.repair, BTreeSet::from([RepairStep::Absorb, RepairStep::Match]));
        assert_eq!((options.limits.round_to, options.limits.shallow_ratio), (16, 0.2));
        let expected = [PruneBudget::Contribution(0.9), PruneBudget::Macs(0.1)];
        assert_eq!(recipe.budgets(), expected);
        assert!(toml::from_str::<PruneRecipe>("repair = [\"magic\"]").is_err());
    }

    fn recipe() -> Recipe {
        Recipe {
            model: "best.onnx".into(),
            model_sha256: "00".to_owned(),
            family: Some(ir::named("v8").expect("listed")),
            anchors: None,
            imgsz: Some([320, 640]),
            data: "data.yaml".into(),
            seed: 7,
            isa: "avx2".to_owned(),
            images: Sampling { holdout: 50, ..Sampling::default() },
            prune: PruneRecipe { macs: vec![0.3, 0.0], ..PruneRecipe::default() },
            recover: Some(RecoverRecipe {
                steps: Some(2000),
                rate: Some(0.01),
                ..RecoverRecipe::default()
            }),
            quantize: QuantizeRecipe {
                target: quant::BUILTIN,
                calibrator: ir::named("percentile").expect("listed"),
                head: HeadPrecision::Fp16,
                float: vec!["*cv2*".to_owned(), "#3".to_owned()],
            },
            gate: GateRecipe { keep: 0.95, strict: false },
        }
    }

    fn read(text: &str) -> Result<Recipe, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("recipe.toml");
        fs::write(&path, text).expect("writable");
        Recipe::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn recipe_written_and_read_is_the_same() {
        let written = recipe().to_toml().expect("plain values");
        assert_eq!(read(&written).expect("a recipe"), recipe());
    }

    #[test]
    fn recipe_of_a_target_on_a_cpu_reads_back_and_an_old_name_says_the_new_one() {
        let mut recipe = recipe();
        recipe.quantize.target = "onnxruntime+avx2".parse().expect("a target");
        let written = recipe.to_toml().expect("plain values");
        assert_eq!(read(&written).expect("a recipe"), recipe);
        let error = read(&written.replace("onnxruntime+avx2", "onnxruntime-avx2")).unwrap_err();
        assert!(error.contains("now written `onnxruntime+avx2`"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn recipe_of_a_path_that_is_no_text_is_an_error() {
        use std::os::unix::ffi::OsStringExt as _;
        let named = |model| Recipe { model, ..recipe() };
        let bytes = std::ffi::OsString::from_vec(b"b\xffst.onnx".to_vec());
        assert!(named(PathBuf::from(bytes)).to_toml().is_err());
    }

    #[test]
    fn recipe_that_says_what_cannot_be_is_refused_by_key_in_plain_words() {
        let written = recipe().to_toml().expect("plain values");
        for (from, to, words) in [
            ("keep = 0.95", "keep = nan", &["gate.keep", "0 to 1", "NaN"][..]),
            ("keep = 0.95", "keep = -0.1", &["gate.keep", "-0.1"]),
            ("keep = 0.95", "keep = 1.5", &["gate.keep", "1.5"]),
            ("keep = 0.95", "keep = inf", &["gate.keep", "inf"]),
            ("    0.3,\n", "    1.0,\n", &["prune.macs", "below 1"]),
            ("    0.3,\n", "    nan,\n", &["prune.macs", "NaN"]),
            ("calibration = 100", "calibration = 0", &["images.calibration"]),
            ("calibration = 100", "calibration = -4", &["line", "whole number"]),
            ("steps = 2000", "steps = 0", &["recover.steps"]),
            ("batch = 8", "batch = 1000", &["recover.batch"]),
            ("rate = 0.01", "rate = 2.0", &["recover.rate"]),
            ("round_to = 8", "round_to = 0", &["prune.round_to"]),
            ("floor = 8", "floor = 8\nflor = 8", &["line", "unknown key `flor`"]),
            ("seed = 7", "seed = \"7\"", &["line", "whole number"]),
            ("percentile", "guess", &["calibrator", "guess", "percentile"]),
            ("head = \"fp16\"", "head = \"int4\"", &["int4", "fp16"]),
            ("family = \"v8\"", "family = \"v99\"", &["family", "v99"]),
            ("seed = 7\n", "", &["missing key `seed`"]),
        ] {
            assert!(written.contains(from), "{from} in {written}");
            let refused = read(&written.replacen(from, to, 1)).expect_err(to);
            for word in words {
                assert!(refused.contains(word), "{to}: no `{word}` in {refused}");
            }
            for word in ["usize", "f64", "u32", "struct", "field"] {
                assert!(!refused.contains(word), "{to}: {refused}");
            }
        }
    }
}
