//! The parameters: one row each, and the `Config` struct that the rows spell out.
//!
//! A row reads: field, type, default, kind of values, who may change it, who acts on it, flags,
//! other names. A parameter's name is its field's with dashes for underscores. Names are the union
//! of Redis 7.0, Redis 8.2 and Valkey 9.1; defaults and bounds are those of Redis 8.2, or of the
//! one server that has the parameter. Counterpart: `static_configs[]` in Redis' `config.c`.

use super::notify::NotifyFlags;
use super::value::*;
use super::{Acts, Directives, Param, Set};

const I32: i64 = i32::MAX as i64;
const U32: i64 = u32::MAX as i64;
const MAX: i64 = i64::MAX;

/// Spells a field's name with dashes.
const fn dashed<const N: usize>(field: &str) -> [u8; N] {
    let mut name = [0; N];
    let mut at = 0;
    while at < N {
        let byte = field.as_bytes()[at];
        name[at] = if byte == b'_' { b'-' } else { byte };
        at += 1;
    }
    name
}

/// Declares `Config`, its defaults and `PARAMS` from the rows.
macro_rules! parameters {
    ($($field:ident: $type:ty = $default:expr, $kind:expr, $set:ident, $acts:ident
        $(, $flag:ident)* $(=> [$($alias:literal),+])?;)*) => {
        /// The configuration: one public field for each parameter, in its own type.
        ///
        /// Fields may be read anywhere; they are written through [`Config::set_many`] and
        /// [`Config::load`], which check.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(#[doc = concat!("`", stringify!($field), "`, with dashes in files and commands.")]
            pub $field: $type,)*
            /// Directives of the files that are no parameters.
            pub directives: Directives,
            pub(super) save_from_file: bool,
        }

        impl Default for Config {
            fn default() -> Config {
                Config {
                    $($field: $default,)*
                    directives: Directives::default(),
                    save_from_file: false,
                }
            }
        }

        /// Every parameter, ordered by name.
        pub static PARAMS: &[Param] = &[$(Param {
            name: {
                const NAME: [u8; stringify!($field).len()] = dashed(stringify!($field));
                match core::str::from_utf8(&NAME) {
                    Ok(name) => name,
                    Err(_) => unreachable!(),
                }
            },
            aliases: &[$($($alias),+)?],
            kind: $kind,
            set: Set::$set,
            acts: Acts::$acts,
            $($flag: true,)*
            ..Param::new(|config| &config.$field, |config| &mut config.$field)
        },)*];
    };
}

/// Any text will do.
const TEXT: Kind = Kind::String(|_| Ok(()));
/// The name of a file in a directory that is given elsewhere.
const DBFILENAME: Kind = Kind::String(|text| match is_path(text) {
    true => Err("dbfilename can't be a path, just a filename"),
    false => Ok(()),
});
const APPENDFILENAME: Kind = Kind::String(|text| match text {
    b"" => Err("appendfilename can't be empty"),
    _ if is_path(text) => Err("appendfilename can't be a path, just a filename"),
    _ => Ok(()),
});
const APPENDDIRNAME: Kind = Kind::String(|text| match text {
    b"" => Err("appenddirname can't be empty"),
    _ if is_path(text) => Err("appenddirname can't be a path, just a dirname"),
    _ => Ok(()),
});
const HOSTNAME: Kind = Kind::String(|text| {
    if text.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    match text.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.')) {
        true => Ok(()),
        false => Err("Hostnames may only contain alphanumeric characters, hyphens or dots"),
    }
});
const NODENAME: Kind = Kind::String(|text| match text.iter().any(|it| b"!#$%&()*+:;<>?@[]^{|}~".contains(it)) {
    true => Err("Announced human node name contained invalid character"),
    false => Ok(()),
});
const IPV4: Kind = Kind::String(|text| match core::str::from_utf8(text) {
    Ok(text) if text.is_empty() || text.parse::<core::net::Ipv4Addr>().is_ok() => Ok(()),
    _ => Err("Invalid IPv4 address"),
});
const IPV6: Kind = Kind::String(|text| match core::str::from_utf8(text) {
    Ok(text) if text.is_empty() || text.parse::<core::net::Ipv6Addr>().is_ok() => Ok(()),
    _ => Err("Invalid IPv6 address"),
});
/// Texts are compared byte by byte, which is what these locales ask for.
const LOCALE: Kind = Kind::String(|text| match text {
    b"" | b"C" | b"POSIX" | b"C.UTF-8" | b"C.utf8" => Ok(()),
    _ => Err("Invalid locale name"),
});
const TITLE: Kind = Kind::String(|text| match is_title_template(text) {
    true => Ok(()),
    false => Err("template format is invalid or contains unknown variables"),
});

fn is_path(text: &[u8]) -> bool {
    text.contains(&b'/') || text.contains(&b'\\')
}

/// Whether every `{…}` of a process title template is closed and known, and something remains when
/// the variables that may be empty are.
fn is_title_template(text: &[u8]) -> bool {
    const ALWAYS: [&[u8]; 5] = [b"listen-addr", b"server-mode", b"port", b"tls-port", b"unixsocket"];
    let mut rest = text;
    let mut shows_something = false;
    while let Some(open) = rest.iter().position(|&it| it == b'{') {
        shows_something |= !rest[..open].trim_ascii().is_empty();
        let Some(close) = rest[open..].iter().position(|&it| it == b'}') else {
            return false;
        };
        let name = &rest[open + 1..open + close];
        match name {
            b"title" | b"config-file" => {}
            _ if ALWAYS.contains(&name) => shows_something = true,
            _ => return false,
        }
        rest = &rest[open + close + 1..];
    }
    shows_something || !rest.trim_ascii().is_empty()
}

fn text(value: &str) -> Text {
    value.as_bytes().to_vec()
}

#[rustfmt::skip]
parameters! {
    acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, Kind::Choice, Rw, Nobody;
    aclfile: Text = text(""), TEXT, Immutable, Nobody;
    acllog_max_len: u64 = 128, int(0, MAX), Rw, Nobody;
    active_defrag_cycle_max: u32 = 25, int(1, 99), Rw, Nobody;
    active_defrag_cycle_min: u32 = 1, int(1, 99), Rw, Nobody;
    active_defrag_cycle_us: u32 = 500, int(0, 100_000), Rw, Nobody;
    active_defrag_ignore_bytes: u64 = 100 << 20, umemory(1), Rw, Nobody;
    active_defrag_max_scan_fields: u64 = 1000, int(1, MAX), Rw, Nobody;
    active_defrag_threshold_lower: u32 = 10, int(0, 1000), Rw, Nobody;
    active_defrag_threshold_upper: u32 = 100, int(0, 1000), Rw, Nobody;
    active_expire_effort: u32 = 1, int(1, 10), Rw, Engine;
    activedefrag: bool = false, Kind::Bool, Rw, Nobody;
    activerehashing: bool = true, Kind::Bool, Rw, Nobody;
    always_show_logo: bool = false, Kind::Bool, Immutable, Host;
    aof_disable_auto_gc: bool = false, Kind::Bool, Rw, Host, hidden;
    aof_load_corrupt_tail_max_size: u64 = 0, umemory(0), Rw, Host, hidden;
    aof_load_truncated: bool = true, Kind::Bool, Rw, Host;
    aof_load_until: u64 = 0, int(0, MAX), Immutable, Host, hidden;
    aof_rewrite_cpulist: Text = text(""), TEXT, Immutable, Nobody => ["aof_rewrite_cpulist"];
    aof_rewrite_incremental_fsync: bool = true, Kind::Bool, Rw, Host;
    aof_timestamp_enabled: bool = false, Kind::Bool, Rw, Engine;
    aof_use_rdb_preamble: bool = true, Kind::Bool, Rw, Engine;
    appenddirname: Text = text("appendonlydir"), APPENDDIRNAME, Immutable, Host;
    appendfilename: Text = text("appendonly.aof"), APPENDFILENAME, Immutable, Host;
    appendfsync: AppendFsync = AppendFsync::EverySec, Kind::Choice, Rw, Host;
    appendonly: bool = false, Kind::Bool, Rw, Host;
    auto_aof_rewrite_min_size: u64 = 64 << 20, memory(0), Rw, Host;
    auto_aof_rewrite_percentage: u32 = 100, int(0, I32), Rw, Host;
    availability_zone: Text = text(""), TEXT, Rw, Engine;
    bgsave_cpulist: Text = text(""), TEXT, Immutable, Nobody => ["bgsave_cpulist"];
    bind: Vec<Text> = vec![text("*"), text("-::*")], Kind::Many, Rw, Host;
    bind_source_addr: Text = text(""), TEXT, Rw, Nobody;
    bio_cpulist: Text = text(""), TEXT, Immutable, Nobody => ["bio_cpulist"];
    busy_reply_threshold: u64 = 5000, int(0, MAX), Rw, Nobody => ["lua-time-limit"];
    client_default_resp: u32 = 2, int(2, 3), Rw, Nobody, hidden;
    client_output_buffer_limit: OutputLimits = OutputLimits::default(), Kind::Many, Rw, Engine;
    client_query_buffer_limit: u64 = 1 << 30, umemory(1 << 20), Rw, Engine;
    cluster_allow_pubsubshard_when_down: bool = true, Kind::Bool, Rw, Nobody;
    cluster_allow_reads_when_down: bool = false, Kind::Bool, Rw, Nobody;
    cluster_allow_replica_migration: bool = true, Kind::Bool, Rw, Nobody;
    cluster_announce_bus_port: u16 = 0, int(0, 65535), Rw, Nobody;
    cluster_announce_client_ipv4: Text = text(""), IPV4, Rw, Nobody;
    cluster_announce_client_ipv6: Text = text(""), IPV6, Rw, Nobody;
    cluster_announce_client_port: u16 = 0, int(0, 65535), Rw, Nobody;
    cluster_announce_client_tls_port: u16 = 0, int(0, 65535), Rw, Nobody;
    cluster_announce_hostname: Text = text(""), HOSTNAME, Rw, Nobody;
    cluster_announce_human_nodename: Text = text(""), NODENAME, Rw, Nobody;
    cluster_announce_ip: Text = text(""), TEXT, Rw, Nobody;
    cluster_announce_port: u16 = 0, int(0, 65535), Rw, Nobody;
    cluster_announce_tls_port: u16 = 0, int(0, 65535), Rw, Nobody;
    cluster_blacklist_ttl: i64 = 60, int(i64::MIN, MAX), Rw, Nobody;
    cluster_compatibility_sample_ratio: u32 = 0, int(0, 100), Rw, Nobody;
    cluster_config_file: Text = text("nodes.conf"), TEXT, Immutable, Nobody;
    cluster_config_save_behavior: SaveBehavior = SaveBehavior::Sync, Kind::Choice, Rw, Nobody;
    cluster_databases: u32 = 1, int(1, I32), Immutable, Nobody, hidden;
    cluster_enabled: bool = false, Kind::Bool, Immutable, Nobody;
    cluster_link_sendbuf_limit: u64 = 0, umemory(0), Rw, Nobody;
    cluster_manual_failover_timeout: u32 = 5000, int(1, I32), Rw, Nobody;
    cluster_migration_barrier: u32 = 1, int(0, I32), Rw, Nobody;
    cluster_node_timeout: u64 = 15000, int(0, MAX), Rw, Nobody;
    cluster_ping_interval: u64 = 0, int(0, MAX), Rw, Nobody, hidden;
    cluster_port: u16 = 0, int(0, 65535), Immutable, Nobody;
    cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip, Kind::Choice, Rw, Nobody;
    cluster_replica_no_failover: bool = false, Kind::Bool, Rw, Nobody => ["cluster-slave-no-failover"];
    cluster_replica_validity_factor: u32 = 10, int(0, I32), Rw, Nobody => ["cluster-slave-validity-factor"];
    cluster_require_full_coverage: bool = true, Kind::Bool, Rw, Nobody;
    cluster_slot_migration_log_max_len: u64 = 1000, int(0, MAX), Rw, Nobody;
    cluster_slot_stats_enabled: bool = false, Kind::Bool, Rw, Nobody;
    commandlog_large_reply_max_len: u64 = 128, int(0, MAX), Rw, Engine;
    commandlog_large_request_max_len: u64 = 128, int(0, MAX), Rw, Engine;
    commandlog_reply_larger_than: i64 = 1 << 20, int(-1, MAX), Rw, Engine;
    commandlog_request_larger_than: i64 = 1 << 20, int(-1, MAX), Rw, Engine;
    crash_log_enabled: bool = true, Kind::Bool, Rw, Nobody;
    crash_memcheck_enabled: bool = true, Kind::Bool, Rw, Nobody;
    daemonize: bool = false, Kind::Bool, Immutable, Host;
    databases: u32 = 16, int(1, I32), Immutable, Engine;
    dbfilename: Text = text("dump.rdb"), DBFILENAME, Protected, Host;
    debug_context: Text = text(""), TEXT, Rw, Nobody, hidden;
    dir: Text = text(""), TEXT, Protected, Host, deny_loading;
    disable_thp: bool = true, Kind::Bool, Immutable, Host;
    dual_channel_replication_enabled: bool = false, Kind::Bool, Rw, Nobody;
    dynamic_hz: bool = true, Kind::Bool, Rw, Nobody;
    enable_debug_assert: bool = false, Kind::Bool, Immutable, Nobody, hidden;
    enable_debug_command: Allowed = Allowed::No, Kind::Choice, Immutable, Engine;
    enable_module_command: Allowed = Allowed::No, Kind::Choice, Immutable, Nobody;
    enable_protected_configs: Allowed = Allowed::No, Kind::Choice, Immutable, Engine;
    extended_redis_compatibility: bool = false, Kind::Bool, Rw, Nobody;
    hash_max_listpack_entries: u64 = 512, uint(0, MAX), Rw, Engine => ["hash-max-ziplist-entries"];
    hash_max_listpack_value: u64 = 64, umemory(0), Rw, Engine => ["hash-max-ziplist-value"];
    hash_seed: Text = text(""), TEXT, Immutable, Nobody, hidden;
    haversack_server_name: Text = text("redis"), TEXT, Immutable, Engine, hidden;
    haversack_server_version: Text = text("8.2.3"), TEXT, Immutable, Engine, hidden;
    hide_user_data_from_log: bool = false, Kind::Bool, Rw, Nobody;
    hll_sparse_max_bytes: u64 = 3000, umemory(0), Rw, Nobody;
    hz: u32 = 10, int(0, I32), Rw, Engine;
    ignore_warnings: Text = text(""), TEXT, Rw, Nobody;
    import_mode: bool = false, Kind::Bool, Rw, Engine;
    io_threads: u32 = 1, int(1, 128), Immutable, Host;
    io_threads_do_reads: bool = false, Kind::Bool, Immutable, Host, hidden;
    jemalloc_bg_thread: bool = true, Kind::Bool, Rw, Nobody;
    key_load_delay: i32 = 0, int(-I32 - 1, I32), Rw, Host, hidden;
    latency_monitor_threshold: u64 = 0, int(0, MAX), Rw, Engine;
    latency_tracking: bool = true, Kind::Bool, Rw, Engine;
    latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9], Kind::Many, Rw, Engine;
    lazyfree_lazy_eviction: bool = false, Kind::Bool, Rw, Engine;
    lazyfree_lazy_expire: bool = false, Kind::Bool, Rw, Engine;
    lazyfree_lazy_server_del: bool = false, Kind::Bool, Rw, Engine;
    lazyfree_lazy_user_del: bool = false, Kind::Bool, Rw, Engine;
    lazyfree_lazy_user_flush: bool = false, Kind::Bool, Rw, Engine;
    lfu_decay_time: u32 = 1, int(0, I32), Rw, Engine;
    lfu_log_factor: u32 = 10, int(0, I32), Rw, Engine;
    list_compress_depth: u32 = 0, int(0, I32), Rw, Engine;
    list_max_listpack_size: i32 = -2, int(-I32 - 1, I32), Rw, Engine => ["list-max-ziplist-size"];
    loading_process_events_interval_bytes: u32 = 512 << 10, int(1024, I32), Rw, Host, hidden;
    locale_collate: Text = text(""), LOCALE, Rw, Nobody;
    log_format: LogFormat = LogFormat::Legacy, Kind::Choice, Rw, Nobody;
    log_timestamp_format: LogTimestamp = LogTimestamp::Legacy, Kind::Choice, Rw, Nobody;
    logfile: Text = text(""), TEXT, Immutable, Host;
    loglevel: LogLevel = LogLevel::Notice, Kind::Choice, Rw, Host;
    masterauth: Text = text(""), TEXT, Rw, Nobody, sensitive => ["primaryauth"];
    masteruser: Text = text(""), TEXT, Rw, Nobody, sensitive => ["primaryuser"];
    max_new_connections_per_cycle: u32 = 10, uint(1, 1000), Rw, Nobody;
    max_new_tls_connections_per_cycle: u32 = 1, uint(1, 1000), Rw, Nobody;
    maxclients: u32 = 10000, uint(1, U32), Rw, Host;
    maxmemory: u64 = 0, umemory(0), Rw, Engine;
    maxmemory_clients: MemoryOrPercent = MemoryOrPercent::Bytes(0), Kind::One, Rw, Engine;
    maxmemory_eviction_tenacity: u32 = 10, int(0, 100), Rw, Engine;
    maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, Kind::Choice, Rw, Engine;
    maxmemory_samples: u32 = 5, int(1, 64), Rw, Engine;
    min_replicas_max_lag: u32 = 10, int(0, I32), Rw, Engine => ["min-slaves-max-lag"];
    min_replicas_to_write: u32 = 0, int(0, I32), Rw, Engine => ["min-slaves-to-write"];
    mptcp: bool = false, Kind::Bool, Immutable, Nobody, hidden;
    no_appendfsync_on_rewrite: bool = false, Kind::Bool, Rw, Host;
    notify_keyspace_events: NotifyFlags = NotifyFlags::NONE, Kind::One, Rw, Engine;
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, Kind::Choice, Rw, Host;
    oom_score_adj_values: [i32; 3] = [0, 200, 800], Kind::Many, Rw, Host;
    pidfile: Text = text(""), TEXT, Immutable, Host;
    port: u16 = 6379, int(0, 65535), Rw, Host;
    prefetch_batch_max_size: u32 = 16, int(0, 128), Rw, Nobody;
    proc_title_template: Text = text("{title} {listen-addr} {server-mode}"), TITLE, Rw, Nobody;
    propagation_error_behavior: PropagationError = PropagationError::Ignore, Kind::Choice, Rw, Nobody;
    protected_mode: bool = true, Kind::Bool, Rw, Host;
    proto_max_bulk_len: u64 = 512 << 20, memory(1 << 20), Rw, Engine;
    rdb_del_sync_files: bool = false, Kind::Bool, Rw, Nobody;
    rdb_key_save_delay: i32 = 0, int(-I32 - 1, I32), Rw, Host, hidden;
    rdb_save_incremental_fsync: bool = true, Kind::Bool, Rw, Host;
    rdb_version_check: RdbVersionCheck = RdbVersionCheck::Strict, Kind::Choice, Rw, Nobody;
    rdbchecksum: bool = true, Kind::Bool, Immutable, Engine;
    rdbcompression: bool = true, Kind::Bool, Rw, Engine;
    rdma_bind: Text = text(""), TEXT, Rw, Nobody;
    rdma_completion_vector: i32 = -1, int(-1, 1024), Immutable, Nobody, hidden;
    rdma_port: u16 = 0, int(0, 65535), Rw, Nobody;
    rdma_rx_size: u32 = 1 << 20, int(64 << 10, 16 << 20), Immutable, Nobody, hidden;
    repl_backlog_size: u64 = 1 << 20, memory(1), Rw, Nobody;
    repl_backlog_ttl: u64 = 3600, int(0, MAX), Rw, Nobody;
    repl_disable_tcp_nodelay: bool = false, Kind::Bool, Rw, Nobody;
    repl_diskless_load: DisklessLoad = DisklessLoad::Disabled, Kind::Choice, Rw, Nobody, deny_loading;
    repl_diskless_sync: bool = true, Kind::Bool, Rw, Nobody;
    repl_diskless_sync_delay: u32 = 5, int(0, I32), Rw, Nobody;
    repl_diskless_sync_max_replicas: u32 = 0, int(0, I32), Rw, Nobody;
    repl_mptcp: bool = false, Kind::Bool, Immutable, Nobody, hidden;
    repl_ping_replica_period: u32 = 10, int(1, I32), Rw, Nobody => ["repl-ping-slave-period"];
    repl_timeout: u32 = 60, int(1, I32), Rw, Nobody;
    replica_announce_ip: Text = text(""), TEXT, Rw, Nobody => ["slave-announce-ip"];
    replica_announce_port: u16 = 0, int(0, 65535), Rw, Nobody => ["slave-announce-port"];
    replica_announced: bool = true, Kind::Bool, Rw, Nobody;
    replica_full_sync_buffer_limit: u64 = 0, memory(0), Rw, Nobody;
    replica_ignore_disk_write_errors: bool = false, Kind::Bool, Rw, Nobody;
    replica_ignore_maxmemory: bool = true, Kind::Bool, Rw, Nobody => ["slave-ignore-maxmemory"];
    replica_lazy_flush: bool = false, Kind::Bool, Rw, Nobody => ["slave-lazy-flush"];
    replica_priority: u32 = 100, int(0, I32), Rw, Nobody => ["slave-priority"];
    replica_read_only: bool = true, Kind::Bool, Rw, Nobody => ["slave-read-only"];
    replica_serve_stale_data: bool = true, Kind::Bool, Rw, Nobody => ["slave-serve-stale-data"];
    replicaof: Option<(Text, u16)> = None, Kind::Many, Immutable, Nobody => ["slaveof"];
    req_res_logfile: Text = text(""), TEXT, Immutable, Nobody, hidden;
    requirepass: Text = text(""), TEXT, Rw, Engine, sensitive;
    sanitize_dump_payload: SanitizeDump = SanitizeDump::No, Kind::Choice, Rw, Nobody;
    save: SavePoints = default_save(), Kind::Many, Rw, Engine;
    server_cpulist: Text = text(""), TEXT, Immutable, Nobody => ["server_cpulist"];
    set_max_intset_entries: u64 = 512, uint(0, MAX), Rw, Engine;
    set_max_listpack_entries: u64 = 128, uint(0, MAX), Rw, Engine;
    set_max_listpack_value: u64 = 64, uint(0, MAX), Rw, Engine;
    set_proc_title: bool = true, Kind::Bool, Immutable, Nobody;
    shutdown_on_sigint: ShutdownOptions = ShutdownOptions::default(), Kind::Many, Rw, Host;
    shutdown_on_sigterm: ShutdownOptions = ShutdownOptions::default(), Kind::Many, Rw, Host;
    shutdown_timeout: u32 = 10, int(0, I32), Rw, Nobody;
    slot_migration_max_failover_repl_bytes: i64 = 0, memory(-1), Rw, Nobody;
    slowlog_log_slower_than: i64 = 10000, int(-1, MAX), Rw, Engine => ["commandlog-execution-slower-than"];
    slowlog_max_len: u64 = 128, int(0, MAX), Rw, Engine => ["commandlog-slow-execution-max-len"];
    snapshot_memory_limit: MemoryOrPercent = MemoryOrPercent::Percent(10), Kind::One, Rw, Engine, hidden;
    socket_mark_id: u32 = 0, uint(0, U32), Immutable, Nobody;
    stop_writes_on_bgsave_error: bool = true, Kind::Bool, Rw, Engine;
    stream_node_max_bytes: u64 = 4096, umemory(0), Rw, Nobody;
    stream_node_max_entries: u64 = 100, int(0, MAX), Rw, Nobody;
    supervised: Supervised = Supervised::No, Kind::Choice, Immutable, Host;
    syslog_enabled: bool = false, Kind::Bool, Immutable, Host;
    syslog_facility: SyslogFacility = SyslogFacility::Local0, Kind::Choice, Immutable, Host;
    syslog_ident: Text = text("redis"), TEXT, Immutable, Host;
    tcp_backlog: u32 = 511, int(0, I32), Immutable, Host;
    tcp_keepalive: u32 = 300, int(0, I32), Rw, Host;
    timeout: u32 = 0, int(0, I32), Rw, Engine;
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, Kind::Choice, Rw, Nobody;
    tls_auth_clients_user: TlsAuthClientsUser = TlsAuthClientsUser::Off, Kind::Choice, Rw, Nobody;
    tls_auto_reload_interval: u32 = 0, int(0, I32), Rw, Nobody;
    tls_ca_cert_dir: Text = text(""), TEXT, Rw, Nobody;
    tls_ca_cert_file: Text = text(""), TEXT, Rw, Nobody;
    tls_cert_file: Text = text(""), TEXT, Rw, Nobody;
    tls_ciphers: Text = text(""), TEXT, Rw, Nobody;
    tls_ciphersuites: Text = text(""), TEXT, Rw, Nobody;
    tls_client_cert_file: Text = text(""), TEXT, Rw, Nobody;
    tls_client_key_file: Text = text(""), TEXT, Rw, Nobody;
    tls_client_key_file_pass: Text = text(""), TEXT, Rw, Nobody, sensitive;
    tls_cluster: bool = false, Kind::Bool, Rw, Nobody;
    tls_dh_params_file: Text = text(""), TEXT, Rw, Nobody;
    tls_key_file: Text = text(""), TEXT, Rw, Nobody;
    tls_key_file_pass: Text = text(""), TEXT, Rw, Nobody, sensitive;
    tls_port: u16 = 0, int(0, 65535), Rw, Nobody;
    tls_prefer_server_ciphers: bool = false, Kind::Bool, Rw, Nobody;
    tls_protocols: Text = text(""), TEXT, Rw, Nobody;
    tls_replication: bool = false, Kind::Bool, Rw, Nobody;
    tls_session_cache_size: u32 = 20480, int(0, I32), Rw, Nobody;
    tls_session_cache_timeout: u32 = 300, int(0, I32), Rw, Nobody;
    tls_session_caching: bool = true, Kind::Bool, Rw, Nobody;
    tracking_table_max_keys: u64 = 1_000_000, uint(0, MAX), Rw, Nobody;
    unixsocket: Text = text(""), TEXT, Immutable, Host;
    unixsocketgroup: Text = text(""), TEXT, Immutable, Host, hidden;
    unixsocketperm: u32 = 0, octal(), Immutable, Host;
    use_exit_on_panic: bool = false, Kind::Bool, Rw, Nobody, hidden;
    vset_force_single_threaded_execution: bool = false, Kind::Bool, Rw, Nobody;
    watchdog_period: u32 = 0, int(0, I32), Rw, Nobody, hidden;
    zset_max_listpack_entries: u64 = 128, uint(0, MAX), Rw, Engine => ["zset-max-ziplist-entries"];
    zset_max_listpack_value: u64 = 64, umemory(0), Rw, Engine => ["zset-max-ziplist-value"];
}

fn default_save() -> SavePoints {
    let point = |seconds, changes| SavePoint { seconds, changes };
    SavePoints(vec![point(3600, 1), point(300, 100), point(60, 10000)])
}
