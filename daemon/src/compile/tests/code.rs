//! Python code is read and never run.
use super::{Files, cli, function, plan, refused, shown, words};
use crate::compile::check;

fn told(target: &str, files: &[(&str, &str)]) -> String {
    words(&check(&function(target), &Files::of(files)))
}

#[test]
fn modules_are_found_where_python_finds_them() {
    let files = [
        ("top.py", "def go(): ..."),
        ("pkg/__init__.py", "from .inner import go as went\nfrom .star import *\n"),
        ("pkg/inner.py", "async def go(): ..."),
        ("pkg/star.py", "def starry(): ..."),
        ("space/name.py", "@decorated\ndef go(a=1): ..."),
        (
            "src/lib/core.py",
            "if True:\n    try:\n        def go(): ...\n    except E:\n        go = None\n",
        ),
        ("src/single.py", "def go(): ..."),
        ("deep/er/job.py", "from beside import go\n"),
        ("deep/er/beside.py", "def go(b=2): ..."),
        ("again.py", "from sklearn import go\nfrom sklearn import *\n"),
        ("lazy.py", "def __getattr__(name): ..."),
        ("bom.py", "\u{feff}def go(): ..."),
    ];
    for target in [
        "top:go",
        "top.py:go",
        "./top.py:go",
        "pkg:went",
        "pkg:starry",
        "pkg.inner:go",
        "space.name:go",
        "lib.core:go",
        "single:go",
        "src.single:go",
        "src/single.py:go",
        "deep/er/job.py:go",
        "again:go",
        "again:anything",
        "lazy:anything",
        "bom:go",
    ] {
        assert_eq!(told(target, &files), "", "{target}");
    }
    let done = plan(&function("deep/er/job.py:go"), &cli(&[]), &Files::of(&files));
    assert_eq!(shown(&done.steps[0].args)[0].1, "2");
    assert_eq!(done.spec.unwrap().name, "go");
}

#[test]
fn what_is_not_there_is_named_with_the_nearest() {
    let files = [
        ("functions.py", "def use(): ...\ndef other(): ...\nx = 1\n"),
        ("pkg/mod.py", "def go(): ...\n"),
        ("broken.py", "def f(:\n"),
        ("late.py", "import os\n\ndef g():\n    return (1,\n"),
    ];
    for (target, wanted) in [
        ("functions:user", "no function `user` in functions.py (did you mean `use`?)"),
        ("functions:zzzzzz", "its functions are other, use"),
        ("function:use", "no module `function` in the project (did you mean `functions`?)"),
        ("pkg.mud:go", "did you mean `pkg.mod`?"),
        ("pkg/mud.py:go", "did you mean `pkg/mod.py`?"),
        ("nowhere:go", "no module `nowhere`"),
        ("broken:f", "broken.py:1:"),
        ("late:g", "late.py:"),
        ("functions", "does not name a function"),
        ("../functions.py:use", "`..`"),
        ("functions:use()", "no name of a function"),
    ] {
        let told = told(target, &files);
        assert!(told.contains(wanted), "{target}: {told}");
    }
}

#[test]
fn defaults_are_read_where_they_are_literals() {
    let code = "def f(a=None, b=-1, c=1_000, d=0x10, e=.5, g='t\\n\\x41é', h=r'\\n', i=[1, 'x'], j={'k': [True]},\n\
                l=('a' 'b'), m=(1,), n=b'x', o=f'{x}', p=x, q=1j, r={1: 2}, s=1e999, t=\"\"\"a\nb\"\"\"): ...\n";
    let done = plan(&function("f:f"), &cli(&[]), &Files::of(&[("f.py", code)]));
    let values: Vec<_> = shown(&done.steps[0].args)
        .into_iter()
        .map(|(name, value, _)| format!("{name}={value}"))
        .collect();
    let wanted = [
        "a=null",
        "b=-1",
        "c=1000",
        "d=16",
        "e=0.5",
        r#"g="t\nAé""#,
        r#"h="\\n""#,
        r#"i=[1,"x"]"#,
        r#"j={"k":[true]}"#,
        r#"l="ab""#,
        r#"t="a\nb""#,
    ];
    assert_eq!(values, wanted);
}

#[test]
fn methods_are_called_through_their_class() {
    let code = "class M:\n    'Doc.'\n    @staticmethod\n    def fit(n: int, k=1): ...\n    @classmethod\n    async def load(cls, path, *args, **more): ...\n    def run(self): ...\n    @other\n    def odd(self): ...\nclass N(M): ...\n";
    let files = [("pkg/__init__.py", ""), ("pkg/mod.py", code)];
    let args = |target: &str, given: &[(&str, &str)]| {
        let done = plan(&function(target), &cli(given), &Files::of(&files));
        let names = shown(&done.steps[0].args).into_iter().map(|(name, ..)| name);
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(args("pkg.mod:M.fit", &[("n", "1")]), "n k");
    assert_eq!(args("pkg/mod.py:M.load", &[("path", "x"), ("y", "1")]), "path y");
    assert_eq!(args("pkg.mod:M.odd", &[("x", "1")]), "x");
    assert_eq!(args("pkg.mod:N.fit", &[("x", "1")]), "x");
    for (target, wanted) in [
        ("pkg.mod:M.run", "`run` of class `M` in pkg/mod.py wants an object"),
        ("pkg.mod:M.fitt", "no method `fitt` of class `M` in pkg/mod.py (did you mean `fit`?)"),
    ] {
        let told = told(target, &files);
        assert!(told.contains(wanted), "{told}");
    }
}

#[test]
fn modern_syntax_is_no_mistake() {
    let code = "from __future__ import annotations\ntype X = int\n\
                def f[T](x: T, /, *, y: int | None = None) -> T:\n    match x:\n        case {'a': [1, *_]} if y: return (y := 1)\n        case _: pass\n\
                \x20   print(f\"{x!r:>{10}} {'a' + \"b\"}\")\n    try: ...\n    except* ValueError: ...\n    async def g(): await x; yield 1\n\
                \x20   with (open('a') as a, open('b') as b): ...\n    lambda *a, **k: (yield)\n    return x[*y, 1:2]\n";
    let done = refused(&function("f:f"), &cli(&[]), &Files::of(&[("f.py", code)]));
    assert_eq!(done.len(), 1, "{}", words(&done));
    assert!(done[0].message.contains("argument `x`"), "{}", words(&done));
}

/// Python's own library is large, varied, and free of mistakes.
#[test]
#[ignore = "reads the machine's Python"]
fn no_module_of_python_itself_is_called_broken() {
    let mut directories = vec![std::path::PathBuf::from("/usr/lib/python3")];
    directories.extend(
        ["/usr/lib/python3.11", "/usr/lib/python3.12", "/usr/lib/python3.13", "/usr/local/lib"]
            .map(Into::into),
    );
    let (mut seen, mut broken) = (0, vec![]);
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.is_symlink() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "py") {
                let text = std::fs::read(&path).unwrap();
                seen += 1;
                if told_of(&text).contains("syntax error") {
                    broken.push(path);
                }
            }
        }
    }
    println!("{} of {seen}: {broken:#?}", broken.len());
    assert!(broken.len() * 1_000 <= seen, "{broken:#?}");
}

fn told_of(source: &[u8]) -> String {
    let mut files = Files::default();
    files.0.insert("m.py".into(), source.to_vec());
    words(&check(&function("m:some_name"), &files))
}
