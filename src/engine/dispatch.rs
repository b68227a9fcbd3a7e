//! From a request to a settled unit: checks, the run itself, and what follows from it.
//!
//! `accept` decides whether a command may run now; `invoke` runs it and counts; `settle` deals with its
//! effects once the whole unit (command, EXEC, tick slice) has ended, and never in its middle.

use crate::resp::{Args, Reply};

use super::batch::Batch;
use super::blocking::{Blocked, Cause};
use super::call::{Call, Mode};
use super::client::{Client, ClientId, ReplyMode};
use super::commands::{self, Unresolved};
use super::effects::Propagate;
use super::error::Error;
use super::keyspace::{ExpiryMode, Keyspace};
use super::server::Server;
use super::spec::{self, Spec};
use super::time::MonoTime;
use super::{Engine, TURN_BYTES, blocking, eviction, monitor, pubsub, transaction};

impl Engine {
    /// Runs one request of a client to its settled end.
    /// `command` is its row where that is known already.
    pub(super) fn execute(&mut self, id: ClientId, args: Args, command: Option<u16>, reply: &mut Reply) {
        let start = reply.buf.len();
        self.server.current = Some(id);
        let wait = accept(&mut self.keyspace, &mut self.server, id, args, command, reply);
        self.finish_command(id, args, reply, start, wait);
    }

    /// Whether nothing stands between a client and a plain command ([`Spec::is_plain`]): the checks of `accept`
    /// would pass, nothing would be held back or queued, and no reply be left out. A plain command leaves it so,
    /// and a pipeline asks once instead of a dozen times for each request: an eighth of the instructions of GET.
    pub(super) fn is_unhindered(&self, id: ClientId) -> bool {
        let server = &self.server;
        let usual_client = |client: &Client| {
            (client.authenticated || server.config.requirepass.is_empty())
                && client.multi.is_none()
                && client.reply_mode == ReplyMode::On
                && !client.is_subscriber()
                && !client.is_monitor
        };
        server.clients.find(id).is_some_and(usual_client)
            && server.config.maxmemory == 0
            && server.pause.is_none()
            && !server.config.import_mode
            && server.persistence.loading.is_none()
            && server.persistence.check_writable(&server.config).is_ok()
    }

    /// Runs the plain requests that stand one behind the other, of a client that is unhindered: [`execute`](Self::execute)
    /// without what it would find to be as usual. A request that leaves more to settle than its reply is the last of
    /// them; those that leave nothing change nothing for those behind them. Where the next request begins.
    pub(super) fn execute_plain(&mut self, id: ClientId, bytes: &[u8], batch: &mut Batch, reply: &mut Reply) -> usize {
        let client = &mut self.server.clients[id];
        self.keyspace.db = client.db;
        self.keyspace.no_touch = client.no_touch;
        self.server.current = Some(id);
        let (mut end, mut last, mut count, mut quiet) = (0, None, 0, true);
        let enough = reply.buf.len() + TURN_BYTES;
        while quiet
            && reply.buf.len() <= enough
            && let Some(next) = batch.next_plain(bytes)
        {
            end = next.end;
            self.keyspace.set_hashed(next.hashed(bytes));
            let Some((spec, command)) = next.row.filter(|(spec, _)| spec.arity_fits(next.args.len())) else {
                self.server.lap_began = None;
                self.execute(id, next.args, next.row.map(|(_, command)| command), reply);
                break;
            };
            (last, count) = (Some(command), count + 1);
            let start = reply.buf.len();
            let mut call =
                Call::new(next.args, reply, &mut self.keyspace, &mut self.server, id, (spec, command), Mode::Direct);
            perform(&mut call);
            debug_assert!(call.wait.is_none(), "{} does not wait", spec.full_name);
            debug_assert!(self.server.deferred.buf.is_empty(), "nothing is pushed to a client without subscriptions");
            quiet = self.keyspace.effects.is_quiet() && self.server.persistence.wanted.is_none();
            match quiet {
                true => self.server.lap_began = Some(self.server.lap_ended),
                false => self.settle(id, reply, start),
            }
        }
        self.server.lap_began = None;
        self.server.current = None;
        if let Some(client) = self.server.clients.find_mut(id) {
            client.commands += count;
            client.last_command = last.or(client.last_command);
        }
        end
    }

    /// Runs a waiting client's command again. True if it does not wait any more.
    fn execute_again(&mut self, id: ClientId) -> bool {
        let client = &mut self.server.clients[id];
        let Some(blocked) = client.blocked.take() else { return true };
        let db = client.db;
        let mut reply = client.take_reply();
        let start = reply.buf.len();
        self.server.running_bytes = blocked.args.bytes();
        // The record stays visible to the handler, which keeps its deadline.
        self.server.clients[id].blocked = Some(blocked.clone());
        self.server.current = Some(id);
        self.keyspace.db = db;
        let mut call = Call::new(
            blocked.args.as_args(),
            &mut reply,
            &mut self.keyspace,
            &mut self.server,
            id,
            (commands::table().row(blocked.command), blocked.command),
            Mode::Resumed,
        );
        invoke(&mut call);
        let waits_on = call.wait.is_some();
        if !waits_on {
            self.server.blocking.leave(&mut self.keyspace, id, &blocked);
            self.server.clients[id].blocked = None;
            self.server.resumed.push_back(id);
        }
        self.settle(id, &mut reply, start);
        self.put_back(id, &mut reply);
        if self.server.clients.find(id).is_some() {
            self.server.mark_pending(id);
        }
        !waits_on
    }

    /// Enters the wait, if there is one, and settles.
    fn finish_command(&mut self, id: ClientId, args: Args, reply: &mut Reply, start: usize, wait: Option<Wait>) {
        if let Some(Wait { cause, deadline, command }) = wait {
            let since = self.server.now.mono;
            let blocked = Blocked { cause, deadline, since, command, args: args.to_owned() };
            self.server.blocking.enter(&mut self.keyspace, id, &blocked);
            self.server.clients[id].blocked = Some(Box::new(blocked));
        }
        self.settle(id, reply, start);
    }

    /// Ends a unit: stream, then the caller's reply, then pushes; ready keys are kept for
    /// [`serve_ready`](Self::serve_ready).
    fn settle(&mut self, id: ClientId, reply: &mut Reply, start: usize) {
        let before = self.server.offset;
        self.settle_effects();
        let stalled = std::mem::take(&mut self.server.stalled_micros);
        if stalled > 0 {
            self.begin(self.server.now.plus_micros(stalled));
        }
        if self.server.offset > before
            && let Some(client) = self.server.clients.find_mut(id)
        {
            client.write_offset = self.server.offset;
        }
        if self.server.persistence.wanted.is_some() {
            self.start_wanted_snapshot();
        }
        if std::mem::take(&mut self.server.shutdown_aborted) {
            self.release_shutdown_waits();
        }
        self.server.current = None;
        // A command that waits is not over: what it is to answer is decided when it has answered.
        if let Some(client) = self.server.clients.find_mut(id).filter(|client| client.blocked.is_none()) {
            match client.reply_mode {
                ReplyMode::On => {}
                ReplyMode::Off => reply.buf.truncate(start),
                ReplyMode::SkipNext => client.reply_mode = ReplyMode::Skipping,
                ReplyMode::Skipping => {
                    reply.buf.truncate(start);
                    client.reply_mode = ReplyMode::On;
                }
            }
        }
        if !self.server.deferred.buf.is_empty() {
            reply.buf.append(&mut self.server.deferred.buf);
        }
    }

    /// The part of settling that has no caller: stream, watchers, counters.
    pub(super) fn settle_effects(&mut self) {
        let effects = &mut self.keyspace.effects;
        if effects.is_quiet() {
            return;
        }
        let stamp = self.server.config.aof_timestamp_enabled.then(|| self.server.now.wall.seconds());
        let streamed = effects.take_stream(&mut self.server.stream, stamp) as u64;
        self.server.offset += streamed;
        self.server.persistence.log_current_bytes += streamed;
        for id in std::mem::take(&mut effects.watchers) {
            if let Some(client) = self.server.clients.find_mut(id) {
                transaction::fail(&mut self.keyspace, client);
            }
        }
        publish_events(&mut self.keyspace, &mut self.server);
    }

    /// Runs the commands of clients whose keys became ready, and of those that this serves in turn.
    pub(super) fn serve_ready(&mut self) {
        while !self.keyspace.effects.ready.is_empty() {
            let ready = std::mem::take(&mut self.keyspace.effects.ready);
            let mut seen = super::client::Names::default();
            for (db, key) in ready {
                let mut place = db.to_le_bytes().to_vec();
                place.extend_from_slice(&key);
                if seen.insert(place.into()) {
                    self.serve_key(db, &key);
                }
            }
        }
    }

    fn serve_key(&mut self, db: usize, key: &[u8]) {
        for id in self.server.blocking.waiting_for(db, key) {
            self.keyspace.db = db;
            let Some(kind) = self.keyspace.peek(key).map(|entry| entry.kind()) else { return };
            let waits_for = self
                .server
                .clients
                .find(id)
                .filter(|client| !client.doomed)
                .and_then(|client| client.blocked.as_deref());
            if matches!(waits_for, Some(Blocked { cause: Cause::Keys { kind: wanted, .. }, .. }) if *wanted == kind) {
                self.execute_again(id);
            }
        }
    }

    /// Ends a wait without running the command again: `write` gives the reply.
    pub(super) fn release(&mut self, id: ClientId, write: impl FnOnce(&mut Reply)) {
        blocking::release(&mut self.keyspace, &mut self.server, id, write);
    }

    /// Runs again what CLIENT PAUSE held back.
    pub(super) fn release_paused(&mut self, id: ClientId) {
        let Some(client) = self.server.clients.find_mut(id) else { return };
        let Some(blocked) = client.blocked.take() else { return };
        let mut reply = client.take_reply();
        self.server.blocking.leave(&mut self.keyspace, id, &blocked);
        self.execute(id, blocked.args.as_args(), None, &mut reply);
        self.put_back(id, &mut reply);
        if self.server.clients.find(id).is_some() {
            self.server.resumed.push_back(id);
            self.server.mark_pending(id);
        }
    }
}

/// A command that is to wait.
pub(super) struct Wait {
    cause: Cause,
    deadline: MonoTime,
    command: u16,
}

/// Checks a request and runs it, queues it, or refuses it.
fn accept(
    keys: &mut Keyspace,
    server: &mut Server,
    id: ClientId,
    args: Args,
    command: Option<u16>,
    reply: &mut Reply,
) -> Option<Wait> {
    let command = match commands::table().resolve(args, command, &server.renames) {
        Ok(command) => command,
        Err(Unresolved { command: None, .. }) if is_http(args) => {
            server.cut_off_http(id);
            return None;
        }
        Err(Unresolved { command, error }) => {
            reject(keys, server, id, command, &error, reply);
            return None;
        }
    };
    let spec = commands::table().row(command);
    let client = &mut server.clients[id];
    client.last_command = Some(command);
    keys.db = client.db;
    keys.no_touch = client.no_touch;
    if let Err(error) = check(keys, server, id, spec) {
        reject(keys, server, id, Some(command), &error, reply);
        return None;
    }
    if held_back(server, id, spec) {
        return Some(Wait { cause: Cause::Pause, deadline: MonoTime::NEVER, command });
    }
    let client = &mut server.clients[id];
    if let Some(multi) = &mut client.multi
        && !matches!(spec.full_name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
    {
        let args = args.to_owned();
        multi.bytes += args.bytes() + size_of_val(&args);
        multi.queue.push((command, args));
        reply.simple("QUEUED");
        return None;
    }
    let mut call = Call::new(args, reply, keys, server, id, (spec, command), Mode::Direct);
    let expiry = expiry_mode(&call);
    let usual = std::mem::replace(&mut call.keys.expiry, expiry);
    invoke(&mut call);
    call.keys.expiry = usual;
    let deadline = call.deadline;
    call.wait.take().map(|cause| Wait { cause, deadline, command })
}

/// Whether this is a line of an HTTP request: the names of one method and one header, where a command's should be.
fn is_http(args: Args) -> bool {
    args.first().is_some_and(|name| name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:"))
}

/// Whether CLIENT PAUSE makes the command wait.
fn held_back(server: &Server, id: ClientId, spec: &Spec) -> bool {
    let Some(pause) = server.active_pause() else { return false };
    let replicates = spec::WRITE | spec::MAY_REPLICATE;
    !pause.writes_only
        || spec.flags & replicates != 0
        || (spec.full_name == "exec" && server.queued_any(id, replicates))
}

/// What happens to expired keys that a command meets. While clients are paused or data are imported they
/// do not go by themselves: commands that only read do not see them, those that write may meet none.
fn expiry_mode(call: &Call) -> ExpiryMode {
    let (server, usual) = (&*call.server, call.keys.expiry);
    let importing = server.config.import_mode;
    if usual != ExpiryMode::Delete || !(importing || server.active_pause().is_some()) {
        return usual;
    }
    if importing && server.clients[call.id].import_source {
        return ExpiryMode::Ignore;
    }
    let writes = call.spec.is(spec::WRITE) || (call.spec.full_name == "exec" && server.queued_writes(call.id));
    if writes { ExpiryMode::Delete } else { ExpiryMode::Hide }
}

/// Whether a command may run now, in Redis' order of checks.
fn check(keys: &mut Keyspace, server: &mut Server, id: ClientId, spec: &Spec) -> Result<(), Error> {
    let client = &server.clients[id];
    if server.auth_required(id) && !spec.is(spec::NO_AUTH) {
        return Err("NOAUTH Authentication required.".into());
    }
    if client.multi.is_some() && spec.is(spec::NO_MULTI) {
        return Err("ERR Command not allowed inside a transaction".into());
    }
    let in_transaction = client.multi.is_some();
    let subscriber = client.is_subscriber();
    let client_is_monitor = client.is_monitor;
    let resp2 = client.reply.protocol == crate::resp::Protocol::Resp2;
    if spec.is(spec::PROTECTED) {
        server.check_protected(id, spec)?;
    }
    if server.config.maxmemory > 0 && server.active_pause().is_none() {
        let fits = eviction::make_room(keys, server);
        let writes = spec.is(spec::DENYOOM) || (spec.full_name == "exec" && server.queued_denyoom(id));
        if !fits && writes && !matches!(spec.full_name, "discard" | "reset") {
            return Err("OOM command not allowed when used memory > 'maxmemory'.".into());
        }
    }
    if spec.is(spec::WRITE) || (spec.full_name == "exec" && server.queued_writes(id)) {
        server.persistence.check_writable(&server.config)?;
    }
    if subscriber && resp2 && !in_subscriber_mode_allowed(spec) {
        return Err(Error::new(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            spec.full_name
        )));
    }
    if client_is_monitor && spec.flags & (spec::READONLY | spec::WRITE | spec::MAY_REPLICATE) != 0 {
        return Err("ERR Replica can't interact with the keyspace".into());
    }
    if server.persistence.loading.is_some() && !spec.is(spec::LOADING) && !(in_transaction && spec.full_name == "exec")
    {
        return Err("LOADING Redis is loading the dataset in memory".into());
    }
    Ok(())
}

fn in_subscriber_mode_allowed(spec: &Spec) -> bool {
    const ALLOWED: [&str; 9] = [
        "ping",
        "subscribe",
        "psubscribe",
        "ssubscribe",
        "unsubscribe",
        "punsubscribe",
        "sunsubscribe",
        "quit",
        "reset",
    ];
    ALLOWED.contains(&spec.full_name)
}

/// Answers a command that is not run.
fn reject(
    keys: &mut Keyspace,
    server: &mut Server,
    id: ClientId,
    command: Option<u16>,
    error: &Error,
    reply: &mut Reply,
) {
    if let Some(command) = command {
        server.stats.commands[usize::from(command)].rejected += 1;
    }
    if let Some(multi) = &mut server.clients[id].multi {
        multi.aborted = true;
    }
    // A refused EXEC ends the transaction all the same.
    if command.is_some_and(|command| commands::table().row(command).full_name == "exec") {
        let text = error.to_string();
        server.abandon_transaction(id);
        transaction::unwatch(keys, &mut server.clients[id]);
        let text = format!("EXECABORT Transaction discarded because of: {}", text.trim_start_matches("ERR "));
        server.stats.count_error(&text);
        return reply.error(text);
    }
    let text = error.to_string();
    server.stats.count_error(&text);
    reply.error(text);
}

/// Runs one command of a client, and counts it with the client.
pub fn invoke(call: &mut Call) {
    perform(call);
    if call.wait.is_none()
        && let Some(client) = call.server.clients.find_mut(call.id)
    {
        client.commands += 1;
    }
}

/// Runs one command: monitors see it, its time is measured, its effects go to the unit's stream.
#[inline]
fn perform(call: &mut Call) {
    call.keys.effects.begin_command();
    let start = call.reply.buf.len();
    let lap = call.server.lap_began.take();
    let began = lap.unwrap_or_else(call.server.host.stopwatch_ns);
    let outcome = (call.spec.handler)(call);
    let ended = (call.server.host.stopwatch_ns)();
    let mut nanos = ended.saturating_sub(began);
    call.server.lap_ended = ended;
    if call.server.clock.stalled_nanos > 0 {
        let stalled = std::mem::take(&mut call.server.clock.stalled_nanos);
        call.server.stalled_micros = call.server.stalled_micros.saturating_add(stalled / 1000);
        nanos = nanos.saturating_add(stalled);
    }
    let failed = outcome.is_err();
    if let Err(error) = outcome {
        call.reply.buf.truncate(start);
        let text = error.to_string();
        call.server.stats.count_error(&text);
        call.reply.error(text);
    }
    if !call.server.monitors.is_empty() && call.mode != Mode::Resumed {
        monitor::show(call);
    }
    if call.wait.is_none() {
        call.server.stats.count_command(call.command, nanos, failed);
        let reply_bytes = call.reply.buf.len().saturating_sub(start);
        call.server.record_command(call.id, call.spec, call.args, nanos, reply_bytes);
    }
    let effects = &mut call.keys.effects;
    call.server.persistence.dirty += effects.dirty;
    let itself = match effects.propagate {
        Propagate::Request => effects.dirty > 0,
        Propagate::Always => true,
        Propagate::Replaced => false,
    };
    if itself && call.mode != Mode::Replay {
        effects.append(call.keys.db, call.args.iter());
    }
    if !effects.events.is_empty() {
        publish_events(call.keys, call.server);
    }
}

/// Publishes the keyspace events raised so far.
fn publish_events(keys: &mut Keyspace, server: &mut Server) {
    if keys.effects.events.is_empty() {
        return;
    }
    let flags = keys.settings.notify;
    let mut events = std::mem::take(&mut keys.effects.events);
    for event in events.drain(..) {
        pubsub::publish_event(server, flags, &event);
    }
    keys.effects.events = events;
}
