//! `push`: a bundle into a registry or an OCI layout folder.
use crate::args::{CommonArgs, PushArgs};
use crate::format::megabytes;
use crate::output::write_json;
use anyhow::{Result, bail};
use deliver::Digest;
use deliver::bundle::{Bundle, SIGNATURE};
use deliver::package::{Form, push};
use deliver::store::{Access, Reference};
use serde::Serialize;

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    bundle: String,
    bundle_digest: Digest,
    location: String,
    manifest_digest: Digest,
    form: &'static str,
    signed: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &PushArgs, common: &CommonArgs) -> Result<()> {
    let Reference::Tag(tag) = args.location.reference() else {
        bail!("{}: what is pushed gets a tag; its digest comes of what it is", args.location);
    };
    let bundle = Bundle::open(&args.bundle)?;
    let access = Access { mount_from: args.mount_from.clone(), ..args.registry.access() };
    let store = args.location.open(&access)?;
    let signed = bundle.path.join(SIGNATURE).is_file();
    if !signed {
        note!(
            "warning: {} is not signed: devices refuse it (yoloslim sign)",
            bundle.path.display()
        );
    }
    let manifest_digest = push(&*store, &bundle, &tag, args.form.form(), &mut |progress| {
        note!("{}, {}", progress.name, megabytes(progress.size_bytes));
    })?;
    let location = args.location.with_tag(&tag);
    say!("{location}");
    say!("manifest  {manifest_digest}");
    say!("bundle    {}", bundle.digest);
    let record = Record {
        bundle: bundle.path.display().to_string(),
        bundle_digest: bundle.digest,
        location: location.to_string(),
        manifest_digest,
        form: name(args.form.form()),
        signed,
    };
    write_json(common.json.as_deref(), &record)
}

/// A form as it is typed.
pub(crate) fn name(form: Form) -> &'static str {
    match form {
        Form::ModelPack => "modelpack",
        Form::Image => "image",
    }
}
