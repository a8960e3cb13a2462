//! `quantize --explain`: what was tried, what was decided, and what came of it.
use crate::args::QuantizeArgs;
use crate::format::{NOT_AVAILABLE, percent};
use crate::output::{align_right, table};
use crate::subject::Subject;
use anyhow::Result;
use compress::Quantized;
use ir::Graph;
use observe::{ConfidenceShift, Shown};
use serde::Serialize;

/// Fewest held-out images; with fewer the calibration images are taken.
const FEWEST: usize = 10;

/// How sure the quantized model is of what the float model finds.
#[derive(Debug, Serialize)]
pub(crate) struct Confidence {
    /// Training images on which both were run.
    images: usize,
    /// Whether none of these was calibrated on.
    held_out: bool,
    #[serde(flatten)]
    shift: ConfidenceShift,
}

/// Compares the confidences of both models on training images that were not calibrated on, where there are enough; `None` for a
/// model that nothing decodes.
fn confidence(subject: &Subject<'_>, quantized: &Graph, conf: f64) -> Result<Option<Confidence>> {
    let observation = subject.observation();
    let (model, engine) = (observation.model, observation.engine);
    if model.head.is_none() {
        return Ok(None);
    }
    let held_out = subject.held_out.len() >= FEWEST;
    let images = if held_out { &subject.held_out } else { &subject.images };
    let (images, _) = images.readable(model.input.images(), engine.threads)?;
    let count = images.len();
    let shift = ConfidenceShift::measure(model, quantized, images, engine, conf)?;
    let confidence = shift.map(|shift| Confidence { images: count, held_out, shift });
    if let Some(confidence) = &confidence {
        let kind =
            if held_out { "training images not calibrated on" } else { "calibration images" };
        say!("confidence, on {count} {kind}:");
        shift_text(&confidence.shift).iter().for_each(|line| say!("  {line}"));
    }
    Ok(confidence)
}

/// What a shift of confidences says.
pub(crate) fn shift_text(shift: &ConfidenceShift) -> Vec<String> {
    let mut lines = vec![format!(
        "before: {} detections from {} on; {} of them are found after, however sure",
        shift.detections, shift.conf, shift.matched
    )];
    if let Some((mean, median)) = shift.mean_difference.zip(shift.median_difference) {
        lines.push(format!(
            "their confidence after is {mean:+.3} on average, {median:+.3} in the median"
        ));
    }
    let shown = |what: &str, shown: &Shown| {
        format!(
            "{what} {}: {} detections, {} of those before are among them, {} of them are those before",
            shown.conf,
            shown.detections,
            percent(shown.found_again),
            percent(shown.in_both)
        )
    };
    lines.push(shown("after, from the same", &shift.unchanged));
    lines.push(match &shift.recommended {
        Some(recommended) => shown("recommended after, for as many detections: from", recommended),
        None => "too few detections to recommend another confidence".to_owned(),
    });
    lines
}

/// What was tried and what was decided, as tables, and what came of it, where that was asked for.
pub(crate) fn print(
    args: &QuantizeArgs,
    subject: &Subject<'_>,
    quantized: &Quantized,
) -> Result<Option<Confidence>> {
    if !args.explain {
        return Ok(None);
    }
    tables(quantized);
    confidence(subject, &quantized.graph, args.conf)
}

/// What was tried and what was decided, as tables.
fn tables(quantized: &Quantized) {
    let mut steps = table(&["step", "precision lost", ""]);
    for s in &quantized.steps {
        let error =
            s.detection_error.map_or("not evaluated".to_owned(), |e| format!("{:.2} %", 100.0 * e));
        steps.add_row([s.step.as_str(), &error, if s.kept { "kept" } else { "" }]);
    }
    say!("{steps}");
    if let Some(noise) = &quantized.noise {
        say!("signal to noise at the head's outputs: {:.1} dB", noise.snr_db);
        let mut layers = table(&["layer", "MACs", "alone", "all but it"]);
        for l in &noise.layers {
            let ratios = [l.alone_snr_db, l.without_snr_db].map(|db| format!("{db:.1} dB"));
            let names = [l.layer.clone(), percent(l.macs_share)];
            layers.add_row(names.into_iter().chain(ratios));
        }
        align_right(&mut layers, 1);
        say!("{layers}");
    }
    let columns = ["tensor", "range by", "min", "max", "observed min", "observed max", "clipped"];
    let mut sites = table(&columns);
    for s in &quantized.ranges {
        let ends = [s.min, s.max, s.observed_min, s.observed_max].map(|x| format!("{x:.4}"));
        let names = [s.value.clone(), s.range_by.clone()];
        let clipped = |share: f64| format!("{:.4} %", 100.0 * share);
        let clipped = s.clipped.map_or(NOT_AVAILABLE.to_owned(), clipped);
        sites.add_row(names.into_iter().chain(ends).chain([clipped]));
    }
    align_right(&mut sites, 2);
    say!("{sites}");
}
