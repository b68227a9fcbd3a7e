//! The sections of INFO that count what has happened: stats, commands, errors, latencies.

use super::super::commands;
use super::super::stats::CommandStats;
use super::{Lines, Source};
use crate::types::number::FloatBuf;

pub(super) fn stats(source: &Source, lines: &mut Lines) {
    let Source { server, keys } = source;
    let stats = &server.stats;
    let kilobytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1024.0);
    lines.field("total_connections_received", stats.connections_received);
    lines.field("total_commands_processed", stats.commands_processed);
    lines.field("instantaneous_ops_per_sec", stats.ops_rate.per_second());
    lines.field("total_net_input_bytes", stats.net_input);
    lines.field("total_net_output_bytes", stats.net_output);
    lines.zeros(&[
        "total_net_repl_input_bytes",
        "total_net_repl_output_bytes",
        "total_net_cluster_slot_import_bytes",
        "total_net_cluster_slot_export_bytes",
    ]);
    lines.field("instantaneous_input_kbps", kilobytes(stats.input_rate.per_second()));
    lines.field("instantaneous_output_kbps", kilobytes(stats.output_rate.per_second()));
    lines.field("instantaneous_input_repl_kbps", kilobytes(0));
    lines.field("instantaneous_output_repl_kbps", kilobytes(0));
    lines.field("rejected_connections", stats.rejected_connections);
    lines.zeros(&["sync_full", "sync_partial_ok", "sync_partial_err"]);
    lines.field("expired_subkeys", keys.stats.expired_fields);
    lines.field("expired_fields", keys.stats.expired_fields);
    lines.field("expired_keys", keys.stats.expired);
    lines.field("expired_stale_perc", format!("{:.2}", keys.stats.stale_ratio * 100.0));
    lines.field("expired_time_cap_reached_count", keys.stats.expire_slices_full);
    lines.field("expire_cycle_cpu_milliseconds", keys.stats.expire_nanos / 1_000_000);
    lines.field("evicted_keys", keys.stats.evicted);
    lines.field("evicted_clients", stats.evicted_clients);
    lines.zeros(&["evicted_scripts"]);
    lines.field("total_eviction_exceeded_time", stats.over_memory.total_ms(server.now.mono));
    lines.field("current_eviction_exceeded_time", stats.over_memory.current_ms(server.now.mono));
    lines.field("keyspace_hits", keys.stats.hits);
    lines.field("keyspace_misses", keys.stats.misses);
    lines.field("pubsub_channels", server.pubsub.channels.len());
    lines.field("pubsub_patterns", server.pubsub.patterns.len());
    lines.field("pubsubshard_channels", server.pubsub.shard_channels.len());
    lines.zeros(&[
        "latest_fork_usec",
        "migrate_cached_sockets",
        "slave_expires_tracked_keys",
        "active_defrag_hits",
        "active_defrag_misses",
        "active_defrag_key_hits",
        "active_defrag_key_misses",
        "total_active_defrag_time",
        "current_active_defrag_time",
        "tracking_total_keys",
        "tracking_total_items",
        "tracking_total_prefixes",
    ]);
    // Nothing forks here; what Redis forks for are the snapshots, and that is what tools look for.
    lines.field("total_forks", server.persistence.snapshots_begun);
    lines.field("total_reads_processed", stats.reads);
    lines.field("total_writes_processed", stats.writes);
    let threaded = stats.by_thread.iter().skip(1);
    let (reads, writes) = threaded.fold((0, 0), |sum, (reads, writes)| (sum.0 + reads, sum.1 + writes));
    lines.field("io_threaded_reads_processed", reads);
    lines.field("io_threaded_writes_processed", writes);
    lines.zeros(&["io_threaded_freed_objects", "io_threaded_accept_processed", "io_threaded_poll_processed"]);
    // No other thread is needed for it: see `engine::batch`.
    lines.field("io_threaded_total_prefetch_batches", stats.prefetch_batches);
    lines.field("io_threaded_total_prefetch_entries", stats.prefetch_keys);
    lines.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    lines.field("dump_payload_sanitizations", stats.payloads_checked);
    lines.field("eventloop_cycles", stats.turns.count);
    lines.field("eventloop_duration_sum", stats.turns.nanos / 1000);
    lines.field("eventloop_duration_cmd_sum", stats.commands.iter().map(|c| c.nanos).sum::<u64>() / 1000);
    lines.field("instantaneous_eventloop_cycles_per_sec", stats.turn_rate.per_second());
    let turn_nanos = stats.turn_nanos_rate.per_second().checked_div(stats.turn_rate.per_second());
    lines.field("instantaneous_eventloop_duration_usec", turn_nanos.unwrap_or(0) / 1000);
    lines.field("acl_access_denied_auth", stats.auth_failures);
    lines.zeros(&[
        "acl_access_denied_cmd",
        "acl_access_denied_key",
        "acl_access_denied_channel",
        "acl_access_denied_tls_cert",
        "acl_access_denied_db",
    ]);
    lines.field("unexpected_error_replies", stats.unexpected_errors);
    lines.field("total_error_replies", stats.error_replies);
    lines.field("client_query_buffer_limit_disconnections", stats.query_limit_disconnections);
    lines.field("client_output_buffer_limit_disconnections", stats.output_limit_disconnections);
}

/// The threads that read and write; the first is the engine's.
pub(super) fn threads(source: &Source, lines: &mut Lines) {
    let Source { server, .. } = source;
    let mut clients = vec![0; server.config.io_threads as usize];
    for client in server.clients.iter().filter(|client| !client.is_internal) {
        if let Some(count) = clients.get_mut(client.peer.io_thread as usize) {
            *count += 1;
        }
    }
    for (number, clients) in clients.into_iter().enumerate() {
        let (reads, writes) = server.stats.by_thread.get(number).copied().unwrap_or_default();
        lines.field(&format!("io_thread_{number}"), format_args!("clients={clients},reads={reads},writes={writes}"));
    }
}

/// What only those ask for who look at the loop itself.
pub(super) fn debug(source: &Source, lines: &mut Lines) {
    let turns = &source.server.stats.turns;
    lines.field("eventloop_duration_aof_sum", source.server.stats.turns.storing_nanos / 1000);
    lines.field("eventloop_duration_cron_sum", turns.round_nanos / 1000);
    lines.field("eventloop_duration_max", turns.longest_nanos / 1000);
    lines.field("eventloop_cmd_per_cycle_max", turns.most_commands);
}

pub(super) fn commands(source: &Source, lines: &mut Lines) {
    for (name, stats) in counted(source) {
        let CommandStats { calls, nanos, rejected, failed, .. } = stats;
        let micros = nanos / 1000;
        let each = if *calls == 0 { 0.0 } else { *nanos as f64 / 1000.0 / *calls as f64 };
        let text = format!(
            "calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
        );
        lines.field(&format!("cmdstat_{name}"), text);
    }
}

/// The commands that have been run, refused or failed, with their counters.
fn counted<'a>(source: &'a Source) -> impl Iterator<Item = (&'static str, &'a CommandStats)> {
    let rows = commands::table().iter().map(|(_, spec)| spec.full_name);
    let used = |stats: &CommandStats| stats.calls + stats.rejected + stats.failed > 0;
    rows.zip(&source.server.stats.commands).filter(move |(_, stats)| used(stats))
}

pub(super) fn errors(source: &Source, lines: &mut Lines) {
    for (code, count) in &source.server.stats.errors {
        lines.field(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

pub(super) fn latencies(source: &Source, lines: &mut Lines) {
    if !source.server.config.latency_tracking {
        return;
    }
    for (name, stats) in counted(source) {
        let Some(histogram) = &stats.histogram else { continue };
        let percentiles = source.server.config.latency_tracking_info_percentiles.iter().map(|percent| {
            let micros = histogram.percentile(*percent) as f64 / 1000.0;
            let mut buf = FloatBuf::new();
            format!("p{}={micros:.3}", crate::types::number::format_f64(*percent, &mut buf))
        });
        lines.field(&format!("latency_percentiles_usec_{name}"), percentiles.collect::<Vec<String>>().join(","));
    }
}
