use serde_saphyr::{Error, options::DuplicateKeyPolicy};

use super::{Node, Place, Tree};

/// Largest YAML text that is looked at, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// Deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 64;

/// Most lists, mappings and scalars in a file: those of the largest plan with room to spare.
const MAX_NODES: usize = 1_000_000;

/// Most events that aliases may replay.
const MAX_REPLAYED: usize = 100_000;

/// Why a text cannot be read as YAML at all.
#[derive(Debug)]
pub(in crate::compile) struct SyntaxError {
    pub(in crate::compile) place: Place,
    pub(in crate::compile) message: String,
    pub(in crate::compile) help: String,
}

/// Reads one YAML document.
pub(in crate::compile) fn parse(bytes: &[u8]) -> Result<Tree, SyntaxError> {
    let refuse = |place, message: &str, help: &str| SyntaxError {
        place,
        message: message.to_owned(),
        help: help.to_owned(),
    };
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
        return Err(refuse(Place::default(), &message, ""));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (line, column) = line_and_column(&bytes[..error.valid_up_to()]);
        let place = Place { line, column, ..Place::default() };
        refuse(place, "the file is not UTF-8 text", "save it as UTF-8")
    })?;
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
    };
    let tree = serde_saphyr::from_str_with_options(text, options);
    let tree: Tree = tree.map_err(|error| explain(&error, text))?;
    match find_lost_digits(&tree, text) {
        None => Ok(tree),
        Some(place) => Err(refuse(
            place,
            "the number has more digits than 64 bits hold",
            "write it as text, in quotes",
        )),
    }
}

fn explain(error: &Error, text: &str) -> SyntaxError {
    let error = error.without_snippet();
    let mut place: Place = error.location().map(Place::from).unwrap_or_default();
    if let Some(line) = line_indented_with_tab(text, place.line) {
        place = Place { line, column: 1, ..Place::default() };
        let message = "the line is indented with a tab; YAML wants spaces".to_owned();
        return SyntaxError { place, message, help: "replace the tab by spaces".to_owned() };
    }
    let full = error.to_string();
    let message = full.split(" at line ").next().unwrap_or(&full).trim_end_matches([',', ':']);
    let mut message = message.trim().to_owned();
    let mut help = String::new();
    if matches!(error, Error::Budget { .. }) || message.contains("recursion") {
        message = format!("the file is nested too deeply or too large: {message}");
        help = format!("lists and mappings may be nested {MAX_DEPTH} deep");
    }
    SyntaxError { place, message, help }
}

/// The line near `line` (or, without one, any) that starts with a tab.
fn line_indented_with_tab(text: &str, line: u32) -> Option<u32> {
    let near = |number: &u32| line == 0 || number.abs_diff(line) <= 1;
    let indented = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    (1u32..).zip(text.lines()).find(|(number, l)| near(number) && indented(l)).map(|(n, _)| n)
}

/// An integer so long that reading it as a float changed it.
fn find_lost_digits(tree: &Tree, text: &str) -> Option<Place> {
    match &tree.node {
        Node::Number(number) if number.is_f64() => {
            let start = usize::try_from(tree.place.start).ok()?;
            let end = start.checked_add(usize::try_from(tree.place.len).ok()?)?;
            let digits = text.get(start..end)?.trim().trim_start_matches(['-', '+']);
            let lost = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            lost.then_some(tree.place)
        }
        Node::List(items) => items.iter().find_map(|item| find_lost_digits(item, text)),
        Node::Map(entries) => entries.iter().find_map(|e| find_lost_digits(&e.value, text)),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Str(_) => None,
    }
}

fn line_and_column(before: &[u8]) -> (u32, u32) {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let lines = before.iter().filter(|b| **b == b'\n').count();
    (small(lines + 1), small(String::from_utf8_lossy(&before[start..]).chars().count() + 1))
}
