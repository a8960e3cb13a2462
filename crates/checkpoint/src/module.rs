//! A module of the training framework, seen through its pickled attributes.
use crate::CheckpointError;
use crate::tree::{Id, Tree, Value};

/// Charged for each visit of a module: in a file a few modules may contain each other over and over.
pub(crate) const MODULE_BYTES: usize = 256;
/// Names of submodules are short; a longer one is not a module's.
const MAX_NAME_BYTES: usize = 128;

/// An instance of `torch.nn.Module` or of a class derived from it.
#[derive(Clone, Debug)]
pub(crate) struct Module<'t> {
    pub(crate) tree: &'t Tree<'t>,
    pub(crate) id: Id,
    /// Attribute path from the model, as the names of its weights start: `model.0.conv`.
    pub(crate) path: String,
    /// Name of its class without the package.
    pub(crate) class: &'t str,
}

impl<'t> Module<'t> {
    /// A value as a module.
    ///
    /// # Errors
    /// `Expected` for a value that is not an object with submodules.
    pub(crate) fn new(tree: &'t Tree<'t>, id: Id, path: &str) -> Result<Self, CheckpointError> {
        let class = tree.class(id).filter(|_| tree.attribute(id, "_modules").is_some());
        let class = class.ok_or_else(|| tree.unexpected(path, "a module", id))?;
        Ok(Self { tree, id, path: path.to_owned(), class: class.1 })
    }

    /// Package and name of its class.
    pub(crate) fn class_path(&self) -> String {
        self.tree.describe(self.id)
    }

    fn joined(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The submodule of that name; `None` where there is none or it is `None`.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Module<'t>>, CheckpointError> {
        let modules = self.tree.attribute(self.id, "_modules");
        let child = modules.and_then(|m| self.tree.get(m, name));
        let child = child.filter(|&c| !matches!(self.tree.value(c), Value::None));
        child.map(|c| Module::new(self.tree, c, &self.joined(name))).transpose()
    }

    /// The submodule of that name.
    ///
    /// # Errors
    /// `Expected` where there is none.
    pub(crate) fn child(&self, name: &str) -> Result<Module<'t>, CheckpointError> {
        self.find(name)?.ok_or_else(|| CheckpointError::Expected {
            at: self.joined(name),
            expected: "a module",
            found: format!("none in {}", self.class_path()),
        })
    }

    /// All submodules in order.
    ///
    /// # Errors
    /// `Expected` for anything that is not a module.
    pub(crate) fn children(&self) -> Result<Vec<Module<'t>>, CheckpointError> {
        let modules = self.tree.attribute(self.id, "_modules");
        let pairs = modules.and_then(|m| self.tree.pairs(m)).unwrap_or(&[]);
        let named = pairs.iter().map(|&(key, value)| {
            let name = self.tree.str(key).filter(|n| n.len() <= MAX_NAME_BYTES);
            let name =
                name.ok_or_else(|| self.tree.unexpected(&self.path, "a module's name", key))?;
            Module::new(self.tree, value, &self.joined(name))
        });
        named.collect()
    }

    /// An attribute that is neither a submodule nor a tensor.
    pub(crate) fn attribute(&self, name: &str) -> Option<Id> {
        self.tree.attribute(self.id, name)
    }

    /// A parameter, a buffer or a plain attribute that holds a tensor; `None` where there is none or it is `None`.
    pub(crate) fn tensor(&self, name: &str) -> Option<Id> {
        let entry = |dict| self.tree.get(self.tree.attribute(self.id, dict)?, name);
        let found = entry("_parameters").or_else(|| entry("_buffers"));
        let found = found.or_else(|| self.attribute(name));
        found.filter(|&v| !matches!(self.tree.value(v), Value::None))
    }

    /// As [`Module::tensor`].
    ///
    /// # Errors
    /// `Expected` where there is none.
    pub(crate) fn required_tensor(&self, name: &str) -> Result<Id, CheckpointError> {
        self.tensor(name).ok_or_else(|| self.missing(name, "a tensor"))
    }

    fn missing(&self, name: &str, expected: &'static str) -> CheckpointError {
        CheckpointError::Expected {
            at: self.joined(name),
            expected,
            found: format!("none in {}", self.class_path()),
        }
    }

    fn required(&self, name: &str, expected: &'static str) -> Result<Id, CheckpointError> {
        self.attribute(name).ok_or_else(|| self.missing(name, expected))
    }

    /// A whole number that counts something.
    ///
    /// # Errors
    /// `Expected` where it is missing or something else.
    pub(crate) fn count(&self, name: &str) -> Result<usize, CheckpointError> {
        let expected = "a count";
        let value = self.required(name, expected)?;
        let count = self.tree.count(value);
        count.ok_or_else(|| self.tree.unexpected(&self.joined(name), expected, value))
    }

    /// A number.
    ///
    /// # Errors
    /// `Expected` where it is missing or something else.
    pub(crate) fn number(&self, name: &str) -> Result<f64, CheckpointError> {
        let value = self.required(name, "a number")?;
        let number = self.tree.float(value).filter(|n| n.is_finite());
        number.ok_or_else(|| self.tree.unexpected(&self.joined(name), "a number", value))
    }

    /// A flag; false where it is missing, as for attributes that later versions added.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let value = self.attribute(name).map(|v| self.tree.value(v));
        matches!(value, Some(Value::Bool(true)))
    }

    /// One number for rows and columns, or one for each.
    ///
    /// # Errors
    /// `Expected` where it is missing or something else.
    pub(crate) fn pair(&self, name: &str) -> Result<[usize; 2], CheckpointError> {
        let expected = "one or two counts";
        let value = self.required(name, expected)?;
        let pair = self.tree.pair(value);
        let small = pair.filter(|p| p.iter().all(|&n| n <= 1 << 16));
        small.ok_or_else(|| self.tree.unexpected(&self.joined(name), expected, value))
    }

    /// A string attribute.
    pub(crate) fn text(&self, name: &str) -> Option<&'t str> {
        self.tree.str(self.attribute(name)?)
    }

    /// `Unsupported`, naming this module.
    pub(crate) fn unsupported(&self, feature: &'static str) -> CheckpointError {
        CheckpointError::Unsupported { at: self.path.clone(), class: self.class_path(), feature }
    }
}
