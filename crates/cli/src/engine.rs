//! The engine as the user asked for it.
use crate::args::{CommonArgs, EngineName, MemoryArgs};
use crate::memory::allowed_bytes;
use crate::model::floats_note;
use crate::onnx_runtime::OnnxRuntime;
use anyhow::{Context, Result, bail};
use compress::Recipe;
use observe::Engine;
use runtime::PlanOptions;
use std::sync::Arc;
use yolo::families::Head;
use yolo::{CompiledDetector, Detector};
use yoloslim::Model;

/// How many threads to use.
pub(crate) fn threads(args: &CommonArgs) -> usize {
    let threads = args.threads.map(usize::from);
    threads.unwrap_or_else(|| Engine::default().threads)
}

/// The plan's options; an instruction set that this CPU lacks is an error.
pub(crate) fn options(args: &CommonArgs) -> Result<PlanOptions> {
    let best = PlanOptions::default();
    let isa = args.isa.as_deref().map(str::parse).transpose()?;
    Ok(PlanOptions { isa: isa.unwrap_or(best.isa), ..best })
}

/// Our own engine, for verbs that observe values inside it.
pub(crate) fn builtin(args: &CommonArgs, verb: &str) -> Result<Engine> {
    if args.engine != EngineName::Builtin {
        bail!(
            "`{verb}` observes values inside the engine: --engine builtin is needed, found {}",
            args.engine.name()
        );
    }
    let memory_bytes = allowed_bytes(&MemoryArgs::default()).map_or(usize::MAX, |b| b as usize);
    Ok(Engine { options: options(args)?, threads: threads(args), memory_bytes })
}

/// The engine with the recipe's instruction set, which decides the last bits of sums, unless another one is typed.
pub(crate) fn of_recipe(recipe: &mut Recipe, common: &CommonArgs, verb: &str) -> Result<Engine> {
    let mut engine = builtin(common, verb)?;
    if common.isa.is_none() && !recipe.isa.is_empty() {
        let Ok(isa) = recipe.isa.parse() else {
            bail!(
                "the recipe's instruction set is {}, which this CPU does not execute: --isa {} runs it with another one, whose sums differ in their last bits",
                recipe.isa,
                engine.options.isa
            );
        };
        engine.options.isa = isa;
    }
    recipe.isa = engine.options.isa.to_string();
    Ok(engine)
}

/// ONNX Runtime, as `--ort-library` names it.
pub(crate) fn onnx_runtime(args: &CommonArgs) -> Result<OnnxRuntime> {
    let library = args.ort_library.as_deref().context(
        "--engine onnxruntime needs ONNX Runtime's library: name it with --ort-library or ORT_DYLIB_PATH",
    )?;
    OnnxRuntime::load(library)
}

/// The instruction set for listings; ONNX Runtime chooses its own.
pub(crate) fn isa_name(args: &CommonArgs) -> Result<Option<String>> {
    Ok(match args.engine {
        EngineName::Builtin => Some(options(args)?.isa.to_string()),
        EngineName::Onnxruntime => None,
    })
}

/// `count` detectors of `threads` threads each, on the engine that was asked for.
pub(crate) fn detectors(
    model: &Model,
    args: &CommonArgs,
    count: usize,
    threads: usize,
) -> Result<(Arc<Head>, Vec<Detector>)> {
    let what = || model.path.display().to_string();
    match args.engine {
        EngineName::Builtin => {
            if let Some(note) = floats_note(model, "they are computed in") {
                note!("{note}");
            }
            let graph = model.graph.clone();
            let compiled = CompiledDetector::open(graph, model.reading.family, &options(args)?)
                .with_context(what)?;
            let sessions = (0..count).map(|_| compiled.session(threads));
            let sessions = sessions.collect::<Result<_, _>>().with_context(what)?;
            Ok((compiled.head, sessions))
        }
        EngineName::Onnxruntime => {
            let head = Arc::new(model.head()?);
            let library = onnx_runtime(args)?;
            let session = || {
                let network = library.network(model, threads)?;
                Ok(Detector::new(&head, Box::new(network)))
            };
            let sessions = (0..count).map(|_| session()).collect::<Result<_>>();
            let sessions = sessions.with_context(what)?;
            Ok((head, sessions))
        }
    }
}
