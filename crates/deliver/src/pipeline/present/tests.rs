use super::*;
use crate::bundle::Metric;
use crate::pipeline::StageReport;

fn outcome() -> Outcome {
    let metric = Metric { value: 0.5, before: Some(0.6), ratio_interval: None, samples: Some(9) };
    Outcome {
        verdict: Some(Verdict::GateFailed),
        stages: vec![StageReport {
            stage: "gate".to_owned(),
            state: StageState::Failed,
            detail: "1 | 2 <b>".to_owned(),
            seconds: 0.5,
        }],
        gate: vec![Finding {
            metric: "class.a & b.recall".to_owned(),
            asked: "at least 0.6".to_owned(),
            found: Some(metric),
            result: Judgement::Failed("0.5000 is below 0.6".to_owned()),
        }],
        failures: vec!["class.a & b.recall: 0.5 %\nis low".to_owned()],
        lost: vec![Loss { metric: "recall".to_owned(), before: 0.6, after: 0.5, samples: Some(9) }],
        lost_images: vec![ImageLoss {
            image: "val/a|b.jpg".into(),
            found_before: 5,
            found_after: 3,
        }],
        ..Outcome::default()
    }
}

#[test]
fn junit_counts_failures_and_escapes_names() {
    let text = junit(&outcome()).expect("XML");
    let read = quick_junit::Report::deserialize_from_str(&text).expect("read again");
    assert_eq!((read.tests, read.failures, read.errors), (2, 1, 1));
    assert!(text.contains("class.a &amp; b.recall"), "{text}");
}

#[test]
fn summary_keeps_to_its_cells() {
    let text = summary(&outcome());
    assert!(text.contains("1 \\| 2 &lt;b>"), "{text}");
    assert!(text.contains("| recall | 0.6000 | 0.5000 | 9 |"), "{text}");
    assert!(text.contains("| val/a\\|b.jpg | 5 | 3 |"), "{text}");
}

#[test]
fn annotations_are_of_one_line_each() {
    let lines = annotations(&outcome());
    assert_eq!(lines, ["::error title=yoloslim pipeline::class.a & b.recall: 0.5 %25%0Ais low"]);
}
