//! Channels, patterns and shard channels, and how a message reaches their listeners.
//!
//! Keyspace events are plain messages on `__keyspace@<db>__:<key>` and `__keyevent@<db>__:<event>`.

use std::collections::BTreeMap;

use crate::resp::{Protocol, Reply};
use crate::types::glob;

use super::client::{Client, ClientId, Names};
use super::config::NotifyFlags;
use super::effects::Event;
use super::server::Server;

/// Listeners in the order they subscribed.
pub type Listeners = Vec<ClientId>;

/// Who listens to what.
#[derive(Default)]
pub struct PubSub {
    /// By channel.
    pub channels: BTreeMap<Box<[u8]>, Listeners>,
    /// By pattern.
    pub patterns: BTreeMap<Box<[u8]>, Listeners>,
    /// By shard channel.
    pub shard_channels: BTreeMap<Box<[u8]>, Listeners>,
}

/// What a name subscribed to is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A channel.
    Channel,
    /// A pattern of channels.
    Pattern,
    /// A shard channel.
    Shard,
}

impl PubSub {
    fn map(&mut self, kind: Kind) -> &mut BTreeMap<Box<[u8]>, Listeners> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }

    /// Everything of a kind that somebody listens to.
    pub fn listened(&self, kind: Kind) -> &BTreeMap<Box<[u8]>, Listeners> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    /// Adds a listener.
    pub fn add(&mut self, kind: Kind, name: &[u8], id: ClientId) {
        self.map(kind).entry(name.into()).or_default().push(id);
    }

    /// Removes a listener.
    pub fn remove(&mut self, kind: Kind, name: &[u8], id: ClientId) {
        let map = self.map(kind);
        let Some(listeners) = map.get_mut(name) else { return };
        listeners.retain(|listener| *listener != id);
        if listeners.is_empty() {
            map.remove(name);
        }
    }
}

/// Sends a message to everyone who listens to `channel`; says how many that are.
pub fn publish(server: &mut Server, channel: &[u8], message: &[u8]) -> usize {
    let mut receivers = 0;
    if let Some(listeners) = server.pubsub.channels.get(channel) {
        receivers += send(server, &listeners.clone(), &[b"message", channel, message]);
    }
    let patterns = server.pubsub.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel, false));
    let patterns: Vec<(Box<[u8]>, Listeners)> = patterns.map(|(p, l)| (p.clone(), l.clone())).collect();
    for (pattern, listeners) in patterns {
        receivers += send(server, &listeners, &[b"pmessage", &pattern, channel, message]);
    }
    receivers
}

/// Sends a message to everyone who listens to the shard channel; says how many that are.
pub fn publish_shard(server: &mut Server, channel: &[u8], message: &[u8]) -> usize {
    let listeners = server.pubsub.shard_channels.get(channel).cloned().unwrap_or_default();
    send(server, &listeners, &[b"smessage", channel, message])
}

/// Pushes one message to its listeners, encoded once for each protocol; says how many they are.
fn send(server: &mut Server, listeners: &[ClientId], parts: &[&[u8]]) -> usize {
    let mut encoded = [None, None];
    let mut receivers = 0;
    for id in listeners {
        let Some(client) = server.clients.find(*id).filter(|client| !client.doomed) else { continue };
        receivers += 1;
        let protocol = client.reply.protocol;
        let message: &Reply = encoded[usize::from(protocol == Protocol::Resp3)].get_or_insert_with(|| {
            let mut reply = Reply::new(protocol);
            reply.push(parts.len());
            parts.iter().for_each(|part| reply.bulk(part));
            reply
        });
        server.push_to(*id, |reply| reply.raw(&message.buf));
    }
    receivers
}

/// Publishes one keyspace event in the forms that `flags` ask for.
pub fn publish_event(server: &mut Server, flags: NotifyFlags, event: &Event) {
    let db = event.db.to_string();
    if flags.intersects(NotifyFlags::KEYSPACE) {
        let channel = [b"__keyspace@", db.as_bytes(), b"__:", &event.key].concat();
        publish(server, &channel, event.name.as_bytes());
    }
    if flags.intersects(NotifyFlags::KEYEVENT) {
        let channel = [b"__keyevent@", db.as_bytes(), b"__:", event.name.as_bytes()].concat();
        publish(server, &channel, &event.key);
    }
}

/// Takes a client that has gone out of all it listened to.
pub fn forget(pubsub: &mut PubSub, client: &mut Client) {
    for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
        for name in std::mem::take(client.names(kind)) {
            pubsub.remove(kind, &name, client.handle);
        }
    }
}

impl Client {
    /// What the client is subscribed to.
    pub fn names(&mut self, kind: Kind) -> &mut Names {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }
}
