//! The model that is used, and how another one takes its place.
mod golden;

use crate::ServeError;
use crate::settings::Settings;
pub use golden::{Golden, GoldenResult, Tolerance};
use ir::{Graph, Normalised};
use runtime::PlanOptions;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use yolo::families::{Family, Head, identify};
use yolo::{CompiledDetector, YoloError};

/// How a model file becomes a graph: which formats there are is not this room's matter.
pub type OpenModel =
    dyn Fn(&Path) -> Result<OpenedModel, Box<dyn std::error::Error + Send + Sync>> + Send + Sync;

/// What an opened model file is.
#[derive(Clone, Debug)]
pub struct OpenedModel {
    /// Its graph.
    pub graph: Graph,
    /// Its family, where the user named one.
    pub family: Option<&'static Family>,
    /// How it is compiled.
    pub options: PlanOptions,
    /// The bundle that it came in, where it did.
    pub bundle: Option<ServedBundle>,
}

/// The bundle that a model came in.
#[derive(Clone, Debug)]
pub struct ServedBundle {
    /// The detector's name.
    pub name: String,
    /// The bundle's digest, `sha256:…`.
    pub digest: String,
    /// The version it was signed as; none where nobody was asked to verify its signature.
    pub version: Option<u64>,
    /// The model's file.
    pub model: PathBuf,
    /// What the model must find in the bundle's golden frames.
    pub golden: Option<PathBuf>,
}

/// Sizes of frames that plans are kept for: cameras have few.
pub(crate) const SIZES: usize = 8;

/// A model that is used.
pub struct ServedModel {
    /// Its file, or its bundle.
    pub path: PathBuf,
    /// The bundle that it came in, where it did.
    pub bundle: Option<ServedBundle>,
    /// SHA-256 of the file, in hexadecimal digits.
    pub digest: String,
    /// The detector as the file has it.
    pub detector: CompiledDetector,
    graph: Normalised,
    options: PlanOptions,
    /// The same for frames of one width and height each, compiled when the first such frame comes.
    fitted: Mutex<BTreeMap<[usize; 2], CompiledDetector>>,
    /// Names of its classes.
    pub labels: Vec<Arc<str>>,
    /// By source, the classes that are reported; none for all.
    pub(crate) classes: Vec<Option<Vec<usize>>>,
}

impl fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.digest)
    }
}

impl ServedModel {
    /// Opens a model for the sources of these settings, and proves it on its golden frames: those named, or else those of its
    /// bundle, or else those of the settings.
    ///
    /// # Errors
    /// `Read`, `Model` where it cannot be opened, `Class` where a source asks for a class that it has not, `Scene` where it reads
    /// several images at once, as [`Golden::check`].
    pub fn open(
        path: &Path,
        golden: Option<&Path>,
        settings: &Settings,
        open: &OpenModel,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Model { path: path.to_path_buf(), source };
        let OpenedModel { graph, family, options, bundle } = open(path).map_err(failed)?;
        let file = bundle.as_ref().map_or(path, |bundle| &bundle.model);
        let bytes = std::fs::read(file)
            .map_err(|source| ServeError::Read { path: file.to_path_buf(), source })?;
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let graph = ir::normalise(graph).map_err(YoloError::from)?;
        let head = Arc::new(identify(&graph, family)?);
        let detector = CompiledDetector::compile(&graph, &head, &options)?;
        if head.input.images() != 1 {
            return Err(ServeError::Scene { images: head.input.images() });
        }
        let labels = labels(&head);
        let classes = settings.sources.iter().map(|source| classes(source, &labels));
        let classes = classes.collect::<Result<_, _>>()?;
        let fitted = Mutex::default();
        let path = path.to_path_buf();
        let model =
            Self { path, bundle, digest, labels, classes, detector, graph, options, fitted };
        model.prove(golden, settings.golden.as_deref())?;
        Ok(model)
    }

    /// Proves it on golden frames. Those of its own bundle say what this very model finds.
    fn prove(&self, named: Option<&Path>, usual: Option<&Path>) -> Result<(), ServeError> {
        let own = self.bundle.as_ref().and_then(|bundle| bundle.golden.as_deref());
        let (golden, tolerance) = match (named, own) {
            (Some(named), _) => (named, Tolerance::ANOTHER_MODEL),
            (None, Some(own)) => (own, Tolerance::SAME_MODEL),
            (None, None) => match usual {
                Some(usual) => (usual, Tolerance::ANOTHER_MODEL),
                None => return Ok(()),
            },
        };
        Golden::read(golden)?.check(&self.detector, &self.labels)?.judge(tolerance)
    }

    /// The detector for frames of `[width, height]` pixels: with as little padding as its strides allow, or as the file has it
    /// where its graph holds for one size only.
    pub(crate) fn fitted(&self, image_px: [usize; 2]) -> CompiledDetector {
        let mut fitted = self.fitted.lock().unwrap_or_else(PoisonError::into_inner);
        if fitted.len() == SIZES && !fitted.contains_key(&image_px) {
            fitted.clear();
        }
        let compile = || {
            let head = &self.detector.head;
            CompiledDetector::compile_fitted(&self.graph, head, image_px, &self.options)
                .unwrap_or_else(|_| self.detector.clone())
        };
        fitted.entry(image_px).or_insert_with(compile).clone()
    }

    /// Its name to callers: its bundle's, or its file's without the extension.
    pub fn name(&self) -> String {
        if let Some(bundle) = &self.bundle {
            return bundle.name.clone();
        }
        self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Name of a class.
    pub(crate) fn label(&self, class: usize) -> Arc<str> {
        let label = self.labels.get(class).cloned();
        label.unwrap_or_else(|| format!("class {class}").into())
    }
}

/// Names of a head's classes, in order; numbers where it has none.
pub fn labels(head: &Head) -> Vec<Arc<str>> {
    let numbered = || (0..head.classes).map(|class| format!("class {class}")).collect();
    let names = head.names.clone().unwrap_or_else(numbered);
    names.into_iter().map(Arc::from).collect()
}

/// Indices of the classes that a source asks for.
fn classes(
    source: &crate::SourceSettings,
    labels: &[Arc<str>],
) -> Result<Option<Vec<usize>>, ServeError> {
    let index = |class: &String| {
        let found = labels.iter().position(|label| **label == **class);
        found.ok_or_else(|| ServeError::Class {
            source_name: source.name.clone(),
            class: class.clone(),
            known: labels.join(", "),
        })
    };
    let classes = source.classes.iter().map(index).collect::<Result<Vec<_>, _>>()?;
    Ok((!classes.is_empty()).then_some(classes))
}

/// Where the model that is used stands.
#[derive(Debug)]
pub struct ModelSlot {
    current: Mutex<Arc<ServedModel>>,
    /// Counts models, so that a session sees without a lock that there is another one.
    generation: AtomicU64,
}

impl ModelSlot {
    /// With its first model.
    pub(crate) fn new(model: ServedModel) -> Self {
        Self { current: Mutex::new(Arc::new(model)), generation: AtomicU64::new(0) }
    }

    /// The model that is used now.
    pub fn get(&self) -> Arc<ServedModel> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses another model from the next frame on; frames that are looked at now are finished with the one before.
    pub(crate) fn set(&self, model: ServedModel) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(model);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Another number for each model.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}
