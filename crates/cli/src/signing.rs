//! `keygen`, `sign` and `verify`: who made a bundle, and whether it is what was made.
use crate::args::{CommonArgs, EngineName, KeygenArgs, SignArgs, VerifyArgs};
use crate::output::write_json;
use crate::{Verdict, engine};
use anyhow::{Context, Result, bail};
use deliver::bundle::{Bundle, Signed};
use deliver::{KeyFiles, Passphrase, PublicKeys, SigningKey};
use serde::Serialize;
use serve::{Golden, GoldenResult, Tolerance};
use std::time::SystemTime;
use yolo::CompiledDetector;
use yoloslim::Model;

/// Times of so many frames decide about the median; frames are looked at again where there are fewer.
const TIMED_FRAMES: usize = 20;

/// Runs `keygen`.
pub(crate) fn keygen(args: &KeygenArgs, common: &CommonArgs) -> Result<()> {
    let passphrase = if args.no_passphrase {
        Passphrase::None
    } else {
        match args.passphrase.passphrase()? {
            Passphrase::None => bail!(
                "a secret key is encrypted with a passphrase: set YOLOSLIM_PASSPHRASE, name a file with --passphrase-file, or leave it unencrypted with --no-passphrase"
            ),
            given @ Passphrase::Given(_) => given,
        }
    };
    let with = |extension: &str| {
        let mut name = args.name.clone().into_os_string();
        name.push(extension);
        std::path::PathBuf::from(name)
    };
    let files = KeyFiles { public: with(".pub"), secret: with(".key") };
    let number = deliver::keygen(&files, &passphrase)?;
    say!("key {number}");
    say!("{} signs; keep it secret", files.secret.display());
    say!("{} verifies; it belongs on the devices", files.public.display());
    write_json(common.json.as_deref(), &serde_json::json!({ "key": number }))
}

/// Runs `sign`.
pub(crate) fn sign(args: &SignArgs, common: &CommonArgs) -> Result<()> {
    let key = SigningKey::read(&args.key, &args.passphrase.passphrase()?)?;
    // What is signed is proved first: the signature vouches for every file.
    let bundle = Bundle::open(&args.bundle)?;
    let version = match args.version {
        Some(version) => version,
        None => seconds_since_1970()?,
    };
    bundle.sign(&key, version)?;
    let Bundle { digest, path, .. } = bundle;
    say!("{digest} is signed by key {} as version {version}", key.number());
    let record = serde_json::json!({ "bundle": path, "bundle_digest": digest, "key": key.number(), "version": version });
    write_json(common.json.as_deref(), &record)
}

fn seconds_since_1970() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Ok(now.context("the clock is before 1970: set it, or name a --version")?.as_secs())
}

/// The keys of `--json`.
#[derive(Serialize)]
struct Record {
    /// The bundle's folder.
    bundle: String,
    /// Its digest.
    bundle_digest: String,
    name: String,
    signature: Option<Signed>,
    golden: Option<GoldenResult>,
    /// Median of the golden frames' times.
    latency_ms: Option<f64>,
    passed: bool,
    /// Why it did not pass.
    why: Option<String>,
}

/// Runs `verify`.
pub(crate) fn verify(args: &VerifyArgs, common: &CommonArgs) -> Result<Verdict> {
    let bundle = Bundle::open(&args.bundle)?;
    let signature = match &args.keys {
        Some(keys) => Some(bundle.verify(&PublicKeys::read(keys)?)?),
        None => None,
    };
    say!(
        "{}: {} files are what {} says",
        bundle.manifest.name,
        bundle.manifest.files.len(),
        bundle.digest
    );
    match &signature {
        Some(Signed { key, version }) => say!("signed by key {key} as version {version}"),
        None => say!("its signature was not verified: name the public keys with --keys"),
    }
    let golden = if args.run { Some(run(&bundle, common)?) } else { None };
    let latency_ms = golden.as_ref().map(|golden| median(&golden.times_ms));
    let why = golden.as_ref().and_then(|golden| judge(golden, latency_ms, args.latency_ms));
    if let (Some(golden), Some(latency_ms)) = (&golden, latency_ms) {
        let GoldenResult { images, expected, missed, found, wrong, mean_iou, .. } = golden;
        say!(
            "{images} golden frames: {} of {expected} objects found (mean IoU {mean_iou:.3}), {wrong} of {found} found are none; median {latency_ms:.1} ms a frame",
            expected - missed
        );
    }
    if let Some(why) = &why {
        say!("refused: {why}");
    }
    let passed = why.is_none();
    let (path, digest) = (bundle.path.display().to_string(), bundle.digest.to_string());
    let name = bundle.manifest.name;
    let record = Record {
        bundle: path,
        bundle_digest: digest,
        name,
        signature,
        golden,
        latency_ms,
        passed,
        why,
    };
    write_json(common.json.as_deref(), &record)?;
    Ok(if passed { Verdict::Done } else { Verdict::GateFailed })
}

/// What the detector finds in the golden frames on this machine, and how long it takes once it is warm.
fn run(bundle: &Bundle, common: &CommonArgs) -> Result<GoldenResult> {
    if common.engine != EngineName::Builtin {
        bail!("golden frames are looked at by our own engine: leave out --engine");
    }
    let golden = bundle.golden().context("the bundle has no golden frames")?;
    let golden = Golden::read(&golden)?;
    let Model { graph, reading, .. } = Model::open(bundle.builtin_model()?)?;
    let detector = CompiledDetector::open(graph, reading.family, &engine::options(common)?)?;
    let labels = serve::labels(&detector.head);
    let mut result = golden.check(&detector, &labels)?;
    // Times of the first round are of caches that were cold.
    let mut times_ms = golden.check(&detector, &labels)?.times_ms;
    while !times_ms.is_empty() && times_ms.len() < TIMED_FRAMES {
        times_ms.extend(golden.check(&detector, &labels)?.times_ms);
    }
    result.times_ms = times_ms;
    Ok(result)
}

/// What speaks against the detector on this machine.
fn judge(golden: &GoldenResult, latency_ms: Option<f64>, most_ms: Option<f64>) -> Option<String> {
    if let Err(error) = golden.judge(Tolerance::SAME_MODEL) {
        return Some(error.to_string());
    }
    let (latency_ms, most_ms) = (latency_ms?, most_ms?);
    let slow = || format!("a frame takes {latency_ms:.1} ms here, and may take {most_ms} ms");
    (latency_ms > most_ms).then(slow)
}

fn median(times_ms: &[f64]) -> f64 {
    let mut sorted = times_ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
