use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};
use windlass_tests::workspace;

/// Who may use whom, as ARCHITECTURE.md draws it.
#[test]
fn arrows_between_rooms_point_one_way() {
    let allowed = BTreeMap::from([
        ("windlass-core", vec![]),
        ("windlass-blobs", vec!["windlass-core"]),
        ("windlass-proto", vec!["windlass-core"]),
        ("windlass-daemon", vec!["windlass-blobs", "windlass-core", "windlass-proto"]),
        ("windlass-worker", vec!["windlass-blobs", "windlass-core", "windlass-proto"]),
        (
            "windlass",
            vec![
                "windlass-blobs",
                "windlass-core",
                "windlass-daemon",
                "windlass-proto",
                "windlass-worker",
            ],
        ),
        ("windlass-tests", vec!["windlass-proto"]),
    ]);
    let metadata = MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    for package in &metadata.packages {
        let ours = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal);
        let mut uses: Vec<_> =
            ours.map(|d| d.name.as_str()).filter(|n| n.starts_with("windlass")).collect();
        uses.sort_unstable();
        let may = &allowed[package.name.as_str()];
        assert!(uses.iter().all(|u| may.contains(u)), "{} uses {uses:?}", package.name);
    }
    assert_eq!(metadata.packages.len(), allowed.len(), "a room without arrows");
}
