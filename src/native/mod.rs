//! The native server: sockets, files, signals and clocks around the engine.
//!
//! One thread owns the engine and polls its sockets, so there is no hop between a socket and the engine; with
//! `io-threads` the sockets are other threads' ([`threads`]). Everything that waits for a disk is another thread's
//! business. Nothing here decides about data.
//!
//! - [`start`]: arguments and configuration files. [`process`]: the process and its machine. [`log`].
//! - [`listen`]: addresses to listen at. [`connection`]: a socket and what is still to be written to it. [`inbox`]: what
//!   sockets have brought.
//! - [`ready`]: who can go on. [`pump`]: the loop. [`asks`]: what the engine wants done.
//! - [`threads`]: `io-threads`. [`storage`]: files. [`clock`], [`memory`]: what is measured. [`alarm`]: when it is time.

pub mod alarm;
pub mod asks;
pub mod clock;
pub mod connection;
pub mod inbox;
pub mod listen;
pub mod log;
pub mod memory;
pub mod process;
pub mod pump;
pub mod ready;
pub mod start;
pub mod storage;
pub mod threads;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::engine::Engine;
use clock::Clock;

/// Runs the server as the arguments say (without the program's own name) until it is told to stop.
pub fn run(args: Vec<OsString>) -> ExitCode {
    let setup = match start::prepare(args) {
        Ok(setup) => setup,
        Err(code) => return code,
    };
    match serve(setup) {
        Ok(code) => code,
        Err(reason) => {
            log::warning(&reason);
            ExitCode::FAILURE
        }
    }
}

fn serve(setup: start::Setup) -> Result<ExitCode, String> {
    let start::Setup { mut config, host } = setup;
    memory::keep_free();
    process::raise_file_limit(&mut config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| format!("Cannot start the event loop: {error}"))?;
    let mut clock = Clock::start();
    match config.always_show_logo {
        true => start::show_logo(&config),
        false => log::notice(&format!("Running mode=standalone, port={}.", config.port)),
    }
    if config.disable_thp {
        process::disable_huge_pages();
    }
    if let Err(reason) = process::set_oom_score(&config) {
        log::warning(&reason);
    }
    let _context = runtime.enter();
    let ends = pump::Ends::listen()?;
    let listeners = listen::open(&config)?;
    log::notice("Server initialized");
    let plan = storage::load::plan(&*storage::disk::system(), &config)?;
    let files = pump::Files { config: host.config_file.clone(), pid: config.pidfile.clone() };
    let engine = Engine::new(config, host, process::entropy(), clock.now());
    let mut pump = pump::Pump::new(engine, clock, listeners, ends, plan, files)?;
    let Some(room) = pump.room() else {
        return Ok(runtime.block_on(tokio::task::unconstrained(std::future::poll_fn(move |cx| pump.turn(cx)))));
    };
    room.furnish(pump);
    Ok(runtime.block_on(tokio::task::unconstrained(std::future::poll_fn(move |cx| room.turn(cx)))))
}
