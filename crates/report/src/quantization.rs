//! How the model was quantized: ranges, what lies outside of them, and how sure the result is of what it finds.

use compress::{QuantizeAccount, RangeDecision};
use maud::{Markup, html};
use observe::{ConfidenceShift, Shown};

use crate::contents::Contents;
use crate::figures::{NOT_KNOWN, number, percent, short_layer_name};
use crate::text::{section, t};

/// Tensors in the table.
const TENSORS: usize = 24;

/// The section; nothing for a run that an earlier version made.
pub(crate) fn section_of(r: &Contents) -> Markup {
    let Some(account) = &r.account else {
        return html! {};
    };
    let about = t(
        "Steps that were tried, and the tensors of which most lies outside of the range that their 256 steps span, on calibration images.",
        "尝试过的步骤，以及在校准图像上超出 256 级量化范围的数值占比最高的张量。",
    );
    let body = html! {
        @if let Some(shift) = &r.record.confidence { (confidence(shift, r.record.holdout_images)) }
        (steps(account))
        (ranges(account))
    };
    section("Quantization", "量化", about, body)
}

fn steps(account: &QuantizeAccount) -> Markup {
    html! { div class="scroll" { table {
        thead { tr { th { (t("Step", "步骤")) } th { (t("Precision lost", "精度损失")) } th { (t("Kept", "采用")) } } }
        tbody { @for step in &account.steps {
            tr {
                th { (step.step) }
                td { (step.detection_error.map_or(NOT_KNOWN.to_owned(), percent)) }
                td { @if step.kept { (t("yes", "是")) } @else { (t("no", "否")) } }
            }
        } }
    } } }
}

fn ranges(account: &QuantizeAccount) -> Markup {
    let mut worst: Vec<&RangeDecision> = account.ranges.iter().collect();
    let clipped = |range: &RangeDecision| range.clipped.unwrap_or(0.0);
    worst.sort_by(|a, b| clipped(b).total_cmp(&clipped(a)));
    let ends = |min: f32, max: f32| {
        format!("{} … {}", number(f64::from(min), 3), number(f64::from(max), 3))
    };
    html! { div class="scroll" { table {
        thead { tr {
            th { (t("Tensor", "张量")) } th { (t("Range by", "范围来源")) } th { (t("Range", "范围")) }
            th { (t("Observed", "观测值")) } th { (t("Outside", "超出占比")) }
        } }
        tbody { @for range in worst.into_iter().take(TENSORS) {
            tr {
                th { span title=(range.value) { (short_layer_name(&range.value)) } }
                td { (range.range_by) }
                td { (ends(range.min, range.max)) }
                td { (ends(range.observed_min, range.observed_max)) }
                td { (range.clipped.map_or(NOT_KNOWN.to_owned(), |share| format!("{:.4} %", 100.0 * share))) }
            }
        } }
    } } }
}

fn confidence(shift: &ConfidenceShift, images: usize) -> Markup {
    let difference = shift.mean_difference.zip(shift.median_difference);
    let (mean, median) = difference.unwrap_or((0.0, 0.0));
    let shown = |shown: &Shown| {
        [percent(shown.found_again), percent(shown.in_both), shown.detections.to_string()]
    };
    let rows = [Some(shift.unchanged), shift.recommended];
    html! {
        p {
            span lang="en" {
                "On " (images) " held-out training images the model as it came makes " (shift.detections) " detections from a confidence of " (shift.conf) " on. "
                @if difference.is_some() { "What the result finds of them it finds with a confidence that differs by " (format!("{mean:+.3}")) " on average, " (format!("{median:+.3}")) " in the median. " }
                @match &shift.recommended {
                    Some(recommended) => { "From " b { (recommended.conf) } " on it makes as many." }
                    None => { "These are too few to recommend another confidence for the result." }
                }
            }
            span lang="zh" {
                "在 " (images) " 张留出的训练图像上，原模型在置信度 " (shift.conf) " 以上有 " (shift.detections) " 个检测。"
                @if difference.is_some() { "压缩后模型找到的同一目标，置信度平均相差 " (format!("{mean:+.3}")) "，中位数 " (format!("{median:+.3}")) "。" }
                @match &shift.recommended {
                    Some(recommended) => { "置信度阈值取 " b { (recommended.conf) } " 时检测数相同。" }
                    None => { "数量过少，无法推荐其他阈值。" }
                }
            }
        }
        div class="scroll" { table {
            thead { tr {
                th { (t("Confidence of the result from", "压缩后模型的阈值")) } th { (t("Detections before found again", "重新找到的原检测")) }
                th { (t("Of them found before", "其中原模型也有")) } th { (t("Detections", "检测数")) }
            } }
            tbody { @for row in rows.iter().flatten() {
                @let [found_again, in_both, detections] = shown(row);
                tr { th { (row.conf) } td { (found_again) } td { (in_both) } td { (detections) } }
            } }
        } }
    }
}
