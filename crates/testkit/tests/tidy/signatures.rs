//! What a reader should not have to decode: parameters without names, and choices between true and false spelt as a match.
use crate::source::{Source, hold, sources};
use syn::visit::{self, Visit};

#[test]
fn no_function_takes_an_anonymous_tuple() {
    hold("tuple parameter", &breaches(|found| found.tuples));
}

#[test]
fn nothing_matches_on_bool() {
    hold("match on bool", &breaches(|found| found.matches));
}

fn breaches(kind: fn(Finder<'_>) -> Vec<String>) -> Vec<String> {
    let sources = sources();
    let of_file = |source| {
        let mut finder = Finder { source, tuples: Vec::new(), matches: Vec::new() };
        finder.visit_file(&source.syntax);
        kind(finder)
    };
    sources.iter().flat_map(of_file).collect()
}

struct Finder<'a> {
    source: &'a Source,
    tuples: Vec<String>,
    matches: Vec<String>,
}

impl Finder<'_> {
    fn breach(&self, line: usize, name: &str) -> String {
        format!("{}:{line} {name}", self.source.path)
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let takes_tuple = |input: &syn::FnArg| match input {
            syn::FnArg::Typed(input) => is_tuple(&input.ty),
            syn::FnArg::Receiver(_) => false,
        };
        if signature.inputs.iter().any(takes_tuple) {
            let line = signature.ident.span().start().line;
            let breach = self.breach(line, &signature.ident.to_string());
            self.tuples.push(breach);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_match(&mut self, choice: &'ast syn::ExprMatch) {
        if choice.arms.iter().any(|arm| is_bool(&arm.pat)) {
            let breach = self.breach(choice.match_token.span.start().line, "match");
            self.matches.push(breach);
        }
        visit::visit_expr_match(self, choice);
    }
}

/// Whether a type is a tuple of at least one element, or a reference to one.
fn is_tuple(parameter: &syn::Type) -> bool {
    match parameter {
        syn::Type::Tuple(tuple) => !tuple.elems.is_empty(),
        syn::Type::Reference(reference) => is_tuple(&reference.elem),
        syn::Type::Paren(inner) => is_tuple(&inner.elem),
        _ => false,
    }
}

/// Whether a pattern is `true` or `false`, perhaps with a guard.
fn is_bool(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::Lit(literal) => matches!(literal.lit, syn::Lit::Bool(_)),
        syn::Pat::Guard(guarded) => is_bool(&guarded.pat),
        syn::Pat::Or(alternatives) => alternatives.cases.iter().any(is_bool),
        syn::Pat::Paren(inner) => is_bool(&inner.pat),
        _ => false,
    }
}
