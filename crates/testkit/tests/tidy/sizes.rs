//! How long files and functions may become.
use crate::source::{Breach, Source, hold, shipped, sources};
use syn::visit::{self, Visit};

/// Lines of code a file may have, unit tests and empty lines aside.
const LINES_OF_A_FILE: usize = 600;

/// Lines a function may have, from its signature to its closing brace.
const LINES_OF_A_FUNCTION: usize = 60;

/// Functions that may be longer, with the reason.
const LONG: &[(&str, &str, &str)] = &[];

/// Functions that are still too long, by room; the numbers only fall.
const TOO_LONG: &[(&str, usize)] = &[];

#[test]
fn every_file_stays_under_six_hundred_lines_of_code() {
    for source in sources().iter().filter(|source| !source.path.contains("/tests/")) {
        let code = source.text.split("#[cfg(test)]").next().unwrap_or("");
        let lines = code.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(lines <= LINES_OF_A_FILE, "{} has {lines} lines of code", source.path);
    }
}

#[test]
fn every_function_stays_under_sixty_lines() {
    let sources = shipped();
    let functions: Vec<_> = sources.iter().flat_map(functions_of).collect();
    let is_excused = |function: &Function<'_>| {
        LONG.iter().any(|(path, name, _)| *path == function.source.path && *name == function.name)
    };
    let long = functions
        .iter()
        .filter(|function| function.lines > LINES_OF_A_FUNCTION && !is_excused(function));
    let breaches: Vec<_> = long
        .map(|function| Breach {
            room: function.source.room.clone(),
            place: format!("{} {}: {} lines", function.source.path, function.name, function.lines),
        })
        .collect();
    hold("long function", &breaches, TOO_LONG);
    for (path, name, _) in LONG {
        let is_needed = |function: &Function<'_>| {
            function.source.path == *path
                && function.name == *name
                && function.lines > LINES_OF_A_FUNCTION
        };
        assert!(functions.iter().any(is_needed), "{path} {name} needs no exception any more");
    }
}

struct Function<'a> {
    source: &'a Source,
    name: String,
    lines: usize,
}

fn functions_of(source: &Source) -> Vec<Function<'_>> {
    let mut collector = Functions { source, functions: Vec::new() };
    collector.visit_file(&source.syntax);
    collector.functions
}

struct Functions<'a> {
    source: &'a Source,
    functions: Vec<Function<'a>>,
}

impl Functions<'_> {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let first = signature.fn_token.span.start().line;
        let last = block.brace_token.span.close().end().line;
        self.functions.push(Function {
            source: self.source,
            name: signature.ident.to_string(),
            lines: last + 1 - first,
        });
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}
