//! The sections of INFO that describe how things are now.

use super::super::client::Client;
use super::super::eviction::lru_clock;
use super::super::host::{Resources, SnapshotKind};
use super::super::keyspace::Keyspace;
use super::super::server::Server;
use super::super::snapshot::Walk;
use super::super::time::MonoTime;
use super::{Lines, Source};
use crate::rdb::Crc64;

/// What this build is of. No repository is at hand when a package is built: the version stands for the commit.
const BUILD: &str = concat!(env!("CARGO_PKG_NAME"), "-", env!("CARGO_PKG_VERSION"));

pub(super) fn server(source: &Source, lines: &mut Lines) {
    let Source { server, .. } = source;
    let Server { config, host, .. } = server;
    lines.field("redis_version", String::from_utf8_lossy(&config.haversack_server_version));
    lines.field("haversack_version", env!("CARGO_PKG_VERSION"));
    lines.field("server_name", String::from_utf8_lossy(&config.haversack_server_name));
    lines.field("redis_git_sha1", "00000000");
    lines.zeros(&["redis_git_dirty"]);
    lines.field("redis_build_id", format_args!("{:016x}", Crc64::of(BUILD.as_bytes())));
    lines.field("redis_mode", "standalone");
    lines.field("server_mode", "standalone");
    lines.field("os", &host.os);
    lines.field("arch_bits", usize::BITS);
    lines.field("monotonic_clock", host.monotonic_clock);
    lines.field("multiplexing_api", host.multiplexing);
    lines.field("process_id", host.pid);
    lines.field("process_supervised", shown(server, "supervised"));
    lines.field("run_id", &server.run_id);
    lines.field("tcp_port", config.port);
    lines.field("server_time_usec", server.now.wall.micros);
    let uptime = server.now.mono.ms_since(server.started.mono) / 1000;
    lines.field("uptime_in_seconds", uptime);
    lines.field("uptime_in_days", uptime / 86_400);
    lines.field("hz", config.hz);
    lines.field("configured_hz", config.hz);
    lines.field("clients_hz", config.hz);
    lines.field("availability_zone", String::from_utf8_lossy(&config.availability_zone));
    lines.field("lru_clock", lru_clock(server.now));
    lines.field("executable", &host.executable);
    lines.field("config_file", &host.config_file);
    lines.field("io_threads_active", u8::from(config.io_threads > 1));
    let mut listeners = Vec::new();
    if config.port != 0 {
        let addresses: String = config.bind.iter().map(|it| format!("bind={},", String::from_utf8_lossy(it))).collect();
        listeners.push(format!("name=tcp,{addresses}port={}", config.port));
    }
    if !config.unixsocket.is_empty() {
        listeners.push(format!("name=unix,bind={}", String::from_utf8_lossy(&config.unixsocket)));
    }
    for (number, listener) in listeners.iter().enumerate() {
        lines.field(&format!("listener{number}"), listener);
    }
}

/// The value of a parameter as CONFIG GET shows it.
fn shown(server: &Server, name: &str) -> String {
    let found = server.config.get(&[name.as_bytes()]);
    found.first().map_or_else(String::new, |(_, value)| String::from_utf8_lossy(value).into_owned())
}

pub(super) fn clients(source: &Source, lines: &mut Lines) {
    let Source { server, keys } = source;
    let count = |wanted: fn(&Client) -> bool| server.clients.iter().filter(|client| wanted(client)).count();
    let largest = |size: fn(&Client) -> usize| server.clients.iter().map(size).max().unwrap_or(0);
    lines.field("connected_clients", server.connected_clients());
    lines.zeros(&["cluster_connections"]);
    lines.field("maxclients", server.config.maxclients);
    lines.field("client_recent_max_input_buffer", largest(|client| client.query.capacity()));
    lines.field("client_recent_max_output_buffer", largest(|client| client.reply.buf.capacity() + client.unsent));
    let (reason, actions, left) = match server.active_pause() {
        Some(pause) if pause.writes_only => ("client_pause", "write", pause.until.ms_since(server.now.mono)),
        Some(pause) => ("client_pause", "all", pause.until.ms_since(server.now.mono)),
        None => ("none", "none", 0),
    };
    lines.field("paused_reason", reason);
    lines.field("paused_actions", actions);
    lines.field("paused_timeout_milliseconds", left);
    lines.field("blocked_clients", server.blocking.clients);
    lines.zeros(&["tracking_clients"]);
    lines.field("pubsub_clients", count(Client::is_subscriber));
    lines.field("watching_clients", count(|client| !client.watched.is_empty()));
    let has_deadline = |client: &Client| client.blocked.as_ref().is_some_and(|it| it.deadline != MonoTime::NEVER);
    lines.field("clients_in_timeout_table", count(has_deadline));
    lines.field("total_watched_keys", keys.dbs.iter().map(|db| db.watched.len()).sum::<usize>());
    lines.field("total_blocking_keys", server.blocking.key_count());
    lines.zeros(&["total_blocking_keys_on_nokey"]);
}

/// Where the memory goes, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryUse {
    /// Everything allocated.
    pub used: u64,
    /// The most that has ever been allocated.
    pub peak: u64,
    /// What was allocated when the server had started.
    pub startup: u64,
    /// Resident set.
    pub rss: u64,
    /// What the allocator holds of the system.
    pub committed: u64,
    /// Clients with their buffers.
    pub clients: u64,
    /// The part of the stream that waits to be stored.
    pub log_buffer: u64,
    /// Tables of keys and expire times, without what they hold.
    pub tables: u64,
    /// Keys of all dbs.
    pub keys: u64,
}

impl MemoryUse {
    /// Measures.
    pub fn now(server: &Server, keys: &Keyspace) -> MemoryUse {
        let used = (server.host.used_memory)() as u64;
        let resources = (server.host.resources)();
        let table_bytes = |db: &super::super::keyspace::Db| {
            db.table.table_bytes() + db.expires.table_bytes() + db.field_expires.table_bytes()
        };
        MemoryUse {
            used,
            peak: used.max(server.stats.peak_memory as u64),
            startup: server.startup_memory as u64,
            rss: resources.rss,
            committed: resources.committed.max(used),
            clients: server.clients.iter().map(|client| client.memory_bytes() as u64).sum(),
            log_buffer: server.stream.capacity() as u64,
            tables: keys.dbs.iter().map(|db| table_bytes(db) as u64).sum(),
            keys: keys.dbs.iter().map(|db| db.table.len() as u64).sum(),
        }
    }

    /// What is not data.
    pub fn overhead(&self) -> u64 {
        self.startup + self.clients + self.log_buffer + self.tables
    }

    /// What is data.
    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    /// Data as a part of what has been allocated since the start, in percent.
    pub fn dataset_percent(&self) -> f64 {
        percent(self.dataset(), self.used.saturating_sub(self.startup))
    }

    /// Now as a part of the peak, in percent.
    pub fn peak_percent(&self) -> f64 {
        percent(self.used, self.peak)
    }

    /// Resident memory for each byte allocated.
    pub fn fragmentation(&self) -> f64 {
        ratio(self.rss, self.used)
    }
}

fn ratio(a: u64, b: u64) -> f64 {
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

pub(super) fn memory(source: &Source, lines: &mut Lines) {
    let Source { server, keys } = source;
    let memory = MemoryUse::now(server, keys);
    lines.size("used_memory", memory.used);
    lines.size("used_memory_rss", memory.rss);
    lines.size("used_memory_peak", memory.peak);
    lines.field("used_memory_peak_time", server.stats.peak_memory_at);
    lines.field("used_memory_peak_perc", format_args!("{:.2}%", memory.peak_percent()));
    lines.field("used_memory_overhead", memory.overhead());
    lines.field("used_memory_startup", memory.startup);
    lines.field("used_memory_dataset", memory.dataset());
    lines.field("used_memory_dataset_perc", format_args!("{:.2}%", memory.dataset_percent()));
    lines.field("allocator_allocated", memory.used);
    lines.field("allocator_active", memory.committed);
    lines.field("allocator_resident", memory.committed);
    lines.zeros(&["allocator_muzzy"]);
    if server.host.total_memory > 0 {
        lines.size("total_system_memory", server.host.total_memory);
    }
    lines.zeros(&["used_memory_lua", "used_memory_vm_eval"]);
    lines.field("used_memory_lua_human", super::human(0));
    lines.zeros(&[
        "used_memory_scripts_eval",
        "number_of_cached_scripts",
        "number_of_functions",
        "number_of_libraries",
    ]);
    lines.zeros(&["used_memory_vm_functions"]);
    lines.size("used_memory_vm_total", 0);
    lines.zeros(&["used_memory_functions"]);
    lines.size("used_memory_scripts", 0);
    lines.size("maxmemory", server.config.maxmemory);
    lines.field("maxmemory_policy", shown(server, "maxmemory-policy"));
    // Of what the allocator holds there is one figure: active and resident are the same.
    lines.field("allocator_frag_ratio", format_args!("{:.2}", ratio(memory.committed, memory.used)));
    lines.field("allocator_frag_bytes", memory.committed as i64 - memory.used as i64);
    lines.field("allocator_rss_ratio", "1.00");
    lines.zeros(&["allocator_rss_bytes"]);
    lines.field("rss_overhead_ratio", format_args!("{:.2}", ratio(memory.rss, memory.committed)));
    lines.field("rss_overhead_bytes", memory.rss as i64 - memory.committed as i64);
    lines.field("mem_fragmentation_ratio", format_args!("{:.2}", memory.fragmentation()));
    lines.field("mem_fragmentation_bytes", memory.rss as i64 - memory.used as i64);
    lines.zeros(&[
        "mem_not_counted_for_evict",
        "mem_replication_backlog",
        "mem_total_replication_buffers",
        "mem_replicas_repl_buffer",
        "mem_replica_full_sync_buffer",
        "mem_clients_slaves",
    ]);
    lines.field("mem_clients_normal", memory.clients);
    lines.zeros(&["mem_cluster_links", "mem_cluster_slot_import", "mem_cluster_slot_export"]);
    lines.field("mem_aof_buffer", memory.log_buffer);
    lines.field("mem_allocator", server.host.allocator);
    lines.zeros(&["mem_overhead_db_hashtable_rehashing", "active_defrag_running"]);
    lines.field("lazyfree_pending_objects", keys.garbage_len());
    lines.field("lazyfreed_objects", keys.stats.lazyfreed);
}

fn status(ok: bool) -> &'static str {
    if ok { "ok" } else { "err" }
}

pub(super) fn persistence(source: &Source, lines: &mut Lines) {
    let Source { server, keys } = source;
    let it = &server.persistence;
    lines.field("loading", u8::from(it.loading.is_some()));
    lines.zeros(&["async_loading"]);
    let walk = keys.walk.as_ref().filter(|walk| !walk.is_cancelled());
    // Nothing is copied on write; what the walk puts aside because it changes before its turn is the counterpart.
    let aside = walk.map_or(0, Walk::put_aside);
    lines.field("current_cow_peak", walk.map_or(0, |walk| walk.peak_aside.max(aside)));
    lines.field("current_cow_size", aside);
    lines.zeros(&["current_cow_size_age"]);
    let (done, total) = walk.map_or((0, 0), |walk| (walk.keys_done, walk.keys_total));
    lines.field("current_fork_perc", format_args!("{:.2}", percent(done, total)));
    lines.field("current_save_keys_processed", done);
    lines.field("current_save_keys_total", total);
    lines.field("rdb_changes_since_last_save", it.dirty);
    // One that has been asked for begins when a cancelled one has been cleared away.
    let is_under_way =
        |kind| u8::from(it.snapshot == Some(kind) || it.wanted.is_some_and(|(wanted, _)| wanted == kind));
    let seconds_under_way = |kind| match it.snapshot == Some(kind) {
        true => server.now.wall.seconds() - it.snapshot_since,
        false => -1,
    };
    lines.field("rdb_bgsave_in_progress", is_under_way(SnapshotKind::Rdb));
    lines.field("rdb_last_save_time", it.last_save);
    lines.field("rdb_last_bgsave_status", status(it.last_save_ok));
    lines.field("rdb_last_bgsave_time_sec", it.last_save_seconds);
    lines.field("rdb_current_bgsave_time_sec", seconds_under_way(SnapshotKind::Rdb));
    lines.field("rdb_saves", it.saves);
    lines.field("rdb_last_cow_size", it.last_save_aside);
    lines.field("rdb_last_load_keys_expired", it.loaded_expired);
    lines.field("rdb_last_load_keys_loaded", it.loaded_keys);
    lines.field("aof_enabled", u8::from(it.log_enabled));
    lines.field("aof_rewrite_in_progress", is_under_way(SnapshotKind::LogBase));
    lines.field("aof_rewrite_scheduled", u8::from(it.rewrite_scheduled));
    lines.field("aof_last_rewrite_time_sec", it.last_rewrite_seconds);
    lines.field("aof_current_rewrite_time_sec", seconds_under_way(SnapshotKind::LogBase));
    lines.field("aof_last_bgrewrite_status", status(it.last_rewrite_ok));
    lines.field("aof_rewrites", it.rewrites);
    lines.field("aof_rewrites_consecutive_failures", it.failed_rewrites_in_a_row);
    lines.field("aof_last_write_status", status(it.log_error.is_none()));
    lines.field("aof_last_cow_size", it.last_rewrite_aside);
    lines.zeros(&["slot_migration_fork_in_progress"]);
    lines.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if it.log_enabled {
        lines.field("aof_current_size", it.log_current_bytes);
        lines.field("aof_base_size", it.log_base_bytes);
        lines.zeros(&["aof_pending_rewrite"]);
        lines.field("aof_buffer_length", server.stream.len());
        lines.field("aof_pending_bio_fsync", u8::from(it.flushing));
        lines.field("aof_delayed_fsync", it.delayed_flushes);
        // What a power cut would take, at most.
        lines.field("aof_unsynced_bytes", server.offset.saturating_sub(it.stored_offset));
        let age = it.unsynced_since.map_or(0, |since| server.now.mono.ms_since(since));
        lines.field("aof_unsynced_ms", age);
    }
    if let Some(loading) = &it.loading {
        lines.field("loading_start_time", loading.since);
        lines.field("loading_total_bytes", loading.total_bytes);
        lines.field("loading_loaded_bytes", loading.loaded_bytes);
        lines.field("loading_loaded_perc", format_args!("{:.2}", percent(loading.loaded_bytes, loading.total_bytes)));
        let elapsed = (server.now.wall.seconds() - loading.since).max(0) as u64;
        let left = loading.total_bytes.saturating_sub(loading.loaded_bytes);
        let eta = match (elapsed, loading.loaded_bytes) {
            (0, _) | (_, 0) => 1,
            (elapsed, loaded) => (u128::from(elapsed) * u128::from(left) / u128::from(loaded)) as u64,
        };
        lines.field("loading_eta_seconds", eta);
    }
}

pub(super) fn replication(source: &Source, lines: &mut Lines) {
    let Source { server, .. } = source;
    lines.field("role", "master");
    lines.zeros(&["connected_slaves"]);
    lines.field("master_failover_state", "no-failover");
    lines.field("master_replid", &server.replication_id);
    lines.field("master_replid2", "0".repeat(40));
    lines.field("master_repl_offset", server.offset);
    lines.field("second_repl_offset", -1);
    lines.zeros(&["replicas_waiting_psync", "repl_backlog_active"]);
    lines.field("repl_backlog_size", server.config.repl_backlog_size);
    lines.zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

pub(super) fn cpu(source: &Source, lines: &mut Lines) {
    let Resources { cpu_user, cpu_sys, cpu_user_main, cpu_sys_main, .. } = (source.server.host.resources)();
    let mut seconds = |name: &str, value: f64| lines.field(name, format_args!("{value:.6}"));
    seconds("used_cpu_sys", cpu_sys);
    seconds("used_cpu_user", cpu_user);
    seconds("used_cpu_sys_children", 0.0);
    seconds("used_cpu_user_children", 0.0);
    seconds("used_cpu_sys_main_thread", cpu_sys_main);
    seconds("used_cpu_user_main_thread", cpu_user_main);
    seconds("used_active_time_main_thread", source.server.stats.turns.nanos as f64 / 1e9);
}

pub(super) fn keyspace(source: &Source, lines: &mut Lines) {
    for (number, db) in source.keys.dbs.iter().enumerate() {
        let (keys, expires, subexpiry) = (db.table.len(), db.expires.len(), db.field_expires.len());
        if keys > 0 {
            let avg_ttl = db.avg_ttl_ms;
            let text = format!("keys={keys},expires={expires},avg_ttl={avg_ttl},subexpiry={subexpiry}");
            lines.field(&format!("db{number}"), text);
        }
    }
}
