//! Models, read from the files in which they come.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use compress::{Recipe, file_digest};
use deliver::bundle::Bundle;
use ir::{DataType, Graph};
use observe::{Engine, ImageSet, Observation, Splits};
use yolo::families::{self, ANCHORS, Family, Head};

use crate::Error;
use crate::data::open_split;

/// How a file is read where it leaves a choice. The default takes what the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Height and width in pixels: the input of a checkpoint, or what dynamic axes of an ONNX file are bound to.
    pub imgsz: Option<[usize; 2]>,
    /// Family to assume instead of recognising it.
    pub family: Option<&'static Family>,
    /// Anchors of a head whose outputs are raw maps, in pixels: width, height, width …, those of the finest scale first.
    pub anchors: Option<Vec<f32>>,
    /// Whether a YOLO26 checkpoint is read with the branches that give each object once, `[1, 300, 6] f32`.
    pub end_to_end: bool,
}

impl From<&Recipe> for Reading {
    /// How the model of a recipe is read.
    fn from(recipe: &Recipe) -> Self {
        Self {
            imgsz: recipe.imgsz,
            family: recipe.family,
            anchors: recipe.anchors.clone(),
            end_to_end: false,
        }
    }
}

/// A detector as it was read from its file.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its file.
    pub path: PathBuf,
    /// The network: images `[1, C, H, W] f32` in. BatchNorm stands where the file has it.
    pub graph: Graph,
    /// Size of the file.
    pub file_bytes: u64,
    /// Types of floats in the file that are f32 in the graph.
    pub widened: BTreeSet<DataType>,
    /// How it was read.
    pub reading: Reading,
}

impl Model {
    /// Reads a detector from an ONNX file, an Ultralytics training checkpoint (`.pt`) or a bundle, whose files are proved by their
    /// digests first.
    ///
    /// # Errors
    /// `NotAFile`; `Bundle` for a bundle that is not whole, or has several models and none for our engine; `Onnx` or `Checkpoint` for a file that is no model; `Graph` for a graph that is not valid.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tiny = testkit::tiny_folder::TinyFolder::new(0, 0);
    /// # let path = tiny.path("tiny.onnx");
    /// let model = yoloslim::Model::open(path)?;
    /// println!("{} parameters, {} MACs", model.graph.params(), model.graph.macs());
    /// assert_eq!(model.head()?.classes, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_as(path, &Reading::default())
    }

    /// As [`Model::open`], with choices.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_as(path: impl AsRef<Path>, reading: &Reading) -> Result<Self, Error> {
        let mut model = Self::open_as_stored(path, reading)?;
        model.widened = ir::other_floats(&model.graph);
        let widened = ir::to_f32(&mut model.graph);
        widened.map_err(|error| Error::in_file(&model.path, error))?;
        Ok(model)
    }

    /// As [`Model::open_as`], with floats of the types that the file has, to be written again.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open_as_stored(path: impl AsRef<Path>, reading: &Reading) -> Result<Self, Error> {
        let path = &model_file(path.as_ref())?;
        let metadata = fs::metadata(path);
        if metadata.as_ref().is_ok_and(|m| !m.is_file() && !m.is_dir()) {
            return Err(Error::NotAFile(path.to_owned()));
        }
        let mut graph = if is_checkpoint(path) {
            let options =
                checkpoint::LoadOptions { imgsz: reading.imgsz, end_to_end: reading.end_to_end };
            checkpoint::load(path, &options)?.graph
        } else {
            let options = onnx::LoadOptions { imgsz: reading.imgsz, ..Default::default() };
            let mut graph = onnx::load(path, &options)?;
            ir::recognise(&mut graph).map_err(|error| Error::in_file(path, error))?;
            graph
        };
        if let Some(anchors) = &reading.anchors {
            let list: Vec<String> = anchors.iter().map(f32::to_string).collect();
            graph.metadata.insert(ANCHORS.to_owned(), list.join(", "));
        }
        let metadata = metadata.map_err(|cause| Error::File { path: path.to_owned(), cause })?;
        Ok(Self {
            path: path.to_owned(),
            graph,
            file_bytes: metadata.len(),
            widened: BTreeSet::new(),
            reading: reading.clone(),
        })
    }

    /// Recognises the detection head: its family, its classes, and how its outputs are read.
    ///
    /// # Errors
    /// `Yolo` for a model that is no detector, or one that is not read.
    pub fn head(&self) -> Result<Head, Error> {
        let head = families::identify(&self.graph, self.reading.family);
        head.map_err(|error| Error::in_file(&self.path, error))
    }

    /// The default settings of [`compress`](crate::compress) for this model and a data set, an Ultralytics data.yaml or a COCO
    /// instances JSON. Every field may be changed.
    ///
    /// # Errors
    /// `Compress` when the model's file cannot be read again.
    pub fn recipe(&self, data: impl AsRef<Path>) -> Result<Recipe, Error> {
        let digest = file_digest(&self.path)?;
        let mut recipe = Recipe::new(self.path.clone(), digest, data.as_ref().to_owned());
        recipe.imgsz = self.reading.imgsz;
        recipe.family = self.reading.family;
        recipe.anchors.clone_from(&self.reading.anchors);
        Ok(recipe)
    }

    /// The images of a recipe: which ones calibrate, which choose among attempts, which judge.
    ///
    /// # Errors
    /// `Yolo` for a data set that cannot be read or has other classes than the model; `Observe` when no image is left.
    pub fn splits(&self, recipe: &Recipe) -> Result<Splits, Error> {
        let head = self.head()?;
        let val = open_split(&recipe.data, "val", Some(&head))?;
        let train = open_split(&recipe.data, &recipe.images.split, Some(&head))?;
        let threads = Engine::default().threads;
        Ok(Splits::new(train, val, &recipe.images, recipe.seed, threads)?)
    }

    /// The model on images, so that values can be observed while it runs.
    pub fn observation<'a>(
        &'a self,
        head: &'a Head,
        images: &'a ImageSet,
        engine: Engine,
    ) -> Observation<'a> {
        Observation {
            model: observe::Model::new(&self.graph, head),
            images,
            engine,
            progress: &|_| (),
        }
    }
}

/// The file of a model: of a bundle the one that our engine runs, once all its files are proved.
fn model_file(path: &Path) -> Result<PathBuf, Error> {
    if !Bundle::is_bundle(path) {
        return Ok(path.to_owned());
    }
    Ok(Bundle::open(path)?.builtin_model()?)
}

/// Whether a file is a training checkpoint, by its name.
pub fn is_checkpoint(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "pt" || e == "pth")
}
