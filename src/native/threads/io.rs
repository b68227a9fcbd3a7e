//! An io thread: it reads, parses and writes for its connections, and knows nothing of what they say.
//!
//! Invariants: of each connection at most one piece of input is under way to the engine; the next is read when
//! that delivery has come back, which is after its replies. So a client's requests arrive in their order, its end
//! after its last bytes, and one that sends faster than the engine runs is held up by its own socket.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::engine::batch::Reader;

use super::super::connection::{Connection, Read};
use super::super::inbox::READ_BYTES;
use super::super::ready::{Flag, Ready, Token};
use super::mail::{Delivery, Event, Parcel, Pigeonhole, Socket};
use super::room::Room;

/// Room for input in a delivery.
const DELIVERY_BYTES: usize = 2 * READ_BYTES;

/// With less room left, a delivery is full.
const LEAST_ROOM: usize = READ_BYTES / 2;

/// So much work makes a delivery that another thread is woken for while this one reads on: some tens of
/// microseconds of the engine's time. In requests.
pub const WORTH_A_WAKE: usize = 384;

/// Input that is not in requests counts as one for so many bytes.
const BYTES_PER_REQUEST: usize = 512;

/// Times that a thread goes to the engine itself in one turn.
const ROUNDS: usize = 4;

/// Emptied deliveries that are kept. Each takes [`DELIVERY_BYTES`] and more.
const SPARE_DELIVERIES: usize = 3;

/// A connection and how things stand with it.
struct Line {
    connection: Connection,
    /// What it sent last has not come back.
    under_way: bool,
    /// Nothing more is to be read: it has ended, or is to be closed.
    deaf: bool,
    /// It is to be closed when everything is written.
    closing: bool,
}

/// What an io thread works with.
pub struct IoThread {
    number: usize,
    ready: Ready,
    mail: Arc<Flag>,
    tokens: Vec<Token>,
    lines: Vec<Option<Box<Line>>>,
    reader: Reader,
    parcel: Parcel,
    pigeonhole: Arc<Pigeonhole>,
    room: Arc<Room>,
    /// The next delivery, how much work is in it (see [`WORTH_A_WAKE`]), and how much of its bytes are filled.
    delivery: Delivery,
    work: usize,
    /// [`WORTH_A_WAKE`]; without limit where the main thread would find no core that the clients do not use as well.
    worth_a_wake: usize,
    filled: usize,
    spare: Vec<Delivery>,
}

impl IoThread {
    /// The thread with this number: it takes parcels from `pigeonhole`, and what it reads to the `room`.
    pub fn new(number: usize, reader: Reader, pigeonhole: Arc<Pigeonhole>, room: Arc<Room>) -> IoThread {
        let ready = Ready::default();
        let mail = ready.flag(Token::Mail);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        IoThread {
            number,
            ready,
            mail,
            tokens: Vec::new(),
            lines: Vec::new(),
            reader,
            parcel: Parcel::default(),
            pigeonhole,
            room,
            delivery: Delivery { thread: number, ..Delivery::default() },
            work: 0,
            worth_a_wake: if cores > 2 { WORTH_A_WAKE } else { usize::MAX },
            filled: 0,
            spare: Vec::new(),
        }
    }

    /// What wakes it for a parcel.
    pub fn mail(&self) -> Arc<Flag> {
        self.mail.clone()
    }

    /// One turn: everything that is ready.
    pub fn turn(&mut self, cx: &mut Context) -> Poll<()> {
        let mut tokens = std::mem::take(&mut self.tokens);
        self.ready.take(cx.waker(), &mut tokens);
        self.mail.rearm();
        if self.open_parcel() {
            return Poll::Ready(());
        }
        for token in tokens.drain(..) {
            if let Token::Connection(slot) = token {
                self.serve(slot);
            }
        }
        self.tokens = tokens;
        let mut rounds = 0;
        while self.deliver() {
            // It is run: this thread's share of what came of it is here.
            if !self.room.enter(self.number) {
                break;
            }
            if self.open_parcel() {
                return Poll::Ready(());
            }
            rounds += 1;
            if rounds == ROUNDS {
                self.deliver_and_ring();
            }
        }
        if self.ready.rest() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Deals with what the engine's thread has sent. True if that is the end.
    fn open_parcel(&mut self) -> bool {
        let mut parcel = std::mem::take(&mut self.parcel);
        self.pigeonhole.take(&mut parcel);
        if let Some(reader) = parcel.reader.take() {
            // A delivery is read with one reader.
            self.deliver_and_ring();
            self.reader = reader;
        }
        for (slot, socket) in parcel.adopted.drain(..) {
            self.adopt(slot, socket);
        }
        for (slot, bytes) in parcel.sends.drain(..) {
            self.send(slot, bytes);
        }
        for slot in parcel.closes.drain(..) {
            match self.line(slot) {
                Some(line) => {
                    (line.deaf, line.closing) = (true, true);
                    self.close_if_flushed(slot);
                }
                None => self.close(slot),
            }
        }
        for slot in parcel.drops.drain(..) {
            self.close(slot);
        }
        let (leave, rest) = (parcel.leave, std::mem::take(&mut parcel.rest));
        let mut returned = std::mem::take(&mut parcel.returned);
        self.parcel = parcel;
        for delivery in returned.drain(..) {
            self.take_back(delivery);
        }
        self.parcel.returned = returned;
        if rest {
            self.rest();
        }
        leave
    }

    /// Keeps no memory for what may come.
    fn rest(&mut self) {
        self.spare = Vec::new();
        if self.delivery.is_empty() {
            self.delivery = Delivery { thread: self.number, ..Delivery::default() };
            self.filled = 0;
        }
    }

    fn line(&mut self, slot: u32) -> Option<&mut Line> {
        self.lines.get_mut(slot as usize)?.as_deref_mut()
    }

    fn adopt(&mut self, slot: u32, socket: Socket) {
        let flag = self.ready.flag(Token::Connection(slot));
        let Ok(stream) = socket.attach() else { return self.delivery.events.push((slot, Event::Gone)) };
        flag.raise();
        let connection = Connection::new(stream, None, flag);
        let index = slot as usize;
        if index >= self.lines.len() {
            self.lines.resize_with(index + 1, || None);
        }
        self.lines[index] = Some(Box::new(Line { connection, under_way: false, deaf: false, closing: false }));
    }

    /// A delivery has been dealt with: those who sent what was in it may send on.
    fn take_back(&mut self, mut delivery: Delivery) {
        for (slot, event) in &delivery.events {
            if let Event::Bytes { .. } = event
                && let Some(line) = self.line(*slot)
            {
                line.under_way = false;
                self.read(*slot);
            }
        }
        if self.spare.len() < SPARE_DELIVERIES {
            delivery.events.clear();
            delivery.parsed.clear();
            self.spare.push(delivery);
        }
    }

    // ---- Writing ----

    fn send(&mut self, slot: u32, bytes: Vec<u8>) {
        let Some(line) = self.line(slot) else { return };
        match line.connection.send(bytes) {
            Ok((written, spare)) => {
                self.note_sent(slot, written);
                self.delivery.spare.extend(spare);
            }
            Err(_) => self.hang_up(slot),
        }
    }

    fn note_sent(&mut self, slot: u32, written: usize) {
        if written > 0 {
            self.delivery.sent.push((slot, written));
        }
    }

    /// The other side has gone. The engine's thread has the connection closed, unless that is under way.
    fn hang_up(&mut self, slot: u32) {
        let Some(line) = self.line(slot) else { return };
        if line.closing {
            return self.close(slot);
        }
        line.deaf = true;
        self.delivery.events.push((slot, Event::Gone));
    }

    fn close_if_flushed(&mut self, slot: u32) {
        if self.line(slot).is_some_and(|line| line.closing && line.connection.is_flushed()) {
            self.close(slot);
        }
    }

    /// Closes a connection that is to be closed, which is said once of each.
    fn close(&mut self, slot: u32) {
        if let Some(line) = self.lines.get_mut(slot as usize) {
            *line = None;
        }
        self.delivery.events.push((slot, Event::Closed));
    }

    // ---- Reading ----

    fn serve(&mut self, slot: u32) {
        let Some(line) = self.line(slot) else { return };
        line.connection.flag.rearm();
        match line.connection.flush() {
            Ok(written) => self.note_sent(slot, written),
            Err(_) => return self.hang_up(slot),
        }
        self.close_if_flushed(slot);
        self.read(slot);
    }

    fn read(&mut self, slot: u32) {
        if self.line(slot).is_none_or(|line| line.under_way || line.deaf) {
            return;
        }
        if self.delivery.bytes.len() < self.filled + LEAST_ROOM {
            self.deliver_and_ring();
            self.delivery.bytes.resize(DELIVERY_BYTES, 0);
        }
        let Some(line) = self.lines[slot as usize].as_deref_mut() else { return };
        match line.connection.read(&mut self.delivery.bytes[self.filled..]) {
            Read::Nothing => {}
            Read::Bytes(read, _) => {
                line.under_way = true;
                let bytes = self.filled..self.filled + read;
                let requests = self.reader.read(&self.delivery.bytes[bytes.clone()], &mut self.delivery.parsed);
                self.filled = bytes.end;
                self.work += requests.len().max(1 + read / BYTES_PER_REQUEST);
                self.delivery.events.push((slot, Event::Bytes { bytes, requests }));
                if self.work >= self.worth_a_wake {
                    self.deliver_and_ring();
                }
            }
            Read::End => {
                line.deaf = true;
                self.delivery.events.push((slot, Event::End));
            }
        }
    }

    /// Puts on the counter what there is. True if the engine is to be told.
    fn deliver(&mut self) -> bool {
        if self.delivery.is_empty() {
            return false;
        }
        let mut next = self.spare.pop().unwrap_or_default();
        next.thread = self.number;
        (self.work, self.filled) = (0, 0);
        let delivery = std::mem::replace(&mut self.delivery, next);
        let urgent = delivery.is_urgent();
        self.room.counter.put(delivery);
        urgent
    }

    /// The same, and has the main thread run it.
    fn deliver_and_ring(&mut self) {
        if self.deliver() {
            self.room.ring();
        }
    }
}
