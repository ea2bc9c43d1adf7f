//! What the manifests promise to those who build on the libraries: which compiler it takes, and which features there are.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// The version of Rust that is declared.
fn declared() -> Vec<u64> {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    version(manifest["workspace"]["package"]["rust-version"].as_str().unwrap())
}

/// The first two numbers count: what a compiler can do does not change with the third.
fn version(text: &str) -> Vec<u64> {
    text.split('.').take(2).map(|number| number.parse().unwrap()).collect()
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// All packages, ours and those of others.
fn packages() -> Vec<Value> {
    let metadata = ["metadata", "--format-version", "1", "--all-features", "--locked", "--offline"];
    let said = Command::new(env!("CARGO"))
        .args(metadata)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let metadata: Value = serde_json::from_slice(&said.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// What our own code asks of it, Clippy says (`incompatible_msrv`).
#[test]
fn nothing_that_is_built_wants_a_newer_compiler_than_is_declared() {
    let declared = declared();
    let (mut ours, mut checked, mut newer) = (0, 0, Vec::new());
    for package in packages() {
        let wants = package["rust_version"].as_str();
        if package["source"].is_null() {
            assert_eq!(wants.map(version).as_ref(), Some(&declared), "{}", package["name"]);
            ours += 1;
        } else if let Some(wants) = wants {
            checked += 1;
            if version(wants) > declared {
                newer.push(format!("{} wants {wants}", package["name"]));
            }
        }
    }
    assert!(newer.is_empty(), "{newer:?}");
    assert!(ours >= 6 && checked > 100, "only {ours} and {checked} were found");
}

#[test]
fn the_documents_name_the_compiler_that_is_declared() {
    let declared: Vec<_> = declared().iter().map(ToString::to_string).collect();
    let sentence = format!("Rust {} or later", declared.join("."));
    for document in ["CONTRIBUTING.md", "docs/library.md"] {
        assert!(read(document).contains(&sentence), "{document} does not say {sentence:?}");
    }
}

#[test]
fn every_feature_of_the_libraries_is_explained_and_no_other_one() {
    for (manifest, documents) in [
        ("crates/kerria/Cargo.toml", &["crates/kerria/src/lib.rs", "docs/library.md"][..]),
        ("crates/kerria-store/Cargo.toml", &["crates/kerria-store/src/lib.rs"]),
    ] {
        let manifest: toml::Table = read(manifest).parse().unwrap();
        let mut features: Vec<&str> =
            manifest["features"].as_table().unwrap().keys().map(String::as_str).collect();
        features.sort_unstable();
        for document in documents {
            let text = read(document);
            let mut explained: Vec<_> = text
                .lines()
                .skip_while(|line| !line.contains("| feature"))
                .map(|line| line.trim_start_matches("//! "))
                .take_while(|line| line.starts_with('|'))
                .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
                .map(|(feature, _)| feature)
                .collect();
            explained.sort_unstable();
            assert_eq!(explained, features, "{document}");
        }
    }
}
