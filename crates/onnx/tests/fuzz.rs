//! 10 000 damaged and hostile files, read, written, run by the reference and by the kernels: no panic, and never more memory
//! than four times the file and 64 MiB. A binary of its own, since the memory of the process is counted.
mod crafted;

use cap::Cap;
use ir::{DataType, Graph, Tensor, TensorType, ValueId, interpreter};
use numerics::Rng;
use onnx::{LoadOptions, encode, parse};
use runtime::{Plan, PlanOptions, Session};
use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::damage::damaged;
use testkit::model::Model;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const MIB: usize = 1 << 20;
const MUTATIONS: usize = 10_000;

/// Models that the kernels have run.
static RUN: AtomicUsize = AtomicUsize::new(0);

/// Reads a file, writes what could be read and runs it where it is small; gives what was wrong with the file.
fn read(bytes: &[u8]) -> Result<(), String> {
    let graph = parse(bytes, None, &LoadOptions::default()).map_err(|e| e.to_string())?;
    encode(&graph).map_err(|e| e.to_string())?;
    if is_small(&graph) {
        let zeros = |v: &ValueId| {
            let ty = graph.ty(*v).ok()?;
            Tensor::from_f64(ty.dtype, ty.shape.clone(), &vec![0.0; ty.elements()]).ok()
        };
        let inputs: Option<Vec<Tensor>> = graph.inputs().iter().map(zeros).collect();
        // What a damaged model computes does not matter, only that it ends without a panic.
        let _ = inputs.map(|inputs| interpreter::run(&graph, &inputs));
        if let Some(outputs) = run(&graph) {
            // Numbers of every type are f32 at the border of a model.
            let shapes = graph.outputs().iter();
            let shapes = shapes.map(|&v| graph.ty(v).unwrap().shape.clone());
            let types = shapes.map(|shape| TensorType::new(DataType::F32, shape));
            let found: Vec<TensorType> = outputs.iter().map(Tensor::ty).collect();
            assert_eq!(found, types.collect::<Vec<_>>());
            RUN.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// What the kernels make of zeros, integers included; `None` for what they cannot run, or only in much memory.
fn run(graph: &Graph) -> Option<Vec<Tensor>> {
    let plan = Arc::new(Plan::compile(graph, &[], &PlanOptions::default()).ok()?);
    if plan.arena_bytes() > 4 * MIB {
        return None;
    }
    let zeros = |&v: &ValueId| Some(vec![0.0; graph.ty(v).ok()?.elements()]);
    let inputs: Vec<Vec<f32>> = graph.inputs().iter().map(zeros).collect::<Option<_>>()?;
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    Session::new(&plan, 1).ok()?.run(&inputs).ok()
}

/// Whether the model can be run in a moment.
fn is_small(graph: &Graph) -> bool {
    let types = graph.values().filter_map(|(_, v)| v.ty.as_ref());
    let elements = types.fold(0usize, |n, t| n.saturating_add(t.elements()));
    graph.values().all(|(_, v)| v.ty.is_some()) && elements < 50_000 && graph.macs() < 500_000
}

#[test]
fn parse_of_ten_thousand_mutations_neither_panics_nor_takes_much_memory() {
    let corpus = crafted::corpus();
    let files: Vec<Vec<u8>> = corpus.iter().map(Model::encode).collect();
    for (i, file) in files.iter().enumerate() {
        assert_eq!(read(file), Ok(()), "file {i} of the corpus");
    }
    let mut random = Rng::new(1);
    let mut models = 0;
    for i in 0..MUTATIONS {
        let pick = random.below(corpus.len());
        let bytes = match i % 3 {
            0 => damaged(&files[pick], &mut random),
            _ => crafted::mutated(&corpus[pick], &mut random).encode(),
        };
        let before = ALLOCATOR.allocated();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        assert!(outcome.is_ok(), "mutation {i} of file {pick} panicked");
        models += usize::from(outcome.is_ok_and(|read| read.is_ok()));
        // The highest mark of the process never falls, so that one bound holds for the whole run.
        let peak = ALLOCATOR.max_allocated().saturating_sub(before);
        let allowed = 4 * bytes.len() + 64 * MIB;
        assert!(
            peak <= allowed,
            "mutation {i} of file {pick}: {peak} bytes for a file of {}",
            bytes.len()
        );
    }
    let run = RUN.load(Ordering::Relaxed);
    println!("{MUTATIONS} mutations, {models} of them still models, {run} run by the kernels");
    assert!(models > MUTATIONS / 100, "mutations reach what is behind the first check");
    assert!(run > MUTATIONS / 100, "mutations reach the kernels");
}
