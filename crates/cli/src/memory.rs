//! Memory of this process and of the machine, where the system tells, and how much of it a verb may take.
use crate::args::MemoryArgs;
use compress::CompressError;
use yoloslim::Model;

/// The share of the machine's memory that a verb takes unless it is told.
const SHARE: u64 = 4;
/// The program itself, its threads and what it reads beside a model.
const PROGRAM_BYTES: u64 = 32_000_000;

/// Peak resident memory since the start or since [`forget_peak`].
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    of_process("VmHWM:")
}

/// Starts the peak anew, so that a model is not charged for the one before it (Linux: proc(5), `clear_refs`).
pub(crate) fn forget_peak() {
    // Elsewhere the peak is that of the whole process, which is true too.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// What a verb may take of memory, and what the loaded model takes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    loaded_bytes: u64,
    /// `None` where neither the user nor the system says.
    allowed_bytes: Option<u64>,
}

impl Room {
    /// As it was typed, else a quarter of the machine's memory, or of what its control group may have. What is loaded is reckoned from
    /// the file and the parameters, not measured: what is left may decide last bits.
    pub(crate) fn beside(model: &Model, args: &MemoryArgs) -> Self {
        let weights = model.graph.params() * size_of::<f32>() as u64;
        Self {
            loaded_bytes: model.file_bytes + weights + PROGRAM_BYTES,
            allowed_bytes: allowed_bytes(args),
        }
    }

    /// What is left beside what is loaded.
    pub(crate) fn bytes(self) -> usize {
        let left = self.allowed_bytes.map(|allowed| allowed.saturating_sub(self.loaded_bytes));
        left.map_or(usize::MAX, |left| left as usize)
    }

    /// What is taken in all where so much is taken beside what is loaded, in MB.
    pub(crate) fn whole_mb(self, beside_bytes: usize) -> u64 {
        (self.loaded_bytes + beside_bytes as u64).div_ceil(1_000_000)
    }

    /// The error, with the least that would do where memory is too small.
    pub(crate) fn explained(self, error: CompressError) -> anyhow::Error {
        let needed = match &error {
            CompressError::PruningMemory { needed, .. }
            | CompressError::TrainingMemory { needed, .. } => *needed,
            _ => return error.into(),
        };
        let least = format!("--memory-mb {} is the least that does", self.whole_mb(needed));
        anyhow::Error::from(error).context(least)
    }
}

/// What a verb may take in all; `None` where neither the user nor the system says.
pub(crate) fn allowed_bytes(args: &MemoryArgs) -> Option<u64> {
    let machine = || machine_bytes().map(|bytes| bytes / SHARE);
    args.memory_mb.map(|mb| u64::from(mb) * 1_000_000).or_else(machine)
}

/// The machine's memory, or what this process's control group may take of it (cgroups(7)).
fn machine_bytes() -> Option<u64> {
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let group = group.and_then(|limit| limit.trim().parse::<u64>().ok());
    let machine = field("/proc/meminfo", "MemTotal:");
    machine.into_iter().chain(group).min()
}

fn of_process(name: &str) -> Option<u64> {
    field("/proc/self/status", name)
}

/// A field in KiB of a file of proc(5), in bytes.
fn field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|l| l.starts_with(name))?;
    let kib = line.split_whitespace().nth(1)?.parse::<u64>().ok()?;
    Some(kib * 1024)
}
