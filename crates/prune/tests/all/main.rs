//! Pruning against dense references, on small graphs and real models.
mod attention;
mod close;
mod dense;
mod limits;
mod models;
mod oracle;
