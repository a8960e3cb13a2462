//! What can go wrong on the way from a bundle to a device.
use crate::{Digest, NoDigest};
use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong on the way from a bundle to a device.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A text is no digest.
    #[error(transparent)]
    NoDigest(#[from] NoDigest),
    /// Bytes are not those that were promised.
    #[error("{what} is not what was promised: expected {expected}, found {found}")]
    Digest {
        /// What was read.
        what: String,
        /// The digest that was promised.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A file has another size than was promised.
    #[error("{what} has {found} bytes where {expected} were promised")]
    Size {
        /// What was read.
        what: String,
        /// Bytes promised.
        expected: u64,
        /// Bytes found; at least these where reading was ended.
        found: u64,
    },
    /// A folder is no bundle.
    #[error("{path} is no bundle: {why}", path = path.display())]
    Bundle {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A name would leave the bundle's folder, or be read differently elsewhere.
    #[error(
        "`{name}` is no name of a file in a bundle: names have parts of letters, digits, `.`, `-` and `_`, joined by `/`, none beginning with `.`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A bundle has no signature.
    #[error("{path} is not signed", path = path.display())]
    Unsigned {
        /// The bundle.
        path: PathBuf,
    },
    /// A signature is not one of the keys that are trusted.
    #[error("{path}: signed by key {key}, which is none of the trusted ones ({trusted})", path = path.display())]
    Untrusted {
        /// What was signed.
        path: PathBuf,
        /// The key's number.
        key: String,
        /// Numbers of the trusted keys.
        trusted: String,
    },
    /// A signature does not belong to what it lies beside.
    #[error("{path}: the signature does not fit: {why}", path = path.display())]
    Signature {
        /// What was signed.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
    /// A key cannot be used.
    #[error("{path}: {why}", path = path.display())]
    Key {
        /// The key's file.
        path: PathBuf,
        /// Why.
        why: String,
    },

    // Where bundles are kept.
    /// A text names no place for bundles.
    #[error(
        "`{text}` is no place for bundles: {why} (a registry is HOST[:PORT]/REPOSITORY[:TAG][@sha256:…], a folder oci:PATH[:TAG])"
    )]
    Location {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is no such tag, manifest or blob.
    #[error("{store} has no {what}")]
    Missing {
        /// The place.
        store: String,
        /// What was looked for.
        what: String,
    },
    /// An OCI layout folder cannot be understood.
    #[error("{path} is no OCI layout that can be read: {why}", path = path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A manifest is not the one that was asked for.
    #[error(
        "{store}: the manifest is not the one that was asked for: expected {expected}, found {found}"
    )]
    ManifestDigest {
        /// The place.
        store: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// What is stored is no bundle, or contradicts itself.
    #[error("{store}: no bundle: {why}")]
    Package {
        /// The place.
        store: String,
        /// What is wrong.
        why: String,
    },
    /// Something is larger than is allowed.
    #[error("{what} has {found} bytes; at most {limit} are taken")]
    Oversized {
        /// What it is.
        what: String,
        /// Bytes allowed.
        limit: u64,
        /// Bytes promised, or that came before reading was ended.
        found: u64,
    },
    /// An archive holds what no bundle does: links, devices, files that are not named.
    #[error("{what}: `{name}` {why}")]
    Unpack {
        /// The archive.
        what: String,
        /// The entry.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is not enough room on the disk.
    #[error("{path}: {needed} bytes are needed, and {available} are free", path = path.display())]
    Space {
        /// Where.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        available: u64,
    },
    /// A folder that was to be made is there, and holds something else.
    #[error("{path} exists, and is not this bundle", path = path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },

    // Registries.
    /// Certificates that are to be trusted cannot be had.
    #[error("{from}: {why}")]
    Certificates {
        /// Where they were looked for.
        from: String,
        /// Why there are none.
        why: String,
    },
    /// A registry cannot be connected to, or the connection cannot be trusted.
    #[error("cannot reach {host}: {why}")]
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// A registry does not let whoever asks do it: 401 or 403.
    #[error("{what}: {status} {said}; {tried}")]
    Denied {
        /// What was asked for.
        what: String,
        /// The answer's status.
        status: u16,
        /// What the registry says.
        said: String,
        /// With which credentials it was asked.
        tried: String,
    },
    /// A registry answers what ends the attempt, or what it never should.
    #[error("{what}: {status} {said}")]
    Answer {
        /// What was asked for.
        what: String,
        /// The answer's status.
        status: u16,
        /// What the registry says, or what is wrong with its answer.
        said: String,
    },
    /// A registry sends on to where nobody follows.
    #[error("{from} redirects to {to}, which is refused: {why}")]
    Redirect {
        /// Whence.
        from: String,
        /// Whither.
        to: String,
        /// Why it is refused.
        why: String,
    },
    /// A registry names another digest than its bytes have.
    #[error("{what}: the registry says {said}, and its bytes are {found}")]
    Lie {
        /// What was asked for.
        what: String,
        /// The digest that it names.
        said: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// More bytes came than were promised, and there was no end to them.
    #[error("{what}: more than the promised {promised} bytes came")]
    Endless {
        /// What was read.
        what: String,
        /// Bytes promised.
        promised: u64,
    },
    /// No bytes came any more, or too few.
    #[error("{what}: stalled after {read} bytes")]
    Stalled {
        /// What was read.
        what: String,
        /// Bytes that came before.
        read: u64,
    },
    /// Fewer bytes came than were promised, however often it was tried.
    #[error("{what}: ended after {read} of {promised} bytes: {why}")]
    Truncated {
        /// What was read.
        what: String,
        /// Bytes promised.
        promised: u64,
        /// Bytes that came.
        read: u64,
        /// How it ended.
        why: String,
    },
    // The pipeline.
    /// Settings say what cannot be.
    #[error("{path}: {why}", path = path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line or the key.
        why: String,
    },
    /// Another process works in the folder.
    #[error("another pipeline is at work in {path}", path = path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// It was told to end.
    #[error("interrupted")]
    Interrupted,
    /// A program cannot be started.
    #[error("{name} cannot be started: {source}")]
    Start {
        /// The program.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// A program took too long.
    #[error("{name} was ended after {seconds} s")]
    Slow {
        /// The program.
        name: String,
        /// How long it may take.
        seconds: u64,
    },
    /// This program, started for a stage, failed.
    #[error("{verb} failed: {told}")]
    Failed {
        /// The verb.
        verb: String,
        /// The last that it said.
        told: String,
    },
    /// This program, started for a stage, did not end by itself.
    #[error("{verb} crashed ({how}): {told}")]
    Child {
        /// The verb.
        verb: String,
        /// How it ended.
        how: String,
        /// The last that it said.
        told: String,
    },
    /// Git failed.
    #[error("{name} of {repository} failed ({how}): {told}")]
    Git {
        /// The command.
        name: String,
        /// The repository.
        repository: String,
        /// How it ended.
        how: String,
        /// The last that it said.
        told: String,
    },
    /// A repository has no such branch, tag or commit.
    #[error("{repository} has no `{reference}`")]
    NoReference {
        /// The repository.
        repository: String,
        /// What was looked for.
        reference: String,
    },
    /// A repository has no such file.
    #[error("{repository} has no {path} in the commit that was asked for", path = path.display())]
    NotInRepository {
        /// The repository.
        repository: String,
        /// The file.
        path: PathBuf,
    },
    /// A file of a repository is a Git LFS pointer, and the file itself cannot be had.
    #[error("{path} is a Git LFS pointer, one of {count}, and not the file itself: {why}", path = path.display())]
    Pointer {
        /// The first of them.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// Why it stays one.
        why: String,
    },
    /// A version is not above the one that is there.
    #[error(
        "version {version} is lower than {least}: devices take no version that is lower than their own"
    )]
    OldVersion {
        /// The version that was set.
        version: u64,
        /// The least that can be.
        least: u64,
    },
    /// A file is not the record that it should be.
    #[error("{path} is no record of a run: {why}", path = path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    // The agent, and what it reports.
    /// Another agent has the folder.
    #[error("{path} is in use by another agent", path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// All is to stop.
    #[error("stopped")]
    Stopped,
    /// A version that is lower than one that was taken before.
    #[error(
        "version {version} is lower than {highest}, which this device has taken before: to go back, sign the older bundle as a new version"
    )]
    Downgrade {
        /// The version that is offered.
        version: u64,
        /// The highest that was ever taken.
        highest: u64,
    },
    /// Two bundles are signed as the same version.
    #[error("version {version} is {found} now, and was {expected} before")]
    SameVersion {
        /// The version.
        version: u64,
        /// The bundle that was taken.
        expected: Digest,
        /// The bundle that is offered.
        found: Digest,
    },
    /// A bundle has no model for this device.
    #[error("the bundle has no model for `{target}`, only for {known}")]
    NoTarget {
        /// The device's target.
        target: String,
        /// Targets that it has models for.
        known: String,
    },
    /// A program cannot be started, or does not end.
    #[error("{program}: {why}", program = program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// A bundle does not find what it must find.
    #[error("the golden frames are not found as they must be: {why}")]
    WarmUp {
        /// What the program said.
        why: String,
    },
    /// `serve` does not answer as it must.
    #[error("{url}: {why}")]
    Serve {
        /// What was asked.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A report of a device cannot be believed.
    #[error("the report in {tag} is refused: {why}")]
    Report {
        /// The tag.
        tag: String,
        /// Why.
        why: String,
    },
}

impl DeliverError {
    /// Whether a repository could not be reached, or broke off: nothing else can be asked of it now.
    pub(crate) fn is_away(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Truncated { .. } => true,
            Self::Answer { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            _ => false,
        }
    }

    /// Whether a repository has said its last word: asking again sooner than usual changes nothing, nor would asking later.
    pub(crate) fn is_final_answer(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Denied { .. } | Self::Redirect { .. } => true,
            Self::Answer { .. } => !self.is_away(),
            _ => false,
        }
    }

    pub(crate) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_path_buf(), source }
    }

    /// Whether the same may go well later, with nothing changed: where a network, a registry or memory failed.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Git { .. } | Self::Slow { .. } | Self::Child { .. } => true,
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Truncated { .. } => true,
            Self::Answer { status, .. } => matches!(status, 408 | 429 | 500..=599),
            _ => false,
        }
    }

    /// How a verb of this program ended that did not end well.
    pub(crate) fn child(verb: &str, how: String, told: String, code: Option<i32>) -> Self {
        let verb = verb.to_owned();
        match code {
            Some(_) => Self::Failed { verb, told },
            None => Self::Child { verb, how, told },
        }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_path_buf(), source }
    }
}
