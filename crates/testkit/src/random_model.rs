//! Small models made at random from a seed: every operator that yoloslim understands, in the forms of every opset that it
//! reads, on odd sizes. They are written without the code under test; its reader only says which types a node gives.
use crate::model::{Content, Model, Node, Value};
use ir::{Attribute, Attributes, DataType, InputSpec, NodeSpec, Op, Tensor, TensorType};
use numerics::Rng;

mod recipes;

pub use recipes::RECIPES;

/// Most elements of a value and most multiply-accumulate operations of a node.
const MAX_ELEMENTS: usize = 20_000;
const MAX_MACS: u64 = 1_000_000;

/// How a node of one operator is made; `None` where no value fits.
type Make = fn(&mut Growing, &'static str) -> Option<Made>;

/// An operator and how a node of it is made.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// ONNX operator name.
    pub op: &'static str,
    /// Whether a small difference of its input can be a large one of its output: rounding, comparing, choosing.
    pub jumps: bool,
    make: Make,
}

/// An input of a node to be.
#[derive(Clone, Debug)]
enum Port {
    Value(usize),
    Constant(Content),
    Absent,
}

/// A node to be.
#[derive(Clone, Debug, Default)]
struct Made {
    inputs: Vec<Port>,
    attributes: Vec<(&'static str, Value)>,
    outputs: usize,
}

impl Made {
    fn of(inputs: Vec<Port>) -> Self {
        Self { inputs, attributes: vec![], outputs: 1 }
    }

    fn with(mut self, name: &'static str, value: Value) -> Self {
        self.attributes.push((name, value));
        self
    }
}

/// A value of the growing model.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    ty: TensorType,
    read: bool,
}

/// A model that grows node by node.
struct Growing {
    random: Rng,
    model: Model,
    values: Vec<Known>,
}

/// A model of about `steps` nodes made of `recipes`; the same seed gives the same model.
///
/// # Panics
/// When there are no recipes.
pub fn random_model(seed: u64, steps: usize, opset: i64, recipes: &[Recipe]) -> Model {
    let mut random = Rng::new(seed);
    let mut below = |bound: u64| (random.next_u64() % bound) as i64;
    let mut input = vec![1, 1 + below(6)];
    let rank = [4, 4, 4, 4, 3, 2][below(6) as usize];
    input.extend((2..rank).map(|_| 1 + below(17)));
    let ty = TensorType::new(DataType::F32, input.iter().map(|&d| d as usize).collect::<Vec<_>>());
    let x = Known { name: "x".to_owned(), ty, read: false };
    let model = Model { opset, input, nodes: vec![], constants: vec![], outputs: vec![] };
    let mut growing = Growing { random, model, values: vec![x] };
    // Not every operator fits what is there, so that more are tried than are wanted.
    for _ in 0..steps * 12 {
        if growing.model.nodes.len() >= steps {
            break;
        }
        let recipe = growing.pick(recipes);
        if let Some(made) = (recipe.make)(&mut growing, recipe.op) {
            growing.add(recipe.op, made);
        }
    }
    growing.finish()
}

impl Growing {
    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound.max(1) as u64) as usize
    }

    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    /// Between `low` and `high`, both included.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn opset(&self) -> i64 {
        self.model.opset
    }

    /// A value that fits, one of the last more often than not.
    fn value(&mut self, fits: impl Fn(&TensorType) -> bool) -> Option<usize> {
        let all = (0..self.values.len()).filter(|&i| fits(&self.values[i].ty));
        let found: Vec<usize> = all.collect();
        let recent = found.len().saturating_sub(3);
        let from = if self.chance(3) { 0 } else { recent };
        let at = from + self.below(found.len() - from);
        found.get(at).copied()
    }

    fn floats(&mut self, rank: usize) -> Option<usize> {
        self.value(|t| t.dtype == DataType::F32 && t.rank() == rank)
    }

    /// A float value of one axis or more.
    fn any_floats(&mut self) -> Option<usize> {
        self.value(|t| t.dtype == DataType::F32 && t.rank() > 0)
    }

    fn shape(&self, value: usize) -> Vec<i64> {
        let shape = &self.values[value].ty.shape;
        shape.iter().map(|&d| d as i64).collect()
    }

    /// An axis, counted from the end where `rank` wraps it.
    fn axis(&mut self, rank: usize) -> i64 {
        let axis = self.below(rank) as i64;
        if self.opset() >= 11 && self.chance(3) { axis - rank as i64 } else { axis }
    }

    /// Adds a node, where the code under test takes it and its outputs are neither empty nor large.
    fn add(&mut self, op: &'static str, made: Made) -> Option<()> {
        let tensors: Vec<Option<Tensor>> = made.inputs.iter().map(Port::tensor).collect();
        let types: Vec<Option<TensorType>> = made
            .inputs
            .iter()
            .zip(&tensors)
            .map(|(port, tensor)| match port {
                Port::Value(v) => Some(self.values[*v].ty.clone()),
                _ => tensor.as_ref().map(Tensor::ty),
            })
            .collect();
        let inputs = types.iter().zip(&tensors).map(|(ty, constant)| {
            ty.is_some().then_some(InputSpec { ty: ty.as_ref(), constant: constant.as_ref() })
        });
        let spec = NodeSpec {
            op_type: op,
            opset: self.opset(),
            inputs: inputs.collect(),
            outputs: made.outputs,
            attributes: Attributes::new(
                made.attributes.iter().map(|(n, v)| ((*n).to_owned(), v.attribute())),
            ),
        };
        let parsed = Op::parse(spec).ok()??;
        let read: Option<Vec<&TensorType>> =
            parsed.inputs.iter().map(|&i| types[i].as_ref()).collect();
        let read = read?;
        let outputs = parsed.op.infer(&read).ok()?;
        let shapes = ir::Shapes { inputs: read, outputs: outputs.iter().collect() };
        let fits = |t: &TensorType| (1..=MAX_ELEMENTS).contains(&t.elements());
        if !outputs.iter().all(fits) || parsed.op.macs(&shapes) > MAX_MACS {
            return None;
        }
        self.push(op, made, outputs);
        Some(())
    }

    fn push(&mut self, op: &'static str, made: Made, types: Vec<TensorType>) {
        let n = self.model.nodes.len();
        let mut inputs = Vec::with_capacity(made.inputs.len());
        for port in made.inputs {
            inputs.push(match port {
                Port::Absent => String::new(),
                Port::Value(v) => {
                    self.values[v].read = true;
                    self.values[v].name.clone()
                }
                Port::Constant(content) => {
                    let name = format!("c{}", self.model.constants.len());
                    self.model.constants.push((name.clone(), content));
                    name
                }
            });
        }
        while inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        let outputs: Vec<String> = (0..made.outputs).map(|i| format!("n{n}_{i}")).collect();
        for (name, ty) in outputs.iter().zip(types) {
            self.values.push(Known { name: name.clone(), ty, read: false });
        }
        let attributes = made.attributes;
        self.model.nodes.push(Node { op, inputs, outputs, attributes });
    }

    /// Everything that nothing reads is an output.
    fn finish(mut self) -> Model {
        let unread = self.values.iter().skip(1).filter(|v| !v.read);
        self.model.outputs = unread.map(|v| v.name.clone()).collect();
        self.model
    }
}

impl Port {
    fn tensor(&self) -> Option<Tensor> {
        let Port::Constant(content) = self else {
            return None;
        };
        match content {
            Content::Ints(v) => Some(Tensor::vector(v.clone())),
            Content::Vector(v) => Some(Tensor::vector(v.clone())),
            Content::Floats { shape, .. } => {
                let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
                Tensor::new(shape, content.floats()).ok()
            }
        }
    }
}

impl Value {
    fn attribute(&self) -> Attribute {
        match self {
            Value::Int(v) => Attribute::Int(*v),
            Value::Ints(v) => Attribute::Ints(v.clone()),
            Value::Float(v) => Attribute::Float(*v),
            Value::Text(v) => Attribute::String(v.as_bytes().to_vec()),
        }
    }
}
