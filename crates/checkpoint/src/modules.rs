//! The modules that are understood, one family a file, and the one list that builds them.
//! What each computes is taken from the papers and from the graphs that exporters write.
use crate::CheckpointError;
use crate::builder::Builder;
use crate::module::{MODULE_BYTES, Module};
use ir::ValueId;

mod area_attention;
mod attention;
mod convolution;
mod cross_stage;
mod element_wise;
mod gates;
mod ghost;
mod hierarchical;
mod pooling;
mod reparameterized;
mod routing;
mod scope;
mod transformer;

pub(crate) use element_wise::function as function_of_activation;
pub(crate) use scope::{Built, Scope};

/// Modules nest some ten deep in the models known; a file may state any depth.
const MAX_DEPTH: usize = 32;

/// How a module is built.
#[derive(Clone, Copy)]
enum Build {
    /// One value from one.
    Value(fn(&mut Scope<'_, '_>, ValueId) -> Built),
    /// Several values from those that several layers give.
    Lists(fn(&mut Scope<'_, '_>, &[Vec<ValueId>]) -> routing::Lists),
}
use Build::{Lists, Value};

/// Every class that is understood, by the name it has in its package.
const MODULES: &[(&str, Build)] = &[
    ("Conv2d", Value(convolution::conv2d)),
    ("ConvTranspose2d", Value(convolution::conv_transpose2d)),
    ("DWConvTranspose2d", Value(convolution::conv_transpose2d)),
    ("BatchNorm2d", Value(convolution::batch_norm)),
    ("SyncBatchNorm", Value(convolution::batch_norm)),
    ("Conv", Value(convolution::block)),
    ("DWConv", Value(convolution::block)),
    ("Conv2", Value(convolution::parallel_block)),
    ("ConvTranspose", Value(convolution::transposed_block)),
    ("LightConv", Value(convolution::light)),
    ("Bottleneck", Value(cross_stage::bottleneck)),
    ("BottleneckCSP", Value(cross_stage::bottleneck_csp)),
    ("CrossConv", Value(cross_stage::bottleneck)),
    ("C1", Value(cross_stage::c1)),
    ("C2", Value(cross_stage::c2)),
    ("C3", Value(cross_stage::c3)),
    ("C3k", Value(cross_stage::c3)),
    ("C3Ghost", Value(cross_stage::c3)),
    ("C3SPP", Value(cross_stage::c3)),
    ("C3TR", Value(cross_stage::c3)),
    ("C3x", Value(cross_stage::c3)),
    ("RepCSP", Value(cross_stage::c3)),
    ("RepNCSP", Value(cross_stage::c3)),
    ("RepBottleneck", Value(cross_stage::bottleneck)),
    ("RepNBottleneck", Value(cross_stage::bottleneck)),
    ("RepC3", Value(cross_stage::rep_c3)),
    ("C2f", Value(cross_stage::c2f)),
    ("C3k2", Value(cross_stage::c2f)),
    ("C2fCIB", Value(cross_stage::c2f)),
    ("C2fPSA", Value(cross_stage::c2f)),
    ("C3f", Value(cross_stage::c3f)),
    ("ResNetBlock", Value(cross_stage::res_net_block)),
    ("ResNetLayer", Value(cross_stage::res_net_layer)),
    ("C2PSA", Value(attention::c2psa)),
    ("PSA", Value(attention::psa)),
    ("PSABlock", Value(attention::block)),
    ("Attention", Value(attention::attention)),
    ("A2C2f", Value(area_attention::a2c2f)),
    ("ABlock", Value(area_attention::block)),
    ("AAttn", Value(area_attention::area_attention)),
    ("TransformerBlock", Value(transformer::block)),
    ("TransformerLayer", Value(transformer::layer)),
    ("AIFI", Value(transformer::encoder)),
    ("Linear", Value(transformer::linear)),
    ("NonDynamicallyQuantizableLinear", Value(transformer::linear)),
    ("LayerNorm", Value(transformer::layer_norm)),
    ("ChannelAttention", Value(gates::channels)),
    ("SpatialAttention", Value(gates::positions)),
    ("CBAM", Value(gates::both)),
    ("HGStem", Value(hierarchical::stem)),
    ("HGBlock", Value(hierarchical::block)),
    ("GhostConv", Value(ghost::conv)),
    ("GhostBottleneck", Value(ghost::bottleneck)),
    ("RepConv", Value(reparameterized::rep_conv)),
    ("RepConvN", Value(reparameterized::rep_conv)),
    ("RepVGGDW", Value(reparameterized::rep_vgg_dw)),
    ("CIB", Value(reparameterized::cib)),
    ("SCDown", Value(reparameterized::sc_down)),
    ("ADown", Value(reparameterized::a_down)),
    ("AConv", Value(reparameterized::a_conv)),
    ("DownC", Value(reparameterized::down_c)),
    ("RepNCSPELAN4", Value(reparameterized::elan)),
    ("ELAN1", Value(reparameterized::elan)),
    ("CBLinear", Lists(routing::cut_linear)),
    ("CBFuse", Lists(routing::fuse_lists)),
    ("MaxPool2d", Value(pooling::max_pool)),
    ("AvgPool2d", Value(pooling::average_pool)),
    ("AdaptiveAvgPool2d", Value(pooling::global_average_pool)),
    ("ZeroPad2d", Value(pooling::pad)),
    ("ConstantPad2d", Value(pooling::pad)),
    ("ReflectionPad2d", Value(pooling::pad)),
    ("ReplicationPad2d", Value(pooling::pad)),
    ("MP", Value(pooling::wrapped)),
    ("SP", Value(pooling::wrapped)),
    ("SPP", Value(pooling::spp)),
    ("SPPF", Value(pooling::sppf)),
    ("SPPCSPC", Value(pooling::spp_csp)),
    ("SPPELAN", Value(pooling::spp_elan)),
    ("Sequential", Value(routing::sequential)),
    ("Concat", Lists(routing::concat)),
    ("Shortcut", Lists(routing::sum)),
    ("Index", Lists(routing::index)),
    ("Focus", Value(routing::focus)),
    ("ReOrg", Value(routing::reorganize)),
    ("Contract", Value(routing::contract)),
    ("Expand", Value(routing::expand)),
    ("Upsample", Value(routing::upsample)),
    ("UpsamplingNearest2d", Value(routing::upsample)),
    ("UpsamplingBilinear2d", Value(routing::upsample)),
    ("Identity", Value(element_wise::identity)),
    ("Silence", Value(element_wise::identity)),
    ("Dropout", Value(element_wise::identity)),
    ("Dropout2d", Value(element_wise::identity)),
    ("SiLU", Value(element_wise::activation)),
    ("Swish", Value(element_wise::activation)),
    ("MemoryEfficientSwish", Value(element_wise::activation)),
    ("ReLU", Value(element_wise::activation)),
    ("ReLU6", Value(element_wise::activation)),
    ("LeakyReLU", Value(element_wise::activation)),
    ("Hardtanh", Value(element_wise::activation)),
    ("Hardswish", Value(element_wise::activation)),
    ("Hardsigmoid", Value(element_wise::activation)),
    ("Sigmoid", Value(element_wise::activation)),
    ("Tanh", Value(element_wise::activation)),
    ("Mish", Value(element_wise::activation)),
    ("MemoryEfficientMish", Value(element_wise::activation)),
    ("GELU", Value(element_wise::activation)),
    ("ELU", Value(element_wise::activation)),
    ("SELU", Value(element_wise::activation)),
    ("Softplus", Value(element_wise::activation)),
    ("Softsign", Value(element_wise::activation)),
    ("PReLU", Value(element_wise::p_relu)),
    ("FReLU", Value(element_wise::funnel)),
];

/// Classes that are recognised and not built.
const OTHERS: &[(&str, &str)] = &[
    ("C2fAttn", "a block that reads text"),
    ("ImagePoolingAttn", "a block that reads text"),
    ("MaxSigmoidAttnBlock", "a block that reads text"),
    ("TorchVision", "a network of torchvision"),
];

/// Adds what a layer computes from the values that each layer before it gives, and gives its own.
///
/// # Errors
/// `UnknownClass` or `Unsupported` for a class that is not in the list, `TooDeep` for modules without end; what is wrong with it otherwise.
pub(crate) fn build<'t>(
    builder: &mut Builder<'t>,
    module: &Module<'t>,
    inputs: &[Vec<ValueId>],
) -> Result<Vec<ValueId>, CheckpointError> {
    let known = MODULES.iter().find(|(class, _)| *class == module.class);
    let &(_, build) = known.ok_or_else(|| unknown(module))?;
    if builder.depth >= MAX_DEPTH {
        return Err(CheckpointError::TooDeep { at: module.path.clone(), allowed: MAX_DEPTH });
    }
    let at = || module.path.clone();
    builder.budget.charge(MODULE_BYTES, at)?;
    builder.depth += 1;
    let mut scope = Scope { builder, module };
    let built = match build {
        Lists(build) => build(&mut scope, inputs),
        Value(build) => match inputs.concat()[..] {
            [x] => build(&mut scope, x).map(|y| vec![y]),
            ref other => Err(CheckpointError::Expected {
                at: module.path.clone(),
                expected: "one input",
                found: other.len().to_string(),
            }),
        },
    };
    builder.depth -= 1;
    built
}

fn unknown(module: &Module<'_>) -> CheckpointError {
    match OTHERS.iter().find(|(class, _)| *class == module.class) {
        Some((_, feature)) => module.unsupported(feature),
        None => {
            CheckpointError::UnknownClass { at: module.path.clone(), class: module.class_path() }
        }
    }
}

/// As [`build`], from one value to one.
pub(crate) fn build_one<'t>(builder: &mut Builder<'t>, module: &Module<'t>, x: ValueId) -> Built {
    let values = build(builder, module, &[vec![x]])?;
    match values[..] {
        [value] => Ok(value),
        _ => Err(module.unsupported("giving several values here")),
    }
}
