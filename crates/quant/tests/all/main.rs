//! Quantized graphs: where Q and DQ stand, and what they do to real models.
mod placement;
mod plan_and_apply;
mod real_models;
