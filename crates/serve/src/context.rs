//! What every part of the server may use.
use crate::ServeError;
use crate::hub::Hub;
use crate::model::{OpenModel, ServedModel};
use crate::settings::Settings;
use std::path::Path;
use std::sync::Arc;

/// What every part of the server may use.
pub(crate) struct Context {
    pub(crate) hub: Arc<Hub>,
    pub(crate) settings: Settings,
    pub(crate) open: Box<OpenModel>,
}

impl Context {
    /// Puts another model in the place of the one that is used, once it is proven on its golden frames: on those named,
    /// or else on those of its bundle or of the settings. Where it is refused, the one before goes on. It takes seconds: not for a thread that must not wait.
    ///
    /// # Errors
    /// As [`ServedModel::open`].
    pub(crate) fn swap(&self, path: &Path, golden: Option<&Path>) -> Result<(), ServeError> {
        let opened = ServedModel::open(path, golden, &self.settings, &*self.open);
        self.hub.swap(path, opened)
    }
}
