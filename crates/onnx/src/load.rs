//! Reading a file into a graph.
use crate::external::Folder;
use crate::fold::FoldBudget;
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto,
};
use crate::sweep::{Slot, Sweep};
use crate::{OnnxError, interface, opsets, subgraphs, tensors, topology, types};
use ir::{Edit, Graph, Tensor, TensorType, UniqueNames, ValueId, git_lfs};
use prost::Message;
use prost::bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The coarsest stride of most detectors.
const USUAL_STRIDE_PX: usize = 32;

/// What a file leaves open.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Height and width of the image in pixels, for inputs whose axes are dynamic; the file's metadata may state them too.
    pub imgsz: Option<[usize; 2]>,
    /// Inputs of the model that are to be treated as constants, by name.
    pub constants: BTreeMap<String, Tensor>,
}

/// Reads a model of opset 9 to 28. Shape computations are folded; what is not understood stays as an opaque node.
///
/// # Errors
/// `File`, which names the path and what is wrong; `Read` when the file cannot be read.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Graph, OnnxError> {
    let bytes =
        std::fs::read(path).map_err(|cause| OnnxError::Read { path: path.to_owned(), cause })?;
    let file_bytes = bytes.len();
    if git_lfs::is_pointer(&bytes) {
        return Err(OnnxError::File {
            path: path.to_owned(),
            cause: Box::new(OnnxError::GitLfsPointer),
        });
    }
    // The initializers share this memory until they become tensors.
    let bytes = Bytes::from(bytes);
    let read = |options: &LoadOptions| {
        let model = ModelProto::decode(bytes.clone())?;
        graph_of(model, file_bytes, path.parent(), options)
    };
    let parsed = read(options).or_else(|error| match options.imgsz {
        // A model that does not state its stride has a usual one, if that helps.
        Some(asked) => match ir::whole_imgsz(asked, USUAL_STRIDE_PX) {
            (_, None) => Err(error),
            (size, Some(note)) => {
                let whole = LoadOptions { imgsz: Some(size), ..options.clone() };
                let mut graph = read(&whole).map_err(|_| error)?;
                graph.notes.push(note);
                Ok(graph)
            }
        },
        None => Err(error),
    });
    parsed.map_err(|cause| OnnxError::File { path: path.to_owned(), cause: Box::new(cause) })
}

/// Files beside a model that hold its external data, as it names them; none for a file that is no model.
pub fn external_files(path: &Path) -> Vec<PathBuf> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let graph = ModelProto::decode(Bytes::from(bytes)).ok().and_then(|m| m.graph);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = BTreeSet::new();
    let attributes = graph.iter().flat_map(|g| &g.node);
    let attributes = attributes.flat_map(|n| &n.attribute);
    let inside = attributes.filter_map(|a| a.t.as_ref());
    for tensor in graph.iter().flat_map(|g| &g.initializer).chain(inside) {
        let location = tensor.external_data.iter().find(|e| e.key() == "location");
        files.extend(location.map(|e| folder.join(e.value())));
    }
    files.into_iter().collect()
}

/// Reads an encoded model; external data may come only from inside `folder`.
///
/// # Errors
/// As [`load`], without the path.
pub fn parse(
    bytes: &[u8],
    folder: Option<&Path>,
    options: &LoadOptions,
) -> Result<Graph, OnnxError> {
    graph_of(ModelProto::decode(bytes)?, bytes.len(), folder, options)
}

fn graph_of(
    mut model: ModelProto,
    file_bytes: usize,
    folder: Option<&Path>,
    options: &LoadOptions,
) -> Result<Graph, OnnxError> {
    let mut file = model.graph.take().ok_or(OnnxError::NoGraph)?;
    let opset = default_opset(&model.opset_import)?;
    if file.output.is_empty() {
        return Err(OnnxError::NoOutputs);
    }
    check_supported(&model, &file)?;
    let metadata: BTreeMap<String, String> =
        model.metadata_props.iter().map(|e| (e.key().to_owned(), e.value().to_owned())).collect();
    let folder = Folder::new(folder);
    let stated = metadata.get("imgsz").and_then(|text| stated_imgsz(text));
    let stride = metadata.get("stride");
    let stride: usize = stride.and_then(|s| s.trim().parse().ok()).unwrap_or(1);
    let dynamic = file.input.iter().any(types::has_open_sides);
    let whole = options.imgsz.filter(|_| dynamic);
    let whole = whole.map(|asked| ir::whole_imgsz(asked, stride));
    let note = whole.clone().and_then(|(_, note)| note);
    let options =
        &LoadOptions { imgsz: whole.map(|(size, _)| size).or(options.imgsz), ..options.clone() };
    let mut sweep = Sweep {
        folder: &folder,
        opset,
        budget: FoldBudget::of_file(file_bytes),
        slots: BTreeMap::new(),
        declared: BTreeMap::new(),
        planned: Vec::new(),
        names: names(&file),
        dequantized: BTreeMap::new(),
    };
    sweep.declared = file.value_info.iter().chain(&file.output).filter_map(declared).collect();
    let initializers = std::mem::take(&mut file.initializer);
    let inputs = given_values(&mut sweep, initializers, &file.input, options, stated)?;
    let given: BTreeSet<String> = sweep.slots.keys().cloned().collect();
    for index in topology::sort(&file.node, &given)? {
        sweep.node(&file.node[index], index)?;
    }
    let mut graph = Graph::new(opset.max(opsets::MIN_WRITTEN));
    graph.name = file.name().to_owned();
    graph.domains = other_domains(&model.opset_import);
    graph.metadata = metadata;
    build(&mut graph, sweep, &inputs, &file.output)?;
    interface::plain(&mut graph)?;
    graph.notes.extend(note);
    Ok(graph)
}

/// `[640, 480]` (height, width) or `640`, as Ultralytics exporters write it.
fn stated_imgsz(text: &str) -> Option<[usize; 2]> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let lengths: Result<Vec<usize>, _> = inner.split(',').map(|n| n.trim().parse()).collect();
    match lengths.ok()?[..] {
        [side] => Some([side, side]),
        [height, width] => Some([height, width]),
        _ => None,
    }
    .filter(|size| size.iter().all(|&n| n > 0))
}

fn default_opset(imports: &[OperatorSetIdProto]) -> Result<i64, OnnxError> {
    let default = imports.iter().find(|o| opsets::is_default(o.domain()));
    let found = default.map(OperatorSetIdProto::version);
    let read = found.filter(|v| (opsets::FIRST..=opsets::LAST).contains(v));
    read.ok_or_else(|| OnnxError::Opset {
        first: opsets::FIRST,
        last: opsets::LAST,
        found: found.map_or_else(|| "none".to_owned(), |v| v.to_string()),
    })
}

fn other_domains(imports: &[OperatorSetIdProto]) -> BTreeMap<String, i64> {
    imports
        .iter()
        .filter(|o| !opsets::is_default(o.domain()))
        .map(|o| (o.domain().to_owned(), o.version()))
        .collect()
}

/// Every name of a value, those inside of nodes' graphs included.
fn names(file: &GraphProto) -> UniqueNames {
    let inner = file.node.iter().flat_map(subgraphs::inner_names);
    let outputs = file.node.iter().flat_map(|n| n.output.iter().cloned());
    let given = file.input.iter().map(|v| v.name().to_owned());
    let constants = file.initializer.iter().map(|t| t.name().to_owned());
    UniqueNames::new(inner.chain(outputs).chain(given).chain(constants))
}

/// A graph has no room for functions and sparse constants; dropping them would write a broken file.
fn check_supported(model: &ModelProto, file: &GraphProto) -> Result<(), OnnxError> {
    let functions: BTreeSet<(&str, &str)> =
        model.functions.iter().map(|f| (f.domain(), f.name())).collect();
    if let Some(node) = file.node.iter().find(|n| calls_function(n, &functions)) {
        return Err(OnnxError::Unsupported {
            feature: "the model-local function",
            name: node.op_type().to_owned(),
        });
    }
    if let Some(sparse) = file.sparse_initializer.first() {
        let name = sparse.values.as_ref().map_or("", |v| v.name()).to_owned();
        return Err(OnnxError::Unsupported { feature: "the sparse initializer", name });
    }
    Ok(())
}

fn calls_function(node: &NodeProto, functions: &BTreeSet<(&str, &str)>) -> bool {
    let mut all = std::iter::once(node).chain(subgraphs::inner_nodes(node));
    all.any(|n| functions.contains(&(n.domain(), n.op_type())))
}

fn declared(info: &ValueInfoProto) -> Option<(String, TensorType)> {
    Some((info.name().to_owned(), types::static_type(info)?))
}

/// Enters constants and inputs; returns the names of those inputs that stay inputs.
fn given_values(
    sweep: &mut Sweep<'_>,
    initializers: Vec<TensorProto>,
    given: &[ValueInfoProto],
    options: &LoadOptions,
    stated_imgsz: Option<[usize; 2]>,
) -> Result<Vec<String>, OnnxError> {
    for proto in initializers {
        let tensor = tensors::decode(&proto, sweep.folder)?;
        if sweep
            .slots
            .insert(proto.name().to_owned(), Slot::constant(proto.name(), tensor))
            .is_some()
        {
            return Err(OnnxError::TwoProducers { value: proto.name().to_owned() });
        }
    }
    let mut inputs: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    for info in given {
        let name = info.name();
        if let Some(tensor) = options.constants.get(name) {
            sweep.slots.insert(name.to_owned(), Slot::constant(name, tensor.clone()));
        } else if !seen.insert(name) {
            return Err(OnnxError::TwoProducers { value: name.to_owned() });
        } else if !sweep.slots.contains_key(name) {
            let ty = types::input_type(info, options.imgsz, stated_imgsz)?;
            sweep.slots.insert(name.to_owned(), Slot::computed(name, Some(ty)));
            inputs.push(name.to_owned());
        }
    }
    Ok(inputs)
}

/// Writes the plan into the graph; the model's outputs keep their names.
fn build(
    graph: &mut Graph,
    mut sweep: Sweep<'_>,
    inputs: &[String],
    outputs: &[ValueInfoProto],
) -> Result<(), OnnxError> {
    let names: Vec<String> = outputs.iter().map(|o| o.name().to_owned()).collect();
    let renamed = settle_outputs(&mut sweep, &names)?;
    let mut values = Values { edit: graph.edit(), ids: BTreeMap::new() };
    for name in inputs {
        if let Some(ty) = sweep.slots[name].ty.clone() {
            let id = values.edit.input(name, ty);
            values.ids.insert(name.clone(), id);
        }
    }
    for node in sweep.planned.drain(..) {
        let inputs = node.inputs.iter();
        let inputs = inputs.map(|name| values.id(name, &sweep.slots));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let outputs = node.outputs.iter();
        let outputs = outputs.map(|(name, ty)| (renamed.get(name).unwrap_or(name), ty));
        let outputs: Vec<(&str, _)> =
            outputs.map(|(name, ty)| (name.as_str(), ty.clone())).collect();
        let made = (values.edit).node_typed(&node.name, node.op, &inputs, &outputs);
        let names = node.outputs.into_iter().map(|(name, _)| name);
        values.ids.extend(names.zip(made));
    }
    let canonical: BTreeMap<&String, &String> =
        renamed.iter().map(|(from, to)| (to, from)).collect();
    for name in &names {
        let id = values.id(canonical.get(name).copied().unwrap_or(name), &sweep.slots)?;
        values.edit.output(id);
    }
    graph.apply(values.edit)?;
    Ok(())
}

/// The values of the graph to be, by their names in the file.
struct Values {
    edit: Edit,
    ids: BTreeMap<String, ValueId>,
}

impl Values {
    /// The value of a name; one that is constant is entered when it is read first.
    fn id(&mut self, name: &str, slots: &BTreeMap<String, Slot>) -> Result<ValueId, OnnxError> {
        if let Some(&id) = self.ids.get(name) {
            return Ok(id);
        }
        let tensor = slots.get(name).and_then(|s| s.constant.clone());
        let tensor = tensor.ok_or_else(|| OnnxError::Undefined {
            value: name.to_owned(),
            by: "the model".to_owned(),
        })?;
        // An alias of a constant becomes a constant of its own only where an output needs the name.
        let id = self.edit.constant(name, tensor);
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }
}

/// Gives every output that is an alias a value of its own: by renaming what it is an alias of, else by a copy.
fn settle_outputs(
    sweep: &mut Sweep<'_>,
    names: &[String],
) -> Result<BTreeMap<String, String>, OnnxError> {
    let computed: BTreeSet<String> =
        sweep.planned.iter().flat_map(|p| p.outputs.iter().map(|(n, _)| n.clone())).collect();
    let outputs: BTreeSet<&String> = names.iter().collect();
    let mut renamed = BTreeMap::new();
    for name in names {
        let slot = sweep.slots.get(name).cloned();
        let slot = slot.ok_or_else(|| OnnxError::Undefined {
            value: name.clone(),
            by: "the model's outputs".to_owned(),
        })?;
        if slot.name == *name || slot.constant.is_some() {
            continue;
        }
        if computed.contains(&slot.name)
            && !outputs.contains(&slot.name)
            && !renamed.contains_key(&slot.name)
        {
            renamed.insert(slot.name, name.clone());
        } else {
            sweep.copy(&slot, name)?;
        }
    }
    Ok(renamed)
}

#[cfg(test)]
mod tests;
