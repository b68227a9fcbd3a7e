//! The architecture as a test: layers, forbidden things, opening comments, and that every command of the
//! table stands in a transcript.

use std::fs;
use std::path::{Path, PathBuf};

use haversack::engine::commands;

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// All files below a folder with this ending, with their text, by path from the root.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.ends_with("node_modules") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("text")));
            }
        }
    }
    assert!(!found.is_empty(), "no {ending} files in {folder}");
    found.sort();
    found
}

/// The lines of a source file that are code, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or("")))
        .filter(|(_, line)| !line.trim().is_empty())
}

fn complain(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Cuts test modules off: they may say what they like.
fn without_tests(files: Vec<(String, String)>) -> Vec<(String, String)> {
    let product = files.into_iter().filter(|(name, _)| !name.ends_with("tests.rs"));
    product
        .map(|(name, text)| (name, text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("").to_owned()))
        .collect()
}

/// Every line of `files` that holds one of `words`.
fn lines_with(files: &[(String, String)], words: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, text) in files {
        for (number, line) in code_lines(text) {
            faults.extend(
                words.iter().filter(|word| line.contains(**word)).map(|word| format!("{name}:{number}: {word}")),
            );
        }
    }
    faults
}

#[test]
fn the_portable_core_does_no_io() {
    const FORBIDDEN: &[&str] = &[
        "std::fs",
        "std::net",
        "std::thread",
        "std::time",
        "std::io::std",
        "io::Error",
        "std::env",
        "std::process",
        "SystemTime",
        "Instant::now",
        "RandomState",
        "HashMap::new()",
        "HashSet::new()",
        "tokio",
        "wasm_bindgen",
        "js_sys",
        "web_sys",
        "println!",
        "eprintln!",
        "async fn",
        "async move",
        ".await?",
        ".await;",
    ];
    let core: Vec<_> = ["src/types", "src/resp", "src/rdb", "src/engine"].iter().flat_map(|f| files(f, "rs")).collect();
    complain(lines_with(&without_tests(core), FORBIDDEN));
}

#[test]
fn layers_point_one_way() {
    let rules: &[(&str, &[&str])] = &[
        ("src/types", &["crate::resp", "crate::rdb", "crate::engine", "crate::native", "crate::wasm"]),
        ("src/resp", &["crate::rdb", "crate::engine", "crate::native", "crate::wasm"]),
        ("src/rdb", &["crate::resp", "crate::engine", "crate::native", "crate::wasm"]),
        ("src/engine", &["crate::native", "crate::wasm"]),
        ("src/native", &["crate::wasm"]),
        ("src/wasm", &["crate::native"]),
    ];
    complain(rules.iter().flat_map(|(folder, above)| lines_with(&files(folder, "rs"), above)).collect());
}

#[test]
fn every_file_says_what_it_is() {
    let all = ["src", "tests"].iter().flat_map(|folder| files(folder, "rs"));
    complain(all.filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect());
}

#[test]
fn nothing_is_left_open() {
    // Put together here, so that this file does not find itself.
    let words = ["todo!", "unimplemented!", "#[ignore", "FIXME", "XXX"]
        .map(|word| format!("{word}{}", if word.ends_with('!') { "(" } else { "" }));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let all: Vec<_> = ["src", "tests"]
        .iter()
        .flat_map(|folder| files(folder, "rs"))
        .filter(|(name, _)| name != "tests/tidy.rs")
        .collect();
    complain(lines_with(&all, &words));
}

#[test]
fn unsafe_code_stays_in_its_modules() {
    const ALLOWED: &[&str] = &[
        "src/types/address.rs",
        "src/types/ascii.rs",
        "src/types/block.rs",
        "src/types/prefetch.rs",
        "src/types/table.rs",
        "src/types/table/",
        "src/types/thin.rs",
        "src/types/hash/form.rs",
        "src/types/zset/member.rs",
        "src/types/zset/large.rs",
        "src/engine/entry.rs",
        "src/native/",
        "src/wasm/",
    ];
    let mut all = files("src", "rs");
    all.retain(|(name, _)| !ALLOWED.iter().any(|allowed| name.starts_with(allowed)));
    complain(lines_with(&without_tests(all), &["unsafe {", "unsafe fn", "unsafe impl"]));
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let mut faults = Vec::new();
    let (mut section, mut reason) = (String::new(), false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
            reason = false;
        } else if line.starts_with('#') {
            reason = true;
        } else if line.trim().is_empty() {
            reason = false;
        } else if section.contains("dependencies") && line.contains(" = ") && !line.starts_with(' ') && !reason {
            faults.push(line.to_owned());
        }
    }
    complain(faults);
}

/// The commands that transcripts send, as "name" and "container|name".
fn commands_in_transcripts() -> Vec<String> {
    let mut seen = Vec::new();
    for (_, text) in files("tests/transcripts", "txt") {
        for line in text.lines() {
            let Some((client, command)) = line.split_once("> ") else { continue };
            if client.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) {
                let mut words = command.split_whitespace().map(str::to_lowercase);
                let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                seen.push(format!("{first}|{second}"));
                seen.push(first);
            }
        }
    }
    seen
}

#[test]
fn every_command_stands_in_a_transcript() {
    let seen = commands_in_transcripts();
    let missing = commands::table()
        .iter()
        .filter(|(_, spec)| spec.subcommands.is_empty() && !seen.iter().any(|name| name == spec.full_name))
        .map(|(_, spec)| spec.full_name.to_owned());
    complain(missing.collect());
}

#[test]
fn summaries_are_sentences_of_our_own_table() {
    let faults =
        commands::table().iter().filter(|(_, spec)| spec.summary.len() < 5 || !spec.summary.ends_with(['.', '?', '!']));
    complain(faults.map(|(_, spec)| format!("{}: {:?}", spec.full_name, spec.summary)).collect());
}

#[test]
fn nothing_names_this_machine() {
    let home = std::env::var("HOME").unwrap_or_default();
    let all = ["src", "tests", "www", "pkg-scripts"].map(|folder| Path::new(&root()).join(folder));
    assert!(all.iter().all(|folder| folder.is_dir()), "the top level has changed");
    if home.len() > 2 {
        complain(lines_with(&files("src", "rs"), &[&format!("{home}/")]));
    }
}
