//! A guard against slower code that noise cannot touch: the instructions of fixed workloads, counted by callgrind.
//!
//! Builds `tests/bench/instructions.rs` optimised, runs it under valgrind and compares the instructions per command
//! with `tests/bench/instructions.tsv`. More than [`TOLERANCE`] above is a failure; as much below asks for a new
//! baseline, so that the gain is guarded, too. Counts hardly vary between runs and machines, but do between
//! compilers: the baseline names its own.
//!
//! `INSTRUCTIONS=renew cargo test --test instructions` writes the baseline. Not about time: a cache miss counts
//! nothing here; `pkg-scripts/bench` measures that.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How far a count may be from its baseline.
const TOLERANCE: f64 = 0.1;

const RENEW: &str = "INSTRUCTIONS=renew cargo test --test instructions";

fn baseline_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/instructions.tsv")
}

/// The compiler and the processor that counts are for.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let text = String::from_utf8(output.expect("rustc runs").stdout).expect("text");
    format!("{} {}", text.split(" (").next().unwrap_or_default().trim(), std::env::consts::ARCH)
}

/// Runs the workloads under valgrind: names and instructions per command, in their order.
fn count(folder: &Path) -> Vec<(String, f64)> {
    let valgrind = common::tool("HAVERSACK_VALGRIND");
    let out = folder.join("profile");
    let measured = "instructions::measured";
    let runner = [
        valgrind.to_string_lossy().into_owned(),
        "--tool=callgrind".to_owned(),
        format!("--callgrind-out-file={}", out.display()),
        format!("--log-file={}", folder.join("valgrind.log").display()),
        "--collect-atstart=no".to_owned(),
        // Or all profiles but the first would lack the names that the first one has.
        "--compress-strings=no".to_owned(),
        format!("--toggle-collect={measured}"),
        format!("--dump-after={measured}"),
    ];
    // An array of strings is the same in TOML and in Rust's debug format.
    let runner = format!("target.'cfg(all())'.runner={runner:?}");
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--locked", "--profile", "measure", "--bench", "instructions", "--config", &runner])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let log = std::fs::read_to_string(folder.join("valgrind.log")).unwrap_or_default();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the workloads cannot be counted:\n{told}\n{log}");
    let names = String::from_utf8(output.stdout).expect("text");
    let lines = names.lines().filter_map(|line| line.split_once('\t'));
    let counts = lines.enumerate().map(|(index, (name, commands))| {
        let path = folder.join(format!("profile.{}", index + 1));
        let profile = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a profile has a total");
        let (total, commands): (f64, f64) = (total.parse().expect("a number"), commands.parse().expect("a number"));
        (name.to_owned(), total / commands)
    });
    counts.collect()
}

fn render(compiler: &str, counts: &[(String, f64)]) -> String {
    let mut text = format!("# Instructions per command, guarded by tests/instructions.rs. To renew: {RENEW}\n");
    let _ = writeln!(text, "compiler\t{compiler}");
    counts.iter().for_each(|(name, count)| writeln!(text, "{name}\t{count:.0}").expect("a string takes all"));
    text
}

#[test]
fn no_workload_takes_more_instructions_than_before() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder below the build folder");
    let counts = count(&folder);
    assert!(counts.len() > 10, "these are not all workloads: {counts:?}");
    let compiler = compiler();
    if std::env::var("INSTRUCTIONS").is_ok_and(|word| word == "renew") {
        return std::fs::write(baseline_path(), render(&compiler, &counts)).expect("the baseline can be written");
    }
    let text = std::fs::read_to_string(baseline_path()).expect("a baseline");
    let mut baseline: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('\t')).collect();
    let theirs = baseline.remove("compiler").expect("a baseline names its compiler");
    let (mut slower, mut faster) = (String::new(), String::new());
    for (index, (name, count)) in counts.iter().enumerate() {
        let before = baseline.remove(&name[..]).and_then(|count| count.parse::<f64>().ok());
        let before = before.unwrap_or_else(|| panic!("{name} has no baseline; to renew it: {RENEW}"));
        let change = count / before - 1.0;
        let list = match change {
            _ if change > TOLERANCE => &mut slower,
            _ if change < -TOLERANCE => &mut faster,
            _ => continue,
        };
        let profile = folder.join(format!("profile.{}", index + 1));
        let (percent, profile) = (change * 100.0, profile.display());
        let _ = writeln!(list, "  {name}: {before:.0} -> {count:.0} ({percent:+.1} %); callgrind_annotate {profile}");
    }
    assert!(baseline.is_empty(), "no workloads have these names any more: {baseline:?}; to renew: {RENEW}");
    if !faster.is_empty() {
        // Not by a macro: those are shown only when a test fails.
        let _ = writeln!(std::io::stderr(), "fewer instructions than before:\n{faster}guard it: {RENEW}");
    }
    let compilers = match theirs == compiler {
        true => format!("Both counts are of {compiler}."),
        false => format!("The baseline is of {theirs}, this is {compiler}: that alone may be the reason."),
    };
    let percent = TOLERANCE * 100.0;
    assert!(
        slower.is_empty(),
        "more instructions per command than before, by over {percent} %:\n{slower}{compilers}\n\
         Is it the price of something wanted, or of another compiler? Then renew the baseline: {RENEW}"
    );
}
