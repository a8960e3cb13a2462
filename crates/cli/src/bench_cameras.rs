//! `bench --video`: the whole path of `serve`, decoding included, and where the time goes.
use crate::args::{BenchArgs, CommonArgs, EngineName};
use crate::format::NOT_AVAILABLE;
use crate::output::{align_right, table, write_json};
use crate::serve::opener;
use anyhow::{Context, Result, bail};
use serde::Serialize;
use serve::{Measured, Settings, measure};

/// The keys of `--json`.
#[derive(Debug, Serialize)]
struct Record {
    models: Vec<ModelRecord>,
}

#[derive(Debug, Serialize)]
struct ModelRecord {
    model: String,
    isa: String,
    sessions: usize,
    #[serde(flatten)]
    measured: Measured,
}

/// Runs the verb.
pub(crate) fn run(args: &BenchArgs, common: &CommonArgs) -> Result<()> {
    if common.engine != EngineName::Builtin {
        bail!(
            "bench --video measures `serve`, which runs models on its own engine: leave out --engine"
        );
    }
    let cameras = args.streams.map_or(args.video.len(), usize::from);
    let places = args.video.iter().cycle().take(cameras);
    let places: Vec<String> = places.map(|path| path.display().to_string()).collect();
    let open = opener(common, None)?;
    let mut models = Vec::with_capacity(args.models.len());
    for path in &args.models {
        let mut settings = Settings::new(path.clone());
        settings.add_sources(&places)?;
        let sessions = crate::engine::threads(common);
        settings.sessions = Some(sessions);
        note!("{}: {cameras} cameras for {} s", path.display(), args.seconds);
        let measured = measure(&settings, &*open, f64::from(args.seconds));
        let measured = measured.with_context(|| path.display().to_string())?;
        let isa = crate::engine::options(common)?.isa.to_string();
        models.push(ModelRecord { model: path.display().to_string(), isa, sessions, measured });
    }
    let record = Record { models };
    record.models.iter().for_each(print);
    write_json(common.json.as_deref(), &record)
}

fn print(record: &ModelRecord) {
    let Measured { seconds, sources, total_fps, p50_ms, p99_ms, timing, .. } = &record.measured;
    let mut rows =
        table(&["camera", "frame", "input", "sent fps", "detected fps", "dropped", "rejected"]);
    for source in sources {
        let size = source.size_px.map_or(NOT_AVAILABLE.to_owned(), |[w, h]| format!("{w} x {h}"));
        let input = source.input_px.map(|[h, w]| format!("{w} x {h}"));
        rows.add_row([
            source.name.to_string(),
            size,
            input.unwrap_or_else(|| NOT_AVAILABLE.to_owned()),
            format!("{:.1}", source.camera_fps),
            format!("{:.1}", source.process_fps),
            source.dropped.to_string(),
            source.rejected.to_string(),
        ]);
    }
    align_right(&mut rows, 3);
    say!("{} on {}, {} sessions, {seconds:.0} s", record.model, record.isa, record.sessions);
    say!("{rows}");
    say!(
        "{total_fps:.1} frames a second in all; from when a frame was due until it was told of: p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms"
    );
    let known = |value: Option<f64>| value.map_or(NOT_AVAILABLE.to_owned(), |v| format!("{v:.2}"));
    let mut rows = table(&["where the time of a frame goes", "ms"]);
    for (part, text) in [
        ("decoding (time of cores)", known(record.measured.decode_cpu_ms)),
        ("held back by decoder and pipe", format!("{:.2}", timing.late_ms)),
        ("waiting for a session", format!("{:.2}", timing.waited_ms)),
        ("scaling and colours", format!("{:.2}", timing.preprocess_ms)),
        ("network", format!("{:.2}", timing.inference_ms)),
        ("boxes and tracking", format!("{:.2}", timing.postprocess_ms)),
        ("this process in all (time of cores)", known(record.measured.own_cpu_ms)),
    ] {
        rows.add_row([part.to_owned(), text]);
    }
    align_right(&mut rows, 1);
    say!("{rows}");
    say!("{} cores busy on average", known(record.measured.cores_busy));
}
