//! The fields that stand before the first key: who wrote the snapshot, when, and at which offset.
//!
//! Only for writing: a reader gets every field as it stands, through its sink. Redis' counterpart:
//! `rdbSaveInfoAuxFields` in `rdb.c`.

/// What the head of a snapshot tells about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aux<'a> {
    /// The version of Redis that this server stands for.
    pub redis_version: &'a str,
    /// When it was taken, in seconds since the Unix epoch.
    pub created_seconds: i64,
    /// Memory in use then.
    pub used_bytes: u64,
    /// Where in the replication stream it was taken, if that is to be kept.
    pub replication: Option<ReplicationAux<'a>>,
    /// Whether it is the base of an append-only file.
    pub aof_base: bool,
}

/// A place in a replication stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationAux<'a> {
    /// The db that the stream has selected there.
    pub stream_db: i64,
    /// The stream's id: 40 hexadecimal digits.
    pub id: &'a str,
    /// Bytes of the stream before that place.
    pub offset: i64,
}
