//! Strict parsing and exact formatting of numbers.
