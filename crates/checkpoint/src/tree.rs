//! What a pickle holds: values that may share and contain each other, none of which was ever executed.
use crate::CheckpointError;

/// Identity of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) u32);

/// A run of bytes of the pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits; no model needs one.
    Long,
    Float(f64),
    Str(Text),
    Bytes(Text),
    /// A tuple, a list or a set.
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function, by its module and name.
    Global(Id, Id),
    /// What calling `callable` with `arguments` would have made.
    Object(Box<Object>),
    /// A value that is stored outside of the pickle.
    Persistent(Id),
}

/// A call that was not made, and what the pickle did to its result.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) callable: Id,
    pub(crate) arguments: Id,
    /// States given to `__setstate__`.
    pub(crate) states: Vec<Id>,
    /// Pairs set on it as on a dictionary.
    pub(crate) pairs: Vec<(Id, Id)>,
    /// Elements appended to it as to a list.
    pub(crate) elements: Vec<Id>,
}

/// The values of one pickle.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) values: Vec<Value>,
    pub(crate) root: Id,
}

impl<'a> Tree<'a> {
    pub(crate) fn value(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    pub(crate) fn text(&self, text: Text) -> &'a [u8] {
        &self.bytes[text.start as usize..][..text.len as usize]
    }

    /// The string that a value is.
    pub(crate) fn str(&self, id: Id) -> Option<&'a str> {
        match self.value(id) {
            Value::Str(t) => std::str::from_utf8(self.text(*t)).ok(),
            _ => None,
        }
    }

    pub(crate) fn int(&self, id: Id) -> Option<i64> {
        match self.value(id) {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i64::from(*b)),
            _ => None,
        }
    }

    /// An integer that counts something.
    pub(crate) fn count(&self, id: Id) -> Option<usize> {
        usize::try_from(self.int(id)?).ok()
    }

    /// A sequence of counts.
    pub(crate) fn counts(&self, id: Id) -> Option<Vec<usize>> {
        self.sequence(id)?.iter().map(|&v| self.count(v)).collect()
    }

    /// Two counts, or one that stands for both.
    pub(crate) fn pair(&self, id: Id) -> Option<[usize; 2]> {
        match self.sequence(id) {
            Some(_) => self.counts(id)?.try_into().ok(),
            None => self.count(id).map(|n| [n, n]),
        }
    }

    pub(crate) fn float(&self, id: Id) -> Option<f64> {
        match self.value(id) {
            Value::Float(f) => Some(*f),
            Value::Int(i) => Some(*i as f64),
            _ => None,
        }
    }

    /// Module and name of a class or function.
    pub(crate) fn global(&self, id: Id) -> Option<(&'a str, &'a str)> {
        match self.value(id) {
            Value::Global(module, name) => Some((self.str(*module)?, self.str(*name)?)),
            _ => None,
        }
    }

    pub(crate) fn object(&self, id: Id) -> Option<&Object> {
        match self.value(id) {
            Value::Object(o) => Some(o),
            _ => None,
        }
    }

    /// Module and name of the class or function that made an object.
    pub(crate) fn class(&self, id: Id) -> Option<(&'a str, &'a str)> {
        self.global(self.object(id)?.callable)
    }

    /// Elements of a tuple, list or set, or of an object that is one, such as `torch.Size`.
    pub(crate) fn sequence(&self, id: Id) -> Option<&[Id]> {
        match self.value(id) {
            Value::Sequence(s) => Some(s),
            Value::Object(o) if self.class(id) == Some(("torch", "Size")) => {
                match self.value(o.arguments) {
                    Value::Sequence(a) => match self.value(*a.first()?) {
                        Value::Sequence(s) => Some(s),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Pairs of a dictionary or of an object that is one, such as `collections.OrderedDict`.
    pub(crate) fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.value(id) {
            Value::Dict(d) => Some(d),
            Value::Object(o) => Some(&o.pairs),
            _ => None,
        }
    }

    /// The value of a string key; of two, the one set last.
    pub(crate) fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let mut pairs = self.pairs(dict)?.iter().rev();
        pairs.find(|(k, _)| self.str(*k) == Some(key)).map(|p| p.1)
    }

    /// An attribute of an object.
    pub(crate) fn attribute(&self, object: Id, name: &str) -> Option<Id> {
        let states = self.object(object)?.states.iter().rev();
        states.copied().find_map(|s| self.get(s, name))
    }

    /// The value in a few words, for errors.
    pub(crate) fn describe(&self, id: Id) -> String {
        let short = |t: &Text| -> String {
            let bytes = self.text(*t);
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(160)]);
            text.chars().take(40).collect()
        };
        let name = |g: Option<(&str, &str)>| {
            let (module, name) = g.unwrap_or(("?", "?"));
            format!("{module}.{name}").chars().take(120).collect()
        };
        match self.value(id) {
            Value::None => "None".to_owned(),
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Long => "an integer beyond 64 bits".to_owned(),
            Value::Float(f) => f.to_string(),
            Value::Str(t) => format!("`{}`", short(t)),
            Value::Bytes(t) => format!("{} bytes", t.len),
            Value::Sequence(s) => format!("a sequence of {}", s.len()),
            Value::Dict(d) => format!("a dictionary of {}", d.len()),
            Value::Global(..) => name(self.global(id)),
            Value::Object(_) => name(self.class(id)),
            Value::Persistent(_) => "a persistent id".to_owned(),
        }
    }

    /// `Expected`, telling what the value is.
    pub(crate) fn unexpected(&self, at: &str, expected: &'static str, id: Id) -> CheckpointError {
        let at = if at.is_empty() { "model" } else { at };
        CheckpointError::Expected { at: at.to_owned(), expected, found: self.describe(id) }
    }
}
