//! What can go wrong while a detector is changed.

/// An error of the `compress` room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The graph is not valid.
    #[error(transparent)]
    Graph(#[from] ir::IrError),
    /// Images, labels or head.
    #[error(transparent)]
    Yolo(#[from] yolo::YoloError),
    /// A model could not be observed on images.
    #[error(transparent)]
    Observe(#[from] observe::ObserveError),
    /// The inputs of a stage have no JSON form.
    #[error(transparent)]
    StageInputs(#[from] serde_json::Error),
    /// The engine.
    #[error(transparent)]
    Runtime(#[from] runtime::RuntimeError),
    /// Pruning.
    #[error("prune: {0}")]
    Prune(prune::PruneError),
    /// Quantization.
    #[error("quantize: {0}")]
    Quant(quant::QuantError),
    /// An INT8 model is asked for a target whose own tool makes it.
    #[error(
        "the vendor's tool quantizes for the target `{target}`, so there is no INT8 model to be judged here: `quantize --target {target}` writes what that tool takes, also of a model that `compress` or `prune` made"
    )]
    VendorQuantizes {
        /// The target.
        target: &'static str,
    },
    /// A detector whose tail is not understood is to be cut.
    #[error(
        "the model cannot be cut behind its head: {reason}. What begins at node `{node}` ({op_type}) was to be cut off; --family names the head, --anchors its anchors, and `export --rewrite` takes other ends off"
    )]
    NotCut {
        /// The first node that is not understood.
        node: String,
        /// Its operator.
        op_type: String,
        /// Why.
        reason: String,
    },
    /// A cut model does not find what the whole one finds.
    #[error(
        "{}: the cut model and the whole one do not find the same (class {} at {:.1} {:.1}, score {:.4}, is of one alone): --family names the head otherwise",
        image.display(), detection.class, detection.bbox.left, detection.bbox.top, detection.score
    )]
    CutDiffers {
        /// The image.
        image: std::path::PathBuf,
        /// What only one of them finds.
        detection: yolo::Detection,
    },
    /// No layer fits a pattern by which layers are to stay float.
    #[error(
        "no layer fits `{pattern}`: layers are convolutions and products of matrices, by name (`inspect --json` lists them; * and ? stand for other characters) or by position, #0 to #{}",
        layers.saturating_sub(1)
    )]
    NoLayer {
        /// The pattern.
        pattern: String,
        /// How many layers there are.
        layers: usize,
    },
    /// Training.
    #[error("step {step}: {error}")]
    Training {
        /// The step, counted from 0.
        step: usize,
        /// What went wrong.
        error: Box<train::TrainError>,
    },
    /// Too few images to train on some and choose by others.
    #[error(
        "{expected} images are needed to train on some and choose by others, {found} can be read"
    )]
    FewImages {
        /// How many are needed.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Windows that are no part of the model's input.
    #[error(
        "windows of {window} pixels cannot be cut from inputs of {height}x{width}: expected no more than the smaller side, and whole cells at every scale (most often a multiple of 32)"
    )]
    Window {
        /// The side of the windows.
        window: usize,
        /// Height of the model's input.
        height: usize,
        /// Width of the model's input.
        width: usize,
    },
    /// More memory is needed than a training may take.
    #[error(
        "training takes about {} MB even with one image at a time on one thread, {} MB are allowed: allow more, or use a smaller batch",
        needed.div_ceil(1_000_000),
        allowed / 1_000_000
    )]
    TrainingMemory {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are allowed.
        allowed: usize,
    },
    /// More memory is needed than pruning may take.
    #[error(
        "pruning takes about {} MB beside the loaded model even in the smallest parts, {} MB are left for it",
        needed.div_ceil(1_000_000),
        allowed / 1_000_000
    )]
    PruningMemory {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are allowed.
        allowed: usize,
    },
    /// The model holds on to its input size.
    #[error(
        "the model cannot be trained on inputs of {height}x{width}: a node of it holds on to another size, or its strides do not divide this one; train it without --multi-scale"
    )]
    InputSize {
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
    },
    /// Statistics of a batch are asked for, and nothing takes any.
    #[error(
        "the model has no BatchNormalization to take statistics for: give one that keeps it (a checkpoint, or `export --keep-bn`), or train without batch statistics"
    )]
    NoBatchNormalization,
    /// No two images of a step run together.
    #[error(
        "statistics of a batch are taken of two or four images that run together: {batch} images a step cannot be divided so, use an even number"
    )]
    OddBatch {
        /// Images of a step.
        batch: usize,
    },
    /// Labels are to be learned from, and there are none.
    #[error("nothing is labelled in the training images, so nothing can be learned from labels")]
    NothingLabelled,
    /// Gradients are asked for of a model whose outputs nobody understands.
    #[error(
        "the criterion `taylor` compares scores and boxes, and the model has no detection head that is recognised; --criterion names other criteria, --family the head"
    )]
    NoHead,
    /// A baseline by which nothing can be judged.
    #[error("{0}")]
    Doubtful(String),
    /// A model could not be written.
    #[error(transparent)]
    Onnx(Box<onnx::OnnxError>),
    /// A file of the run directory could not be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file or folder.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A recipe or a record of a run that does not parse.
    #[error("{}: {reason}", path.display())]
    Record {
        /// The file.
        path: std::path::PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// A setting out of range, typed or in a recipe.
    #[error("`{key}` must be {expected}, found {found}")]
    Setting {
        /// Its name in a recipe.
        key: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A folder that is not empty and has no run's marker.
    #[error(
        "{} is not empty and holds no run of yoloslim, so it is left as it is: name a new folder, an empty one, or that of a run",
        path.display()
    )]
    Occupied {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// A folder without a run.
    #[error("{} holds no run of yoloslim: `compress` makes one", path.display())]
    NotARun {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// A folder in which another command works.
    #[error(
        "another yoloslim is at work in {}: wait until it ends, or name another folder",
        path.display()
    )]
    RunInUse {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// The lower end of an interval is asked for, of too few images.
    #[error(
        "--strict asks for the lower end of the 95 % interval, which says nothing of the {found} of val: at least {least} are needed"
    )]
    TooFewToBeStrict {
        /// What is labelled.
        found: observe::Labelled,
        /// What is needed.
        least: observe::Labelled,
    },
    /// The detector finds nothing of what is labelled.
    #[error(
        "the model's map_50_95 on val is 0, so there is nothing to keep and nothing to judge by: `yoloslim val` shows it by class; the classes, the input size (--imgsz) or the family (--family) may not be those of this data set"
    )]
    NothingFound,
    /// A recipe without a single share to try.
    #[error(
        "the recipe's `prune.macs` and `prune.keep_contribution` are empty: expected at least one share, 0 for no pruning"
    )]
    NoAttempts,
    /// Parameters of the model's input.
    #[error(transparent)]
    Params(#[from] ir::OpError),
    /// Activations are not finite on real images.
    #[error("value `{value}` holds {count} NaN or infinite elements on the calibration images")]
    NonFinite {
        /// The value.
        value: String,
        /// How many.
        count: u64,
    },
}

impl From<prune::PruneError> for CompressError {
    fn from(error: prune::PruneError) -> Self {
        Self::Prune(error)
    }
}

impl From<onnx::OnnxError> for CompressError {
    fn from(error: onnx::OnnxError) -> Self {
        Self::Onnx(Box::new(error))
    }
}

impl From<quant::QuantError> for CompressError {
    fn from(error: quant::QuantError) -> Self {
        Self::Quant(error)
    }
}

impl CompressError {
    /// Counts so many bytes beside a trainer among those that it needs and those that are allowed.
    pub(crate) fn beside(self, bytes: usize) -> Self {
        match self {
            Self::TrainingMemory { needed, allowed } => {
                Self::TrainingMemory { needed: needed + bytes, allowed: allowed + bytes }
            }
            other => other,
        }
    }

    /// Adds the step to what training complains of.
    pub(crate) fn training(step: usize, error: train::TrainError) -> Self {
        let error = Box::new(error);
        Self::Training { step, error }
    }
}
