//! `quantize --target npu`: what a vendor's tool takes to quantize a detector itself.
use crate::args::QuantizeArgs;
use crate::beside::VendorFiles;
use crate::model;
use crate::output::{align_right, check_writable, table};
use crate::subject::{Subject, report_bad};
use anyhow::{Context, Result, bail};
use compress::{VendorDescription, VendorParts, cut_for_vendor};
use quant::{Calibrator, Target};
use serde::Serialize;
use std::path::PathBuf;
use yoloslim::Model;

/// The file of ranges.
#[derive(Debug, Serialize)]
struct Ranges<'a> {
    /// The file of the cut model.
    model: String,
    /// The model that was cut.
    source: String,
    /// The file that lists the images to calibrate on.
    calibration: String,
    #[serde(flatten)]
    description: &'a VendorDescription,
}

/// Writes the cut model and the files beside it; gives what they hold and the model's size.
pub(crate) fn write(
    args: &QuantizeArgs,
    target: Target,
    beside: &VendorFiles,
    model: &Model,
    subject: &Subject<'_>,
    calibrator: &'static Calibrator,
) -> Result<(VendorParts, u64)> {
    if args.quant.head.is_some() || !args.quant.float.is_empty() {
        bail!(
            "--head and --float say what this program quantizes: for --target {} the vendor's tool does, by its own settings",
            target
        );
    }
    check_writable(Some(&beside.calibration))?;
    check_writable(Some(&beside.ranges))?;
    let what = || model.path.display().to_string();
    let parts = cut_for_vendor(&subject.observation(), calibrator).with_context(what)?;
    report_bad(&parts.bad_images, subject.images.len())?;
    let list = list(&parts.images)?;
    let ranges = Ranges {
        model: args.out.display().to_string(),
        source: what(),
        calibration: beside.calibration.display().to_string(),
        description: &parts.description,
    };
    let ranges = serde_json::to_string_pretty(&ranges)?;
    let file_bytes = model::save(&parts.graph, &args.out)?;
    for (path, text) in [(&beside.calibration, &list), (&beside.ranges, &ranges)] {
        yolo::write_file(path, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(args, &parts, beside);
    Ok((parts, file_bytes))
}

/// One path a line, from the root: tools read such lists in other folders.
fn list(images: &[PathBuf]) -> Result<String> {
    let mut text = String::new();
    for path in images {
        let absolute = std::path::absolute(path)?;
        let line = absolute.to_str().filter(|line| !line.contains(['\n', '\r']));
        let Some(line) = line else {
            bail!("{}: no list has room for such a name: rename the image", path.display());
        };
        if line.contains(' ') {
            note!("warning: {line}: some vendors' tools take a space for the end of a path");
        }
        text += line;
        text.push('\n');
    }
    Ok(text)
}

fn print(args: &QuantizeArgs, parts: &VendorParts, beside: &VendorFiles) {
    say!("{}", args.out.display());
    let mut outputs = table(&["output", "shape", "holds"]);
    for o in &parts.description.outputs {
        let holds = if o.sigmoid { "scores" } else { "what the convolution gives" };
        outputs.add_row([o.name.clone(), format!("{:?}", o.shape), format!("{}, {holds}", o.part)]);
    }
    say!("{outputs}");
    say!("{}: {} images", beside.calibration.display(), parts.images.len());
    say!(
        "{}: ranges of {} tensors, by {}",
        beside.ranges.display(),
        parts.description.tensors.len(),
        parts.description.calibrator
    );
    if args.explain {
        let mut ranges = table(&["tensor", "min", "max", "observed min", "observed max"]);
        for t in &parts.description.tensors {
            let ends =
                [t.calibrated_min, t.calibrated_max, t.min, t.max].map(|x| format!("{x:.4}"));
            ranges.add_row(std::iter::once(t.name.clone()).chain(ends));
        }
        align_right(&mut ranges, 1);
        say!("{ranges}");
    }
}
