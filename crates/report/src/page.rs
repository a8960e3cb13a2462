//! The page: English and Chinese, light and dark, no request to anywhere.

use compress::{Attempt, PruneBudget, RecoveryRecord, StageRecord};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::charts;
use crate::contents::Contents;
use crate::figures::{NOT_KNOWN, count, mb, number, percent, short_layer_name, signed};
use crate::quantization;
use crate::text::{section, t};

pub(crate) const STYLE: &str = include_str!("style.css");

/// Without it the page is English.
pub(crate) const SCRIPT: &str = "const r=document.documentElement;\
const set=l=>{r.dataset.lang=l;r.lang=l};\
set((navigator.language||'en').startsWith('zh')?'zh':'en');\
document.getElementById('lang').onclick=()=>set(r.dataset.lang==='zh'?'en':'zh');";

/// Layers in the chart of errors.
const ERRORS: usize = 24;

/// The whole file.
pub(crate) fn render(r: &Contents) -> Markup {
    let model = r.recipe.model.file_name().unwrap_or_default().to_string_lossy();
    html! {
        (DOCTYPE)
        html lang="en" data-lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (model) " · yoloslim" }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                header {
                    div { h1 { (model) } p { (verdict(r)) } }
                    button id="lang" type="button" { span lang="en" { "中文" } span lang="zh" { "English" } }
                }
                (cards(r))
                (warnings(r))
                (before_after(r))
                (classes(r))
                (pictures(r))
                (channels(r))
                (errors(r))
                (distributions(r))
                (quantization::section_of(r))
                (attempts(r))
                (recoveries(r))
                (provenance(r))
            } script { (PreEscaped(SCRIPT)) } }
        }
    }
}

fn verdict(r: &Contents) -> Markup {
    let g = &r.record.gate;
    let class = if g.passed { "verdict" } else { "verdict failed" };
    let verdict = if g.passed {
        ("Gate passed", "精度验收通过")
    } else {
        ("Gate failed", "精度验收未通过")
    };
    let (kept, asked) = (format!("{:.1} %", 100.0 * g.ratio), format!("{:.1} %", 100.0 * g.keep));
    let labelled = r.record.val_labelled;
    let (en, zh) = match g.lower_bound.zip(g.upper_bound) {
        Some((lower, upper)) => {
            let interval = format!("{:.1}–{:.1} %", 100.0 * lower, 100.0 * upper);
            (format!("95 % interval {interval}"), format!("95 % 置信区间 {interval}"))
        }
        None => (
            format!("{labelled}: too few to tell how certain that is"),
            format!(
                "仅 {} 张带标注图像、{} 个目标，数量过少，无法给出置信区间",
                labelled.images, labelled.objects
            ),
        ),
    };
    html! {
        span class=(class) { (t(verdict.0, verdict.1)) }
        span lang="en" { ": " (kept) " of the mAP kept (" (en) "), " (asked) " asked." }
        span lang="zh" { "：保留了 " (kept) " 的 mAP（" (zh) "），要求 " (asked) "。" }
    }
}

fn cards(r: &Contents) -> Markup {
    let (a, b) = (&r.record.baseline, &r.record.quantized);
    let times = |before: f64, after: f64| format!("{:.1}×", before / after.max(1e-12));
    let latency =
        a.footprint.latency_ms.zip(b.footprint.latency_ms).map(|(a, b)| times(a.median, b.median));
    let card = |figure: String, en: &str, zh: &str| {
        html! { div class="card" { b { (figure) } (t(en, zh)) } }
    };
    html! { div class="cards" {
        (card(times(a.file_bytes as f64, b.file_bytes as f64), "smaller file", "文件更小"))
        @match latency {
            _ if !r.is_timed => {}
            Some(faster) => (card(faster, "faster inference", "推理更快")),
            None => (card(NOT_KNOWN.into(), "speed: run it on its target", "速度：请在目标引擎上测量")),
        }
        (card(format!("{:.1} %", 100.0 * r.record.gate.ratio), "of the mAP kept", "mAP 保留率"))
        (card(percent(b.footprint.int8_macs_share), "of the MACs in INT8", "MAC 以 INT8 计算"))
    } }
}

/// A row: names, how it reads, and the number that the change is made of.
type Row =
    (&'static str, &'static str, fn(&StageRecord) -> String, fn(&StageRecord) -> Option<f64>);

const ROWS: &[Row] = &[
    ("File size", "文件大小", |s| mb(s.file_bytes), |s| Some(s.file_bytes as f64)),
    ("Parameters", "参数量", |s| count(s.footprint.params), |s| Some(s.footprint.params as f64)),
    ("MACs", "MAC 运算量", |s| count(s.footprint.macs), |s| Some(s.footprint.macs as f64)),
    ("MACs in INT8", "INT8 的 MAC 占比", |s| percent(s.footprint.int8_macs_share), |_| None),
    (
        "Activation memory",
        "激活内存",
        |s| mb(s.footprint.arena_bytes as u64),
        |s| Some(s.footprint.arena_bytes as f64),
    ),
    ("Latency, median", "延迟（中位数）", latency, |s| {
        s.footprint.latency_ms.map(|l| l.median)
    }),
    ("its 95 % interval", "其 95 % 置信区间", latency_interval, |_| None),
    ("Energy per image", "每张图像的能耗", energy, |s| s.footprint.energy_j),
    (
        "mAP 50–95",
        "mAP 50–95",
        |s| format!("{:.4}", s.metrics.coco.map_50_95),
        |s| Some(s.metrics.coco.map_50_95),
    ),
    (
        "mAP 50",
        "mAP 50",
        |s| format!("{:.4}", s.metrics.coco.map_50),
        |s| Some(s.metrics.coco.map_50),
    ),
];

fn latency(s: &StageRecord) -> String {
    s.footprint.latency_ms.map_or(NOT_KNOWN.to_owned(), |l| format!("{:.1} ms", l.median))
}

fn latency_interval(s: &StageRecord) -> String {
    let ends = s.footprint.latency_ms.and_then(|l| l.median_low.zip(l.median_high));
    ends.map_or(NOT_KNOWN.to_owned(), |(low, high)| format!("{low:.1}–{high:.1} ms"))
}

fn energy(s: &StageRecord) -> String {
    s.footprint.energy_j.map_or(NOT_KNOWN.to_owned(), |joules| format!("{joules:.3} J"))
}

fn before_after(r: &Contents) -> Markup {
    let (a, p, b) = (&r.record.baseline, &r.record.pruned, &r.record.quantized);
    let change = |number: &fn(&StageRecord) -> Option<f64>| {
        let pair = number(a).filter(|v| *v > 0.0).zip(number(b));
        pair.map_or(NOT_KNOWN.to_owned(), |(a, b)| signed(100.0 * (b / a - 1.0)))
    };
    let known = |row: &&Row| [a, p, b].iter().any(|stage| row.2(stage) != NOT_KNOWN);
    let about = html! {
        span lang="en" { "Accuracy by the COCO protocol on " (a.metrics.images) " images that nothing else has read" @if r.is_timed { "; latency in yoloslim's own engine" @if a.footprint.energy_j.is_none() { "; energy: not available" } } "." }
        span lang="zh" { "精度按 COCO 协议在 " (a.metrics.images) " 张验收专用图像上测得" @if r.is_timed { "；延迟为 yoloslim 自带引擎的结果" @if a.footprint.energy_j.is_none() { "；能耗：无法测得" } } "。" }
    };
    section(
        "Before and after",
        "压缩前后",
        about,
        html! { (timed_on(r)) div class="scroll" { table {
            thead { tr { th {} th { (t("Before", "压缩前")) } th class="middle" { (t("Pruned", "剪枝后")) } th { (t("After", "压缩后")) } th { (t("Change", "变化")) } } }
            tbody { @for (en, zh, text, number) in ROWS.iter().filter(known) {
                tr { th { (t(en, zh)) } td { (text(a)) } td class="middle" { (text(p)) } td { (text(b)) } td class="change" { (change(number)) } }
            } }
        } } },
    )
}

/// What the machine was while the models were timed.
fn timed_on(r: &Contents) -> Markup {
    let Some((machine, latency)) =
        r.record.machine.as_ref().zip(r.record.baseline.footprint.latency_ms)
    else {
        return html! {};
    };
    let cpu = machine.cpu.as_deref().unwrap_or(NOT_KNOWN);
    let share = |share: Option<f64>| share.map_or(NOT_KNOWN.to_owned(), percent);
    let (load, waited) = (share(machine.other_load), share(machine.waited));
    html! { p {
        span lang="en" {
            "Latency: " (latency.runs) " runs in " (latency.rounds) " rounds, the models in turn, on " (cpu) "; other processes took " (load) " of the CPU time, threads waited for " (waited) " of the time."
            @if !machine.is_quiet { " The machine was busy in " (machine.disturbed_rounds) " of " (machine.rounds) " rounds: its times are those of a busy machine." }
        }
        span lang="zh" {
            "延迟：在 " (cpu) " 上分 " (latency.rounds) " 轮共 " (latency.runs) " 次运行，各模型轮流测量；其他进程占用 CPU 时间 " (load) "，线程等待占 " (waited) "。"
            @if !machine.is_quiet { (machine.rounds) " 轮中有 " (machine.disturbed_rounds) " 轮机器繁忙：所示为繁忙机器上的时间。" }
        }
    } }
}

fn classes(r: &Contents) -> Markup {
    let (before, after) = (&r.record.baseline.metrics.coco, &r.record.quantized.metrics.coco);
    let pairs = before.per_class.iter().zip(&after.per_class);
    let rows: Vec<_> = pairs.filter_map(|(a, b)| Some((a, a.map_50_95?, b.map_50_95?))).collect();
    let about = t("mAP 50–95 of every class that has labels.", "每个有标注类别的 mAP 50–95。");
    section(
        "Accuracy by class",
        "各类别精度",
        about,
        html! { div class="scroll" { table {
            thead { tr { th { (t("Class", "类别")) } th { (t("Objects", "目标数")) } th { (t("Before", "压缩前")) } th { (t("After", "压缩后")) } th { (t("Difference", "差值")) } th class="middle wide" { (legend()) } } }
            tbody { @for (class, a, b) in rows {
                tr { th { (class.name) } td { (class.objects) } td { (format!("{a:.3}")) } td { (format!("{b:.3}")) } td class="change" { (format!("{:+.3}", b - a).replace('-', "−")) } td class="middle wide" { (charts::pair(a, b)) } }
            } }
        } } },
    )
}

fn legend() -> Markup {
    html! { @for (class, en, zh) in [("key", "before", "压缩前"), ("key after", "after", "压缩后")] {
        span class="entry" { span class=(class) {} (t(en, zh)) }
    } }
}

fn pictures(r: &Contents) -> Markup {
    let Some(agreement) = &r.agreement else {
        return html! {};
    };
    let about = html! {
        span lang="en" { "From confidence 0.25: " (agreement.matched) " objects found by both models, " (agreement.only_first) " by the original alone, " (agreement.only_second) " by the compressed one alone. Found by both means the same class and boxes that overlap by half or more. The first two images are those on which they differ most." }
        span lang="zh" { "置信度 0.25 以上：两个模型都检出 " (agreement.matched) " 个目标，仅原模型检出 " (agreement.only_first) " 个，仅压缩模型检出 " (agreement.only_second) " 个。类别相同且 IoU 不低于 0.5 视为同一目标。前两张是差异最大的图像。" }
    };
    section(
        "What both models see",
        "两个模型的检测结果",
        about,
        html! {
            @for p in &r.pictures {
                div class="both" {
                    @for (data, alone, en, zh) in [(&p.before, p.only_before, "before", "压缩前"), (&p.after, p.only_after, "after", "压缩后")] {
                        figure {
                            figcaption { b { (t(en, zh)) } " · " (p.name) " · "
                                span lang="en" { (p.matched) " found by both, " (alone) " only here" }
                                span lang="zh" { "两者共有 " (p.matched) " 个，仅此一方 " (alone) " 个" } }
                            img alt=(p.name) src=(format!("data:image/jpeg;base64,{data}"));
                        }
                    }
                }
            }
        },
    )
}

fn channels(r: &Contents) -> Markup {
    if r.channels.is_empty() {
        return html! {};
    }
    let removed: usize = r.channels.iter().map(|c| c.before - c.after.min(c.before)).sum();
    let total: usize = r.channels.iter().map(|c| c.before).sum();
    let about = html! {
        span lang="en" { (removed) " of " (total) " output channels were removed. " }
        span lang="zh" { "共 " (total) " 个输出通道，剪去 " (removed) " 个。" }
        (legend())
    };
    let chart = html! { div class="chart" { (charts::channels(&r.channels)) } };
    section("Channels kept", "各层保留的通道", about, chart)
}

fn errors(r: &Contents) -> Markup {
    if r.errors.is_empty() {
        return html! {};
    }
    let shown = &r.errors[..r.errors.len().min(ERRORS)];
    let about = html! {
        span lang="en" { "Root mean square difference between the quantized and the float values after each layer, relative to the float values, errors of the layers before it included; the worst " (shown.len()) " of " (r.errors.len()) "." }
        span lang="zh" { "每层输出与浮点值之差的均方根，相对于浮点值（含前面各层累积的误差）；显示 " (r.errors.len()) " 层中误差最大的 " (shown.len()) " 层。" }
    };
    let chart = html! { div class="chart" { (charts::errors(shown)) } };
    section("Quantization error by layer", "各层量化误差", about, chart)
}

fn distributions(r: &Contents) -> Markup {
    if r.distributions.is_empty() {
        return html! {};
    }
    let about = t(
        "Activations of the quantized layers with the largest error on a few training images, counts on a logarithmic scale. The shaded range is what 8 bits represent; what lies outside is clipped.",
        "误差最大的已量化各层在若干训练图像上的激活值分布（对数刻度）。着色区间为 8 位所能表示的范围，区间外的值被截断。",
    );
    section(
        "Ranges that were chosen",
        "所选量化范围",
        about,
        html! { div class="grid" {
            @for s in &r.distributions { figure {
                figcaption title=(s.histogram.value) {
                    b class="line" { (short_layer_name(&s.histogram.value)) }
                    (t("range", "范围")) " " (number(s.range.0.into(), 2)) "…" (number(s.range.1.into(), 2)) " · "
                    (t("error", "误差")) " " (format!("{:.1} %", 100.0 * s.error))
                }
                (charts::distribution(s))
            } }
        } },
    )
}

/// What an attempt was asked to remove or to keep.
fn asked(a: &Attempt) -> String {
    let text = |budget: &PruneBudget| match budget {
        PruneBudget::Macs(share) | PruneBudget::Channels(share) => {
            format!("{:.1} %", 100.0 * share)
        }
        PruneBudget::Contribution(keep) => format!("contribution {:.1} %", 100.0 * keep),
    };
    a.asked.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// What was used instead of what was asked, and what the figures do not tell.
fn warnings(r: &Contents) -> Markup {
    let without_gain = r.record.without_gain();
    let all: Vec<&String> = r.record.warnings.iter().chain(&without_gain).collect();
    if all.is_empty() {
        return html! {};
    }
    section("Warnings", "警告", html! {}, html! { ul { @for warning in all { li { (warning) } } } })
}

fn attempts(r: &Contents) -> Markup {
    let percent =
        |v: Option<f64>| v.map_or(NOT_KNOWN.to_owned(), |v| format!("{:.2} %", 100.0 * v));
    let interval = |a: &Attempt| {
        let ends = a.lower_bound.zip(a.upper_bound);
        ends.map_or(NOT_KNOWN.to_owned(), |(l, u)| format!("{:.1}–{:.1} %", 100.0 * l, 100.0 * u))
    };
    let about = html! { @match r.record.holdout_images {
        0 => { (t("There is no hold-out: the validation split alone decides.", "没有留出集：仅由验证集决定。")) }
        held => {
            span lang="en" { "Attempts are chosen by " (held) " images held out of the training split; the validation split is read by the gate alone." }
            span lang="zh" { "各次尝试由训练集中留出的 " (held) " 张图像筛选；验证集仅供最终验收使用。" }
        }
    } };
    let short: Vec<_> =
        r.record.gate.attempts.iter().filter_map(|a| Some((a, a.shortfall?))).collect();
    section(
        "Attempts",
        "尝试记录",
        about,
        html! { div class="scroll" { table {
            thead { tr { th { (t("MACs removed", "已剪去的 MAC")) } th { (t("Asked", "要求")) } th { (t("Kept, hold-out", "留出集保留率")) } th { (t("Kept, validation", "验证集保留率")) } th { (t("95 % interval", "95 % 区间")) } th { (t("Gate", "验收")) } } }
            tbody { @for a in &r.record.gate.attempts {
                tr { th { (percent(Some(a.macs_ratio))) } td { (asked(a)) } td { (percent(a.holdout.map(|h| h.ratio))) } td { (percent(a.ratio)) } td { (interval(a)) }
                    td { @match (a.passed, a.ratio) {
                        (true, _) => (t("passed", "通过")),
                        (_, Some(_)) => (t("failed", "未通过")),
                        _ => (t("ruled out by the hold-out", "未提交验收")),
                    } } }
            } }
        }
        @if !short.is_empty() {
            ul { @for (a, shortfall) in short { li { (a.folder) ": " (shortfall) } } }
        } } },
    )
}

/// How the loss of held-out images fell in each recovery.
fn recoveries(r: &Contents) -> Markup {
    let recovered: Vec<(&Attempt, &RecoveryRecord)> =
        r.record.gate.attempts.iter().filter_map(|a| Some((a, a.recovery.as_ref()?))).collect();
    if recovered.is_empty() {
        return html! {};
    }
    let about = t(
        "After pruning, the detector learned again from the original. The loss of training images that were held out, along the steps; the dot is what was kept.",
        "剪枝后，检测器以原模型为教师重新学习。图为留出训练图像的损失随步数的变化；圆点为最终保留的权重。",
    );
    let curves = html! { div class="grid" {
        @for (attempt, recovery) in recovered { figure {
            figcaption { b { (attempt.folder) } ": " (format!("{:.1} %", 100.0 * attempt.macs_ratio)) " · " (t("rate", "学习率")) " " (recovery.rate) " · " (t("labels", "标签")) " " (recovery.labels)
                @if let Some((before, after)) = accuracies(recovery) { " · map_50_95 " (format!("{before:.3} → {after:.3}")) } }
            (charts::recovery(recovery))
        } }
    } };
    section("Recovery", "恢复训练", about, curves)
}

/// Accuracy on the held-out images before and after.
fn accuracies(recovery: &RecoveryRecord) -> Option<(f64, f64)> {
    recovery.curve.first()?.map_50_95.zip(recovery.best.map_50_95)
}

fn provenance(r: &Contents) -> Markup {
    let c = &r.recipe;
    let facts: &[(&str, &str, String)] = &[
        ("Model", "模型", c.model.display().to_string()),
        ("SHA-256", "SHA-256", c.model_sha256.clone()),
        ("Data", "数据集", c.data.display().to_string()),
        ("Calibration images", "校准图像", r.record.calibration_images.to_string()),
        ("Seed", "随机种子", c.seed.to_string()),
        ("Pruning criterion", "剪枝准则", c.prune.criterion.name.to_owned()),
        ("Target", "目标引擎", c.quantize.target.to_string()),
        ("Calibrator", "校准方法", c.quantize.calibrator.name.to_owned()),
        ("Instruction set", "指令集", c.isa.clone()),
        ("yoloslim", "yoloslim", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let about = t(
        "recipe.toml beside this file repeats the run: same input, same bytes.",
        "使用旁边的 recipe.toml 可重现本次运行：相同输入得到相同字节。",
    );
    section(
        "Provenance",
        "来源信息",
        about,
        html! { div class="scroll" {
            dl { @for (en, zh, value) in facts { dt { (t(en, zh)) } dd { (value) } } }
            @let skipped = r.record.bad_images.iter().chain(&r.record.bad_labels).collect::<Vec<_>>();
            @if !skipped.is_empty() {
                ul { @for bad in skipped { li { (t("skipped", "已跳过")) " " (bad) } } }
            }
        } },
    )
}
