//! Puts all mutants of a file into it, each behind a switch, so that one build has all of them: `a < b` becomes
//! `(if on(7) { (a > b) } else { (a < b) })`. One switch at most is on in a process, so what stands behind it is the source as it
//! was, but for this one change.

use crate::list::{Genre, Mutant, Place};
use std::collections::{HashMap, HashSet};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// A file with its mutants, and where they are.
pub struct Woven {
    pub text: String,
    pub regions: Vec<Region>,
    /// Mutants whose place was not found.
    pub lost: Vec<usize>,
}

/// Bytes of a woven file that mutants are to blame for, if the compiler objects to them.
pub struct Region {
    pub start: usize,
    pub end: usize,
    pub mutants: Vec<usize>,
    /// What one mutant brought; not what stands around it.
    pub is_own: bool,
}

/// Weaves these mutants (with their numbers, from which the switches have theirs) into the text of their file. Functions that are
/// `const` can't look at a switch, and are not `const` any more, but for those that are named here.
pub fn weave(text: &str, mutants: &[(usize, &Mutant)], still_const: &HashSet<String>) -> Result<Woven, String> {
    let file = syn::parse_file(text).map_err(|error| error.to_string())?;
    let mut sites = Sites { lines: lines(text), text, found: HashMap::new(), consts: Vec::new(), matches: Vec::new() };
    sites.visit_file(&file);

    let mut edits: Vec<Edit> = Vec::new();
    let mut lost = Vec::new();
    for &(number, mutant) in mutants {
        let kind = match mutant.genre {
            Genre::FnValue => Kind::Body,
            Genre::Binary | Genre::Unary => Kind::Operator,
            Genre::MatchArm => Kind::Arm,
            Genre::Guard => Kind::Guard,
            // What the rest of the struct is of has no name here. They are few.
            Genre::Field => {
                lost.push(number);
                continue;
            }
        };
        let Some(site) = sites.found.get(&(kind, mutant.start)) else {
            lost.push(number);
            continue;
        };
        let at = match edits.iter().position(|edit| edit.site == *site) {
            Some(at) => at,
            None => {
                edits.push(Edit { site: site.clone(), changes: Vec::new() });
                edits.len() - 1
            }
        };
        edits[at].changes.push((number, mutant.replacement.clone()));
    }
    // Only functions that have something in them lose their `const`.
    for (name, word, body) in &sites.consts {
        let has = edits.iter().any(|edit| body.0 <= edit.site.start && edit.site.end <= body.1);
        if has && !still_const.contains(name) {
            edits.push(Edit {
                site: Site { kind: Kind::Const, start: word.0, end: word.1, inner: *word },
                changes: Vec::new(),
            });
        }
    }
    // A match that is not exhaustive is the fault of its arms.
    for &(start, end) in &sites.matches {
        let arms =
            edits.iter().filter(|edit| edit.site.kind == Kind::Arm && start < edit.site.start && edit.site.end < end);
        let changes: Vec<_> = arms.flat_map(|edit| edit.changes.iter().cloned()).collect();
        if !changes.is_empty() {
            edits.push(Edit { site: Site { kind: Kind::Match, start, end, inner: (start, end) }, changes });
        }
    }
    let (text, regions) = render(text, &edits);
    Ok(Woven { text, regions, lost })
}

/// Where something begins and ends, in bytes.
type Range = (usize, usize);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Body,
    Operator,
    Arm,
    Guard,
    Const,
    Match,
}

/// Where something can be changed, in bytes.
#[derive(Clone, PartialEq, Eq)]
struct Site {
    kind: Kind,
    start: usize,
    end: usize,
    /// The operator, if it is an expression with one.
    inner: Range,
}

struct Edit {
    site: Site,
    changes: Vec<(usize, String)>,
}

struct Sites<'a> {
    text: &'a str,
    lines: Vec<usize>,
    found: HashMap<(Kind, Place), Site>,
    /// Functions that are `const`: name, the word, the body.
    consts: Vec<(String, Range, Range)>,
    matches: Vec<Range>,
}

/// Where each line begins.
fn lines(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

impl Sites<'_> {
    fn byte(&self, place: proc_macro2::LineColumn) -> usize {
        let line = self.lines[place.line - 1];
        self.text[line..].char_indices().nth(place.column).map_or(self.text.len(), |(at, _)| line + at)
    }

    fn bytes(&self, span: proc_macro2::Span) -> Range {
        (self.byte(span.start()), self.byte(span.end()))
    }

    fn add(&mut self, kind: Kind, at: proc_macro2::Span, (start, end): Range, inner: Range) {
        let place = (at.start().line, at.start().column + 1);
        self.found.insert((kind, place), Site { kind, start, end, inner });
    }

    fn operator(&mut self, whole: proc_macro2::Span, operator: proc_macro2::Span) {
        let (whole, inner) = (self.bytes(whole), self.bytes(operator));
        self.add(Kind::Operator, operator, whole, inner);
    }

    fn function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        let body = (self.bytes(block.brace_token.span.open()).1, self.bytes(block.brace_token.span.close()).0);
        self.add(Kind::Body, first.span(), body, body);
        if let Some(word) = signature.constness {
            self.consts.push((signature.ident.to_string(), self.bytes(word.span), body));
        }
    }
}

impl<'ast> Visit<'ast> for Sites<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        self.operator(expr.span(), expr.op.span());
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        self.operator(expr.span(), expr.op.span());
        visit::visit_expr_unary(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let pattern = self.bytes(arm.pat.span());
        self.add(Kind::Arm, arm.span(), (pattern.1, pattern.1), pattern);
        if let Some((_, guard)) = &arm.guard {
            let whole = self.bytes(guard.span());
            self.add(Kind::Guard, guard.span(), whole, whole);
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        let range = self.bytes(expr.span());
        self.matches.push(range);
        visit::visit_expr_match(self, expr);
    }
}

/// What comes in at a place.
enum Part {
    Text(String),
    Own(usize, String),
}

impl Edit {
    /// What comes before the site, and what after it.
    fn parts(&self, text: &str) -> (Vec<Part>, &'static str) {
        let site = &self.site;
        let mut open = Vec::new();
        match site.kind {
            Kind::Body => {
                for (number, replacement) in &self.changes {
                    open.push(Part::Text(format!(" if {} {{ return (", on(*number))));
                    open.push(Part::Own(*number, replacement.clone()));
                    open.push(Part::Text("); }".into()));
                }
                (open, "")
            }
            Kind::Operator => {
                open.push(Part::Text("(".into()));
                for (number, replacement) in &self.changes {
                    let changed = format!(
                        "({} {replacement} {})",
                        &text[site.start..site.inner.0],
                        &text[site.inner.1..site.end]
                    );
                    open.push(Part::Text(format!("if {} {{ ", on(*number))));
                    open.push(Part::Own(*number, changed));
                    open.push(Part::Text(" } else ".into()));
                }
                open.push(Part::Text("{ (".into()));
                (open, ") })")
            }
            Kind::Arm => {
                open.extend(self.changes.iter().map(|(number, _)| Part::Own(*number, format!(" if !{}", on(*number)))));
                (open, "")
            }
            Kind::Guard => {
                let (always, never): (Vec<_>, Vec<_>) =
                    self.changes.iter().partition(|(_, replacement)| replacement == "true");
                open.extend(always.iter().map(|(number, _)| Part::Text(format!("{} || ", on(*number)))));
                open.extend(never.iter().map(|(number, _)| Part::Text(format!("!{} && ", on(*number)))));
                open.push(Part::Text("(".into()));
                (open, ")")
            }
            Kind::Const | Kind::Match => (open, ""),
        }
    }
}

fn on(number: usize) -> String {
    format!("crate::mutants_switch::mutant_is_on({})", number + 1)
}

/// The text with its edits. What is around something else begins before it and ends after it.
fn render(text: &str, edits: &[Edit]) -> (String, Vec<Region>) {
    // Place, whether something begins, what begins first, and which edit.
    type Order = (usize, u8, u8, isize, isize);
    let mut events: Vec<(Order, usize)> = Vec::new();
    for (index, edit) in edits.iter().enumerate() {
        let site = &edit.site;
        let rank = isize::from(site.kind != Kind::Guard && site.kind != Kind::Match);
        let empty = site.start == site.end;
        events.push(((site.start, 1, u8::from(!empty), -(site.end as isize), rank), index));
        if !empty {
            events.push(((site.end, 0, 0, -(site.start as isize), -rank), index));
        }
    }
    events.sort();
    let mut woven = String::with_capacity(text.len() * 4);
    let mut regions = Vec::new();
    let mut begun: HashMap<usize, usize> = HashMap::new();
    let mut copied = 0;
    for ((place, begins, ..), index) in events {
        let edit = &edits[index];
        let numbers = || edit.changes.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        woven.push_str(&text[copied..place]);
        copied = place;
        if edit.site.kind == Kind::Const {
            // The word is left out.
            copied = edit.site.end.max(copied);
            continue;
        }
        let (open, close) = edit.parts(text);
        if begins == 1 {
            let start = woven.len();
            for part in open {
                match part {
                    Part::Text(text) => woven.push_str(&text),
                    Part::Own(number, text) => {
                        let start = woven.len();
                        woven.push_str(&text);
                        regions.push(Region { start, end: woven.len(), mutants: vec![number], is_own: true });
                    }
                }
            }
            if edit.site.start == edit.site.end {
                regions.push(Region { start, end: woven.len(), mutants: numbers(), is_own: false });
            } else {
                begun.insert(index, start);
            }
        } else {
            woven.push_str(close);
            let start = begun.remove(&index).unwrap_or(place);
            regions.push(Region { start, end: woven.len(), mutants: numbers(), is_own: false });
        }
    }
    woven.push_str(&text[copied..]);
    (woven, regions)
}

/// The module with the switch, for the woven crate.
pub const SWITCH: &str = r#"//! Which mutant is on: the one whose number is in the environment variable `MUTANT`; 0 is none. With `MUTANTS_REACHED` it is
//! none, and the numbers of all whose switch is looked at are written to that file.
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::io::Write;

const UNREAD: u32 = u32::MAX;
const RECORDED: u32 = u32::MAX - 1;
static CHOSEN: AtomicU32 = AtomicU32::new(UNREAD);
static SEEN: [AtomicBool; 65536] = [const { AtomicBool::new(false) }; 65536];
static FILE: OnceLock<std::fs::File> = OnceLock::new();

#[inline]
pub(crate) fn mutant_is_on(number: u32) -> bool {
    let chosen = CHOSEN.load(Relaxed);
    if chosen < RECORDED { chosen == number } else { look(number) }
}

#[cold]
fn look(number: u32) -> bool {
    if CHOSEN.load(Relaxed) == UNREAD {
        let chosen = if let Some(path) = std::env::var_os("MUTANTS_REACHED") {
            FILE.get_or_init(|| std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap());
            RECORDED
        } else {
            std::env::var("MUTANT").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        CHOSEN.store(chosen, Relaxed);
        return mutant_is_on(number);
    }
    if !SEEN[number as usize].swap(true, Relaxed) {
        // Without memory: there are tests that count what is allocated.
        let mut line = [b' '; 8];
        write!(&mut line[..], "{number:>7}\n").unwrap();
        FILE.get().unwrap().write_all(&line).unwrap();
    }
    false
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(genre: Genre, start: Place, replacement: &str) -> Mutant {
        Mutant { name: String::new(), file: String::new(), genre, start, replacement: replacement.into() }
    }

    /// What is woven, with short switches and without what spaces are more than one.
    fn woven(text: &str, mutants: &[Mutant]) -> String {
        let numbered: Vec<_> = mutants.iter().enumerate().collect();
        let woven = weave(text, &numbered, &HashSet::new()).expect("a file");
        assert!(woven.lost.is_empty());
        syn::parse_file(&woven.text).expect("what is woven is Rust");
        for region in &woven.regions {
            assert!(woven.text.is_char_boundary(region.start) && region.start < region.end, "{}", woven.text);
        }
        woven.text.replace("crate::mutants_switch::mutant_is_on", "on").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn operators_within_others_are_changed_one_at_a_time() {
        let text = "fn f(a: u8) -> bool { a < 2 && !g(a) }";
        let mutants = [
            mutant(Genre::Binary, (1, 29), "||"),
            mutant(Genre::Binary, (1, 25), ">"),
            mutant(Genre::Binary, (1, 25), "=="),
            mutant(Genre::Unary, (1, 32), ""),
        ];
        let less = "(if on(2) { (a > 2) } else if on(3) { (a == 2) } else { (a < 2) })";
        let not = "(if on(4) { ( g(a)) } else { (!g(a)) })";
        let whole = format!("fn f(a: u8) -> bool {{ (if on(1) {{ (a < 2 || !g(a)) }} else {{ ({less} && {not}) }}) }}");
        assert_eq!(woven(text, &mutants), whole);
    }

    #[test]
    fn bodies_arms_and_guards_have_switches() {
        let text = "const fn f(é: u8) -> u8 { match é { 1 => 2, 3 if é > 0 => 4, _ => 5 } }";
        let mutants = [
            mutant(Genre::FnValue, (1, 27), "0"),
            mutant(Genre::MatchArm, (1, 37), ""),
            mutant(Genre::Guard, (1, 50), "true"),
            mutant(Genre::Guard, (1, 50), "false"),
        ];
        let arms = "1 if !on(2) => 2, 3 if on(3) || !on(4) && (é > 0) => 4, _ => 5";
        assert_eq!(
            woven(text, &mutants),
            format!("fn f(é: u8) -> u8 {{ if on(1) {{ return (0); }} match é {{ {arms} }} }}")
        );
    }

    #[test]
    fn a_function_that_has_to_be_const_stays_so() {
        let text = "const fn f() -> u8 { 1 } const fn g() -> u8 { 1 }";
        let mutants = [mutant(Genre::FnValue, (1, 22), "0"), mutant(Genre::FnValue, (1, 47), "0")];
        let numbered: Vec<_> = mutants.iter().enumerate().collect();
        let woven = weave(text, &numbered, &HashSet::from(["g".to_owned()])).expect("a file");
        assert!(!woven.text.contains("const fn f") && woven.text.contains("const fn g"), "{}", woven.text);
    }
}
