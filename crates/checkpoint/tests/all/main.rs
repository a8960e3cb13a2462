//! Checkpoints as they are found: containers, modules, whole models.
mod containers;
#[path = "../made/mod.rs"]
mod made;
mod models;
mod modules;
