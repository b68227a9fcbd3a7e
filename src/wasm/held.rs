//! Replies that wait: until what they may tell is stored (`appendfsync always`), or until a snapshot under way
//! has no more put aside than it may (`snapshot-memory-limit`).
//!
//! They leave in the order they came in. A page that awaits each reply leaves the snapshot no turn of its own otherwise,
//! however much it writes; so its writers pay with time for the memory, and the page goes on meanwhile.
//!
//! When storing has failed for long, they leave all the same: nobody is to wait
//! without end for room that may never come. Who has written is told then that it is done but not known to be stored;
//! whatever else has waited in the same row, such as what was read behind it, goes out as it is, and no connection ends,
//! with its state and other people's calls on it. Natively such connections are closed: see `native::storage`.

use std::collections::VecDeque;

use crate::engine::client::ClientId;
use crate::resp::{Protocol, Reply};

/// How long a reply waits for a log that cannot be stored.
pub const PATIENCE_MS: u64 = 2000;
/// For how many turns of the page it waits at most for a snapshot to have less put aside: that may itself have to wait for
/// storage. Turns count and not time, because the snapshot has none while the page is busy.
pub const TURNS_GIVEN: u32 = 8;
/// How long such a turn is, if nobody takes longer.
pub const TURN_MS: u64 = 8;

/// Something that may leave once the log is stored up to an offset.
pub struct Held {
    /// Of the stream when this was said; 0 if it does not wait for storage.
    pub offset: u64,
    /// To whom.
    pub client: ClientId,
    /// Whole replies and pushes.
    pub bytes: Vec<u8>,
    /// The client itself has written just before.
    pub confirms: bool,
    /// The connection ends here.
    pub closes: bool,
}

/// All that waits.
#[derive(Default)]
pub struct Waiting {
    queue: VecDeque<Held>,
}

impl Waiting {
    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a client waits: what it is sent next has to wait behind that.
    pub fn has(&self, client: ClientId) -> bool {
        self.queue.iter().any(|held| held.client == client)
    }

    /// One more.
    pub fn push(&mut self, held: Held) {
        self.queue.push_back(held);
    }

    /// A client does not want anything any more.
    pub fn forget(&mut self, client: ClientId) {
        self.queue.retain(|held| held.client != client);
    }

    /// Nobody does.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// The next that may leave when the log is stored up to this offset.
    pub fn next_stored(&mut self, stored: u64) -> Option<Held> {
        self.queue.pop_front_if(|held| held.offset <= stored)
    }

    /// The next, whatever it waits for.
    pub fn pop(&mut self) -> Option<Held> {
        self.queue.pop_front()
    }
}

/// The same as it leaves when storing has failed for this reason: an error in place of each reply that is none. Pushes
/// stay.
pub fn unconfirmed(bytes: &[u8], reason: &str) -> Vec<u8> {
    let mut reply = Reply::new(Protocol::Resp3);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (one, more) = rest.split_at(first_len(rest));
        match one[0] {
            b'>' | b'-' | b'!' => reply.raw(one),
            _ => reply.error(format!("UNSTORED The write is done in memory, but not known to be stored: {reason}")),
        }
        rest = more;
    }
    reply.buf
}

/// Bytes of the first reply of these, which the engine has made.
fn first_len(bytes: &[u8]) -> usize {
    let (mut at, mut owed) = (0, 1);
    while owed > 0 {
        let Some(end) = memchr::memchr(b'\n', &bytes[at..]) else { return bytes.len() };
        let line = &bytes[at..=at + end];
        at += line.len();
        // A null of RESP2 has a length of -1, which is none.
        let count = std::str::from_utf8(&line[1..]).ok().and_then(|digits| digits.trim_end().parse::<usize>().ok());
        owed -= 1;
        match (line[0], count) {
            (b'$' | b'=' | b'!', Some(bytes)) => at += bytes + 2,
            (b'*' | b'~' | b'>', Some(items)) => owed += items,
            (b'%', Some(pairs)) => owed += 2 * pairs,
            _ => {}
        }
        if at >= bytes.len() {
            return bytes.len();
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_become_errors_but_for_pushes_and_what_are_errors() {
        let error = "-UNSTORED The write is done in memory, but not known to be stored: no  room\r\n";
        let cases: &[(&str, &str)] = &[
            ("+OK\r\n", "!"),
            (":3\r\n:4\r\n", "!!"),
            ("$5\r\na\r\nb\r\r\n$0\r\n\r\n$-1\r\n", "!!!"),
            ("*2\r\n:1\r\n*2\r\n$1\r\nx\r\n*-1\r\n*0\r\n_\r\n", "!!!"),
            ("%1\r\n+a\r\n~2\r\n:1\r\n,2.5\r\n#t\r\n", "!!"),
            (">2\r\n+message\r\n=5\r\ntxt:x\r\n:1\r\n>0\r\n", ">2\r\n+message\r\n=5\r\ntxt:x\r\n!>0\r\n"),
            ("-ERR no\r\n+QUEUED\r\n!5\r\nERR a\r\n", "-ERR no\r\n!!5\r\nERR a\r\n"),
        ];
        for (bytes, expected) in cases {
            let expected = expected.replace("!5\r\n", "?").replace('!', error).replace('?', "!5\r\n");
            let got = unconfirmed(bytes.as_bytes(), "no\r\nroom");
            assert_eq!(String::from_utf8(got).unwrap(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn any_bytes_come_to_an_end() {
        let wire = b"*3\r\n%1\r\n$1\r\nk\r\n>1\r\n:1\r\n$3\r\nabc\r\n*-1\r\n";
        for cut in 1..wire.len() {
            unconfirmed(&wire[..cut], "");
        }
    }
}
