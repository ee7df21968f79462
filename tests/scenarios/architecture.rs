use std::collections::BTreeMap;

use cargo_metadata::MetadataCommand;
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
        ("windlass-tests", vec!["windlass-core", "windlass-proto"]),
    ]);
    let metadata = MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    for package in &metadata.packages {
        // Tests and build scripts too: an arrow against the order is one wherever it starts.
        let mut uses: Vec<_> =
            package.dependencies.iter().map(|dependency| dependency.name.as_str()).collect();
        uses.retain(|name| name.starts_with("windlass"));
        uses.sort_unstable();
        let may = &allowed[package.name.as_str()];
        assert!(uses.iter().all(|u| may.contains(u)), "{} uses {uses:?}", package.name);
    }
    assert_eq!(metadata.packages.len(), allowed.len(), "a room without arrows");
}
