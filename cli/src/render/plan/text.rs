use windlass_proto::common::v1 as common;

use super::{marks, path, work};
use crate::render::{Cell, Columns, ListStyle, Tint, json, words};

/// Longest value of an argument, in columns.
const MAX_VALUE: usize = 60;

/// Longest text that says what a step does, in columns.
const MAX_WORK: usize = 48;

/// The plan as a tree: steps in their order, inner steps below the step they belong to.
pub(crate) fn text(plan: &common::Plan, look: &ListStyle) -> String {
    let mut table = Columns::new(0, Some(1));
    let heads = ["STEP", "DOES", "AFTER"];
    table.push(heads.iter().map(|head| Cell::new(Tint::Faint, head)).collect());
    for (at, step) in plan.steps.iter().enumerate() {
        if step.parent.is_none() {
            branch(plan, at, 0, &mut table);
        }
    }
    let mut out = table.render(look.paint, look.width.unwrap_or(usize::MAX));
    if let Some(key) = &plan.concurrency_key {
        let limit = plan.spec.as_ref().and_then(|spec| spec.concurrency.as_ref());
        let limit = limit.map_or(1, |concurrency| concurrency.limit);
        let runs = words::plural(usize::try_from(limit).unwrap_or(usize::MAX), "run");
        let key = super::super::clean(key);
        out += &format!("\nAt most {runs} of concurrency `{key}` at once.\n");
    }
    out
}

/// A step, its marks and arguments, and the steps within it. A plan nests to a bounded depth.
fn branch(plan: &common::Plan, at: usize, depth: usize, table: &mut Columns) {
    let Some(step) = plan.steps.get(at) else { return };
    let spec = step.spec.clone().unwrap_or_default();
    let (kind, does) = work(&spec);
    let indent = "  ".repeat(depth);
    let name = step.path.rsplit('/').next().unwrap_or_default();
    let does = format!("{kind} {does}");
    let needs: Vec<_> = step.needs.iter().map(|need| beside(&path(plan, *need))).collect();
    table.push(vec![
        Cell::new(Tint::Name, format!("{indent}{name}")),
        Cell::plain(crate::render::shorten(does.trim(), MAX_WORK)),
        Cell::plain(needs.join(", ")),
    ]);
    let below = |tint, text: String| vec![Cell::plain(""), Cell::new(tint, format!("  {text}"))];
    for mark in marks::marks(step) {
        table.push(below(Tint::Odd, mark));
    }
    for arg in &step.args {
        let value = marks::value(arg, |index| path(plan, index));
        let value = crate::render::shorten(&value, MAX_VALUE);
        let text = format!("{} = {value}", arg.name);
        let source = json::source(arg.source());
        let mut row = below(Tint::Plain, text);
        row.push(Cell::new(Tint::Faint, format!("({source})")));
        table.push(row);
    }
    for set in &step.overrides {
        let text = format!("{}.{} = {}", set.function, set.arg, set.json);
        let mut row = below(Tint::Plain, text);
        row.push(Cell::new(Tint::Faint, format!("({})", json::source(set.source()))));
        table.push(row);
    }
    let inner = step.inner.unwrap_or_default();
    let first = usize::try_from(inner.first).unwrap_or(usize::MAX);
    let count = usize::try_from(inner.count).unwrap_or_default();
    // Inner steps stand behind the step they belong to; anything else would never end.
    if first > at {
        for inner in first..first.saturating_add(count).min(plan.steps.len()) {
            branch(plan, inner, depth + 1, table);
        }
    }
}

/// The last part of a path: needs are beside the step that has them.
fn beside(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::examples, ListStyle, text};
    use crate::render::Paint;

    #[test]
    fn a_plan_is_a_tree() {
        let look = ListStyle { paint: Paint { on: false }, width: None, now: Default::default() };
        let expected = "\
STEP    DOES                                                AFTER
load    python f:load
          mocked: not executed
all     pipeline inner.yaml                                 load
          for each of outputs.rows as x, at most 4 at once
          on failure mend
          x = the item                                      (with)
  tune  python f:tune
          patched: calls f:quick
          when params.x > 1
          rows = rows of load                               (output)
          x = params.x                                      (pipeline)
          n = 4                                             (cli)
mend    run echo \"sorry\" …                                  all
          only after a failure
";
        assert_eq!(text(&examples::plan(), &look), expected);
    }
}
