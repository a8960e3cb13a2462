//! What is known of a graph's form, as types: recognised in one spelling, or ready to execute.
//!
//! A file becomes a [`Graph`] whose exporter chose among several spellings of one idea. [`canonicalise`] leaves one spelling and
//! floats of 32 bits, which is what pruning wants; [`normalise`] also folds BatchNormalization into convolutions, which is what is
//! executed and quantized. Both types lend the graph and cannot be edited: a changed graph has to be brought to its form again,
//! which costs one walk where nothing is left to do and keeps all ids.
use crate::rewrites::{BEFORE_EXECUTION, IN_FLOAT, ON_READING, apply_all};
use crate::{Graph, IrError};
use std::ops::Deref;

/// A graph in one spelling, with floats of 32 bits: SiLU, Mish, moved quantized values and products of dynamically quantized values
/// are recognised, and BatchNormalization stands where the file has it.
#[derive(Clone, Debug)]
pub struct Canonical(Graph);

/// A [`Canonical`] graph whose BatchNormalization is folded into convolutions: ready to execute and to quantize.
#[derive(Clone, Debug)]
pub struct Normalised(Canonical);

impl Canonical {
    /// The graph, to be changed.
    pub fn into_graph(self) -> Graph {
        self.0
    }
}

impl Normalised {
    /// The graph, to be changed.
    pub fn into_graph(self) -> Graph {
        self.0.into_graph()
    }
}

impl Deref for Canonical {
    type Target = Graph;

    fn deref(&self) -> &Graph {
        &self.0
    }
}

impl Deref for Normalised {
    type Target = Canonical;

    fn deref(&self) -> &Canonical {
        &self.0
    }
}

/// Leaves one spelling of what files spell in several ways, and the types of the file.
///
/// # Errors
/// `Rewrite` when a graph that a rewrite would make is not valid.
pub fn recognise(graph: &mut Graph) -> Result<(), IrError> {
    apply_all(graph, ON_READING)
}

/// Makes floats f32 and leaves one spelling; BatchNormalization is kept.
///
/// # Errors
/// As [`crate::to_f32`] and [`recognise`].
pub fn canonicalise(mut graph: Graph) -> Result<Canonical, IrError> {
    crate::to_f32(&mut graph)?;
    recognise(&mut graph)?;
    Ok(Canonical(graph))
}

/// Makes one FakeQuantize of each QuantizeLinear and the DequantizeLinear behind it: a quantized graph evaluated in f32.
///
/// # Errors
/// `Rewrite` when the graph that this would make is not valid.
pub fn fake_quantize(graph: &mut Graph) -> Result<(), IrError> {
    apply_all(graph, IN_FLOAT)
}

/// Brings a graph to the form in which it is executed: canonical, with BatchNormalization folded.
///
/// # Errors
/// As [`canonicalise`].
pub fn normalise(graph: Graph) -> Result<Normalised, IrError> {
    let Canonical(mut graph) = canonicalise(graph)?;
    apply_all(&mut graph, BEFORE_EXECUTION)?;
    Ok(Normalised(Canonical(graph)))
}
