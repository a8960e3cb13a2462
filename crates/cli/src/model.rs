//! Reading the model and the images that the user names.
use crate::args::{CommonArgs, ImagesArgs, ModelArgs, ReadingArgs};
use crate::progress::Progress;
use crate::{data, engine};
use anyhow::{Context, Result, bail};
use compress::Observation;
use ir::{DataType, Graph};
use runtime::PlanOptions;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use yolo::families::{self, ANCHORS, Decoder, FAMILIES, Family, Head, LETTERBOX};
use yolo::{BadInput, ModelInput, Streams, YoloError};

/// A model as it was read.
pub(crate) struct Model {
    /// Where it came from.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) graph: Graph,
    /// The family the user named.
    pub(crate) family: Option<String>,
    /// Size of the file.
    pub(crate) file_bytes: u64,
    /// Types of floats in the file that are computed in f32 here.
    pub(crate) widened: BTreeSet<DataType>,
}

impl Model {
    /// What becomes of the file's floats where they are not f32, as a sentence; `what` is what is f32 now.
    pub(crate) fn told_floats(&self, what: &str) -> Option<String> {
        let names: Vec<String> = self.widened.iter().map(ToString::to_string).collect();
        let (path, names) = (self.path.display(), names.join(", "));
        (!names.is_empty()).then(|| format!("{path}: its floats are {names}; {what} f32"))
    }
}

/// Reads a model and recognises SiLU; BatchNorm is kept.
pub(crate) fn load(args: &ModelArgs) -> Result<Model> {
    read(&args.model, &args.reading)
}

/// As [`load`], of a model that is to be pruned or quantized: one that is quantized already is refused.
pub(crate) fn load_float(path: &Path, args: &ReadingArgs) -> Result<Model> {
    let model = read(path, args)?;
    quant::check_float(&model.graph).with_context(|| model.path.display().to_string())?;
    if let Some(told) = model.told_floats("what is written is") {
        note!("{told}");
    }
    Ok(model)
}

/// As [`load`], with all floats as f32, which is what everything here computes in.
pub(crate) fn read(path: &Path, args: &ReadingArgs) -> Result<Model> {
    let mut model = as_stored(path, args)?;
    model.widened = ir::other_floats(&model.graph);
    ir::to_f32(&mut model.graph).with_context(|| path.display().to_string())?;
    Ok(model)
}

/// As [`load`], with the types of the file: the one place where a file becomes a graph.
pub(crate) fn as_stored(path: &Path, args: &ReadingArgs) -> Result<Model> {
    let kind = std::fs::metadata(path).map(|found| found.file_type());
    if kind.is_ok_and(|kind| !kind.is_file() && !kind.is_dir()) {
        // A device may have no end.
        bail!(
            "{}: not a regular file: pipes and devices are not read",
            path.display()
        );
    }
    let mut graph = match is_checkpoint(path) {
        true => checkpoint(path, args, false)?,
        false => onnx_file(path, args)?,
    };
    if let Some(anchors) = &args.anchors {
        let list = anchors.iter().map(f32::to_string).collect::<Vec<_>>();
        graph.metadata.insert(ANCHORS.to_owned(), list.join(", "));
    }
    let model = Model {
        path: path.to_owned(),
        graph,
        family: args.family.clone(),
        file_bytes: file_bytes(path)?,
        widened: BTreeSet::new(),
    };
    warn(&model, &model.graph.notes);
    Ok(model)
}

fn onnx_file(path: &Path, args: &ReadingArgs) -> Result<Graph> {
    let options = onnx::LoadOptions {
        imgsz: args.imgsz,
        ..Default::default()
    };
    let mut graph = onnx::load(path, &options)?;
    ir::recognise(&mut graph).with_context(|| path.display().to_string())?;
    Ok(graph)
}

/// Whether a file is a training checkpoint, by its name.
pub(crate) fn is_checkpoint(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "pt" || e == "pth")
}

/// Rebuilds the model of a training checkpoint.
pub(crate) fn checkpoint(path: &Path, args: &ReadingArgs, end_to_end: bool) -> Result<Graph> {
    let options = checkpoint::LoadOptions {
        imgsz: args.imgsz,
        end_to_end,
    };
    Ok(checkpoint::load(path, &options)?.graph)
}

/// Writes a model and gives the size of the file.
pub(crate) fn save(graph: &Graph, out: &Path) -> Result<u64> {
    let bytes = onnx::encode(graph)?;
    yolo::write_file(out, &bytes).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(bytes.len() as u64)
}

fn file_bytes(path: &Path) -> Result<u64> {
    let found = std::fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(found.len())
}

/// A model, the images on which a stage watches it, and the progress that is shown meanwhile.
pub(crate) struct Subject<'a> {
    model: &'a Model,
    input: ModelInput,
    streams: Streams,
    /// Its family, where its outputs can be decoded.
    pub(crate) family: Option<&'static Family>,
    decoder: Option<Decoder>,
    /// What was assumed of it.
    pub(crate) warnings: Vec<String>,
    /// The images.
    pub(crate) images: Vec<PathBuf>,
    options: PlanOptions,
    threads: usize,
    progress: Box<dyn Fn(usize) + Sync>,
}

impl<'a> Subject<'a> {
    /// Recognises the model's head, if it has one that can be decoded, and draws the images.
    pub(crate) fn open(
        model: &'a Model,
        images: &ImagesArgs,
        common: &CommonArgs,
        verb: &str,
    ) -> Result<Self> {
        let (input, head) = ends(model).with_context(|| model.path.display().to_string())?;
        let options = engine::builtin_options(common, verb)?;
        let (images, streams) = self::images(images, common, head.as_ref())?;
        let progress = Progress::new("progress", images.len());
        Ok(Self {
            model,
            input,
            streams,
            family: head.as_ref().map(|h| h.family),
            warnings: warnings(model, head.as_ref()),
            decoder: head.map(|h| h.decoder),
            images,
            options,
            threads: engine::threads(common),
            progress: Box::new(move |done| progress.at(done)),
        })
    }

    /// What a stage takes.
    pub(crate) fn observation(&self) -> Observation<'_> {
        Observation {
            graph: &self.model.graph,
            input: &self.input,
            streams: &self.streams,
            decoder: self.decoder.as_ref(),
            images: &self.images,
            options: self.options,
            threads: self.threads,
            progress: self.progress.as_ref(),
        }
    }
}

/// What was assumed of a model and its head; what was assumed of the head is printed too.
pub(crate) fn warnings(model: &Model, head: Option<&Head>) -> Vec<String> {
    warn(model, head.map_or(&[], |h| &h.notes));
    notes(model, head)
}

/// What was assumed of a model and its head.
pub(crate) fn notes(model: &Model, head: Option<&Head>) -> Vec<String> {
    let notes = head.map(|h| h.notes.as_slice()).unwrap_or_default();
    model.graph.notes.iter().chain(notes).cloned().collect()
}

/// Warns of a model, on stderr.
pub(crate) fn warn(model: &Model, warnings: &[String]) {
    for warning in warnings {
        note!("warning: {}: {warning}", model.path.display());
    }
}

/// How images are fed to a model, and what decodes it: without a decoder its outputs are compared as they are.
fn ends(model: &Model) -> Result<(ModelInput, Option<Head>)> {
    match families::identify(&model.graph, model.family.as_deref()) {
        Ok(head) => Ok((head.input.clone(), Some(head))),
        Err(
            YoloError::OtherTask { .. }
            | YoloError::NoFamily { .. }
            | YoloError::NotThisFamily { .. }
            | YoloError::Anchors { .. },
        ) => {
            let named = |f: &&&Family| model.family.as_deref() == Some(f.name);
            let named = FAMILIES.iter().find(named);
            let input = ModelInput::new(&model.graph, named.map_or(LETTERBOX, |f| f.preprocess))?;
            say!(
                "no decoder fits the outputs: they are compared as they are; images are prepared as for {}",
                named.map_or("Ultralytics models (--family names another way)", |f| f
                    .name)
            );
            Ok((input, None))
        }
        Err(error) => Err(error.into()),
    }
}

/// The sampled images of a data set, and where the others of their scenes lie.
fn images(
    args: &ImagesArgs,
    common: &CommonArgs,
    head: Option<&Head>,
) -> Result<(Vec<PathBuf>, Streams)> {
    let dataset = data::open(&args.data, &args.split, common, head)?;
    data::warn(&args.data, &dataset.warnings);
    let paths: Vec<PathBuf> = dataset.images.into_iter().map(|i| i.path).collect();
    let sampled = compress::sample(&paths, args.images as usize, common.seed());
    if sampled.len() < args.images as usize {
        note!(
            "{}: `{}` has {} images, {} were asked for: all are used",
            args.data.display(),
            args.split,
            sampled.len(),
            args.images
        );
    }
    let copies = data::copies(&sampled, (&args.data, &args.split, "val"));
    data::warn(&args.data, &copies);
    let repaired = data::repaired(sampled.iter().map(PathBuf::as_path));
    data::warn(&args.data, data::told_of_repaired(&repaired).as_slice());
    Ok((sampled, dataset.streams))
}

/// Reports images that could not be read; too many are an error.
pub(crate) fn report_bad(bad: &[BadInput], images: usize) -> Result<()> {
    for b in bad {
        note!("skipped image: {b}");
    }
    let allowed = 3.max(images / 100);
    if bad.len() > allowed {
        bail!(
            "{} of {images} images could not be read: at most {allowed} may be bad",
            bad.len()
        );
    }
    Ok(())
}
