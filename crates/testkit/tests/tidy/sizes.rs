//! How long files and functions may become.
use crate::source::{Source, hold, shipped, sources};
use syn::visit::{self, Visit};

/// Lines of code a file may have, unit tests and empty lines aside.
const LINES_OF_A_FILE: usize = 600;

/// Lines a function may have, from its signature to its closing brace.
const LINES_OF_A_FUNCTION: usize = 60;

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
    let functions = sources.iter().flat_map(functions_of);
    let breaches: Vec<_> = functions
        .filter(|function| function.lines > LINES_OF_A_FUNCTION)
        .map(|function| {
            format!("{} {}: {} lines", function.source.path, function.name, function.lines)
        })
        .collect();
    hold("long function", &breaches);
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
