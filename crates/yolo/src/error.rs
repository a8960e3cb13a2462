//! What can go wrong with data sets, images and detections.

use std::io;
use std::path::PathBuf;

use crate::{BadInput, IMAGE_EXTENSIONS};

/// An error of the `yolo` room.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YoloError {
    /// A file or folder could not be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file could not be written; nothing is left under its name.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A head whose output convolutions are not those of its family, so that no loss can be taken of them.
    #[error(
        "the output convolutions are not as {family} has them, so nothing can be learned from them"
    )]
    NoRawOutputs {
        /// The family's name.
        family: &'static str,
    },
    /// A head with anchors that the graph does not tell.
    #[error(
        "boxes are relative to anchors that could not be read from the graph in YOLOv5's way, so nothing can be learned from labels; learning from a teacher alone needs none"
    )]
    UnknownAnchors,
    /// A label of a class that the detector does not have.
    #[error(
        "a label is of class {found}, and the model has {classes} classes, numbered from 0: the labels are of another list of classes"
    )]
    LabelClass {
        /// The label's class.
        found: usize,
        /// Classes of the head.
        classes: usize,
    },
    /// A labelled box with an edge that is no number, or infinite.
    #[error("a box of class {class} has an edge that is no number")]
    LabelNotFinite {
        /// The label's class.
        class: usize,
    },
    /// A family of which no network is built.
    #[error(
        "networks of {family} are not built from random weights: give a trained model of it, or choose another family"
    )]
    NoNetwork {
        /// The family's name.
        family: &'static str,
    },
    /// A size that no network has.
    #[error("a network cannot be built: `{option}` must be {expected}")]
    NetworkOption {
        /// The option's name.
        option: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// An augmentation that is none.
    #[error(
        "`{found}` changes no image: expected NAME=SHARE, the share from 0 to 1 (of scale below 1) and the name one of {}",
        known.join(", ")
    )]
    Augmentation {
        /// What was typed.
        found: String,
        /// All names.
        known: Vec<&'static str>,
    },
    /// A detector that is to learn from another one, whose head is of another form.
    #[error(
        "the student predicts {found}, its teacher {expected}: the teacher must be the model that the student was made of, for images of the same size"
    )]
    NotOfTheTeacher {
        /// What the teacher predicts.
        expected: String,
        /// What the student predicts.
        found: String,
    },
    /// `--data` names neither a data.yaml nor a COCO JSON.
    #[error("{} is not a data set: expected a data.yaml (.yaml, .yml), COCO instances (.json), or a folder of images where no labels are needed", path.display())]
    DataFormat {
        /// The path given.
        path: PathBuf,
    },
    /// A data.yaml that does not parse, or lacks a key.
    #[error("{}: not a usable data.yaml: {reason}", path.display())]
    DataYaml {
        /// The data.yaml.
        path: PathBuf,
        /// The parser's words, with the line where it knows one.
        reason: String,
    },
    /// A data.yaml without the split that was asked for.
    #[error("{}: no split `{split}`; splits found: {}", path.display(), listed(found))]
    MissingSplit {
        /// The data.yaml.
        path: PathBuf,
        /// The split asked for.
        split: String,
        /// The splits that are there.
        found: Vec<String>,
    },
    /// A split whose folder or list is nowhere where it is looked for.
    #[error("{}: `{entry}`, which is to hold the split `{split}`, is not there; looked for at {}", path.display(), listed_paths(searched))]
    SplitNotFound {
        /// The data.yaml.
        path: PathBuf,
        /// The split asked for.
        split: String,
        /// What the data.yaml says of it.
        entry: String,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// The detector was trained on other classes than the data set has.
    #[error("the model's head has {head} classes, the data set names {names}")]
    HeadClasses {
        /// Classes of the head.
        head: usize,
        /// Classes of the data set.
        names: usize,
    },
    /// The graph is not valid for execution.
    #[error(transparent)]
    Graph(#[from] ir::IrError),
    /// A tensor is not what the decoder expects.
    #[error(transparent)]
    Output(#[from] ir::OpError),
    /// The plan could not be compiled or run.
    #[error(transparent)]
    Runtime(#[from] runtime::RuntimeError),
    /// An engine other than ours could not load or run the model.
    #[error("{engine}: {cause}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What it said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An output of a network is not what its model says.
    #[error("output {output} of the model has {found} elements: expected at least {expected}")]
    OutputLength {
        /// Its position.
        output: usize,
        /// Elements that are read.
        expected: usize,
        /// Elements that are there.
        found: usize,
    },
    /// An output names a class that there is not.
    #[error(
        "the model's output names class {found}, but its head has {classes} classes: the file is broken, or it is no end-to-end detector"
    )]
    OutputClass {
        /// The number found.
        found: f32,
        /// Classes of the head.
        classes: usize,
    },
    /// A head that is recognised and predicts more than boxes.
    #[error(
        "the model predicts {task}: val, detect and compress, whose gate needs mAP, read boxes only; the other verbs need no decoder"
    )]
    OtherTask {
        /// What it predicts.
        task: &'static str,
    },
    /// The network does not read images.
    #[error(
        "the model's inputs are {inputs}: images are prepared for inputs [1, 3, height, width] of one size, in gray [1, 1, height, width], and for several images as channels of one input"
    )]
    ImageInput {
        /// Shapes of the model's inputs.
        inputs: String,
    },
    /// What a graph does to its pixels is not understood.
    #[error(
        "input {input}: the graph reorders or mixes the channels of its pixels in a way that is not understood: expected them as they are, or blue, green, red for red, green, blue, and the same for every input"
    )]
    InputPixels {
        /// The input.
        input: String,
    },
    /// A network reads several images of a scene, and was given another number.
    #[error("the model reads {expected} images of a scene, found {found}")]
    ImageCount {
        /// How many it reads.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A kernel refused its arguments: a plane of a video frame that does not hold it, a part that leaves it.
    #[error(transparent)]
    Kernel(Box<kernels::KernelError>),
    /// An image whose partners cannot be told from its path.
    #[error(
        "{}: the model reads {images} images of a scene, one from each of the folders {}, and this image is found through none of them: `streams` in data.yaml names the folders",
        image.display(),
        listed(folders)
    )]
    Streams {
        /// The image.
        image: PathBuf,
        /// How many images the model reads.
        images: usize,
        /// Folders known.
        folders: Vec<String>,
    },
    /// Another image of a scene is missing, broken, or of another size.
    #[error("{}, the partner of {}: {reason}", path.display(), image.display())]
    Partner {
        /// The other image.
        path: PathBuf,
        /// The image of the data set.
        image: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Boxes are suppressed inside the graph, by an operator that only some engines know.
    #[error(
        "the model suppresses boxes itself ({op}): `yoloslim export MODEL -o OUT.onnx --rewrite cut_nms` cuts that off, and the other verbs read the result"
    )]
    SuppressesInside {
        /// The operator.
        op: String,
    },
    /// No family's structure fits the model.
    #[error(
        "the model is of no known detector family: outputs {outputs}, output convolutions with {output_convs:?} channels; val, detect and compress need one; --family NAME takes the first output as that family's where it has its form"
    )]
    NoFamily {
        /// Shapes of the model's outputs.
        outputs: String,
        /// Output channels of the convolutions that feed them.
        output_convs: Vec<usize>,
    },
    /// Raw maps whose anchors nothing names.
    #[error(
        "the outputs are raw maps of {anchors} anchors, and nothing names so many: --anchors lists width and height of each in pixels, the finest scale's first, and so does `anchors` in the model's metadata"
    )]
    Anchors {
        /// Anchors of all scales.
        anchors: usize,
    },
    /// No output of the model has the form of the family that was named.
    #[error(
        "--family {family}: no output of the model can be read so: outputs {outputs}, output convolutions with {output_convs:?} channels; {family} gives {gives}"
    )]
    NotThisFamily {
        /// The family.
        family: &'static str,
        /// What its outputs are.
        gives: &'static str,
        /// Shapes of the model's outputs.
        outputs: String,
        /// Output channels of the convolutions that feed them.
        output_convs: Vec<usize>,
    },
    /// Two counts of classes that must be equal are not.
    #[error("{}: {expected} classes by `{expected_by}`, but {found} by `{found_by}`", path.display())]
    ClassCount {
        /// The file with the disagreement.
        path: PathBuf,
        /// The count asked for.
        expected: usize,
        /// Who asks for it.
        expected_by: String,
        /// The count found.
        found: usize,
        /// Where it was found.
        found_by: String,
    },
    /// A `names` map that is not numbered 0, 1, 2 …
    #[error("{}: `names` has {count} entries but none for class {missing}: classes are numbered from 0 without gaps", path.display())]
    ClassNames {
        /// The data.yaml.
        path: PathBuf,
        /// How many names there are.
        count: usize,
        /// The first number without a name.
        missing: usize,
    },
    /// A split without a single image.
    #[error(
        "no images ({}) for split `{split}` in {}{}",
        IMAGE_EXTENSIONS.join(", "),
        listed_paths(searched),
        named(example.as_deref())
    )]
    NoImages {
        /// The split.
        split: String,
        /// Where images were looked for.
        searched: Vec<PathBuf>,
        /// One of the names that were looked for, where there are names.
        example: Option<String>,
    },
    /// A data set whose classes have no names, so that no label could be read.
    #[error(
        "the data set names no classes, and mAP needs labelled images: expected `names` or `nc` in a data.yaml, or COCO instances (.json)"
    )]
    NoNames,
    /// A data set of which nothing that is labelled could be read.
    #[error(
        "there is no mAP: none of {images} images could be read with something labelled in it{}",
        first_of(bad)
    )]
    NothingMeasured {
        /// How many images there are.
        images: usize,
        /// Those that could not be read.
        bad: Vec<BadInput>,
    },
    /// A split with images but not one label.
    #[error("no labels for any of {images} images; the first was looked for at {}", expected_at.display())]
    NoLabels {
        /// How many images there are.
        images: usize,
        /// Where the first image's labels should be.
        expected_at: PathBuf,
    },
    /// A COCO instances JSON that does not parse or contradicts itself.
    #[error("{}: not usable COCO instances: {reason}", path.display())]
    CocoJson {
        /// The JSON.
        path: PathBuf,
        /// What is wrong, with the line where the parser knows one.
        reason: String,
    },
    /// More bad images or bad labels than a result could carry honestly.
    #[error("{found} bad {what} of {total} (at most {limit} are skipped), the first: {first}")]
    TooManyBadInputs {
        /// `images` or `labels`.
        what: &'static str,
        /// How many are bad.
        found: usize,
        /// How many there are in all.
        total: usize,
        /// How many may be skipped.
        limit: usize,
        /// The first of them.
        first: BadInput,
    },
    /// An image that does not decode.
    #[error("{}: {reason}", path.display())]
    ImageFile {
        /// The image.
        path: PathBuf,
        /// The decoder's words.
        reason: String,
    },
    /// An image whose header claims more than the decoder is allowed.
    #[error("{}: image claims {width_px}x{height_px} pixels; at most {max_pixels} are read, and as many as take {max_bytes} bytes of memory to decode", path.display())]
    ImageTooLarge {
        /// The image.
        path: PathBuf,
        /// Claimed width.
        width_px: u32,
        /// Claimed height.
        height_px: u32,
        /// Most pixels read.
        max_pixels: u64,
        /// Most memory that decoding may take.
        max_bytes: u64,
    },
    /// An output name whose extension is no image format we write.
    #[error("{}: images are written as .png, .jpg or .jpeg", path.display())]
    ImageFormat {
        /// The path given.
        path: PathBuf,
    },
    /// A results JSON that does not parse.
    #[error("{}: not COCO results: {reason}", path.display())]
    Results {
        /// The JSON.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A detection on an image the ground truth does not have.
    #[error("detection {index} is on image_id {image_id}, which the ground truth does not have")]
    UnknownImageId {
        /// Position in the list of detections.
        index: usize,
        /// The id.
        image_id: u64,
    },
    /// Two evaluations that are compared were not made on the same images.
    #[error("evaluations differ in their images: {baseline} and {candidate}")]
    DifferentImages {
        /// Images of the first.
        baseline: usize,
        /// Images of the second.
        candidate: usize,
    },
    /// A ratio to a baseline that detects nothing.
    #[error("the baseline's map_50_95 is 0: nothing can be kept of it")]
    BaselineIsZero,
}

impl BadInput {
    /// An image that did not decode, from the error that said so.
    pub fn image(file: impl Into<PathBuf>, error: &YoloError) -> Self {
        Self::file(file, error.reason())
    }
}

impl From<kernels::KernelError> for YoloError {
    fn from(error: kernels::KernelError) -> Self {
        Self::Kernel(Box::new(error))
    }
}

impl YoloError {
    /// Whether one image is to blame, so that the others can still be used.
    pub fn is_of_an_image(&self) -> bool {
        matches!(
            self,
            Self::Read { .. }
                | Self::ImageFile { .. }
                | Self::ImageTooLarge { .. }
                | Self::Partner { .. }
        )
    }

    /// What is wrong with a file, where the file is told beside it.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::ImageFile { reason, .. } => reason.clone(),
            Self::Read { cause, .. } => cause.to_string(),
            Self::Partner { path, reason, .. } => {
                format!("its partner {}: {reason}", path.display())
            }
            // The others name the file themselves.
            other => other.to_string(),
        }
    }
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn named(example: Option<&str>) -> String {
    example.map_or(String::new(), |name| format!(", `{name}` for one"))
}

fn first_of(bad: &[BadInput]) -> String {
    let first = bad.first();
    first.map_or(String::new(), |first| format!("; the first: {first}"))
}

fn listed_paths(paths: &[PathBuf]) -> String {
    let shown: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    listed(&shown)
}
