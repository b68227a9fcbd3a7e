//! What time brings: timeouts, the end of a pause, and one slice of each background job.

use super::blocking::{self, Cause};
use super::client::ClientId;
use super::commands;
use super::eviction;
use super::host::Ask;
use super::persistence::Awaited;
use super::time::{MonoTime, Now};
use super::{Engine, TURN_BYTES};

/// Memory is given back to the system when so much, and an eighth of what is in use, has become free.
const GIVE_BACK_BYTES: usize = 4 << 20;

/// When nobody has sent anything for so long, what is kept for the next request, and all that is free, is given back.
const REST_MS: u64 = 1000;

/// How long the memory may fall before what is free is given back.
const LONGEST_FALL_MS: u64 = 10_000;

/// State of the periodic work.
#[derive(Clone, Debug, Default)]
pub struct Clockwork {
    /// When the last round of periodic work was done.
    pub last_round: MonoTime,
    /// When that was done last that is due once a period, however many rounds there are.
    pub last_period: MonoTime,
    /// Work is left over: go on at once.
    pub busy: bool,
    /// The most memory in use since some was given back to the system, and when that may be done again.
    pub give_back_from: usize,
    /// See `give_back_from`.
    pub give_back_next: MonoTime,
    /// What was used in the period before; it is falling while less is used in each.
    pub give_back_seen: usize,
    /// Much is free, and goes back by then at the latest.
    pub give_back_by: Option<MonoTime>,
    /// What clients had sent when somebody sent something last, when that was seen, and whether memory has been given
    /// back since.
    pub seen_input: u64,
    /// See `seen_input`.
    pub seen_input_at: MonoTime,
    /// See `seen_input`.
    pub rested: bool,
    /// Periodic work is not done at all (DEBUG PAUSE-CRON).
    pub stopped: bool,
    /// Keys and fields only expire when somebody asks for them (DEBUG SET-ACTIVE-EXPIRE 0).
    pub lazy_expire_only: bool,
    /// How long the host will stall for the command that runs (DEBUG SLEEP inside a transaction): it
    /// counts as that command's time.
    pub stalled_nanos: u64,
}

impl Engine {
    /// Does what is due by `now`: call it when [`next_deadline`](Self::next_deadline) has come.
    pub fn tick(&mut self, now: Now) {
        self.begin(now);
        self.answer_timeouts();
        self.end_pause();
        if now.mono >= self.next_periodic() {
            self.server.clock.last_round = now.mono;
            self.round();
        }
        self.run_resumed();
        self.run_yielding();
    }

    /// Goes on with clients that let others go first: with as many as have their replies soon, one at least.
    fn run_yielding(&mut self) {
        for _ in 0..self.server.yielding.len() {
            let Some(id) = self.server.yielding.pop_front() else { return };
            if let Some(client) = self.server.clients.find_mut(id) {
                client.yielding = false;
                self.server.resumed.push_back(id);
                self.run_resumed();
            }
            if self.server.output_bytes > TURN_BYTES {
                return;
            }
        }
    }

    /// One round of periodic work.
    fn round(&mut self) {
        if self.server.clock.stopped {
            self.server.clock.busy = false;
            return;
        }
        self.follow_termination();
        let effort = self.server.config.active_expire_effort;
        let paused = self.server.active_pause().is_some() || self.server.config.import_mode;
        let suspended = paused || self.server.clock.lazy_expire_only;
        let keyspace = &mut self.keyspace;
        let began = (self.server.host.stopwatch_ns)();
        let more = !suspended && self.server.watch_latency("expire-cycle", |_| keyspace.expire_slice(effort));
        self.keyspace.stats.expire_nanos += (self.server.host.stopwatch_ns)().saturating_sub(began);
        let freeing = self.keyspace.free_slice();
        let clearing = self.finish_cancelled_walk();
        let counting = self.server.census.slice(&self.keyspace);
        self.server.clock.busy = more || freeing || clearing || counting;
        if self.server.config.maxmemory > 0 && !paused {
            eviction::make_room(&mut self.keyspace, &mut self.server);
        }
        self.answer_flushes();
        self.settle_effects();
        // One that waited for a cancelled walk to end.
        self.start_wanted_snapshot();
        if self.server.now.mono >= self.next_period(self.server.clock.last_period) {
            self.server.clock.last_period = self.server.now.mono;
            self.periodic();
        }
        self.server.stats.turns.round_nanos += (self.server.host.stopwatch_ns)().saturating_sub(began);
    }

    /// When periodic work wants to go on.
    pub(super) fn next_periodic(&self) -> MonoTime {
        let clock = &self.server.clock;
        let garbage = !self.keyspace.garbage.is_empty() || !self.server.flushing.is_empty();
        if clock.busy || (!clock.stopped && garbage) {
            return clock.last_round;
        }
        self.next_period(clock.last_round)
    }

    /// When the period ends that has begun then.
    fn next_period(&self, began: MonoTime) -> MonoTime {
        began.plus_ms(1000 / u64::from(self.server.config.hz.clamp(1, 500)))
    }

    fn answer_timeouts(&mut self) {
        while let Some(id) = self.server.blocking.overdue(self.server.now.mono) {
            self.time_out(id);
        }
    }

    /// Ends a wait as if its time had run out.
    pub(super) fn time_out(&mut self, id: ClientId) {
        if blocking::time_out(&mut self.keyspace, &mut self.server, id) {
            return;
        }
        let Some(blocked) = self.server.clients.find(id).and_then(|client| client.blocked.as_deref()) else { return };
        match blocked.cause {
            Cause::Pause => self.release_paused(id),
            Cause::Stall => self.end_work(id),
            _ => self.release(id, |reply| reply.error("ERR the host did not answer in time")),
        }
    }

    /// Answers those whose flushed keys are freed.
    fn answer_flushes(&mut self) {
        let left = self.keyspace.garbage.len();
        while let Some((id, _)) = self.server.flushing.pop_if(|(_, garbage)| left <= *garbage) {
            self.end_work(id);
        }
    }

    /// What a client has waited for is done: it counts as a command that took so long.
    fn end_work(&mut self, id: ClientId) {
        let Some(blocked) = self.server.clients.find(id).and_then(|client| client.blocked.clone()) else { return };
        let nanos = self.server.now.mono.nanos.saturating_sub(blocked.since.nanos);
        self.server.record_command(id, commands::table().row(blocked.command), blocked.args.as_args(), nanos, 0);
        self.release(id, |reply| reply.ok());
    }

    fn end_pause(&mut self) {
        if self.server.pause.is_none_or(|pause| pause.until > self.server.now.mono) {
            return;
        }
        self.server.pause = None;
        self.resume_paused();
    }

    /// Runs what CLIENT PAUSE has held back, oldest client first.
    pub(super) fn resume_paused(&mut self) {
        let paused: Vec<ClientId> = self
            .server
            .clients
            .iter()
            .filter(|client| client.blocked.as_ref().is_some_and(|blocked| blocked.cause == Cause::Pause))
            .map(|client| client.handle)
            .collect();
        for id in paused {
            self.release_paused(id);
        }
    }

    /// Once a period: rates, peaks, idle clients, soft limits, save points.
    fn periodic(&mut self) {
        let now = self.server.now;
        let memory = (self.server.host.used_memory)();
        let stats = &mut self.server.stats;
        if memory > stats.peak_memory {
            (stats.peak_memory, stats.peak_memory_at) = (memory, now.wall.seconds());
        }
        self.give_back(memory);
        let stats = &mut self.server.stats;
        let ms = now.mono.ms();
        stats.ops_rate.sample(stats.commands_processed, ms);
        stats.input_rate.sample(stats.net_input, ms);
        stats.output_rate.sample(stats.net_output, ms);
        stats.turn_rate.sample(stats.turns.count, ms);
        stats.turn_nanos_rate.sample(stats.turns.nanos, ms);
        self.check_clients();
        self.check_save_points();
    }

    /// Gives memory back to the system when much has become free, or nobody wants anything for a while.
    fn give_back(&mut self, memory: usize) {
        let (now, input) = (self.server.now.mono, self.server.stats.net_input);
        let clock = &mut self.server.clock;
        if input != clock.seen_input {
            (clock.seen_input, clock.seen_input_at, clock.rested) = (input, now, false);
        }
        let resting = !clock.rested && now.ms_since(clock.seen_input_at) >= REST_MS;
        let freed = clock.give_back_from.saturating_sub(memory);
        let much = freed > GIVE_BACK_BYTES && freed > memory / 8 && now >= clock.give_back_next;
        let by = much.then(|| clock.give_back_by.unwrap_or(now.plus_ms(LONGEST_FALL_MS)));
        // Where millions of keys are being deleted, more is free in a moment; and a thread that gives back what is free
        // already takes time from those who delete, four milliseconds at once where it shares their core: with UNLINK of
        // five million elements the longest turn was 1.6 to 4.4 ms, and is 0.5 to 1.4.
        let falling = clock.give_back_seen.saturating_sub(memory) > GIVE_BACK_BYTES / 4;
        (clock.give_back_seen, clock.give_back_by) = (memory, by);
        if resting || by.is_some_and(|by| !falling || now >= by) {
            clock.rested |= resting;
            (clock.give_back_from, clock.give_back_next) = (memory, now.plus_ms(1000));
            clock.give_back_by = None;
            if resting {
                self.server.drop_spares();
            }
            self.server.ask_host(Awaited::Plain, |ticket| Ask::GiveBack { ticket, at_rest: resting });
        }
        let clock = &mut self.server.clock;
        clock.give_back_from = clock.give_back_from.max(memory);
    }

    fn check_clients(&mut self) {
        let timeout = u64::from(self.server.config.timeout) * 1000;
        let now = self.server.now.mono;
        let mut idle = Vec::new();
        let mut swollen = Vec::new();
        for client in self.server.clients.iter_mut() {
            client.trim_query(now);
            let exempt = client.blocked.is_some() || client.is_subscriber() || client.is_monitor;
            if timeout > 0 && !exempt && now.ms_since(client.last_seen) > timeout {
                idle.push(client.handle);
            }
            if client.over_soft_limit.is_some() {
                swollen.push(client.handle);
            }
        }
        for id in idle {
            self.server.stats.client_timeouts += 1;
            self.server.close_now(id);
        }
        for id in swollen {
            self.server.check_output_limit(id);
        }
        self.server.evict_clients();
    }
}
