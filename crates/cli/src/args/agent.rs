//! What `agent` and `promote` take.
use super::registry::RegistryArgs;
use clap::{Args as ClapArgs, Subcommand};
use deliver::store::Location;
use std::path::PathBuf;

/// Arguments of `agent`.
#[derive(Debug, ClapArgs)]
pub(crate) struct AgentArgs {
    #[command(subcommand)]
    pub(crate) task: AgentTask,
}

/// What the agent is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentTask {
    /// Watch the alias and bring the device to what it names, again and again until interrupted.
    Run(AgentRunArgs),
    /// Show what the agent of a device last reported.
    Status(AgentStatusArgs),
}

/// Arguments of `agent run`.
#[derive(Debug, ClapArgs)]
pub(crate) struct AgentRunArgs {
    /// The agent's settings (agent.toml).
    pub(crate) config: PathBuf,
    /// Look once and end. Exit code 1 where the device does not take what the alias names.
    #[arg(long)]
    pub(crate) once: bool,
}

/// Arguments of `agent status`.
#[derive(Debug, ClapArgs)]
pub(crate) struct AgentStatusArgs {
    /// The agent's settings (agent.toml), or its state folder.
    pub(crate) place: PathBuf,
}

/// Arguments of `promote`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PromoteArgs {
    /// The repository and the tag to promote: HOST[:PORT]/REPOSITORY:TAG, or oci:PATH:TAG.
    pub(crate) source: Location,
    /// The tag that is to name the same bundle.
    #[arg(long, value_name = "TAG")]
    pub(crate) to: String,
    /// How many devices must report the bundle to be healthy, each under a key of its own; 0 asks no device.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) healthy: usize,
    /// The devices' public key, or a folder of them (*.pub), by which their reports are verified.
    #[arg(long, value_name = "PUB|DIR")]
    pub(crate) devices: Option<PathBuf>,
    /// Promote even if the bundle failed on a device.
    #[arg(long)]
    pub(crate) despite_rollbacks: bool,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
}
