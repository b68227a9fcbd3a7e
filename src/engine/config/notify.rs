//! Classes of keyspace events: the value of `notify-keyspace-events`.
//!
//! A set of bits and its spelling, nothing more: who publishes what is decided where keys change.
//! Counterpart: the `NOTIFY_*` flags of Redis, with its letters and its quirks of spelling
//! (a value with all classes of `A` is shown as `A`, and then `n`, `o` and `c` are not shown).

use core::ops::{BitOr, BitOrAssign};

/// A set of keyspace event classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NotifyFlags(u16);

/// Letter and class, in the order in which Redis spells a set.
const LETTERS: [(u8, NotifyFlags); 15] = [
    (b'g', NotifyFlags::GENERIC),
    (b'$', NotifyFlags::STRING),
    (b'l', NotifyFlags::LIST),
    (b's', NotifyFlags::SET),
    (b'h', NotifyFlags::HASH),
    (b'z', NotifyFlags::ZSET),
    (b'x', NotifyFlags::EXPIRED),
    (b'e', NotifyFlags::EVICTED),
    (b't', NotifyFlags::STREAM),
    (b'd', NotifyFlags::MODULE),
    (b'n', NotifyFlags::NEW),
    (b'o', NotifyFlags::OVERWRITTEN),
    (b'c', NotifyFlags::TYPE_CHANGED),
    (b'K', NotifyFlags::KEYSPACE),
    (b'E', NotifyFlags::KEYEVENT),
];

impl NotifyFlags {
    /// No class: nothing is published.
    pub const NONE: NotifyFlags = NotifyFlags(0);
    /// `K`: publish to `__keyspace@<db>__:<key>`.
    pub const KEYSPACE: NotifyFlags = NotifyFlags(1 << 0);
    /// `E`: publish to `__keyevent@<db>__:<event>`.
    pub const KEYEVENT: NotifyFlags = NotifyFlags(1 << 1);
    /// `g`: commands that know no type, such as DEL, EXPIRE, RENAME.
    pub const GENERIC: NotifyFlags = NotifyFlags(1 << 2);
    /// `$`: string commands.
    pub const STRING: NotifyFlags = NotifyFlags(1 << 3);
    /// `l`: list commands.
    pub const LIST: NotifyFlags = NotifyFlags(1 << 4);
    /// `s`: set commands.
    pub const SET: NotifyFlags = NotifyFlags(1 << 5);
    /// `h`: hash commands.
    pub const HASH: NotifyFlags = NotifyFlags(1 << 6);
    /// `z`: sorted set commands.
    pub const ZSET: NotifyFlags = NotifyFlags(1 << 7);
    /// `x`: a key expired.
    pub const EXPIRED: NotifyFlags = NotifyFlags(1 << 8);
    /// `e`: a key was evicted for maxmemory.
    pub const EVICTED: NotifyFlags = NotifyFlags(1 << 9);
    /// `t`: stream commands.
    pub const STREAM: NotifyFlags = NotifyFlags(1 << 10);
    /// `d`: module types.
    pub const MODULE: NotifyFlags = NotifyFlags(1 << 11);
    /// `m`: a key was asked for and is missing.
    pub const KEY_MISS: NotifyFlags = NotifyFlags(1 << 12);
    /// `n`: a key came into being.
    pub const NEW: NotifyFlags = NotifyFlags(1 << 13);
    /// `o`: a key's value was overwritten.
    pub const OVERWRITTEN: NotifyFlags = NotifyFlags(1 << 14);
    /// `c`: a key's type changed.
    pub const TYPE_CHANGED: NotifyFlags = NotifyFlags(1 << 15);
    /// `A`: short for `g$lshzxetd`.
    pub const ALL: NotifyFlags = NotifyFlags(0b1111_1111_1100);

    /// Whether every class of `other` is in this set.
    pub const fn contains(self, other: NotifyFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this set and `other` share a class.
    pub const fn intersects(self, other: NotifyFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no class is in this set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Reads letters; `None` if one of them names no class.
    pub fn parse(letters: &[u8]) -> Option<NotifyFlags> {
        let mut flags = NotifyFlags::NONE;
        for &letter in letters {
            flags |= match letter {
                b'A' => NotifyFlags::ALL,
                b'm' => NotifyFlags::KEY_MISS,
                _ => LETTERS.iter().find(|row| row.0 == letter)?.1,
            };
        }
        Some(flags)
    }

    /// Spells the set as `CONFIG GET notify-keyspace-events` does.
    pub fn format(self) -> String {
        let all = self.contains(NotifyFlags::ALL);
        let mut text = String::new();
        if all {
            text.push('A');
        }
        for (letter, flag) in LETTERS {
            let where_published = letter == b'K' || letter == b'E';
            if self.contains(flag) && (!all || where_published) {
                text.push(letter as char);
            }
        }
        if self.contains(NotifyFlags::KEY_MISS) {
            text.push('m');
        }
        text
    }
}

impl BitOr for NotifyFlags {
    type Output = NotifyFlags;
    fn bitor(self, other: NotifyFlags) -> NotifyFlags {
        NotifyFlags(self.0 | other.0)
    }
}

impl BitOrAssign for NotifyFlags {
    fn bitor_assign(&mut self, other: NotifyFlags) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_that_of_redis() {
        // Pairs taken from a real 8.2 server.
        for (given, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("KExg", "gxKE"),
            ("Kg$lshzxe", "g$lshzxeK"),
            ("Kg$lshzxetd", "AK"),
            ("mn", "nm"),
            ("KEAmn", "AKEm"),
            ("KEAoc", "AKE"),
            ("oc", "oc"),
            ("Kg$lnoc", "g$lnocK"),
            ("gg", "g"),
        ] {
            assert_eq!(NotifyFlags::parse(given.as_bytes()).unwrap().format(), shown, "{given}");
        }
        for bad in ["foo", "q", " K", "K ", "A,K"] {
            assert_eq!(NotifyFlags::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
