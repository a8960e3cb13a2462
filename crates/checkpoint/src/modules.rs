//! The modules that are understood, one family a file, and the one list that builds them.
//! What each computes is taken from the papers and from the graphs that exporters write.
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::Module;
use ir::ValueId;

mod area_attention;
mod attention;
mod convolution;
mod cross_stage;
mod detect;
mod detect_anchors;
mod detect_distances;
mod detect_once;
mod detect_tasks;
mod element_wise;
mod ghost;
mod pooling;
mod reparameterized;
mod routing;

pub(crate) use detect::{Head, build as build_head, is_head};

/// Modules nest some ten deep in the models known; a file may state any depth.
const MAX_DEPTH: usize = 32;

type Build = fn(&mut Builder<'_, '_>, &Module<'_>, &[ValueId]) -> Result<ValueId, CheckpointError>;

/// Every class that is understood, by the name it has in its package.
const MODULES: &[(&str, Build)] = &[
    ("Conv2d", convolution::conv2d),
    ("ConvTranspose2d", convolution::conv_transpose2d),
    ("BatchNorm2d", convolution::batch_norm),
    ("Conv", convolution::block),
    ("DWConv", convolution::block),
    ("Bottleneck", cross_stage::bottleneck),
    ("BottleneckCSP", cross_stage::bottleneck_csp),
    ("C3", cross_stage::c3),
    ("C3k", cross_stage::c3),
    ("C3Ghost", cross_stage::c3),
    ("C3x", cross_stage::c3),
    ("RepCSP", cross_stage::c3),
    ("RepBottleneck", cross_stage::bottleneck),
    ("C2", cross_stage::c2),
    ("C2f", cross_stage::c2f),
    ("C3k2", cross_stage::c2f),
    ("C2fCIB", cross_stage::c2f),
    ("C2PSA", attention::c2psa),
    ("PSA", attention::psa),
    ("PSABlock", attention::block),
    ("Attention", attention::attention),
    ("A2C2f", area_attention::a2c2f),
    ("ABlock", area_attention::block),
    ("AAttn", area_attention::attention),
    ("GhostConv", ghost::conv),
    ("GhostBottleneck", ghost::bottleneck),
    ("RepConv", reparameterized::rep_conv),
    ("RepVGGDW", reparameterized::rep_vgg_dw),
    ("CIB", reparameterized::cib),
    ("SCDown", reparameterized::sc_down),
    ("ADown", reparameterized::a_down),
    ("RepNCSPELAN4", reparameterized::elan),
    ("SPPELAN", reparameterized::spp_elan),
    ("MaxPool2d", pooling::max_pool),
    ("SPP", pooling::spp),
    ("SPPF", pooling::sppf),
    ("Sequential", routing::sequential),
    ("Concat", routing::concat),
    ("Focus", routing::focus),
    ("Upsample", routing::upsample),
    ("Identity", element_wise::identity),
    ("SiLU", element_wise::activation),
    ("ReLU", element_wise::activation),
    ("ReLU6", element_wise::activation),
    ("LeakyReLU", element_wise::activation),
    ("Hardswish", element_wise::activation),
    ("Hardsigmoid", element_wise::activation),
    ("Sigmoid", element_wise::activation),
    ("Tanh", element_wise::activation),
];

/// Adds what a module computes and gives its output.
///
/// # Errors
/// `UnknownClass` for a class that is not in the list, `TooDeep` for modules without end; what is wrong with it otherwise.
pub(crate) fn build(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    inputs: &[ValueId],
) -> Result<ValueId, CheckpointError> {
    let known = MODULES.iter().find(|(class, _)| *class == module.class);
    let (_, build) = known.ok_or_else(|| CheckpointError::UnknownClass {
        at: module.path.clone(),
        class: module.class_path(),
    })?;
    if builder.depth >= MAX_DEPTH {
        return Err(CheckpointError::TooDeep {
            at: module.path.clone(),
            allowed: MAX_DEPTH,
        });
    }
    builder.depth += 1;
    let built = build(builder, module, inputs);
    builder.depth -= 1;
    built
}

/// Builds the submodule of that name on one input.
fn build_child(
    builder: &mut Builder<'_, '_>,
    module: &Module<'_>,
    name: &str,
    input: ValueId,
) -> Result<ValueId, CheckpointError> {
    build(builder, &module.child(name)?, &[input])
}

/// The only input of a module.
fn single(module: &Module<'_>, inputs: &[ValueId]) -> Result<ValueId, CheckpointError> {
    match inputs {
        [input] => Ok(*input),
        _ => Err(CheckpointError::Expected {
            at: module.path.clone(),
            expected: "one input",
            found: inputs.len().to_string(),
        }),
    }
}
