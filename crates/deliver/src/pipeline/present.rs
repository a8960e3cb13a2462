//! What a run came to, as CI systems show it.
use super::{Finding, Judgement, Loss, Outcome, StageState, Verdict};
use crate::DeliverError;
use crate::bundle::ImageLoss;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// Losses that are shown.
const LOSSES: usize = 12;

/// JUnit XML: each stage and each rule of the gate is a test.
///
/// # Errors
/// `Read` for text that is no XML, which no name has.
pub fn junit(outcome: &Outcome) -> Result<String, DeliverError> {
    let mut stages = TestSuite::new("stages");
    for stage in &outcome.stages {
        let status = match stage.state {
            StageState::Done | StageState::Unchanged => TestCaseStatus::success(),
            StageState::Failed => failure(NonSuccessKind::Error, &stage.detail),
        };
        let mut case = TestCase::new(stage.stage.as_str(), status);
        case.set_time(Duration::from_secs_f64(stage.seconds.max(0.0)));
        stages.add_test_case(case);
    }
    let mut gate = TestSuite::new("gate");
    for finding in &outcome.gate {
        let status = match &finding.result {
            Judgement::Passed => TestCaseStatus::success(),
            Judgement::Failed(why) => failure(NonSuccessKind::Failure, why),
            Judgement::NotJudged(_) => TestCaseStatus::skipped(),
        };
        gate.add_test_case(TestCase::new(finding.metric.as_str(), status));
    }
    let ungated = outcome.gate.is_empty() && outcome.verdict == Some(Verdict::GateFailed);
    for why in outcome.failures.iter().filter(|_| ungated) {
        gate.add_test_case(TestCase::new("kept", failure(NonSuccessKind::Failure, why)));
    }
    let mut report = Report::new("yoloslim pipeline");
    report.add_test_suites([stages, gate]);
    let text = report.to_string();
    text.map_err(|e| DeliverError::read(Path::new("JUnit"), std::io::Error::other(e)))
}

fn failure(kind: NonSuccessKind, why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(why);
    status
}

/// Markdown, for `$GITHUB_STEP_SUMMARY` and the like.
pub fn summary(outcome: &Outcome) -> String {
    let mut text = format!("## {}\n\n", headline(outcome));
    // Writing into a text cannot fail.
    for (what, value) in [
        ("commit", outcome.commit.clone()),
        ("bundle", outcome.digest.map(|digest| digest.to_string())),
        ("location", outcome.location.clone()),
        ("version", outcome.version.map(|version| version.to_string())),
        ("report", outcome.report.as_ref().map(|path| path.display().to_string())),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "- {what}: `{value}`");
        }
    }
    if !outcome.failures.is_empty() {
        text += "\n### What is not good enough\n\n";
        for why in &outcome.failures {
            let _ = writeln!(text, "- {}", cell(why));
        }
    }
    if !outcome.gate.is_empty() {
        text += "\n### Gate\n\n| metric | asked | before | after | samples | |\n|---|---|---|---|---|---|\n";
        for finding in &outcome.gate {
            let _ = writeln!(text, "{}", finding_row(finding));
        }
    }
    if !outcome.lost.is_empty() {
        text += "\n### What was lost most\n\n| metric | before | after | samples |\n|---|---|---|---|\n";
        for Loss { metric, before, after, samples } in outcome.lost.iter().take(LOSSES) {
            let metric = cell(metric);
            let samples = samples.map_or(String::new(), |samples| samples.to_string());
            let _ = writeln!(text, "| {metric} | {before:.4} | {after:.4} | {samples} |");
        }
    }
    if !outcome.lost_images.is_empty() {
        text += "\n### Images on which most was lost\n\n| image | objects found before | after |\n|---|---|---|\n";
        for ImageLoss { image, found_before, found_after } in &outcome.lost_images {
            let image = cell(&image.display().to_string());
            let _ = writeln!(text, "| {image} | {found_before} | {found_after} |");
        }
    }
    text += "\n### Stages\n\n| stage | | s | |\n|---|---|---|---|\n";
    for stage in &outcome.stages {
        let (name, state, detail) = (&stage.stage, state(stage.state), cell(&stage.detail));
        let _ = writeln!(text, "| {name} | {state} | {:.1} | {detail} |", stage.seconds);
    }
    text
}

fn finding_row(finding: &Finding) -> String {
    let number = |value: f64| {
        if value.fract() == 0.0 && value.abs() >= 2.0 {
            value.to_string()
        } else {
            format!("{value:.4}")
        }
    };
    let found = finding.found;
    let before = found.and_then(|metric| metric.before).map_or(String::new(), number);
    let after = found.map_or(String::new(), |metric| number(metric.value));
    let samples = found.and_then(|metric| metric.samples);
    let samples = samples.map_or(String::new(), |samples| samples.to_string());
    let result = match &finding.result {
        Judgement::Passed => "passed".to_owned(),
        Judgement::Failed(why) => format!("**failed**: {}", cell(why)),
        Judgement::NotJudged(why) => format!("not judged: {}", cell(why)),
    };
    let (metric, asked) = (cell(&finding.metric), &finding.asked);
    format!("| {metric} | {asked} | {before} | {after} | {samples} | {result} |")
}

/// What a run came to, in one line.
pub(crate) fn headline(outcome: &Outcome) -> String {
    match (&outcome.error, outcome.verdict) {
        (Some(error), _) => format!("Failed: {}", cell(&error.to_string())),
        (_, Some(Verdict::Pushed)) => "Pushed".to_owned(),
        (_, Some(Verdict::Unchanged)) => "Nothing to do: the newest bundle is there".to_owned(),
        (_, Some(Verdict::GateFailed)) => "The gate failed: nothing was pushed".to_owned(),
        (_, None) => "Nothing was done".to_owned(),
    }
}

fn state(state: StageState) -> &'static str {
    match state {
        StageState::Done => "done",
        StageState::Unchanged => "unchanged",
        StageState::Failed => "failed",
    }
}

/// A text that may stand in a cell: of one line, and without what would end the cell or be read as HTML.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace(['\n', '\r'], " ")
}

/// GitHub's workflow commands: an error for each rule that is broken, or for the stage that failed.
pub fn annotations(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.error.iter().map(ToString::to_string);
    let errors = failed.chain(outcome.failures.iter().cloned());
    errors.map(|why| format!("::error title=yoloslim pipeline::{}", escaped(&why))).collect()
}

/// As GitHub's own toolkit writes data of commands.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests;
