use std::collections::BTreeMap;

use serde::Deserialize;
use windlass_proto::common::v1::PipelineSpec;

use super::{explain, spec::spec, types::PipelineFile};
use crate::compile::{
    report::{MAX_ERRORS, Report},
    yaml::{Fault, Node, Place, Reader, Skips, Tree},
};

/// Reads the file's tree as far as it can be read; what cannot goes into `report` and is left out.
pub(in crate::compile) fn read(
    tree: &Tree,
    stem: &str,
    report: &mut Report<'_>,
) -> Option<PipelineSpec> {
    let mut skips = Skips::new();
    report_doubles(tree, &mut skips, report);
    let file = loop {
        let fault = match PipelineFile::deserialize(Reader { tree, skips: &skips }) {
            Ok(file) => break file,
            Err(fault) => fault,
        };
        report_fault(&fault, report);
        let more = fault.within().is_some_and(|place| skips.insert(place));
        if !more || report.is_full() {
            return None;
        }
    };
    if !skips.is_empty() {
        for step in tree.entry("steps").map_or(&[][..], |steps| steps.value.entries()) {
            if has_any(&skips, step.place, &step.value) {
                report.taint(&step.key);
            }
        }
    }
    if file.version != 1 {
        let place = tree.entry("version").map(|entry| entry.value.place).unwrap_or_default();
        let message = format!("version {} of the file is not known", file.version);
        report.at(place, message, "this Windlass reads `version: 1`");
    }
    Some(spec(file, stem, report, tree))
}

/// True where something at that place or below it was left out.
fn has_any(skips: &Skips, place: Place, tree: &Tree) -> bool {
    let below = match &tree.node {
        Node::List(items) => items.iter().any(|item| has_any(skips, item.place, item)),
        Node::Map(entries) => entries.iter().any(|e| has_any(skips, e.place, &e.value)),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Str(_) => false,
    };
    below || skips.contains(&place)
}

fn report_fault(fault: &Fault, report: &mut Report<'_>) {
    let (message, help) = explain(fault);
    // Empty where it only follows from what was left out before.
    if !message.is_empty() {
        report.at(fault.place(), message, help);
    }
}

/// Reports keys that stand twice in one mapping, and leaves out the later ones.
fn report_doubles(tree: &Tree, skips: &mut Skips, report: &mut Report<'_>) {
    if let Node::List(items) = &tree.node {
        for item in items {
            report_doubles(item, skips, report);
        }
    }
    let mut first: BTreeMap<&str, Place> = BTreeMap::new();
    for entry in tree.entries() {
        if let Some(place) = first.get(entry.key.as_str()) {
            let message = format!("duplicate key `{}`", entry.key);
            report.at(entry.place, message, format!("it stands on line {} already", place.line));
            if skips.len() < MAX_ERRORS {
                skips.insert(entry.place);
            }
        } else {
            first.insert(&entry.key, entry.place);
        }
        report_doubles(&entry.value, skips, report);
    }
}
