//! The folder that `calibset` writes: images, labels, data.yaml and calibset.json.
use anyhow::{Context, Result, bail, ensure};
use compress::file_digest;
use numerics::parallel_map;
use observe::calibset::{
    CalibsetPlan, Candidate, Conditions, Coverage, How, Picked, Scene, Source, Synthetic,
    synthesise,
};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use yolo::metrics::GroundTruthObject;
use yolo::{Dataset, ImageItem, ImageMeasures, read_rgb, save_image, write_file};

/// By this file the folder is known as one that may be written over.
const MANIFEST: &str = "calibset.json";
/// Lists the images that judge, where they lie.
const VAL: &str = "val.txt";

/// A folder of our own.
pub(super) struct Folder(PathBuf);

/// calibset.json.
#[derive(Debug, Serialize)]
pub(super) struct Manifest<'a> {
    pub(super) seed: u64,
    pub(super) extremes: f64,
    pub(super) objects: Source,
    pub(super) coverage: &'a [Coverage],
    pub(super) images: &'a [Entry],
}

/// One image of the set.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    /// Below the folder.
    file: String,
    sha256: String,
    /// What it was picked or made for: `representative`, or a condition.
    why: &'static str,
    synthetic: bool,
    /// Conditions that it shows, as it was picked or made.
    shows: Vec<&'static str>,
    measures: ImageMeasures,
    /// Images that it is, or was made of.
    source: Vec<String>,
    /// How it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<How>,
}

impl Entry {
    /// As the page shows it.
    pub(super) fn shown(&self) -> report::CoveredImage<'_> {
        report::CoveredImage { file: &self.file, shows: &self.shows, is_synthetic: self.synthetic }
    }
}

/// Where images come from.
pub(super) struct SourceImages<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) candidates: &'a [Candidate],
    pub(super) conditions: &'a Conditions,
}

impl SourceImages<'_> {
    fn path(&self, candidate: usize) -> &Path {
        &self.dataset.images[self.candidates[candidate].at].path
    }

    fn objects(&self, candidate: usize) -> Vec<GroundTruthObject> {
        let Candidate { at, size_px: [width, height], .. } = self.candidates[candidate];
        self.dataset.images[at].objects(width, height)
    }

    fn scene(&self, candidate: usize) -> Result<Scene> {
        let image = read_rgb(self.path(candidate))?;
        Ok(Scene { image, objects: self.objects(candidate) })
    }
}

/// One file that is to be written.
enum Task<'a> {
    Picked(&'a Picked),
    Synthetic(&'a Synthetic),
}

impl Folder {
    /// A folder that is new, empty, or holds a calibration set.
    pub(super) fn own(path: &Path) -> Result<Self> {
        let is_empty = fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        ensure!(
            is_empty || path.join(MANIFEST).is_file(),
            "{} is not empty and holds no calibration set, so it is left as it is: name a new folder with -o",
            path.display()
        );
        Ok(Self(path.to_owned()))
    }

    /// Removes the images and labels of the set that is replaced, unless images are to be chosen from them.
    pub(super) fn clear(&self, source: &Dataset) -> Result<()> {
        let own = self.0.canonicalize().ok();
        let is_inside = |image: &&ImageItem| {
            image.path.canonicalize().is_ok_and(|p| own.as_ref().is_some_and(|o| p.starts_with(o)))
        };
        if let Some(image) = source.images.iter().find(is_inside) {
            bail!(
                "{}: the set is written over, and {} in it is an image of the data: name a new folder with -o",
                self.0.display(),
                image.path.display()
            );
        }
        for part in ["images", "labels"] {
            let part = self.0.join(part);
            if part.is_dir() {
                fs::remove_dir_all(&part)
                    .with_context(|| format!("cannot remove {}", part.display()))?;
            }
            let train = part.join("train");
            fs::create_dir_all(&train)
                .with_context(|| format!("cannot write {}", train.display()))?;
        }
        Ok(())
    }

    /// Writes a file of the folder.
    pub(super) fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.0.join(file);
        write_file(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Copies what was picked and makes what is to be made, with labels.
    pub(super) fn fill(
        &self,
        source: &SourceImages<'_>,
        plan: &CalibsetPlan,
        threads: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Entry>> {
        let mut names = Names::default();
        let picked = plan.picked.iter().map(|p| {
            let path = source.path(p.image);
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("jpg");
            (Task::Picked(p), names.free(&stem(path), extension))
        });
        let mut tasks: Vec<(Task<'_>, String)> = picked.collect();
        for made in &plan.synthetic {
            let condition = made.condition.replace(' ', "-");
            let stem = format!("{}.synthetic-{condition}", stem(source.path(made.of[0])));
            tasks.push((Task::Synthetic(made), names.free(&stem, "png")));
        }
        let finished = AtomicUsize::new(0);
        let entries = parallel_map(threads, &tasks, |(task, name)| {
            let entry = match task {
                Task::Picked(picked) => self.copy(source, picked, name),
                Task::Synthetic(made) => self.make(source, made, name),
            };
            progress(finished.fetch_add(1, Ordering::Relaxed) + 1);
            entry
        });
        entries.into_iter().collect()
    }

    fn copy(&self, source: &SourceImages<'_>, picked: &Picked, name: &str) -> Result<Entry> {
        let from = source.path(picked.image);
        let bytes = fs::read(from).with_context(|| from.display().to_string())?;
        let file = format!("images/train/{name}");
        self.write(&file, &bytes)?;
        let candidate = &source.candidates[picked.image];
        self.label(source, name, &source.objects(picked.image), candidate.size_px)?;
        Ok(Entry {
            sha256: file_digest(&self.0.join(&file))?,
            file,
            why: picked.extreme.unwrap_or("representative"),
            synthetic: false,
            shows: source.conditions.names(picked.image),
            measures: candidate.appearance.measures,
            source: vec![from.display().to_string()],
            how: None,
        })
    }

    fn make(&self, source: &SourceImages<'_>, made: &Synthetic, name: &str) -> Result<Entry> {
        let scenes = made.of.iter().map(|&i| source.scene(i)).collect::<Result<Vec<_>>>()?;
        let result = synthesise(made.condition, &scenes, made.seed);
        let image = &result.scene.image;
        let file = format!("images/train/{name}");
        save_image(image, &self.0.join(&file))?;
        self.label(source, name, &result.scene.objects, [image.width(), image.height()])?;
        let used = match result.how {
            How::Degraded(_) => &made.of[..1],
            How::Covered(_) | How::FourInOne => &made.of[..],
        };
        Ok(Entry {
            sha256: file_digest(&self.0.join(&file))?,
            file,
            why: made.condition,
            synthetic: true,
            shows: vec![made.condition],
            measures: result.measures,
            source: used.iter().map(|&i| source.path(i).display().to_string()).collect(),
            how: Some(result.how),
        })
    }

    /// Writes the label file of an image, where the data is labelled. Groups that are not labelled one by one have no form there.
    fn label(
        &self,
        source: &SourceImages<'_>,
        name: &str,
        objects: &[GroundTruthObject],
        [width, height]: [u32; 2],
    ) -> Result<()> {
        if source.dataset.names.is_empty() {
            return Ok(());
        }
        let (width, height) = (f64::from(width), f64::from(height));
        let line = |o: &GroundTruthObject| {
            let [left, top, w, h] = o.bbox;
            let (x, y) = ((left + w / 2.0) / width, (top + h / 2.0) / height);
            format!("{} {x:.6} {y:.6} {:.6} {:.6}\n", o.class, w / width, h / height)
        };
        let text: String = objects.iter().filter(|o| !o.crowd).map(line).collect();
        self.write(&format!("labels/train/{}.txt", stem(Path::new(name))), text.as_bytes())
    }

    /// Writes data.yaml, whose `val` names the images of the data that judge, where they lie.
    pub(super) fn write_description(&self, names: &[String], val: &[PathBuf]) -> Result<()> {
        let mut yaml = "path: .\ntrain: images/train\n".to_owned();
        if !val.is_empty() {
            let mut list = String::new();
            for path in val {
                list += &format!("{}\n", std::path::absolute(path)?.display());
            }
            self.write(VAL, list.as_bytes())?;
            yaml += &format!("val: {VAL}\n");
        }
        if !names.is_empty() {
            // A JSON string is a YAML string.
            yaml += &format!("names: {}\n", serde_json::to_string(names)?);
        }
        self.write("data.yaml", yaml.as_bytes())
    }

    /// Writes calibset.json.
    pub(super) fn write_manifest(&self, manifest: &Manifest<'_>) -> Result<()> {
        self.write(MANIFEST, serde_json::to_string_pretty(manifest)?.as_bytes())
    }
}

/// File names that are taken. Label files go by the part before the extension, so that part is distinct.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn free(&mut self, stem: &str, extension: &str) -> String {
        let numbered = (2..).map(|n| format!("{stem}-{n}"));
        let mut tried = std::iter::once(stem.to_owned()).chain(numbered);
        let free = tried.find(|stem| self.0.insert(stem.clone())).expect("numbers do not end");
        format!("{free}.{extension}")
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
