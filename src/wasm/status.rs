//! Where the data are and how safe, as JSON for the page.

use crate::engine::config::AppendFsync;

use super::failure;
use super::home::State;

/// The status of an open database.
pub fn text(state: &State) -> String {
    let Some(store) = &state.store else {
        return unstored(state.unavailable.as_deref());
    };
    let fsync = match store.policy {
        AppendFsync::Always => "always",
        AppendFsync::EverySec => "everysec",
        AppendFsync::No => "no",
    };
    object(&[
        ("storage", quote("indexeddb")),
        ("name", quote(&store.name)),
        ("durable", store.is_durable().to_string()),
        ("pendingBytes", store.pending_bytes().to_string()),
        ("generation", store.manifest.generation.to_string()),
        ("baseBytes", store.manifest.base_bytes.to_string()),
        ("incrBytes", store.incr_bytes().to_string()),
        ("lastError", optional(store.error.as_deref())),
        ("recovered", optional(state.recovered.as_deref())),
        ("fsync", quote(fsync)),
    ])
}

/// The status of a database whose engine is not there any more.
pub fn ended() -> String {
    let reason = match failure::stopped() {
        Some(panic) => format!("the engine stopped: {panic}"),
        None => "the database is closed".to_owned(),
    };
    unstored(Some(&reason))
}

/// The status where nothing is stored, and why, if there is a reason.
fn unstored(reason: Option<&str>) -> String {
    object(&[
        ("storage", quote("memory")),
        ("name", quote("")),
        ("durable", "false".into()),
        ("pendingBytes", "0".into()),
        ("generation", "0".into()),
        ("baseBytes", "0".into()),
        ("incrBytes", "0".into()),
        ("lastError", optional(reason)),
        ("recovered", "null".into()),
        ("fsync", quote("no")),
    ])
}

fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{}:{value}", quote(name))).collect();
    format!("{{{}}}", fields.join(","))
}

fn optional(text: Option<&str>) -> String {
    text.map_or("null".into(), quote)
}

fn quote(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
