//! One command being run: what a handler sees.
//!
//! A handler keeps the order parse, check, mutate, reply, effects. Arguments are slices of the client's
//! read buffer, the reply is encoded straight into its output buffer, keys are reached through the door.

use crate::resp::{Args, Reply};
use crate::types::long_double::LongDouble;
use crate::types::number;
use crate::types::value::Kind;

use super::blocking::{Blocked, Cause};
use super::client::{Client, ClientId};
use super::error::Error;
use super::keyspace::Keyspace;
use super::server::Server;
use super::spec::Spec;
use super::time::MonoTime;

/// Why a command is being run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A client sent it.
    Direct,
    /// EXEC runs it: it must not wait.
    Transaction,
    /// It waited, and something it waited for has happened.
    Resumed,
    /// It comes from a log that is being loaded: it must not wait, and nobody reads the reply.
    Replay,
}

/// One command being run.
pub struct Call<'a> {
    /// The arguments, the command's name first.
    pub args: Args<'a>,
    /// Where the reply goes. Write it once everything is checked and done.
    pub reply: &'a mut Reply,
    /// The door to the keys of the selected db.
    pub keys: &'a mut Keyspace,
    /// Everything else.
    pub server: &'a mut Server,
    /// Who runs it.
    pub id: ClientId,
    /// Its row.
    pub spec: &'static Spec,
    /// Its index in the command table.
    pub command: u16,
    /// Why it is run.
    pub mode: Mode,
    /// Set by a handler that wrote no reply because it waits.
    pub wait: Option<Cause>,
    /// When the wait ends; meaningful with `wait`.
    pub deadline: MonoTime,
}

impl<'a> Call<'a> {
    /// A run of the command with this row and number.
    #[inline]
    pub fn new(
        args: Args<'a>,
        reply: &'a mut Reply,
        keys: &'a mut Keyspace,
        server: &'a mut Server,
        id: ClientId,
        (spec, command): (&'static Spec, u16),
        mode: Mode,
    ) -> Call<'a> {
        Call { args, reply, keys, server, id, spec, command, mode, wait: None, deadline: MonoTime::NEVER }
    }

    /// The client that runs the command.
    pub fn client(&mut self) -> &mut Client {
        &mut self.server.clients[self.id]
    }

    /// Argument `index` as a 64-bit integer.
    pub fn int(&self, index: usize) -> Result<i64, Error> {
        number::parse_i64(self.args.at(index)).ok_or(Error::NotInteger)
    }

    /// Argument `index` as a double that is a number.
    pub fn float(&self, index: usize) -> Result<f64, Error> {
        number::parse_f64(self.args.at(index)).filter(|f| !f.is_nan()).ok_or(Error::NotFloat)
    }

    /// Argument `index` as an integer in `min..=max`, else the given error.
    pub fn int_in(&self, index: usize, min: i64, max: i64, error: &'static str) -> Result<i64, Error> {
        match number::parse_i64(self.args.at(index)) {
            Some(n) if (min..=max).contains(&n) => Ok(n),
            _ => Err(error.into()),
        }
    }

    /// Whether argument `index` is the given word in any case; false if there is no such argument.
    pub fn word(&self, index: usize, word: &str) -> bool {
        self.args.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Whether the command may wait. In a transaction it answers as if its time had run out.
    pub fn may_block(&self) -> bool {
        matches!(self.mode, Mode::Direct | Mode::Resumed)
    }

    /// Waits until one of `keys` holds a `kind`, then runs the command again. No reply must have been
    /// written. `deadline` is `MonoTime::NEVER` for no timeout; when it passes, the reply is a null array.
    /// Where waiting is not allowed, that is the reply at once.
    pub fn block_on_keys<'k>(&mut self, kind: Kind, keys: impl Iterator<Item = &'k [u8]>, deadline: MonoTime) {
        if !self.may_block() {
            return self.reply.null_array();
        }
        let db = self.keys.db;
        self.wait = Some(Cause::Keys { kind, db, keys: keys.map(Into::into).collect() });
        self.deadline = deadline;
    }

    /// Waits for something other than a key.
    pub fn block_on(&mut self, cause: Cause, deadline: MonoTime) {
        self.wait = Some(cause);
        self.deadline = deadline;
    }

    /// Argument `index` as a timeout in seconds (fractions allowed, 0 is forever), as the moment it ends.
    /// A command that runs again keeps the moment it had.
    pub fn timeout(&mut self, index: usize) -> Result<MonoTime, Error> {
        let text = self.args.at(index);
        // What only a long double holds (1e400) is a number too, if one out of range.
        let long = || LongDouble::parse(text).map(|_| number::strtod(text).value);
        let seconds = number::parse_f64(text).or_else(long).ok_or(Error::BadTimeout)?;
        let ms = (seconds * 1000.0).ceil();
        if ms < 0.0 {
            return Err(Error::NegativeTimeout);
        }
        if ms > i64::MAX as f64 - 1e15 {
            return Err("ERR timeout is out of range".into());
        }
        if let Some(Blocked { deadline, .. }) = self.client().blocked.as_deref() {
            return Ok(*deadline);
        }
        Ok(if ms == 0.0 { MonoTime::NEVER } else { self.keys.now.mono.plus_ms(ms as u64) })
    }
}
