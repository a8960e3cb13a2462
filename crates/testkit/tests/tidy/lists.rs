//! Open sets: each file of a folder is named by the list that makes it known to parsing, help and conformance tests.
use crate::source::{Source, shipped};
use std::collections::BTreeSet;
use syn::visit::{self, Visit};

/// Where lists stand and which folder's files they name.
struct List {
    names: &'static [&'static str],
    file: &'static str,
    folder: &'static str,
}

/// All lists. A list is a constant, a static or the call of a macro; a file is named by its module or by one of its items.
const LISTS: &[List] = &[
    List { names: &["operators"], file: "ir/src/ops.rs", folder: "ir/src/ops" },
    List {
        names: &["ON_READING", "BEFORE_EXECUTION", "IN_FLOAT", "ON_REQUEST"],
        file: "ir/src/rewrites.rs",
        folder: "ir/src/rewrites",
    },
    List { names: &["instruction_sets"], file: "kernels/src/isa.rs", folder: "kernels/src/isa" },
    List { names: &["steps"], file: "runtime/src/steps.rs", folder: "runtime/src/steps" },
    List {
        names: &["PASSES"],
        file: "runtime/src/lowering/passes.rs",
        folder: "runtime/src/lowering/passes",
    },
    List { names: &["instruction_sets"], file: "kernels/src/isa.rs", folder: "kernels/src/isa" },
    List { names: &["FAMILIES"], file: "yolo/src/families.rs", folder: "yolo/src/families" },
    List { names: &["RULES"], file: "yolo/src/losses/labels.rs", folder: "yolo/src/losses/labels" },
    List { names: &["CRITERIA"], file: "prune/src/criteria.rs", folder: "prune/src/criteria" },
    List {
        names: &["CALIBRATORS"],
        file: "quant/src/calibrators.rs",
        folder: "quant/src/calibrators",
    },
    List { names: &["gradients"], file: "train/src/gradients.rs", folder: "train/src/gradients" },
    List {
        names: &["MODULES"],
        file: "checkpoint/src/modules.rs",
        folder: "checkpoint/src/modules",
    },
];

/// Files that serve the listed ones beside them, and why they are no entry of their own.
const HELPERS: &[(&str, &str)] = &[
    ("ir/src/ops/operator.rs", "what every operator must say of itself"),
    ("checkpoint/src/modules/scope.rs", "what every module is built with"),
    ("yolo/src/losses/labels/claims.rs", "what the rules of assignment share"),
    ("yolo/src/families/other_tasks.rs", "recognises what no family decodes, to refuse it"),
];

#[test]
fn every_list_names_every_file_of_its_folder() {
    let sources = shipped();
    let mut missing = Vec::new();
    for list in LISTS {
        let named = names_in(list, &sources);
        let files = sources.iter().filter(|source| {
            let parent = source.path.rsplit_once('/').map(|(parent, _)| parent);
            parent == Some(list.folder) && HELPERS.iter().all(|(path, _)| *path != source.path)
        });
        for file in files {
            let module = file.module().pop().expect("it lies in a folder");
            let is_named = named.contains(&module)
                || public_names(&file.syntax).iter().any(|item| named.contains(item));
            if !is_named {
                missing.push(format!(
                    "{} is not in {} ({})",
                    file.path,
                    list.names.join(", "),
                    list.file
                ));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_helper_beside_listed_files_exists() {
    let sources = shipped();
    for (path, _) in HELPERS {
        assert!(sources.iter().any(|source| source.path == *path), "{path} is gone");
    }
}

/// The identifiers that stand in the lists, and in the constants of the same file that they name.
fn names_in(list: &List, sources: &[Source]) -> BTreeSet<String> {
    let file = sources.iter().find(|source| source.path == list.file);
    let file = file.unwrap_or_else(|| panic!("{} does not exist", list.file));
    let mut names = BTreeSet::new();
    let mut wanted: Vec<String> = list.names.iter().map(ToString::to_string).collect();
    let mut done = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let item = file.syntax.items.iter().find(|item| match item {
            syn::Item::Const(item) => item.ident == name,
            syn::Item::Static(item) => item.ident == name,
            syn::Item::Macro(item) => item.ident.is_none() && item.mac.path.is_ident(&name),
            _ => false,
        });
        let is_list = list.names.contains(&name.as_str());
        assert!(item.is_some() || !is_list, "{} has no list {name}", list.file);
        if let Some(item) = item.filter(|_| done.insert(name)) {
            let mut collector = Names::default();
            collector.visit_item(item);
            wanted.extend(collector.0.iter().filter(|name| is_constant(name)).cloned());
            names.extend(collector.0);
        }
    }
    names
}

fn is_constant(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Every identifier of what is visited, those inside macros too.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        self.0.insert(ident.to_string());
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let words = mac.tokens.to_string();
        let words = words.split(|c: char| !c.is_alphanumeric() && c != '_');
        self.0.extend(words.map(str::to_owned));
        visit::visit_macro(self, mac);
    }
}

fn public_names(file: &syn::File) -> Vec<String> {
    let name = |item: &syn::Item| match item {
        syn::Item::Const(item) => Some(item.ident.to_string()),
        syn::Item::Static(item) => Some(item.ident.to_string()),
        syn::Item::Struct(item) => Some(item.ident.to_string()),
        _ => None,
    };
    file.items.iter().filter_map(name).collect()
}
