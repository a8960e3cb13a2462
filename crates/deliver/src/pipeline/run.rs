//! One run of a pipeline: from a commit to a bundle under an alias.
use super::child::{END_WITH_STDIN, Ended, Runner};
use super::gate::{Finding, Judgement, Loss, losses};
use super::settings::{Place, Settings};
use super::source::{Fetched, Repository};
use super::stages::{Given, Log, StageReport, StageState, Stages, key};
use crate::bundle::{Bundle, ImageLoss, RunRecord, write_whole};
use crate::package::{self, Package};
use crate::{DeliverError, Digest, SigningKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Results of earlier models that are kept, besides those of this one: a commit that takes a change back costs nothing.
const KEPT: usize = 3;

/// The file of a run that a process at work in it holds locked.
const RUN_MARKER: &str = "yoloslim.run";
/// How long a process that nobody waits for may take to end.
const OTHERS: Duration = Duration::from_secs(30);

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A bundle was pushed.
    Pushed,
    /// The alias names this very bundle already.
    Unchanged,
    /// Too much was lost: nothing was pushed.
    GateFailed,
}

/// What a run did, and what came of it.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// What it came to; none where it failed.
    pub verdict: Option<Verdict>,
    /// Why it failed.
    #[serde(serialize_with = "as_text")]
    pub error: Option<DeliverError>,
    /// The commit that it was of.
    pub commit: Option<String>,
    /// What the reference named then.
    #[serde(skip)]
    pub(super) tip: Option<String>,
    /// Digest of the bundle.
    pub digest: Option<Digest>,
    /// Version under which it was signed; none where nothing was signed.
    pub version: Option<u64>,
    /// Where the bundle is named.
    pub location: Option<String>,
    /// Stages, in order.
    pub stages: Vec<StageReport>,
    /// What the gate found.
    pub gate: Vec<Finding>,
    /// Why the gate failed, in sentences.
    pub failures: Vec<String>,
    /// What was lost of what is measured.
    pub lost: Vec<Loss>,
    /// Images on which most was lost.
    pub lost_images: Vec<ImageLoss>,
    /// The bundle's folder.
    pub bundle: Option<PathBuf>,
    /// A page with pictures of what both models find.
    pub report: Option<PathBuf>,
}

fn as_text<S: serde::Serializer>(
    error: &Option<DeliverError>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    error.as_ref().map(ToString::to_string).serialize(serializer)
}

/// A run at work.
pub(super) struct Job<'a> {
    pub(super) settings: &'a Settings,
    /// This program.
    pub(super) program: &'a Path,
    pub(super) runner: &'a Runner<'a>,
}

/// A model with everything that is made of it, in a folder of its own.
struct Workplace {
    folder: PathBuf,
    model: PathBuf,
}

impl Workplace {
    fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    fn bundle(&self) -> PathBuf {
        self.folder.join("bundle")
    }

    /// The commit at which a bundle of these inputs was first made, and if it is now, this one: a bundle that is made again has the
    /// same digest.
    fn commit(&self, inputs: Digest, now: &str) -> Result<String, DeliverError> {
        let path = self.folder.join("stages/commit.json");
        let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        if let Some((_, commit)) = known.filter(|(of, _): &(Digest, String)| *of == inputs) {
            return Ok(commit);
        }
        let folder = self.folder.join("stages");
        fs::create_dir_all(&folder).map_err(|e| DeliverError::write(&folder, e))?;
        let text = serde_json::to_vec(&(inputs, now)).unwrap_or_default();
        write_whole(&path, &text)?;
        Ok(now.to_owned())
    }
}

impl Job<'_> {
    pub(super) fn run(&self) -> Outcome {
        let (mut log, mut outcome) = (Log::default(), Outcome::default());
        match self.steps(&mut log, &mut outcome) {
            Ok(verdict) => outcome.verdict = Some(verdict),
            Err(error) => outcome.error = Some(error),
        }
        outcome.stages = log.stages;
        outcome
    }

    fn steps(&self, log: &mut Log, outcome: &mut Outcome) -> Result<Verdict, DeliverError> {
        let fetched = log.stage("source", || self.fetch())?;
        outcome.commit = Some(fetched.commit.clone());
        outcome.tip = Some(fetched.tip.clone());
        let place = log.stage("model", || self.workplace())?;
        let passed = log.stage("compress", || self.compress(&place))?;
        let record = RunRecord::read(&place.run().join("metrics.json"))?;
        outcome.lost_images.clone_from(&record.val_lost);
        if !passed {
            let gate = &record.gate;
            outcome.failures.push(format!(
                "compress: {:.4} of the mAP is kept, and {} had to be",
                gate.ratio, gate.keep
            ));
            outcome.lost = losses(&record.metrics());
            outcome.report = log.stage("report", || self.report(&place))?;
            return Ok(Verdict::GateFailed);
        }
        let mut targets = Vec::new();
        for target in &self.settings.recipe.targets {
            let stage = format!("quantize {target}");
            let model = log.stage(&stage, || self.quantize(&place, target, &record))?;
            targets.push(format!("{target}={}", model.display()));
        }
        let made = log.stage("bundle", || self.bundle(&place, &targets, &fetched.commit))?;
        let Some(bundle) = made else {
            outcome.failures.push("bundle: a model for another target keeps too little".to_owned());
            outcome.lost = losses(&record.metrics());
            return Ok(Verdict::GateFailed);
        };
        outcome.digest = Some(bundle.digest);
        outcome.bundle = Some(bundle.path.clone());
        outcome.report = Some(bundle.path.join("report.html"));
        log.stage("gate", || Ok(self.gate(&bundle, outcome)))?;
        if !outcome.failures.is_empty() {
            return Ok(Verdict::GateFailed);
        }
        self.runner.check()?;
        let verdict = log.stage("push", || self.push(&place, &bundle, outcome))?;
        self.sweep(&place);
        Ok(verdict)
    }

    fn fetch(&self) -> Result<Given<Fetched>, DeliverError> {
        let (fetched, is_new) = Repository::new(self.settings, self.runner).fetch()?;
        let state = if is_new { StageState::Done } else { StageState::Unchanged };
        let detail = format!("commit {}", fetched.commit);
        Ok(Given { value: fetched, state, detail })
    }

    /// The folder of the model that is checked out and of the settings by which it is compressed. The model lies in it alone with
    /// the files that it is said to consist of: another one, on which it would depend unseen, is missed at once.
    fn workplace(&self) -> Result<Given<Workplace>, DeliverError> {
        let checkout = Repository::new(self.settings, self.runner).checkout();
        let source = &self.settings.source;
        let files = || std::iter::once(&source.path).chain(&source.with);
        let digest = |path: &PathBuf| {
            let (digest, _) = Digest::of_file(&checkout.join(path))?;
            Ok((path.display().to_string(), digest))
        };
        let digests: BTreeMap<String, Digest> =
            files().map(digest).collect::<Result<_, DeliverError>>()?;
        let recipe = &self.settings.recipe;
        let file = recipe.file.as_ref().map(|file| Digest::of_file(&file.path(&checkout)));
        let file = file.transpose()?.map(|(digest, _)| digest);
        let data = self.settings.data.path.path(&checkout);
        let data = data.display().to_string();
        let key = key("workplace", &(&digests, file, &recipe.options, data));
        let folder = self.settings.work.join("runs").join(&key.hex()[..16]);
        let place = Workplace { model: folder.join("model").join(&source.path), folder };
        let mut state = StageState::Unchanged;
        for path in files() {
            let to = place.folder.join("model").join(path);
            let known = Digest::of_file(&to).ok().map(|(digest, _)| digest);
            if known != Some(digests[&path.display().to_string()]) {
                copy(&checkout.join(path), &to)?;
                state = StageState::Done;
            }
        }
        let digest = digests[&source.path.display().to_string()];
        Ok(Given { value: place, state, detail: format!("{} {digest}", source.path.display()) })
    }

    /// Compresses. The program knows which images a result depends on, and does only what it has not done of the same.
    fn compress(&self, place: &Workplace) -> Result<Given<bool>, DeliverError> {
        let checkout = Repository::new(self.settings, self.runner).checkout();
        let record = place.run().join("metrics.json");
        self.wait_for_others(&place.run())?;
        let before = fs::read(&record).ok();
        let mut command = self.command("compress");
        command.arg(&place.model).arg("--data").arg(self.settings.data.path.path(&checkout));
        command.arg("-o").arg(place.run()).arg("--resume");
        match self.settings.recipe.file.as_ref().map(|file: &Place| file.path(&checkout)) {
            Some(file) => command.arg("--recipe").arg(file),
            None => command.args(&self.settings.recipe.options),
        };
        let ended = self.runner.run("compress", &mut command, None)?;
        let passed = judge("compress", &ended)?;
        // Times are part of the record: it is the same only where nothing was measured anew.
        let after = fs::read(&record).map_err(|e| DeliverError::read(&record, e))?;
        let is_same = before.is_some_and(|before| before == after);
        let state = if is_same { StageState::Unchanged } else { StageState::Done };
        let detail = if passed { "its gate passed" } else { "its gate failed" };
        Ok(Given { value: passed, state, detail: detail.to_owned() })
    }

    /// Waits a moment for what an earlier process had started, which ends when it sees that its starter is gone.
    fn wait_for_others(&self, run: &Path) -> Result<(), DeliverError> {
        let Ok(marker) = File::open(run.join(RUN_MARKER)) else {
            return Ok(());
        };
        let begun = Instant::now();
        while marker.try_lock().is_err() && begun.elapsed() < OTHERS {
            self.runner.check()?;
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Quantizes the pruned model for another target, on the images that the run calibrated on.
    fn quantize(
        &self,
        place: &Workplace,
        target: &str,
        record: &RunRecord,
    ) -> Result<Given<PathBuf>, DeliverError> {
        let checkout = Repository::new(self.settings, self.runner).checkout();
        let run = place.run();
        let (pruned, recipe) = (run.join("pruned.onnx"), run.join("recipe.toml"));
        let inputs = (
            target,
            Digest::of_file(&pruned)?.0,
            Digest::of_file(&recipe)?.0,
            &record.calibration_sha256,
        );
        let file = format!("targets/{target}.onnx");
        let out = place.folder.join(&file);
        let stages = Stages::new(&place.folder);
        let state = stages.make(&format!("quantize-{target}"), &inputs, &[&file], || {
            let folder = place.folder.join("targets");
            fs::create_dir_all(&folder).map_err(|e| DeliverError::write(&folder, e))?;
            let mut command = self.command("quantize");
            command.arg(&pruned).arg("--data").arg(self.settings.data.path.path(&checkout));
            command.arg("--recipe").arg(&recipe).args(["--target", target]).arg("-o").arg(&out);
            judge("quantize", &self.runner.run("quantize", &mut command, None)?).map(|_| ())
        })?;
        Ok(Given { detail: file, value: out, state })
    }

    /// Makes the bundle. A bundle of the same inputs that is there stays, with the commit that it was first made at: a commit that
    /// changes nothing of it makes no new version.
    fn bundle(
        &self,
        place: &Workplace,
        targets: &[String],
        commit: &str,
    ) -> Result<Given<Option<Bundle>>, DeliverError> {
        let of_run =
            ["metrics.json", "recipe.toml", "model.onnx", "pruned.onnx", "quant.plan.json"];
        let digest = |path: PathBuf| Digest::of_file(&path).map(|(digest, _)| digest);
        let of_run = of_run.map(|name| digest(place.run().join(name)));
        let of_run = of_run.into_iter().collect::<Result<Vec<_>, _>>()?;
        let of_targets = targets.iter().map(|typed| {
            let (target, path) = typed.split_once('=').unwrap_or(("", typed));
            Ok((target, digest(PathBuf::from(path))?))
        });
        let of_targets = of_targets.collect::<Result<Vec<_>, DeliverError>>()?;
        let golden = self.settings.recipe.golden.to_string();
        let inputs = (&of_run, &of_targets, &self.settings.name, &golden);
        let out = place.bundle();
        let commit = place.commit(key("bundle", &inputs), commit)?;
        // Where somebody changed a file of it, it is made anew.
        if Bundle::open(&out).is_err() {
            let _ = fs::remove_file(place.folder.join("stages/bundle.json"));
        }
        let mut passed = true;
        let made =
            Stages::new(&place.folder).make("bundle", &inputs, &["bundle/bundle.json"], || {
                let mut command = self.command("bundle");
                command.arg(place.run()).arg("-o").arg(&out).args(["--name", &self.settings.name]);
                command.args(["--golden", &golden, "--commit", &commit]);
                for target in targets {
                    command.args(["--target", target]);
                }
                let ended = self.runner.run("bundle", &mut command, None)?;
                passed = judge("bundle", &ended)?;
                if passed {
                    Ok(())
                } else {
                    Err(DeliverError::child("bundle", ended.how, ended.told, ended.code))
                }
            });
        if !passed {
            let detail = made.err().map_or(String::new(), |error| error.to_string());
            return Ok(Given { value: None, state: StageState::Done, detail });
        }
        let state = made?;
        let bundle = Bundle::open(&out)?;
        Ok(Given { detail: bundle.digest.to_string(), value: Some(bundle), state })
    }

    /// The page of a run that makes no bundle.
    fn report(&self, place: &Workplace) -> Result<Given<Option<PathBuf>>, DeliverError> {
        let mut command = self.command("report");
        command.arg(place.run());
        judge("report", &self.runner.run("report", &mut command, None)?)?;
        let path = place.run().join("report.html");
        let detail = path.display().to_string();
        Ok(Given { value: Some(path), state: StageState::Done, detail })
    }

    fn gate(&self, bundle: &Bundle, outcome: &mut Outcome) -> Given<()> {
        outcome.gate = self.settings.gate.judge(&bundle.manifest);
        let failure = |finding: &Finding| match &finding.result {
            Judgement::Failed(why) => Some(format!("{}: {why}", finding.metric)),
            _ => None,
        };
        outcome.failures.extend(outcome.gate.iter().filter_map(failure));
        outcome.lost = losses(&bundle.manifest.metrics);
        let (rules, failed) = (outcome.gate.len(), outcome.failures.len());
        let state = if failed == 0 { StageState::Done } else { StageState::Failed };
        Given { value: (), state, detail: format!("{failed} of {rules} rules broken") }
    }

    /// Signs and pushes, unless the alias names this bundle already, signed by the same key.
    fn push(
        &self,
        place: &Workplace,
        bundle: &Bundle,
        outcome: &mut Outcome,
    ) -> Result<Given<Verdict>, DeliverError> {
        let settings = self.settings;
        let wrong = |why| DeliverError::Settings { path: settings.work.clone(), why };
        let location = settings.location().map_err(wrong)?;
        outcome.location = Some(location.to_string());
        let store = location.open(&settings.access())?;
        let there = match Package::resolve(store.as_ref(), &location.reference()) {
            Ok(package) => Some(package),
            Err(DeliverError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let same = there.as_ref().filter(|there| {
            there.bundle_digest() == bundle.digest && there.form == settings.form()
        });
        let inputs = (bundle.digest, Digest::of_file(&settings.sign.key)?.0, location.to_string());
        let inputs = key("push", &inputs);
        let record = place.folder.join("stages/push.json");
        // What this pipeline pushed itself needs no key to be known, and a key with a passphrase takes seconds.
        let own = Pushed::read(&record).filter(|pushed| pushed.of == inputs);
        if let Some(own) = own.filter(|own| same.is_some_and(|same| same.digest == own.stored)) {
            return Ok(unchanged(outcome, own.version));
        }
        let secret = SigningKey::read(&settings.sign.key, &settings.passphrase()?)?;
        let trusted = secret.public()?;
        let signed = there.as_ref().and_then(|there| there.verify(&trusted).ok());
        if let (Some(same), Some(signed)) = (same, &signed) {
            let (stored, version) = (same.digest, signed.version);
            Pushed { of: inputs, stored, version }.write(&record)?;
            return Ok(unchanged(outcome, version));
        }
        let version = self.version(signed.map(|signed| signed.version))?;
        bundle.sign(&secret, version)?;
        let tell = &mut |progress: package::Progress<'_>| {
            (self.runner.tell)(&format!("push: {} ({} bytes)", progress.name, progress.size_bytes));
        };
        let tag = &settings.push.alias;
        let stored = package::push(store.as_ref(), bundle, tag, settings.form(), tell)?;
        Pushed { of: inputs, stored, version }.write(&record)?;
        outcome.version = Some(version);
        let detail = format!("{location} is version {version}, {stored}");
        Ok(Given { value: Verdict::Pushed, state: StageState::Done, detail })
    }

    /// A version above the one that is there: devices take no other.
    fn version(&self, there: Option<u64>) -> Result<u64, DeliverError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let least = there.map_or(0, |there| there + 1);
        match self.settings.sign.version {
            Some(version) if version < least => Err(DeliverError::OldVersion { version, least }),
            Some(version) => Ok(version),
            None => Ok(now.max(least)),
        }
    }

    /// Removes what was made of other models, but for the latest.
    fn sweep(&self, place: &Workplace) {
        let runs = self.settings.work.join("runs");
        // Its time is that of the last run that used it.
        let _ = fs::write(place.folder.join("used"), "");
        let used =
            |folder: &Path| fs::metadata(folder.join("used")).and_then(|m| m.modified()).ok();
        let entries = fs::read_dir(&runs).into_iter().flatten().flatten();
        let mut others: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        others.retain(|folder| *folder != place.folder);
        others.sort_by_key(|folder| std::cmp::Reverse(used(folder)));
        for old in others.iter().skip(KEPT) {
            // What cannot be removed costs room, and nothing else.
            let _ = fs::remove_dir_all(old);
        }
    }

    /// This program with a verb; it ends when this process does.
    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(self.program);
        command.arg(verb).env(END_WITH_STDIN, "1");
        if let Some(threads) = self.settings.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        command
    }
}

/// `stages/push.json`: what was pushed of a model.
#[derive(Deserialize, Serialize)]
struct Pushed {
    /// Digest of the bundle, the key and the place.
    of: Digest,
    /// Digest of what the alias named then.
    stored: Digest,
    version: u64,
}

impl Pushed {
    fn read(path: &Path) -> Option<Self> {
        fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok())
    }

    fn write(&self, path: &Path) -> Result<(), DeliverError> {
        write_whole(path, &serde_json::to_vec_pretty(self).unwrap_or_default())
    }
}

/// There is nothing to push.
fn unchanged(outcome: &mut Outcome, version: u64) -> Given<Verdict> {
    outcome.version = Some(version);
    let location = outcome.location.as_deref().unwrap_or_default();
    let detail = format!("{location} names it already, as version {version}");
    Given { value: Verdict::Unchanged, state: StageState::Unchanged, detail }
}

/// Whether a verb of ours was content; its errors are ours.
fn judge(verb: &str, ended: &Ended) -> Result<bool, DeliverError> {
    match ended.code {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        Some(3) => Err(DeliverError::Interrupted),
        code => Err(DeliverError::child(verb, ended.how.clone(), ended.told.clone(), code)),
    }
}

/// Copies a file so that it is there whole or not at all.
fn copy(from: &Path, to: &Path) -> Result<(), DeliverError> {
    let folder = to.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|e| DeliverError::write(folder, e))?;
    let partial = to.with_extension("partial");
    fs::copy(from, &partial).map_err(|e| DeliverError::read(from, e))?;
    fs::rename(&partial, to).map_err(|e| DeliverError::write(to, e))
}
