//! What builds of the binaries have in them.

use std::process::Command;

/// The features of `clientele-store` that somebody in the workspace asks for.
fn features(edges: &str) -> String {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--workspace", "--edges", edges])
        .args(["--invert", "clientele-store"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap()
}

#[test]
fn fail_points_are_only_in_what_tests_build() {
    assert!(features("features").contains("fail-points"));
    assert!(!features("features,no-dev").contains("fail-points"));
}
