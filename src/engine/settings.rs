//! The part of the configuration that the keyspace and the types need at every step, as plain fields.
//!
//! Derived from [`Config`] at start and after each CONFIG SET; never changed otherwise.

use crate::types::PackLimits;
use crate::types::hash::HashLimits;
use crate::types::list::ListLimits;
use crate::types::set::SetLimits;

use super::config::{Config, MaxmemoryPolicy, NotifyFlags};

/// Hot-path settings.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub notify: NotifyFlags,
    pub eviction: MaxmemoryPolicy,
    pub lfu_log_factor: u32,
    pub lfu_decay_minutes: u32,
    pub lazyfree_server_del: bool,
    pub lazyfree_user_del: bool,
    pub lazyfree_user_flush: bool,
    pub lazyfree_expire: bool,
    pub lazyfree_eviction: bool,
    pub list: ListLimits,
    pub set: SetLimits,
    pub hash: HashLimits,
    pub zset: PackLimits,
    pub max_string_bytes: usize,
    /// Payloads are restored whatever their checksum (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub skip_checksums: bool,
}

impl Settings {
    /// What `config` says. `seed` is that of the hash functions of collections; `packed_threshold` comes
    /// from DEBUG QUICKLIST-PACKED-THRESHOLD and is no parameter.
    pub fn new(config: &Config, seed: u64, packed_threshold: usize) -> Settings {
        Settings {
            notify: config.notify_keyspace_events,
            eviction: config.maxmemory_policy,
            lfu_log_factor: config.lfu_log_factor,
            lfu_decay_minutes: config.lfu_decay_time,
            lazyfree_server_del: config.lazyfree_lazy_server_del,
            lazyfree_user_del: config.lazyfree_lazy_user_del,
            lazyfree_user_flush: config.lazyfree_lazy_user_flush,
            lazyfree_expire: config.lazyfree_lazy_expire,
            lazyfree_eviction: config.lazyfree_lazy_eviction,
            list: ListLimits {
                fill: config.list_max_listpack_size,
                compress_depth: config.list_compress_depth,
                packed_threshold,
            },
            set: SetLimits {
                intset_entries: usize::try_from(config.set_max_intset_entries).unwrap_or(usize::MAX),
                pack: config.set_limits(),
                seed,
            },
            hash: HashLimits { pack: config.hash_limits(), seed },
            zset: config.zset_limits(),
            max_string_bytes: usize::try_from(config.proto_max_bulk_len).unwrap_or(usize::MAX),
            skip_checksums: false,
        }
    }

    /// Follows a changed configuration.
    pub fn refresh(&mut self, config: &Config) {
        let skip_checksums = self.skip_checksums;
        *self = Settings { skip_checksums, ..Settings::new(config, self.set.seed, self.list.packed_threshold) };
    }
}
