//! From a compressed model to the fleet: bundles, their signatures, registries, the agent on a device, the pipeline.
//! This room knows bytes and digests, and no graph: what a model finds in an image it asks the program.
#![forbid(unsafe_code)]

pub mod agent;
pub mod bundle;
mod digest;
mod error;
mod files;
pub mod package;
pub mod pipeline;
pub mod promote;
mod proof;
mod sign;
pub mod status;
pub mod store;

pub use digest::{Blob, Digest, DigestWriter, NoDigest};
pub use error::DeliverError;
pub use sign::{KeyFiles, Passphrase, PublicKeys, Signature, SigningKey, keygen};
