//! `pull`: a bundle out of a registry or an OCI layout folder.
use crate::args::{CommonArgs, PullArgs};
use crate::format::megabytes;
use crate::output::write_json;
use crate::push::name;
use anyhow::Result;
use deliver::package::{Limits, Package};
use deliver::{Digest, PublicKeys};
use serde::Serialize;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    out: String,
    bundle_digest: Digest,
    location: String,
    manifest_digest: Digest,
    form: &'static str,
    /// Who signed; null where no keys were given, and nothing was verified.
    signed: Option<SignedRecord>,
}

#[derive(Debug, Serialize)]
struct SignedRecord {
    key: String,
    version: u64,
}

/// Runs the verb.
pub(crate) fn run(args: &PullArgs, common: &CommonArgs) -> Result<()> {
    // Keys that cannot be read are no reason to ask a registry.
    let keys = args.keys.as_deref().map(PublicKeys::read).transpose()?;
    let store = args.location.open(&args.registry.access())?;
    let package = Package::resolve(&*store, &args.location.reference())?;
    let signed = keys.map(|keys| package.verify(&keys)).transpose()?;
    let bundle = package.fetch(&*store, &args.out, &Limits::default(), &mut |progress| {
        note!("{}, {}", progress.name, megabytes(progress.size_bytes));
    })?;
    say!("{}", bundle.path.display());
    say!("manifest  {}", package.digest);
    say!("bundle    {}", bundle.digest);
    match &signed {
        Some(signed) => say!("signed    by key {} as version {}", signed.key, signed.version),
        None => note!("warning: nobody's signature was verified (--keys FILE)"),
    }
    let record = Record {
        out: bundle.path.display().to_string(),
        bundle_digest: bundle.digest,
        location: args.location.to_string(),
        manifest_digest: package.digest,
        form: name(package.form),
        signed: signed.map(|s| SignedRecord { key: s.key, version: s.version }),
    };
    write_json(common.json.as_deref(), &record)
}
