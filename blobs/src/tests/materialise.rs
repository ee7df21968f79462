use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
};

use crate::{
    FileNode, How, MaterialiseError, Node, Store, StoreError, Tree, digest_of, materialise,
    snapshot,
};

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let project = dir.path().join("project");
    fs::create_dir_all(project.join("src/deep")).unwrap();
    fs::create_dir_all(project.join("empty/below")).unwrap();
    fs::write(project.join("src/deep/a.py"), "print()").unwrap();
    fs::write(project.join("run.sh"), "#!/bin/sh").unwrap();
    fs::set_permissions(project.join("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("../../outside", project.join("src/link")).unwrap();
    let store = Store::open(&dir.path().join("blobs")).unwrap();
    let taken = snapshot::take(&project, &snapshot::Options::default()).unwrap();
    for (path, digest, size) in taken.files() {
        assert_eq!(store.put_file(&path).unwrap(), (digest, size));
    }

    for how in [How::Link, How::Copy] {
        let dest = dir.path().join(format!("{how:?}"));
        materialise(&store, &taken.tree, &dest, how).unwrap();

        let again = snapshot::take(&dest, &snapshot::Options::default()).unwrap();
        assert_eq!(again.tree, taken.tree);
        let link_count = fs::metadata(dest.join("src/deep/a.py")).unwrap().nlink();
        assert_eq!(link_count, if how == How::Link { 2 } else { 1 });
        assert_eq!(fs::metadata(dest.join("run.sh")).unwrap().nlink(), 1);
        fs::remove_file(dest.join("src/deep/a.py")).unwrap();
    }
}

#[test]
fn blobs_that_are_not_there_or_torn_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("blobs")).unwrap();
    let digest = digest_of(b"data");
    let mut tree = Tree::default();
    tree.insert("a/b", Node::File(FileNode { digest, size: 4, executable: false })).unwrap();

    let lay = |name: &str| match materialise(&store, &tree, &dir.path().join(name), How::Link) {
        Err(MaterialiseError::Blob { path, source }) if &*path == "a/b" => source,
        other => panic!("{other:?}"),
    };
    assert!(matches!(lay("missing"), StoreError::Missing { .. }));
    store.put_bytes(b"data").unwrap();
    fs::write(store.path(&digest), b"").unwrap();
    assert!(matches!(lay("torn"), StoreError::Corrupt { .. }));
}
