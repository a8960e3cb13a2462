//! The model as it stands in a git repository, by the `git` program.
use super::child::{Ended, Runner};
use super::settings::{Settings, SourceSettings};
use crate::DeliverError;
use crate::bundle::write_whole;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Options of every git command: nothing that a repository brings along is executed, links are files with their target's name, and
/// only what is asked for is fetched.
const OPTIONS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "gc.auto=0",
    "advice.detachedHead=false",
];

/// Protocols that git may use.
const PROTOCOLS: &str = "https:ssh:file";

/// Variables by which git would work in another repository than the one it is started in.
const OTHER_REPOSITORY: &[&str] =
    &["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"];

/// How a file begins that holds where a large file is, and not the file.
/// Source: git-lfs, docs/spec.md.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
/// No pointer is longer.
const POINTER_BYTES: u64 = 1024;

/// What the reference names, and the commit that is checked out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Fetched {
    repository: String,
    reference: String,
    /// What the repository says that the reference names: a commit, or a tag that names one.
    pub(super) tip: String,
    pub(super) commit: String,
}

/// A repository and where it is checked out.
pub(super) struct Repository<'a> {
    settings: &'a Settings,
    source: &'a SourceSettings,
    runner: &'a Runner<'a>,
    folder: PathBuf,
}

impl<'a> Repository<'a> {
    pub(super) fn new(settings: &'a Settings, runner: &'a Runner<'a>) -> Self {
        let folder = settings.work.join("source");
        Self { settings, source: &settings.source, runner, folder }
    }

    /// Where files of the repository lie.
    pub(super) fn checkout(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// What the reference names now.
    ///
    /// # Errors
    /// `Git` where it cannot be asked, or there is no such reference.
    pub(super) fn tip(&self) -> Result<String, DeliverError> {
        let reference = &self.source.reference;
        if is_commit(reference) {
            return Ok(reference.clone());
        }
        let args = ["ls-remote", "--", &self.source.repository, reference];
        let listed = self.git(&args, &std::env::temp_dir())?;
        // A pattern also meets the ends of longer names: the shortest one, as git prefers it, is meant.
        let names = ["", "refs/", "refs/heads/", "refs/tags/"];
        let names = names.map(|prefix| format!("{prefix}{reference}"));
        let rows = || listed.lines().filter_map(|line| line.split_once('\t'));
        let found = names.iter().find_map(|name| rows().find(|(_, found)| found == name));
        let found = found.map(|(object, _)| object.to_owned());
        found.ok_or_else(|| DeliverError::NoReference {
            repository: self.source.repository.clone(),
            reference: reference.clone(),
        })
    }

    /// Checks out what the reference names, with large files in place of their pointers. Gives whether anything was fetched.
    ///
    /// # Errors
    /// `Git`, `NoReference`, `Pointer`, `NotInRepository`, `Write`.
    pub(super) fn fetch(&self) -> Result<(Fetched, bool), DeliverError> {
        let SourceSettings { repository, reference, .. } = self.source;
        let tip = self.tip()?;
        let checkout = self.checkout();
        fs::create_dir_all(&checkout).map_err(|e| DeliverError::write(&checkout, e))?;
        let state = self.folder.join("fetched.json");
        let known = fs::read(&state).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let known = known.filter(|known: &Fetched| {
            known.repository == *repository && known.reference == *reference && known.tip == tip
        });
        let commit = match &known {
            Some(known) => known.commit.clone(),
            None => self.fetch_commit(&tip)?,
        };
        // Whatever an interruption left, or somebody changed, is put right.
        self.git(&["checkout", "--quiet", "--force", "--detach", &commit], &checkout)?;
        self.git(&["clean", "--quiet", "-ffdx"], &checkout)?;
        self.replace_pointers()?;
        let fetched =
            Fetched { repository: repository.clone(), reference: reference.clone(), tip, commit };
        let text = serde_json::to_string_pretty(&fetched).unwrap_or_default();
        write_whole(&state, text.as_bytes())?;
        Ok((fetched, known.is_none()))
    }

    fn fetch_commit(&self, tip: &str) -> Result<String, DeliverError> {
        let checkout = self.checkout();
        self.git(&["init", "--quiet"], &checkout)?;
        let SourceSettings { repository, reference, .. } = self.source;
        let wanted = if is_commit(reference) { tip } else { reference };
        let fetch = [
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--force",
            "--end-of-options",
            repository,
            wanted,
        ];
        self.git(&fetch, &checkout)?;
        let commit = self.git(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"], &checkout)?;
        Ok(commit.trim().to_owned())
    }

    /// Fetches large files whose pointers are there, of those that are wanted.
    fn replace_pointers(&self) -> Result<(), DeliverError> {
        let pointers = self.pointers()?;
        let Some(first) = pointers.first() else {
            return Ok(());
        };
        let refused = |why: String| DeliverError::Pointer {
            path: self.relative(first),
            count: pointers.len(),
            why,
        };
        let has_lfs =
            self.runner.run("git lfs", Command::new("git").args(["lfs", "version"]), None);
        if !has_lfs.is_ok_and(|ended| ended.code == Some(0)) {
            return Err(refused("git-lfs, which fetches it, is not installed".to_owned()));
        }
        let include: Vec<String> =
            pointers.iter().map(|path| self.relative(path).display().to_string()).collect();
        let checkout = self.checkout();
        let include = format!("--include={}", include.join(","));
        // The repository was fetched by its address, without a remote's name, and large files are asked for where it was.
        let remote = format!("remote.origin.url={}", self.source.repository);
        let filters = [
            "filter.lfs.smudge=git-lfs smudge -- %f",
            "filter.lfs.clean=git-lfs clean -- %f",
            "filter.lfs.process=git-lfs filter-process",
        ];
        let mut args = vec!["-c", &remote];
        args.extend(filters.iter().flat_map(|filter| ["-c", filter]));
        args.extend(["lfs", "pull", &include, "--exclude=", "origin"]);
        self.git(&args, &checkout)?;
        if let Some(left) = self.pointers()?.first() {
            let why = format!("git-lfs did not fetch {}", self.relative(left).display());
            return Err(refused(why));
        }
        Ok(())
    }

    /// Wanted files that are pointers.
    fn pointers(&self) -> Result<Vec<PathBuf>, DeliverError> {
        let mut found = Vec::new();
        for wanted in self.settings.wanted() {
            let path = self.checkout().join(&wanted);
            if !path.exists() {
                let repository = self.source.repository.clone();
                return Err(DeliverError::NotInRepository { repository, path: wanted });
            }
            pointers_below(&path, &mut found)?;
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.checkout()).unwrap_or(path).to_path_buf()
    }

    /// Runs git and gives what it prints.
    fn git(&self, args: &[&str], folder: &Path) -> Result<String, DeliverError> {
        let mut command = Command::new("git");
        for option in OPTIONS {
            command.args(["-c", option]);
        }
        command.args(args).current_dir(folder);
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ALLOW_PROTOCOL", PROTOCOLS);
        command.env("GIT_LFS_SKIP_SMUDGE", "1").env("LC_ALL", "C");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        for name in OTHER_REPOSITORY {
            command.env_remove(name);
        }
        let verb = args.iter().find(|arg| !arg.starts_with('-') && !arg.contains('='));
        let name = format!("git {}", verb.unwrap_or(&""));
        let limit = Duration::from_secs(self.source.timeout_s);
        let Ended { code, how, printed, told } =
            self.runner.run(&name, &mut command, Some(limit))?;
        if code == Some(0) {
            return Ok(printed);
        }
        let repository = self.source.repository.clone();
        Err(DeliverError::Git { name, repository, how, told })
    }
}

/// A commit's full name, by SHA-1 or by SHA-256.
fn is_commit(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Files that are pointers: the path itself, or below it.
fn pointers_below(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), DeliverError> {
    let failed = |e| DeliverError::read(path, e);
    let metadata = fs::symlink_metadata(path).map_err(failed)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name() != ".git" {
                pointers_below(&entry.path(), found)?;
            }
        }
    } else if metadata.is_file() && metadata.len() <= POINTER_BYTES {
        let bytes = fs::read(path).map_err(failed)?;
        if bytes.starts_with(POINTER) {
            found.push(path.to_path_buf());
        }
    }
    Ok(())
}
