//! What people read and what scripts read, made from the messages of the API.

mod calls;
mod columns;
mod json;
mod list;
mod page;
mod plan;
mod problem;
mod ranking;
mod sanitise;
mod steps;
mod style;
mod summary;
mod timeline;
mod tree;
mod words;

pub(crate) use columns::{Cell, Columns, shorten, width};
pub(crate) use json::{
    artifact_entries, kind as artifact_kind, output_entries, run as run_json, time as time_text,
    worker,
};
pub(crate) use list::{Style as ListStyle, runs as run_list};
pub(crate) use page::page;
pub(crate) use plan::{dot as plan_dot, mermaid as plan_mermaid, plan_json, text as plan_text};
pub(crate) use problem::{errors as problems_json, print as print_problems};
pub(crate) use ranking::{ranking, ranking_json, shown};
pub(crate) use sanitise::{bare_line, clean, log_line};
pub(crate) use style::{Paint, Tint, run_look, step_look};
pub(crate) use summary::{failure, summary, why};
pub(crate) use timeline::{Axis, run_time, span, step_time};
pub(crate) use tree::{Row as TreeRow, Tree, own_name, parent};
pub(crate) use words::{
    ago, attempt_state, bytes, duration, elapsed, instant, number, plural, run_state, signal_name,
    step_state,
};
