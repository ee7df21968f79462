use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{Paint, Tint, clean};
use crate::error::Problem;

/// Longest source line that is shown, and the largest file it is taken from.
const MAX_LINE: usize = 160;
const MAX_FILE: u64 = 4 << 20;

/// What is wrong, as a compiler says it: message, place, the line itself with a mark, help. The
/// files are looked for below the `roots`.
pub(crate) fn print(problems: &[Problem], roots: &[&Path], paint: Paint) -> String {
    let mut out = String::new();
    for problem in problems {
        one(problem, roots, paint, &mut out);
    }
    out
}

fn one(problem: &Problem, roots: &[&Path], paint: Paint, out: &mut String) {
    let message = problem.message.lines().map(clean).collect::<Vec<_>>().join("\n       ");
    let mut line = |text: String| *out += &(text + "\n");
    line(format!("{} {}", paint.paint(Tint::Bad, "error:"), paint.paint(Tint::Strong, &message)));
    let number = problem.line.to_string();
    let margin = " ".repeat(number.len());
    let faint = |text: &str| paint.paint(Tint::Faint, text);
    if !problem.path.is_empty() {
        let path = clean(&problem.path);
        let place = match problem.line {
            0 => path.into_owned(),
            _ => format!("{path}:{number}:{}", problem.column),
        };
        line(format!("{margin}{} {place}", faint("-->")));
    }
    if let Some((source, blanks, mark)) = excerpt(problem, roots) {
        line(format!("{margin} {}", faint("|")));
        line(format!("{} {source}", faint(&format!("{number} |"))));
        let marked = paint.paint(Tint::Bad, &"^".repeat(mark));
        line(format!("{margin} {} {}{marked}", faint("|"), " ".repeat(blanks)));
    }
    for (at, help) in problem.help.lines().enumerate() {
        let label = if at == 0 { "help:" } else { "     " };
        line(format!("{margin} {} {}", paint.paint(Tint::Busy, label), clean(help)));
    }
}

/// The line, how far in the mark stands, and how long it is; `None` where the file has no such
/// line (it may have changed since).
fn excerpt(problem: &Problem, roots: &[&Path]) -> Option<(String, usize, usize)> {
    use unicode_width::UnicodeWidthStr;
    if problem.line == 0 || problem.path.is_empty() {
        return None;
    }
    let path = roots.iter().map(|root| root.join(&problem.path)).find(|path| path.is_file())?;
    if fs::metadata(&path).ok()?.len() > MAX_FILE {
        return None;
    }
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().nth(usize::try_from(problem.line).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(problem.column).ok()?.saturating_sub(1);
    let (before, after): (String, String) =
        (line.chars().take(column).collect(), line.chars().skip(column).collect());
    let word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let marked: String = after.chars().take_while(word).collect();
    let tabs = |text: &str| clean(&text.replace('\t', "    ")).into_owned();
    let shown = tabs(line);
    if shown.chars().count() > MAX_LINE {
        return None;
    }
    Some((shown, tabs(&before).width(), marked.width().max(1)))
}

/// The errors as `check --json` prints them.
pub(crate) fn errors(problems: &[Problem]) -> Value {
    let entry = |problem: &Problem| {
        json!({
            "path": problem.path,
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "help": problem.help,
        })
    };
    json!({ "ok": problems.is_empty(), "errors": problems.iter().map(entry).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::{Paint, errors, print};
    use crate::error::Problem;

    fn problem() -> Problem {
        Problem {
            path: "p.yaml".into(),
            line: 3,
            column: 20,
            message: "unknown key `retyr`".into(),
            help: "did you mean `retry`?".into(),
        }
    }

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let text = "version: 1\nsteps:\n  a: {run: 'true', retyr: {times: 2}}\n";
        std::fs::write(dir.path().join("p.yaml"), text).unwrap();
        let shown = print(&[problem()], &[dir.path()], Paint { on: false });
        assert_eq!(
            shown,
            "error: unknown key `retyr`\n --> p.yaml:3:20\n  |\n3 |   a: {run: 'true', retyr: {times: 2}}\n  \
             |                    ^^^^^\n  help: did you mean `retry`?\n"
        );
    }

    #[test]
    fn a_mistake_without_a_readable_file_keeps_its_place() {
        let shown = print(&[problem()], &["/nonexistent".as_ref()], Paint { on: false });
        assert_eq!(
            shown,
            "error: unknown key `retyr`\n --> p.yaml:3:20\n  help: did you mean `retry`?\n"
        );
        let json = errors(&[problem()]);
        assert_eq!((&json["ok"], &json["errors"][0]["line"]), (&false.into(), &3.into()));
    }
}
