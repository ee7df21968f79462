use crate::{Change, ChangeSet, FileNode, Node, PathFault, Tree, check_path, digest_of};
use proptest::{collection::vec, prelude::*};

fn file(text: &str) -> Node {
    let digest = digest_of(text.as_bytes());
    Node::File(FileNode { digest, size: text.len() as u64, executable: text.starts_with('x') })
}

/// Few names and little depth, so that entries meet.
fn path() -> impl Strategy<Value = String> {
    vec(prop_oneof!["[abc]", Just("a-b".into()), Just("é \"\n".into())], 1..4)
        .prop_map(|segments| segments.join("/"))
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        4 => "[xyz]{0,2}".prop_map(|text| file(&text)),
        1 => "[abc/.]{1,4}".prop_map(|target| Node::Link { target: target.into() }),
        1 => Just(Node::EmptyDir),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    vec((path(), node()), 0..12).prop_map(|entries| {
        let mut tree = Tree::default();
        for (path, node) in entries {
            tree.insert(&path, node).unwrap();
        }
        tree
    })
}

proptest! {
    #[test]
    fn text_of_a_tree_goes_round(tree in tree()) {
        prop_assert_eq!(Tree::parse(&tree.encode()).unwrap(), tree);
    }

    #[test]
    fn changes_between_two_trees_make_the_one_of_the_other(from in tree(), to in tree()) {
        let changes = ChangeSet::between(&from, &to);
        prop_assert_eq!(changes.is_empty(), from == to);
        prop_assert_eq!(from.apply(&changes), to);
        let read = ChangeSet::parse(&changes.encode()).unwrap();
        prop_assert_eq!(read, changes);
    }

    #[test]
    fn parsers_survive_anything(text in vec(any::<u8>(), 0..200)) {
        let as_tree = Tree::parse(&text);
        prop_assert!(as_tree.is_err() || text.is_empty() || text == b"\n");
    }
}

#[test]
fn changes_say_what_a_person_would_say() {
    let mut from = Tree::default();
    for path in ["data/a", "data/b", "keep/x", "keep/y", "kind"] {
        from.insert(path, file(path)).unwrap();
    }
    let mut to = Tree::default();
    to.insert("keep/x", file("keep/x")).unwrap();
    to.insert("kind/new", file("new")).unwrap();
    to.insert("empty", Node::EmptyDir).unwrap();

    let changes = ChangeSet::between(&from, &to);

    let said: Vec<_> = changes.iter().map(|(p, c)| (p, *c == Change::Deleted)).collect();
    let expected =
        [("data", true), ("empty", false), ("keep/y", true), ("kind", true), ("kind/new", false)];
    assert_eq!(said, expected);
}

#[test]
fn wrong_lines_are_refused_by_number() {
    let digest = "a".repeat(64);
    let f = |path: &str| format!(r#"["f","{path}","{digest}",1]"#);
    let long = "a/".repeat(2100) + "a";
    let bad = [
        (f("../a"), 1),
        (f("a/../b"), 1),
        (f("/a"), 1),
        (f("a//b"), 1),
        (f("a/"), 1),
        (f("./a"), 1),
        (f(""), 1),
        (f("a\\u0000b"), 1),
        (f(&long), 1),
        (f(&"n".repeat(256)), 1),
        (format!("{}\n{}", f("b"), f("a")), 2),
        (format!("{}\n{}", f("a"), f("a")), 2),
        (format!("{}\n{}\n{}", f("a"), f("a-b"), f("a/b")), 3),
        (format!("[\"d\",\"a\"]\n{}", f("a/b")), 2),
        (format!("{}\n\n{}", f("a"), f("b")), 2),
        (r#"["-","a"]"#.to_owned(), 1),
        (r#"["l","a",""]"#.to_owned(), 1),
        (r#"["q","a"]"#.to_owned(), 1),
        (r#"["f","a","zz",1]"#.to_owned(), 1),
        (format!(r#"["f","a","{digest}",-1]"#), 1),
        (format!(r#"["f","a","{digest}",18446744073709551615]"#), 1),
        (format!(r#"["f","a","{digest}",1,2]"#), 1),
        (r#"{"f":1}"#.to_owned(), 1),
        ("[".repeat(10_000), 1),
    ];
    for (text, line) in bad {
        let error = Tree::parse(text.as_bytes()).expect_err(&text);
        assert_eq!(error.line, line, "{text}");
    }
    let covered = format!("{}\n[\"-\",\"a/b\"]", f("a"));
    assert!(ChangeSet::parse(covered.as_bytes()).is_err());
}

#[test]
fn faults_of_paths_have_names() {
    assert_eq!(check_path("a/.."), Err(PathFault::Segment));
    assert_eq!(check_path("/etc/passwd"), Err(PathFault::Absolute));
    assert_eq!(check_path("a\0"), Err(PathFault::Nul));
    assert_eq!(check_path("..."), Ok(()));
}
