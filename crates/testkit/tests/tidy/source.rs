//! The sources of the workspace as syntax trees, and the report that every rule ends with.
use std::fs;
use std::path::{Path, PathBuf};

/// One file of Rust.
pub(crate) struct Source {
    /// The crate's folder name.
    pub(crate) room: String,
    /// Path below `crates/`, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The syntax tree without items that are compiled for unit tests only.
    pub(crate) syntax: syn::File,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).expect("sources are UTF-8");
        let mut syntax =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        syntax.items.retain(|item| !is_for_tests(item));
        let relative = path.strip_prefix(crates()).expect("it lies in crates/");
        let parts: Vec<_> =
            relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        Source { room: parts[0].to_string(), path: parts.join("/"), text, syntax }
    }

    /// Whether the file is compiled into a crate: no test, no example, no unit test in a file of its own.
    pub(crate) fn is_shipped(&self) -> bool {
        let within = self.path.split('/').skip(1).collect::<Vec<_>>();
        let is_test = |part: &&str| *part == "tests" || *part == "tests.rs";
        within[0] == "src" && !within.iter().any(is_test)
    }

    /// The modules that lead to the file, from the crate's root: none for `lib.rs`, `[a, b]` for `a/b.rs`.
    pub(crate) fn module(&self) -> Vec<String> {
        let within = self.path.split('/').skip(2).collect::<Vec<_>>();
        let mut module: Vec<_> = within.iter().map(ToString::to_string).collect();
        let stem = module.pop().expect("a path names a file");
        let stem = stem.trim_end_matches(".rs");
        if !["lib", "main", "mod"].contains(&stem) {
            module.push(stem.to_owned());
        }
        module
    }
}

/// The folder of all crates.
pub(crate) fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every crate's folder name, sorted.
pub(crate) fn rooms() -> Vec<String> {
    let entries = fs::read_dir(crates()).expect("crates/ exists").flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut rooms: Vec<_> =
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    rooms.sort();
    rooms
}

/// Every file of Rust below `crates/`, sorted by its path.
pub(crate) fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&crates(), &mut paths);
    paths.sort();
    paths.iter().map(|path| Source::read(path)).collect()
}

/// The files that are compiled into a crate.
pub(crate) fn shipped() -> Vec<Source> {
    let mut sources = sources();
    sources.retain(Source::is_shipped);
    sources
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the tree is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn is_for_tests(item: &syn::Item) -> bool {
    let attributes = match item {
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => return false,
    };
    let names_test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    };
    attributes.iter().any(names_test)
}

/// Fails where a rule is broken, and prints every place: file, line and name, as a reader looks for it.
pub(crate) fn hold(rule: &str, breaches: &[String]) {
    for breach in breaches {
        println!("{rule}: {breach}");
    }
    assert!(breaches.is_empty(), "{rule}: {} places", breaches.len());
}
