//! The documents name files, headings and tests. What they name has to be there.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What begins like this is meant to be a path in the repository.
const FOLDERS: [&str; 7] = ["crates/", "docs/", "scripts/", "tests/", "fuzz/", "examples/", ".ci/"];

/// And what ends like this.
const ENDINGS: [&str; 4] = [".rs", ".md", ".toml", ".sql"];

/// Files that users have and the repository has not, and a name that stands for others.
const ELSEWHERE: [&str; 2] = ["kerria.toml", "crates/kerria-store/migrations/sqlite/NNNN_name.sql"];

struct Document {
    path: PathBuf,
    text: String,
}

#[test]
fn every_link_leads_somewhere() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for document in documents() {
        for target in document.prose().flat_map(links).filter(|target| !target.contains(':')) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.path.clone() } else { document.folder().join(file) };
            let leads = path.exists() && (heading.is_empty() || headings(&path).iter().any(|h| h == heading));
            if !leads {
                wrong.push(format!("{} links to {target}", document.name()));
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "not there: {wrong:#?}");
    assert!(checked > 20, "only {checked} links were found");
}

#[test]
fn every_path_in_the_text_exists() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for document in documents() {
        for path in document.prose().flat_map(spans).filter_map(path_in) {
            if !root().join(path).exists() && !document.folder().join(path).exists() {
                wrong.push(format!("{} names {path}", document.name()));
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "not there: {wrong:#?}");
    assert!(checked > 50, "only {checked} paths were found");
}

#[test]
fn every_test_that_is_said_to_prove_something_exists() {
    let (mut checked, mut wrong) = (0, Vec::new());
    for name in ["ARCHITECTURE.md", "docs/guarantees.md", "docs/coming-from.md"] {
        let document = Document::read(&root().join(name));
        for line in document.prose() {
            let Some(file) = spans(line).find(|span| span.ends_with(".rs")) else { continue };
            let source = fs::read_to_string(root().join(file)).unwrap_or_default();
            for test in spans(line).filter(|span| is_sentence(span)) {
                if !source.contains(&format!("fn {test}(")) {
                    wrong.push(format!("{name} names {test} in {file}"));
                }
                checked += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "not there: {wrong:#?}");
    assert!(checked > 50, "only {checked} tests were found");
}

/// What a deployment sets in the environment is a setting; a name that is none would keep the server from starting.
#[test]
fn every_variable_of_a_deployment_is_a_setting() {
    let settings = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let examples = fs::read_dir(root().join("examples/cluster")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = examples.chain([root().join("Dockerfile")]).filter(|path| path.is_file()).collect();
    let (mut checked, mut wrong) = (0, Vec::new());
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        for variable in words.filter(|word| word.starts_with("KERRIA_")) {
            if !settings.contains(&format!("`{variable}`")) {
                wrong.push(format!("{} sets {variable}", file.display()));
            }
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "no settings: {wrong:#?}");
    assert!(checked > 15, "only {checked} variables were found in {files:?}");
}

/// All Markdown at the root and below `docs`.
fn documents() -> Vec<Document> {
    let mut folders = vec![root().join("docs")];
    let mut documents = markdown_in(&root(), &mut Vec::new());
    while let Some(folder) = folders.pop() {
        documents.extend(markdown_in(&folder, &mut folders));
    }
    documents
}

fn markdown_in(folder: &Path, folders: &mut Vec<PathBuf>) -> Vec<Document> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.extend(entries.iter().filter(|path| path.is_dir()).cloned());
    let is_markdown = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "md");
    entries.iter().filter(is_markdown).map(|path| Document::read(path)).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

impl Document {
    fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), text: fs::read_to_string(path).unwrap() }
    }

    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap_or(&self.path).display().to_string()
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap()
    }

    /// The lines that are not code.
    fn prose(&self) -> impl Iterator<Item = &str> {
        let mut in_code = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            in_code ^= is_fence;
            !in_code && !is_fence
        })
    }
}

/// The targets of the links and images in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// What stands between backticks in a line.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The path that a span begins with, if it is meant to be one in the repository.
fn path_in(span: &str) -> Option<&str> {
    let path = span.split(' ').next()?.trim_end_matches(['.', ',']);
    let is_path = FOLDERS.iter().any(|folder| path.starts_with(folder))
        || ENDINGS.iter().any(|ending| path.ends_with(ending) && path.len() > ending.len());
    let is_ours = !path.starts_with('/') && !path.contains(['*', '{', ':']) && !ELSEWHERE.contains(&path);
    (is_path && is_ours).then_some(path)
}

/// Whether a span is the name of a test: a sentence of words with underscores between them.
fn is_sentence(span: &str) -> bool {
    span.matches('_').count() >= 3 && span.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The anchors of a document's headings, as GitHub makes them.
fn headings(path: &Path) -> Vec<String> {
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    let document = Document::read(path);
    let titles = document.prose().filter(|line| line.starts_with('#'));
    titles.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}
