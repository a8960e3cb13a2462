//! The part of JSON Schema (draft 2020-12) that `docs/schema` uses, read more strictly than it is published: a key that the
//! schema does not name is an error, so that none is written without being described.
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The schemas of a folder.
struct Schemas<'a> {
    folder: &'a Path,
}

/// What a record breaks of a schema of `docs/schema`; empty where it keeps to it.
pub(crate) fn breaches(record: &Value, schema: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    let schemas = Schemas { folder: &folder };
    let root = schemas.read(schema);
    let mut breaches = Vec::new();
    schemas.check(record, &root, &root, "", &mut breaches);
    breaches
}

impl Schemas<'_> {
    fn read(&self, file: &str) -> Value {
        let text = fs::read_to_string(self.folder.join(file)).expect("the schema exists");
        serde_json::from_str(&text).expect("a schema is JSON")
    }

    /// Checks a value; `root` is the file in which `schema` stands, by which references are resolved.
    fn check(&self, value: &Value, schema: &Value, root: &Value, at: &str, out: &mut Vec<String>) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            match keyword.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => {}
                "$ref" => self.refer(value, rule.as_str().expect("a reference"), root, at, out),
                "anyOf" => self.any_of(value, rule, root, at, out),
                "type" => check_type(value, rule, at, out),
                "minimum" | "maximum" => check_bound(value, keyword, rule, at, out),
                "minItems" | "maxItems" => check_length(value, keyword, rule, at, out),
                "required" => check_required(value, rule, at, out),
                "properties" => self.properties(value, rule, root, at, out),
                "items" => {
                    for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(item, rule, root, &format!("{at}/{i}"), out);
                    }
                }
                "additionalProperties" => {
                    for (key, item) in value.as_object().into_iter().flatten() {
                        self.check(item, rule, root, &format!("{at}/{key}"), out);
                    }
                }
                other => panic!("the schemas use `{other}`, which is not checked"),
            }
        }
    }

    fn refer(&self, value: &Value, target: &str, root: &Value, at: &str, out: &mut Vec<String>) {
        let (file, pointer) = target.split_once('#').expect("a reference names a place");
        let other = (!file.is_empty()).then(|| self.read(file));
        let root = other.as_ref().unwrap_or(root);
        let schema = root.pointer(pointer);
        let schema = schema.unwrap_or_else(|| panic!("{target} does not exist"));
        self.check(value, schema, root, at, out);
    }

    fn any_of(&self, value: &Value, rules: &Value, root: &Value, at: &str, out: &mut Vec<String>) {
        let alternatives = rules.as_array().expect("alternatives are a list");
        let mut least: Option<Vec<String>> = None;
        for rule in alternatives {
            let mut breaches = Vec::new();
            self.check(value, rule, root, at, &mut breaches);
            if least.as_ref().is_none_or(|l| breaches.len() < l.len()) {
                least = Some(breaches);
            }
        }
        out.extend(least.into_iter().flatten());
    }

    fn properties(
        &self,
        value: &Value,
        rule: &Value,
        root: &Value,
        at: &str,
        out: &mut Vec<String>,
    ) {
        for (key, item) in value.as_object().into_iter().flatten() {
            let at = format!("{at}/{key}");
            match rule.get(key) {
                Some(schema) => self.check(item, schema, root, &at, out),
                None => out.push(format!("{at}: the schema does not name it")),
            }
        }
    }
}

fn check_type(value: &Value, rule: &Value, at: &str, out: &mut Vec<String>) {
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type is called {other}"),
    };
    let names: Vec<&str> = match rule {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    };
    if !names.iter().any(|name| is(name)) {
        out.push(format!("{at}: expected {}, found {value}", names.join(" or ")));
    }
}

fn check_bound(value: &Value, keyword: &str, rule: &Value, at: &str, out: &mut Vec<String>) {
    let (Some(value), Some(bound)) = (value.as_f64(), rule.as_f64()) else {
        return;
    };
    let fits = if keyword == "minimum" { value >= bound } else { value <= bound };
    if !fits {
        out.push(format!("{at}: {value} is beyond the {keyword} {bound}"));
    }
}

fn check_length(value: &Value, keyword: &str, rule: &Value, at: &str, out: &mut Vec<String>) {
    let (Some(items), Some(bound)) = (value.as_array(), rule.as_u64()) else {
        return;
    };
    let length = items.len() as u64;
    let fits = if keyword == "minItems" { length >= bound } else { length <= bound };
    if !fits {
        out.push(format!("{at}: {length} items are beyond {keyword} {bound}"));
    }
}

fn check_required(value: &Value, rule: &Value, at: &str, out: &mut Vec<String>) {
    let Some(object) = value.as_object() else {
        return;
    };
    let names = rule.as_array().expect("required keys are a list").iter();
    for name in names.filter_map(Value::as_str) {
        if !object.contains_key(name) {
            out.push(format!("{at}/{name}: missing"));
        }
    }
}
