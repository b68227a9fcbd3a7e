//! What INFO says: sections of `field:value` lines.
//!
//! Names and order are those of Redis 8.2. A field stands here only if it is true of this server; what
//! Redis counts and this server does not (buffers that grow and shrink, defragmentation by size class) is
//! left out.

mod counters;
mod keysizes;
mod state;

use std::fmt::Write;

use super::keyspace::Keyspace;
use super::server::Server;

pub use keysizes::Census;
pub use state::MemoryUse;

/// What a section is made from.
pub(super) struct Source<'a> {
    /// Clients, statistics, configuration.
    pub server: &'a Server,
    /// The databases.
    pub keys: &'a Keyspace,
}

/// The lines of a section.
#[derive(Default)]
pub(super) struct Lines(String);

impl Lines {
    /// Adds a line.
    pub fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    /// Adds lines whose value is zero.
    pub fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.field(name, 0));
    }

    /// Adds a size, in bytes and in words.
    pub fn size(&mut self, name: &str, bytes: u64) {
        self.field(name, bytes);
        self.field(&format!("{name}_human"), human(bytes));
    }
}

/// A section: what it is asked for by, what stands over it, whether it is shown unasked, what is in it.
struct Section {
    name: &'static str,
    title: &'static str,
    shown: Shown,
    write: fn(&Source, &mut Lines),
}

/// Who sees a section.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Everybody.
    Default,
    /// Who asks for it, or for all.
    InAll,
    /// Only who asks for it.
    Alone,
}

const fn section(name: &'static str, title: &'static str, write: fn(&Source, &mut Lines)) -> Section {
    Section { name, title, shown: Shown::Default, write }
}

const fn on_demand(name: &'static str, title: &'static str, write: fn(&Source, &mut Lines)) -> Section {
    Section { name, title, shown: Shown::InAll, write }
}

/// All sections in their order.
const SECTIONS: &[Section] = &[
    section("server", "Server", state::server),
    section("clients", "Clients", state::clients),
    section("memory", "Memory", state::memory),
    section("persistence", "Persistence", state::persistence),
    section("threads", "Threads", counters::threads),
    section("stats", "Stats", counters::stats),
    section("replication", "Replication", state::replication),
    section("cpu", "CPU", state::cpu),
    section("modules", "Modules", |_, _| {}),
    on_demand("commandstats", "Commandstats", counters::commands),
    section("errorstats", "Errorstats", counters::errors),
    on_demand("latencystats", "Latencystats", counters::latencies),
    section("cluster", "Cluster", |_, lines| lines.field("cluster_enabled", 0)),
    section("keyspace", "Keyspace", state::keyspace),
    section("keysizes", "Keysizes", keysizes::keysizes),
    Section { name: "debug", title: "Debug", shown: Shown::Alone, write: counters::debug },
];

/// The sections that `words` name, in their own order: "default" (also if there are no words), "all",
/// "everything", or names. A word that names nothing adds nothing.
pub fn report(server: &Server, keys: &Keyspace, words: &[&[u8]]) -> String {
    let says = |name: &str| words.iter().any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    let all = says("all") || says("everything");
    let default = words.is_empty() || says("default");
    let source = Source { server, keys };
    let mut lines = Lines::default();
    for section in SECTIONS {
        let unasked = match section.shown {
            Shown::Default => all || default,
            Shown::InAll => all,
            Shown::Alone => false,
        };
        if unasked || says(section.name) {
            if !lines.0.is_empty() {
                lines.0.push_str("\r\n");
            }
            let _ = write!(lines.0, "# {}\r\n", section.title);
            (section.write)(&source, &mut lines);
        }
    }
    lines.0
}

/// A size in words, e.g. "1.50M".
pub fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = ['K', 'M', 'G', 'T', 'P', 'E'].into_iter();
    let mut unit = units.next().unwrap_or('K');
    for larger in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.2}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::engine::config::Config;
    use crate::engine::host::Host;
    use crate::engine::time::Now;

    fn ask(words: &[&[u8]]) -> String {
        let engine = Engine::new(Config::default(), Host::default(), 7, Now::default());
        report(&engine.server, &engine.keyspace, words)
    }

    fn titles(words: &[&[u8]]) -> Vec<String> {
        ask(words).lines().filter_map(|line| line.strip_prefix("# ").map(str::to_owned)).collect()
    }

    #[test]
    fn sections_are_chosen_once_and_in_order() {
        assert_eq!(titles(&[b"keyspace", b"nosuch", b"CPU", b"cpu"]), ["CPU", "Keyspace"]);
        assert_eq!(ask(&[b"nosuch"]), "");
        assert!(!titles(&[]).contains(&"Commandstats".to_owned()));
        assert_eq!(titles(&[]).len() + 2, titles(&[b"all"]).len());
    }

    #[test]
    fn every_line_is_a_field_and_no_field_stands_twice() {
        let text = ask(&[b"everything"]);
        let mut names: Vec<&str> = Vec::new();
        for line in text.split_terminator("\r\n").filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, _) = line.split_once(':').unwrap_or_else(|| panic!("{line}"));
            assert!(!names.contains(&name), "{name} stands twice");
            names.push(name);
        }
        assert!(names.len() > 100);
    }

    #[test]
    fn sizes_in_words() {
        let cases = [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (694_128, "677.86K"), (25_276_502_016, "23.54G")];
        cases.into_iter().for_each(|(bytes, words)| assert_eq!(human(bytes), words));
    }
}
