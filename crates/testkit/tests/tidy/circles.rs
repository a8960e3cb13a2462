//! No files import each other in a circle. What a child takes from the files above it is left out: `mod child;` with
//! `use super::Type` is how Rust splits one subject over files.
use crate::source::{Source, hold, rooms, shipped};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use syn::visit::{self, Visit};

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = shipped();
    let mut breaches = Vec::new();
    for room in rooms() {
        let files: Vec<_> = sources.iter().filter(|source| source.room == room).collect();
        let tree = Tree::of(&files);
        breaches.extend(tree.circles());
    }
    hold("circle of imports", &breaches);
}

/// A path of modules and at its end perhaps an item, from the crate's root.
type Names = Vec<String>;

/// What a file defines and what it imports under which name.
struct Module<'a> {
    source: &'a Source,
    items: BTreeSet<String>,
    /// Name in this file, and the path as it is written.
    imports: BTreeMap<String, Names>,
    /// Paths of which everything is imported.
    globs: Vec<Names>,
    /// Paths used in code, and imports that are not handed on.
    uses: Vec<Names>,
}

/// The modules of a crate, each a file.
struct Tree<'a>(BTreeMap<Names, Module<'a>>);

impl<'a> Tree<'a> {
    fn of(files: &[&'a Source]) -> Tree<'a> {
        let modules = files.iter().map(|source| (source.module(), Module::of(source)));
        Tree(modules.collect())
    }

    /// For each knot of files that reach each other, its shortest circle with the names that tie it.
    fn circles(&self) -> Vec<String> {
        let imports: Imports<'_> =
            self.0.iter().map(|(name, module)| (name, self.imports_of(name, module))).collect();
        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for start in imports.keys() {
            if seen.contains(*start) || shortest_circle(start, &imports).is_none() {
                continue;
            }
            let reached = reachable(start, &imports);
            let knot = reached.iter().filter(|other| reachable(other, &imports).contains(*start));
            let knot: Vec<_> = knot.copied().collect();
            let shortest = knot.iter().filter_map(|file| shortest_circle(file, &imports));
            let shortest = shortest.min_by_key(Vec::len).expect("the start has one");
            circles.push(self.describe(&shortest, knot.len(), &imports));
            seen.extend(knot);
        }
        circles
    }

    fn describe(&self, circle: &[&Names], knot: usize, imports: &Imports<'_>) -> String {
        let ties = circle.iter().enumerate().map(|(at, from)| {
            let to = circle[(at + 1) % circle.len()];
            let names: Vec<_> = imports[from][to].iter().map(String::as_str).collect();
            let (from, to) = (&self.0[*from].source.path, &self.0[to].source.path);
            format!("\n  {from} takes {} from {to}", names.join(", "))
        });
        format!("{} of {knot} files{}", circle.len(), ties.collect::<String>())
    }

    /// The files that a file imports from, those above it left out, and which names.
    fn imports_of(&self, name: &Names, module: &Module<'_>) -> BTreeMap<Names, BTreeSet<String>> {
        let mut imports: BTreeMap<Names, BTreeSet<String>> = BTreeMap::new();
        for path in &module.uses {
            if let Some(file) = self.file_of(name, path, 0)
                && !name.starts_with(&file)
            {
                let last = path.last().expect("a path has names").clone();
                imports.entry(file).or_default().insert(last);
            }
        }
        imports
    }

    /// The file that defines what a path means in a module; `None` where that is another crate.
    fn file_of(&self, module: &Names, path: &[String], depth: usize) -> Option<Names> {
        let mut at = module.clone();
        let mut rest = path;
        let mut is_within = false;
        while let [first, after @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            (rest, is_within) = (after, true);
        }
        while let [first, after @ ..] = rest {
            let child: Names = at.iter().chain([first]).cloned().collect();
            if !self.0.contains_key(&child) {
                break;
            }
            (at, rest, is_within) = (child, after, true);
        }
        let here = self.0.get(&at)?;
        let Some((first, after)) = rest.split_first() else {
            return Some(at);
        };
        if here.items.contains(first) || depth > 8 {
            return Some(at);
        }
        if let Some(import) = here.imports.get(first) {
            let full: Names = import.iter().chain(after).cloned().collect();
            return self.file_of(&at, &full, depth + 1);
        }
        let from_glob = here.globs.iter().find_map(|glob| {
            let file = self.file_of(&at, glob, depth + 1)?;
            self.0[&file].items.contains(first).then_some(file)
        });
        from_glob.or(is_within.then_some(at))
    }
}

/// Which files each file imports from, and the names it takes.
type Imports<'a> = BTreeMap<&'a Names, BTreeMap<Names, BTreeSet<String>>>;

/// All files that a file reaches by imports.
fn reachable<'a>(from: &Names, imports: &'a Imports<'_>) -> BTreeSet<&'a Names> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<_> = imports[from].keys().collect();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(imports[name].keys());
        }
    }
    reached
}

/// The shortest way from a file back to itself.
fn shortest_circle<'a>(start: &Names, imports: &'a Imports<'_>) -> Option<Vec<&'a Names>> {
    let (start, _) = imports.get_key_value(start)?;
    let mut came_from: BTreeMap<&Names, &Names> = BTreeMap::new();
    let mut open = VecDeque::from([*start]);
    while let Some(name) = open.pop_front() {
        for next in imports[name].keys() {
            if next == *start {
                let mut way = vec![name];
                while let Some(before) = came_from.get(way[way.len() - 1]) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, name);
                open.push_back(next);
            }
        }
    }
    None
}

impl<'a> Module<'a> {
    fn of(source: &'a Source) -> Module<'a> {
        let mut module = Module {
            source,
            items: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
            uses: Vec::new(),
        };
        for item in &source.syntax.items {
            module.items.extend(name_of(item));
        }
        module.visit_file(&source.syntax);
        let (paths, imports) = (&mut module.uses, &module.imports);
        paths.retain(|path| path.len() > 1 || imports.contains_key(&path[0]));
        module
    }

    fn import(&mut self, tree: &syn::UseTree, before: &Names, is_handed_on: bool) {
        let with = |name: &syn::Ident| -> Names {
            before.iter().cloned().chain([name.to_string()]).collect()
        };
        let (name, path) = match tree {
            syn::UseTree::Path(inner) => {
                return self.import(&inner.tree, &with(&inner.ident), is_handed_on);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, is_handed_on);
                }
                return;
            }
            syn::UseTree::Glob(_) => {
                self.globs.push(before.clone());
                return;
            }
            syn::UseTree::Name(name) if name.ident == "self" => {
                (before.last().cloned().unwrap_or_default(), before.clone())
            }
            syn::UseTree::Name(name) => (name.ident.to_string(), with(&name.ident)),
            syn::UseTree::Rename(name) => (name.rename.to_string(), with(&name.ident)),
        };
        if !is_handed_on {
            self.uses.push(path.clone());
        }
        self.imports.insert(name, path);
    }
}

impl<'ast> Visit<'ast> for Module<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_handed_on = !matches!(item.vis, syn::Visibility::Inherited);
        self.import(&item.tree, &Vec::new(), is_handed_on);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string());
        self.uses.push(names.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let words = mac.tokens.to_string().replace(" :: ", "::");
        let words = words.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
        let paths = words.filter(|word| word.contains("::"));
        self.uses.extend(paths.map(|path| path.split("::").map(str::to_owned).collect::<Names>()));
        visit::visit_macro(self, mac);
    }
}

fn name_of(item: &syn::Item) -> Option<String> {
    let ident = match item {
        syn::Item::Const(item) => &item.ident,
        syn::Item::Enum(item) => &item.ident,
        syn::Item::Fn(item) => &item.sig.ident,
        syn::Item::Macro(item) => item.ident.as_ref()?,
        syn::Item::Static(item) => &item.ident,
        syn::Item::Struct(item) => &item.ident,
        syn::Item::Trait(item) => &item.ident,
        syn::Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
