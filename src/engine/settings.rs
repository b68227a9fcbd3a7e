//! The part of the configuration that the keyspace and the types need at every step, as plain fields.
//!
//! Derived from [`Config`] at start and after each CONFIG SET; never changed otherwise.

use crate::types::PackLimits;
use crate::types::list::ListLimits;
use crate::types::set::SetLimits;

use super::config::{Config, EvictionPolicy, NotifyFlags};

/// Hot-path settings.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Settings {
    pub notify: NotifyFlags,
    pub eviction: EvictionPolicy,
    pub lfu_log_factor: u32,
    pub lfu_decay_minutes: u32,
    pub lazyfree_server_del: bool,
    pub lazyfree_user_del: bool,
    pub lazyfree_user_flush: bool,
    pub lazyfree_expire: bool,
    pub lazyfree_eviction: bool,
    pub list: ListLimits,
    pub set: SetLimits,
    pub hash: PackLimits,
    pub zset: PackLimits,
    pub max_string_bytes: usize,
}

impl Settings {
    /// What `config` says.
    pub fn new(config: &Config) -> Settings {
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
                packed_threshold: config.list_packed_threshold,
            },
            set: SetLimits {
                intset_entries: config.set_max_intset_entries,
                pack: PackLimits {
                    entries: config.set_max_listpack_entries,
                    value: config.set_max_listpack_value,
                },
            },
            hash: PackLimits { entries: config.hash_max_listpack_entries, value: config.hash_max_listpack_value },
            zset: PackLimits { entries: config.zset_max_listpack_entries, value: config.zset_max_listpack_value },
            max_string_bytes: config.proto_max_bulk_len,
        }
    }
}
