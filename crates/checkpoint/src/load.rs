//! From a file to a graph.
use crate::budget::Budget;
use crate::builder::Builder;
use crate::container::{self, Container};
use crate::heads::{self, Head};
use crate::module::Module;
use crate::modules::{self, Scope};
use crate::tree::{Id, Tree, Value};
use crate::{CheckpointError, channels, metadata, pickle, views};
use ir::{Graph, ValueId};
use std::collections::BTreeMap;
use std::path::Path;

/// Height and width in pixels where neither the caller nor the checkpoint states them.
const DEFAULT_IMGSZ: usize = 640;
/// The largest height and width that a graph is made for, in pixels.
const MAX_IMGSZ: usize = 1 << 13;
/// A model may be wrapped for inference; wrappers do not nest deeper.
const MAX_WRAPPERS: usize = 4;
/// How many entries of a dictionary without a model are looked into, and how long their names may be.
const MAX_KEYS: usize = 64;
const MAX_KEY_BYTES: usize = 64;
/// Under which names wrappers hold it: several devices, compilation, inference.
const WRAPPED: &[&str] = &["module", "_orig_mod", "model"];

/// What a checkpoint leaves open.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Height and width of the image in pixels; otherwise those it was trained at, or 640.
    pub imgsz: Option<[usize; 2]>,
    /// Whether the output is `[1, 300, 6]`, each object once as corners in pixels, score and class index, from the branches that
    /// YOLO26 has for it; otherwise the output is every position's, `[1, 4 + classes, positions]`, and suppression has to follow.
    pub end_to_end: bool,
}

/// A model read from a checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The model: images `[1, channels, H, W]` f32 from 0 to 1 in, decoded boxes out as its vendor's exports give them; BatchNorm is kept.
    /// Its metadata holds `names`, `stride`, `imgsz`, `task`, `batch` and `end2end`.
    pub graph: Graph,
    /// Class names.
    pub names: Vec<String>,
    /// Pixels between positions, by level of the head.
    pub strides: Vec<f32>,
    /// Height and width of the image in pixels.
    pub imgsz: [usize; 2],
    /// Whether the weights are the exponential moving average (`ema`) and not those of the last step (`model`).
    pub is_ema: bool,
}

/// Reads a checkpoint in the layout of Ultralytics (YOLOv3, v5 to v12, 26, and v7 and v9 by their authors), in PyTorch's zip or
/// legacy container. Nothing in it is executed.
///
/// # Errors
/// `File`, which names the path and what is wrong; `Read` when the file cannot be read.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Checkpoint, CheckpointError> {
    let bytes = std::fs::read(path)
        .map_err(|cause| CheckpointError::Read { path: path.to_owned(), cause })?;
    let parsed = if ir::git_lfs::is_pointer(&bytes) {
        Err(CheckpointError::GitLfsPointer)
    } else {
        parse(&bytes, options)
    };
    parsed.map_err(|cause| CheckpointError::File { path: path.to_owned(), cause: Box::new(cause) })
}

/// Reads a checkpoint from memory; takes at most three times its size and 48 MiB beside it.
///
/// # Errors
/// As [`load`], without the path.
pub fn parse(bytes: &[u8], options: &LoadOptions) -> Result<Checkpoint, CheckpointError> {
    let budget = Budget::new(bytes.len().saturating_mul(2).saturating_add(40 << 20));
    let Container { pickle, storages } = container::open(bytes, &budget)?;
    let (tree, _) = pickle::read(&pickle, &budget)?;
    let (model, is_ema) = find_model(&tree)?;
    let imgsz = match options.imgsz {
        Some(imgsz) => imgsz,
        None => trained_imgsz(&tree, &model).unwrap_or([DEFAULT_IMGSZ; 2]),
    };
    let limit = |n: usize| (1..=MAX_IMGSZ).contains(&n);
    if !imgsz.iter().all(|&n| limit(n)) {
        return Err(CheckpointError::Imgsz { limit: MAX_IMGSZ, found: format!("{imgsz:?}") });
    }
    let mut builder = Builder::new(&tree, storages, &budget);
    let layers = model.child("model")?.children()?;
    let head = layers.iter().find(|l| heads::is_head(l.class));
    let stride = head.map_or(1, |module| {
        let builder = &mut builder;
        heads::coarsest_stride(&mut Scope { builder, module })
    });
    let (imgsz, note) = ir::whole_imgsz(imgsz, stride);
    let head = build(&mut builder, &model, imgsz, options.end_to_end)?;
    let names = metadata::names(&model)?.unwrap_or_default();
    if names.len() != head.classes {
        return Err(CheckpointError::ClassCount {
            at: head.at,
            expected: head.classes,
            found: names.len(),
        });
    }
    let mut graph = builder.finish()?;
    graph.metadata = describe(&names, &head, imgsz, options.end_to_end);
    graph.notes.extend(note);
    Ok(Checkpoint { graph, names, strides: head.strides, imgsz, is_ema })
}

/// The entries that exporters write, which tools of the same family read.
fn describe(
    names: &[String],
    head: &Head,
    [h, w]: [usize; 2],
    end_to_end: bool,
) -> BTreeMap<String, String> {
    let end_to_end = if end_to_end { "True" } else { "False" };
    let stride = head.strides.iter().copied().fold(0.0, f32::max);
    let entries = [
        ("names", metadata::names_text(names)),
        ("stride", (stride as i64).to_string()),
        ("imgsz", format!("[{h}, {w}]")),
        ("batch", "1".to_owned()),
        ("task", head.task.to_owned()),
        ("end2end", end_to_end.to_owned()),
    ];
    entries.map(|(k, v)| (k.to_owned(), v)).into()
}

/// The model of a checkpoint, the moving average where it is there, out of the wrappers it may be in.
fn find_model<'t>(tree: &'t Tree<'t>) -> Result<(Module<'t>, bool), CheckpointError> {
    let is_dict = matches!(tree.value(tree.root), Value::Dict(_));
    let entry = |key| {
        let value = tree.get(tree.root, key).filter(|_| is_dict)?;
        (!matches!(tree.value(value), Value::None)).then_some(value)
    };
    let (id, at) = match (entry("ema"), entry("model")) {
        (Some(ema), _) => (tree.attribute(ema, "ema").unwrap_or(ema), "`ema`"),
        (None, Some(model)) => (model, "`model`"),
        (None, None) => (tree.root, "checkpoint"),
    };
    let is_ema = at == "`ema`";
    let model = Module::new(tree, id, "");
    let mut model = model.map_err(|_| no_model(tree, id, at))?;
    for _ in 0..MAX_WRAPPERS {
        if model.find("model")?.is_some_and(|m| m.class == "Sequential") {
            return Ok((model, is_ema));
        }
        let inner = WRAPPED.iter().find_map(|name| model.find(name).transpose());
        match inner.transpose()? {
            Some(inner) => model = Module::new(tree, inner.id, "")?,
            None => break,
        }
    }
    let class = model.class_path();
    Err(CheckpointError::OtherLayout { class })
}

/// Why there is no model: weights alone, here or further in, or something else.
fn no_model(tree: &Tree<'_>, id: Id, at: &str) -> CheckpointError {
    let mut todo = vec![(id, at.to_owned(), 0)];
    while let Some((id, at, depth)) = todo.pop() {
        let pairs = tree.pairs(id).unwrap_or(&[]);
        let tensors = pairs.iter().filter(|p| views::is_tensor(tree, p.1));
        let tensors = tensors.count();
        if tensors > 0 {
            return CheckpointError::WeightsAlone { at, tensors };
        }
        if depth < 2 {
            let named = pairs.iter().rev().take(MAX_KEYS);
            let named = named.filter_map(|&(key, value)| {
                let name = tree.str(key).filter(|name| name.len() < MAX_KEY_BYTES)?;
                Some((value, format!("{at}, `{name}`"), depth + 1))
            });
            todo.extend(named);
        }
    }
    tree.unexpected(at, "a model under `ema` or `model`", id)
}

/// The image size in the arguments of the training run.
fn trained_imgsz(tree: &Tree<'_>, model: &Module<'_>) -> Option<[usize; 2]> {
    let places =
        [model.attribute("args"), tree.get(tree.root, "train_args"), tree.get(tree.root, "opt")];
    let size = places.into_iter().flatten().find_map(|p| tree.get(p, "imgsz"))?;
    tree.pair(size).filter(|sides| !sides.contains(&0))
}

/// Runs the layers in order; each says by `f` which earlier outputs it reads.
fn build<'t>(
    builder: &mut Builder<'t>,
    model: &Module<'t>,
    imgsz: [usize; 2],
    end_to_end: bool,
) -> Result<Head, CheckpointError> {
    let layers = model.child("model")?.children()?;
    let image = builder.input(channels::of_image(&layers, builder.budget)?, imgsz);
    let mut outputs: Vec<Vec<ValueId>> = Vec::with_capacity(layers.len());
    for layer in &layers {
        let inputs = sources(layer, &outputs, image)?;
        if heads::is_head(layer.class) {
            let mut scope = Scope { builder, module: layer };
            return heads::build(&mut scope, &inputs.concat(), end_to_end);
        }
        outputs.push(modules::build(builder, layer, &inputs)?);
    }
    Err(CheckpointError::Expected {
        at: "model".to_owned(),
        expected: "a detection head among the layers",
        found: format!("{} layers without one", layers.len()),
    })
}

/// What a layer reads: of each source all values that it gives. -1 is the layer before it, other numbers are layers by index.
fn sources(
    layer: &Module<'_>,
    outputs: &[Vec<ValueId>],
    image: ValueId,
) -> Result<Vec<Vec<ValueId>>, CheckpointError> {
    let tree = layer.tree;
    let from = layer.attribute("f").ok_or_else(|| CheckpointError::Expected {
        at: format!("{}.f", layer.path),
        expected: "the layers it reads",
        found: "none".to_owned(),
    })?;
    let values_of = |id: Id| -> Result<Vec<ValueId>, CheckpointError> {
        let index = tree.int(id);
        let value = match index {
            Some(-1) if outputs.is_empty() => Some(vec![image]),
            Some(i) if i < 0 => {
                let back = usize::try_from(i.unsigned_abs()).ok();
                back.and_then(|b| outputs.len().checked_sub(b)).map(|i| outputs[i].clone())
            }
            Some(i) => usize::try_from(i).ok().and_then(|i| outputs.get(i).cloned()),
            None => None,
        };
        let at = format!("{}.f", layer.path);
        value.ok_or_else(|| tree.unexpected(&at, "the index of an earlier layer", id))
    };
    match tree.sequence(from) {
        Some(list) => list.iter().map(|&id| values_of(id)).collect(),
        None => Ok(vec![values_of(from)?]),
    }
}
