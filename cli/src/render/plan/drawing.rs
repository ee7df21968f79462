use windlass_proto::common::v1 as common;

use super::{marks, work};

/// The graph for Mermaid.
pub(crate) fn mermaid(plan: &common::Plan) -> String {
    let mut out = String::from("flowchart TD\n");
    let node = |at: usize, lines: &[String]| {
        let text = lines.iter().map(|line| mermaid_text(line)).collect::<Vec<_>>().join("<br/>");
        format!("s{at}[\"{text}\"]")
    };
    let group = Group { open: "subgraph", close: "end" };
    draw(plan, &node, &group, &mut out);
    for (from, to, handler) in edges(plan) {
        let arrow = if handler { "-.->|on failure|" } else { "-->" };
        out += &format!("  s{from} {arrow} s{to}\n");
    }
    out
}

/// The graph for Graphviz.
pub(crate) fn dot(plan: &common::Plan) -> String {
    let mut out = String::from("digraph plan {\n  compound=true;\n  node [shape=box];\n");
    let node = |at: usize, lines: &[String]| {
        let text = lines.iter().map(|line| dot_text(line)).collect::<Vec<_>>().join("\\n");
        format!("s{at} [label=\"{text}\"];")
    };
    let group = Group { open: "subgraph cluster_", close: "}" };
    draw(plan, &node, &group, &mut out);
    for (from, to, handler) in edges(plan) {
        let style = if handler { " [style=dashed, label=\"on failure\"]" } else { "" };
        out += &format!("  s{from} -> s{to}{style};\n");
    }
    out + "}\n"
}

/// How a language writes steps that belong together.
struct Group {
    open: &'static str,
    close: &'static str,
}

/// Every step; inner steps in a group with the step they belong to.
fn draw(
    plan: &common::Plan,
    node: &impl Fn(usize, &[String]) -> String,
    group: &Group,
    out: &mut String,
) {
    for (at, step) in plan.steps.iter().enumerate() {
        if step.parent.is_none() {
            one(plan, at, 1, (node, group), out);
        }
    }
}

fn one(
    plan: &common::Plan,
    at: usize,
    depth: usize,
    style: (&impl Fn(usize, &[String]) -> String, &Group),
    out: &mut String,
) {
    let Some(step) = plan.steps.get(at) else { return };
    let (node, group) = style;
    let pad = "  ".repeat(depth);
    let line = node(at, &label(step));
    let Some(inner) = step.inner.filter(|inner| inner.count > 0) else {
        *out += &format!("{pad}{line}\n");
        return;
    };
    let open = match group.open.ends_with('_') {
        true => format!("{}{at} {{\n{pad}  label=\"{}\";", group.open, dot_text(&step.path)),
        false => format!("{} g{at} [\"{}\"]", group.open, mermaid_text(&step.path)),
    };
    *out += &format!("{pad}{open}\n{pad}  {line}\n");
    let first = usize::try_from(inner.first).unwrap_or(usize::MAX);
    let count = usize::try_from(inner.count).unwrap_or_default();
    if first > at {
        for inner in first..first.saturating_add(count).min(plan.steps.len()) {
            one(plan, inner, depth + 1, style, out);
        }
    }
    *out += &format!("{pad}{}\n", group.close);
}

fn label(step: &common::PlannedStep) -> Vec<String> {
    let (kind, does) = work(&step.spec.clone().unwrap_or_default());
    let name = step.path.rsplit('/').next().unwrap_or_default().to_owned();
    let does = format!("{kind} {does}").trim().to_owned();
    [name, does].into_iter().chain(marks::marks(step)).collect()
}

/// From, to, and whether it is the way of a failure. A step without needs of its own that is
/// inside another follows the step it belongs to.
fn edges(plan: &common::Plan) -> Vec<(u32, usize, bool)> {
    let mut edges = Vec::new();
    for (at, step) in plan.steps.iter().enumerate() {
        edges.extend(step.needs.iter().map(|need| (*need, at, step.failure_handler)));
        if let (true, Some(parent)) = (step.needs.is_empty(), step.parent) {
            edges.push((parent, at, false));
        }
    }
    edges
}

fn mermaid_text(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('"', "&quot;");
    text.replace('<', "&lt;").replace('>', "&gt;").replace(['\n', '\r'], " ")
}

fn dot_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::{super::examples, dot, mermaid};

    #[test]
    fn graphs_have_every_step_edge_and_mark() {
        let expected = "\
flowchart TD
  s0[\"load<br/>python f:load<br/>mocked: not executed\"]
  subgraph g1 [\"all\"]
    s1[\"all<br/>pipeline inner.yaml<br/>for each of outputs.rows as x, at most 4 at once<br/>on failure mend\"]
    s3[\"tune<br/>python f:tune<br/>patched: calls f:quick<br/>when params.x &gt; 1\"]
  end
  s2[\"mend<br/>run echo &quot;sorry&quot; …<br/>only after a failure\"]
  s0 --> s1
  s1 -.->|on failure| s2
  s1 --> s3
";
        assert_eq!(mermaid(&examples::plan()), expected);
        let graph = dot(&examples::plan());
        for line in [
            "  subgraph cluster_1 {\n    label=\"all\";\n    s1 [label=\"all\\npipeline inner.yaml",
            "  s2 [label=\"mend\\nrun echo \\\"sorry\\\" …\\nonly after a failure\"];",
            "  s1 -> s2 [style=dashed, label=\"on failure\"];\n",
        ] {
            assert!(graph.contains(line), "{graph}");
        }
    }
}
