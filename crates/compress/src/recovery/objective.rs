//! What a recovery makes small: the distance from the teacher, the family's own loss with labels, or both.
use crate::CompressError;
use serde::{Deserialize, Serialize};
use std::fmt;
use yolo::YoloError;
use yolo::families::RawHead;
use yolo::losses::{Distillation, LabelledBox, LabelledLoss, Loss, Targets};

/// What the loss with labels counts beside the distance from the teacher.
const LABELS: f64 = 0.3;

/// How labels are used. Images without boxes are learned from the teacher alone in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelUse {
    /// Beside the teacher, where a short try detects at least as much on held-out images as one without them.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// Beside the teacher.
    Mixed,
    /// In place of the teacher.
    Only,
}

impl LabelUse {
    /// Whether it is an error where nothing is labelled.
    pub(super) fn needs_labels(self) -> bool {
        matches!(self, Self::Mixed | Self::Only)
    }
}

/// All uses of labels, by name.
pub const LABEL_USES: &[(&str, LabelUse)] = &[
    ("auto", LabelUse::Auto),
    ("off", LabelUse::Off),
    ("mixed", LabelUse::Mixed),
    ("only", LabelUse::Only),
];

impl fmt::Display for LabelUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LABEL_USES.iter().find(|(_, label_use)| label_use == self);
        f.write_str(name.map_or("auto", |(name, _)| name))
    }
}

/// What is learned from one image.
#[derive(Clone, Debug)]
pub(super) struct Lesson {
    /// What the teacher gives.
    pub(super) teacher: Vec<Vec<f32>>,
    /// What is labelled; `None` where nothing is.
    pub(super) targets: Option<Targets>,
}

/// What is made small.
#[derive(Clone, Debug)]
pub(super) struct Objective {
    distillation: Distillation,
    /// `None` where the head has no loss for labels.
    labelled: Option<LabelledLoss>,
    labels: LabelUse,
}

/// How many objects some images have: as the teacher sees them, and as they are labelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Objects {
    seen: f64,
    labelled: f64,
}

impl Objective {
    /// # Errors
    /// `Yolo` where the heads are not of one form, or labels are to be used and the head has no loss for them.
    pub(super) fn new(
        student: &RawHead,
        teacher: &RawHead,
        labels: LabelUse,
    ) -> Result<Self, CompressError> {
        let labelled = match (LabelledLoss::new(teacher), labels) {
            (Ok(loss), _) => Some(loss),
            (Err(YoloError::UnknownAnchors), LabelUse::Auto | LabelUse::Off) => None,
            (Err(error), _) => return Err(error.into()),
        };
        Ok(Self { distillation: Distillation::new(student, teacher)?, labelled, labels })
    }

    /// How labels are used from now on; `Auto` leaves them aside until it is decided.
    pub(super) fn set_labels(&mut self, labels: LabelUse) {
        self.labels = labels;
    }

    pub(super) fn labels(&self) -> LabelUse {
        self.labels
    }

    /// Whether labels can be used.
    pub(super) fn takes_labels(&self) -> bool {
        self.labelled.is_some()
    }

    /// The objects of an image of which these boxes are labelled, `None` where nothing is.
    ///
    /// # Errors
    /// `Yolo` for a class that the head does not have.
    pub(super) fn targets(
        &self,
        boxes: Option<&[LabelledBox]>,
    ) -> Result<Option<Targets>, CompressError> {
        let Some((loss, boxes)) = self.labelled.as_ref().zip(boxes) else {
            return Ok(None);
        };
        Ok(Some(loss.targets(boxes)?))
    }

    /// What the losses of these images are divided by.
    pub(super) fn objects<'l>(&self, lessons: impl Iterator<Item = &'l Lesson>) -> Objects {
        let mut objects = Objects { seen: 0.0, labelled: 0.0 };
        for lesson in lessons {
            objects.seen += self.distillation.weight(&lesson.teacher);
            objects.labelled += lesson.targets.as_ref().map_or(0.0, |t| t.objects() as f64);
        }
        Objects { seen: objects.seen.max(1.0), labelled: objects.labelled.max(1.0) }
    }

    /// The share that one image has in the loss of all.
    pub(super) fn loss(&self, raw: &[Vec<f32>], lesson: &Lesson, objects: Objects) -> Loss {
        let distance = || self.distillation.loss(raw, &lesson.teacher, objects.seen);
        let Some((labelled, targets)) = self.labelled.as_ref().zip(lesson.targets.as_ref()) else {
            return distance();
        };
        match self.labels {
            LabelUse::Auto | LabelUse::Off => distance(),
            LabelUse::Only => labelled.loss(raw, targets, objects.labelled),
            LabelUse::Mixed => {
                let mut loss = distance();
                loss.add(&labelled.loss(raw, targets, objects.labelled / LABELS));
                loss
            }
        }
    }
}
