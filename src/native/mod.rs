//! The native server.

/// Runs the server until it is told to stop.
pub fn run() {}
