//! What a command reads and what it writes: an output never replaces an input, nor another output.
use anyhow::{Result, bail};
use compress::RunDir;
use deliver::bundle::{Bundle, MANIFEST};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use yolo::Dataset;

/// The part of a model among the inputs.
pub(crate) const MODEL: &str = "the model";

/// The files that the arguments name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    inputs: BTreeMap<Identity, Named>,
    outputs: BTreeMap<Identity, Named>,
}

/// A file as the user names it, and its part in the command.
#[derive(Clone, Debug)]
struct Named {
    part: &'static str,
    path: PathBuf,
}

/// What two paths to one file have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// Of a file that is there: device and inode, which hard and symbolic links share.
    #[cfg(unix)]
    Inode(u64, u64),
    /// Of one that is not there yet, or of any where the system has no inodes: its path from the root.
    Path(PathBuf),
}

impl Files {
    /// What the arguments name.
    ///
    /// # Errors
    /// An output that is an input, or is named twice.
    pub(crate) fn new(
        inputs: &[(&'static str, &Path)],
        outputs: &[(&'static str, &Path)],
        run_dir: Option<&Path>,
        json: Option<&Path>,
    ) -> Result<Self> {
        let mut files = Self::default();
        for (part, path) in inputs {
            files.reads(part, path);
            if let Ok(bundle) = Bundle::open_unproved(path) {
                let names = bundle.manifest.files.keys().map(String::as_str);
                names.chain([MANIFEST]).for_each(|name| files.reads(part, &path.join(name)));
            }
            if *part == MODEL && !yoloslim::is_checkpoint(path) {
                for beside in onnx::external_files(path) {
                    files.reads("the model's external data", &beside);
                }
            }
        }
        for (part, path) in outputs {
            files.writes(part, path)?;
        }
        if let Some(run) = run_dir {
            for own in RunDir::own_files(run) {
                files.of_run(run, &own)?;
            }
        }
        if let Some(json) = json {
            files.writes("--json", json)?;
            if let Some(run) = run_dir.filter(|run| RunDir::owns(run, json)) {
                bail!(
                    "--json {} is a file that belongs to the run in {}: name a file elsewhere (metrics.json there holds the same)",
                    json.display(),
                    run.display()
                );
            }
        }
        Ok(files)
    }

    /// Refuses outputs that are files of a data set.
    ///
    /// # Errors
    /// As [`Files::of`].
    pub(crate) fn spare(&self, dataset: &Dataset) -> Result<()> {
        let there = |named: &Named| named.path.is_file();
        if !self.outputs.values().any(there) {
            return Ok(());
        }
        for path in dataset.files() {
            if let Some(output) = identity(&path).and_then(|id| self.outputs.get(&id)) {
                return refuse(output, "a file of the data set", &path);
            }
        }
        Ok(())
    }

    /// Refuses to draw `pictures` over files of the command or over `read`.
    ///
    /// # Errors
    /// As [`Files::of`].
    pub(crate) fn draws(
        &self,
        pictures: &[PathBuf],
        read: impl Iterator<Item = PathBuf>,
    ) -> Result<()> {
        let mut files = self.clone();
        for path in read {
            files.reads("an image", &path);
        }
        pictures.iter().try_for_each(|path| files.writes("--out", path))
    }

    fn reads(&mut self, part: &'static str, path: &Path) {
        if let Some(id) = identity(path) {
            let path = path.to_owned();
            self.inputs.entry(id).or_insert(Named { part, path });
        }
    }

    fn writes(&mut self, part: &'static str, path: &Path) -> Result<()> {
        let output = Named { part, path: path.to_owned() };
        let Some(id) = identity(path) else {
            return Ok(());
        };
        if let Some(input) = self.inputs.get(&id) {
            return refuse(&output, input.part, &input.path);
        }
        if let Some(other) = self.outputs.insert(id, output) {
            bail!(
                "{} {} and {part} {} are one file: name two",
                other.part,
                other.path.display(),
                path.display()
            );
        }
        Ok(())
    }

    /// A file that the run in a folder removes or replaces.
    fn of_run(&mut self, run: &Path, own: &Path) -> Result<()> {
        let Some(input) = identity(own).and_then(|id| self.inputs.get(&id)) else {
            return Ok(());
        };
        bail!(
            "{} ({}) belongs to the run in {}, which this command would write over: copy it elsewhere, or name another folder",
            input.path.display(),
            input.part,
            run.display()
        )
    }
}

fn refuse(output: &Named, part: &str, input: &Path) -> Result<()> {
    let other = if output.part == "--out" { "folder" } else { "file" };
    bail!(
        "{} {} would replace {part} that is read, {}: name another {other}",
        output.part,
        output.path.display(),
        input.display()
    )
}

/// `None` for a folder, a device or a pipe, which is not replaced.
fn identity(path: &Path) -> Option<Identity> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Some(of_file(path, &found)),
        Ok(_) => None,
        Err(_) => {
            let absolute = std::path::absolute(path).ok()?;
            let folder = absolute.parent()?.canonicalize();
            let name = absolute.file_name()?;
            Some(Identity::Path(folder.map_or(absolute.clone(), |f| f.join(name))))
        }
    }
}

#[cfg(unix)]
fn of_file(_: &Path, found: &std::fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity::Inode(found.dev(), found.ino())
}

#[cfg(not(unix))]
fn of_file(path: &Path, _: &std::fs::Metadata) -> Identity {
    Identity::Path(path.canonicalize().unwrap_or(path.to_owned()))
}

/// The file beside what a training writes, from which the same command goes on.
pub(crate) fn state_path(out: &Path) -> PathBuf {
    let mut path = out.to_owned().into_os_string();
    path.push(".state");
    PathBuf::from(path)
}
