use serde_saphyr::granit_parser::{ErrorKind, Options, Parser, ScanError};

use super::{Place, Tree, build::Builder};

/// Largest YAML text that is looked at, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// Deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 64;

/// Why a text cannot be read as YAML at all.
#[derive(Debug)]
pub(in crate::compile) struct SyntaxError {
    pub(in crate::compile) place: Place,
    pub(in crate::compile) message: String,
    pub(in crate::compile) help: String,
}

/// Reads one YAML document.
pub(in crate::compile) fn parse(bytes: &[u8]) -> Result<Tree, SyntaxError> {
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, more than {MAX_BYTES}", bytes.len());
        return Err(SyntaxError { place: Place::default(), message, help: String::new() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| SyntaxError {
        place: end_of(&bytes[..error.valid_up_to()]),
        message: "the file is not UTF-8 text".to_owned(),
        help: "save it as UTF-8".to_owned(),
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    options.emit_unresolved_aliases = true;
    let mut builder = Builder::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| explain(&error, text))?;
        builder.take(event, span)?;
    }
    Ok(builder.finish())
}

fn explain(error: &ScanError, text: &str) -> SyntaxError {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (line, column) = (small(error.marker().line()), small(error.marker().col() + 1));
    if let Some(line) = line_indented_with_tab(text, line) {
        let message = "the line is indented with a tab; YAML wants spaces".to_owned();
        let help = "replace the tab by spaces".to_owned();
        return SyntaxError { place: Place { line, column: 1 }, message, help };
    }
    let place = Place { line, column };
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => SyntaxError {
            place,
            message: "lists and mappings are nested too deeply".to_owned(),
            help: format!("they may be nested {MAX_DEPTH} deep"),
        },
        _ => SyntaxError { place, message: error.info(), help: String::new() },
    }
}

/// The line at or beside `line` that starts with a tab.
fn line_indented_with_tab(text: &str, line: u32) -> Option<u32> {
    let indented = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    let near = (1u32..).zip(text.lines()).filter(|(number, _)| number.abs_diff(line) <= 1);
    near.filter(|(_, text)| indented(text)).map(|(number, _)| number).next()
}

fn end_of(before: &[u8]) -> Place {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let lines = before.iter().filter(|b| **b == b'\n').count();
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    Place { line: small(lines + 1), column: small(column) }
}
