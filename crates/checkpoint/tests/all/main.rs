//! Checkpoints as they are found: containers, modules, whole models, damaged files.
mod containers;
mod hostile;
mod made;
mod models;
mod modules;
