//! Redis' listpack: a sequence of strings and integers in one allocation.
