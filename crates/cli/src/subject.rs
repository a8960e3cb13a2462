//! The model and the images on which a stage observes it.
use crate::args::{CommonArgs, ImagesArgs};
use crate::memory::Room;
use crate::model;
use crate::progress::Progress;
use crate::{data, engine};
use anyhow::{Context, Result};
use compress::Recipe;
use observe::{Engine, ImageSet, Observation, Splits};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use yolo::families::{self, Family, Head};
use yolo::{BadInput, LETTERBOX, ModelInput, YoloError};
use yoloslim::Model;

/// Images at most that are held out.
const HELD_OUT: usize = 64;

/// A model and the images on which a stage observes it, with the progress that is shown meanwhile.
pub(crate) struct Subject<'a> {
    model: &'a Model,
    input: ModelInput,
    /// Its family, where its outputs can be decoded.
    pub(crate) family: Option<&'static Family>,
    head: Option<Head>,
    /// What was assumed of it.
    pub(crate) warnings: Vec<String>,
    /// The images.
    pub(crate) images: ImageSet,
    /// Some of those that were not sampled; none where all were.
    pub(crate) held_out: ImageSet,
    engine: Engine,
    progress: Box<dyn Fn(usize) + Sync>,
}

impl<'a> Subject<'a> {
    /// Recognises the model's head, if it has one that can be decoded, and samples the images.
    pub(crate) fn open(
        model: &'a Model,
        images: &ImagesArgs,
        common: &CommonArgs,
        verb: &str,
    ) -> Result<Self> {
        Self::on(model, common, verb, |head| self::images(images, common, head))
    }

    /// As [`Subject::open`], with images whose classes, if they have any, need not be the model's.
    pub(crate) fn of_any_classes(
        model: &'a Model,
        images: &ImagesArgs,
        common: &CommonArgs,
        verb: &str,
    ) -> Result<Self> {
        Self::on(model, common, verb, |_| self::images(images, common, None))
    }

    /// As [`Subject::open`], with the images that a run calibrated on.
    pub(crate) fn of_run(
        model: &'a Model,
        recipe: &Recipe,
        data: &Path,
        common: &CommonArgs,
    ) -> Result<Self> {
        Self::on(model, common, "quantize", |head| {
            let val = data::open(data, "val", common, head)?;
            let train = data::open(data, &recipe.images.split, common, head)?;
            let threads = engine::threads(common);
            let splits = Splits::new(train, val, &recipe.images, recipe.seed, threads)?;
            let held_out = splits.holdout.as_ref().map(ImageSet::from).unwrap_or_default();
            let held_out = held_out.sample(HELD_OUT, recipe.seed);
            Ok(Sampled { images: splits.calibration, held_out })
        })
    }

    fn on(
        model: &'a Model,
        common: &CommonArgs,
        verb: &str,
        images: impl FnOnce(Option<&Head>) -> Result<Sampled>,
    ) -> Result<Self> {
        let (input, head) = ends(model).with_context(|| model.path.display().to_string())?;
        let engine = engine::builtin(common, verb)?;
        let Sampled { images, held_out } = images(head.as_ref())?;
        let progress = Progress::new("progress", images.len());
        Ok(Self {
            model,
            input,
            family: head.as_ref().map(|h| h.family),
            warnings: model::warnings(model, head.as_ref()),
            head,
            images,
            held_out,
            engine,
            progress: Box::new(move |done| progress.at(done)),
        })
    }

    /// The same with so much memory beside the model.
    pub(crate) fn within(mut self, room: Room) -> Self {
        self.engine.memory_bytes = room.bytes();
        self
    }

    /// What a stage takes.
    pub(crate) fn observation(&self) -> Observation<'_> {
        Observation {
            model: observe::Model {
                graph: &self.model.graph,
                input: &self.input,
                head: self.head.as_ref(),
            },
            images: &self.images,
            engine: self.engine,
            progress: self.progress.as_ref(),
        }
    }
}

/// How images are fed to a model, and what decodes it: without a decoder its outputs are compared as they are.
fn ends(model: &Model) -> Result<(ModelInput, Option<Head>)> {
    match families::identify(&model.graph, model.reading.family) {
        Ok(head) => Ok((head.input.clone(), Some(head))),
        Err(
            YoloError::OtherTask { .. }
            | YoloError::NoFamily { .. }
            | YoloError::NotThisFamily { .. }
            | YoloError::Anchors { .. },
        ) => {
            let named = model.reading.family;
            let input = ModelInput::new(&model.graph, named.map_or(LETTERBOX, |f| f.preprocess))?;
            say!(
                "no decoder fits the outputs, so the outputs themselves are compared; images are prepared as for {}",
                named.map_or("Ultralytics models (--family names another way)", |f| f.name)
            );
            Ok((input, None))
        }
        Err(error) => Err(error.into()),
    }
}

/// Images on which a stage observes a model, and others of the same kind.
struct Sampled {
    images: ImageSet,
    held_out: ImageSet,
}

/// The sampled images of a data set.
fn images(args: &ImagesArgs, common: &CommonArgs, head: Option<&Head>) -> Result<Sampled> {
    let dataset = data::open(&args.data, &args.sampling.split, common, head)?;
    data::warn(&args.data, &dataset.warnings);
    let (count, seed) = (args.sampling.images as usize, common.seed());
    let sampled = args.sampling.choose.images(&dataset, count, seed, engine::threads(common));
    if sampled.len() < args.sampling.images as usize {
        note!(
            "{}: `{}` has {} images, {} were asked for: all are used",
            args.data.display(),
            args.sampling.split,
            sampled.len(),
            args.sampling.images
        );
    }
    let copies = data::copies(&sampled, &args.data, &args.sampling.split, "val");
    data::warn(&args.data, &copies);
    let repaired = data::repaired(sampled.paths.iter().map(PathBuf::as_path));
    data::warn(&args.data, data::repaired_warning(&repaired).as_slice());
    let known: BTreeSet<&PathBuf> = sampled.paths.iter().collect();
    let all = ImageSet::from(&dataset);
    let rest = all.paths.iter().filter(|path| !known.contains(path)).cloned().collect();
    let held_out = all.with(rest).sample(HELD_OUT, seed);
    Ok(Sampled { images: sampled, held_out })
}

/// Reports images that could not be read; too many are an error.
pub(crate) fn report_bad(bad: &[BadInput], images: usize) -> Result<()> {
    for b in bad {
        note!("skipped image: {b}");
    }
    Ok(observe::check_bad_images(bad.len(), images)?)
}
