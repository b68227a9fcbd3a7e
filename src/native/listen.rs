//! Where the server listens: TCP addresses of `bind`, and a unix socket.
//!
//! An address with a leading `-` may be missing on this machine. Redis' counterpart: `listenToPort`,
//! `anet.c`.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::engine::config::Config;

use super::log::{self, in_words};
use super::process;

/// A listening socket.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A unix socket at this path.
    Unix(UnixListener, PathBuf),
}

/// Opens everything that the configuration names. Call it within the runtime.
///
/// # Errors
/// In words for the log: which address, and why not.
pub fn open(config: &Config) -> Result<Vec<Listener>, String> {
    warn_of_backlog(config.tcp_backlog);
    let mut listeners = open_tcp(config)?;
    if !config.unixsocket.is_empty() {
        listeners.push(open_unix(config)?);
    }
    if listeners.is_empty() {
        return Err("Configured to not listen anywhere, exiting. Set 'port' or 'unixsocket'.".to_owned());
    }
    Ok(listeners)
}

/// Opens the TCP addresses; none if the port is 0.
///
/// # Errors
/// In words for the log.
pub fn open_tcp(config: &Config) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    if config.port == 0 {
        return Ok(listeners);
    }
    let mut unsupported = 0;
    for address in &config.bind {
        let text = String::from_utf8_lossy(address).into_owned();
        let (name, optional) = match text.strip_prefix('-') {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        match bind_name(name, config) {
            Ok(listener) => listeners.push(Listener::Tcp(listener)),
            Err(error) if is_unsupported(&error) => unsupported += 1,
            Err(error) if optional && error.kind() == ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(refusal(name, config.port, &error)),
        }
    }
    if listeners.is_empty() && unsupported > 0 {
        return Err(format!("Failed listening on port {} (tcp): no address family is supported here.", config.port));
    }
    Ok(listeners)
}

fn refusal(name: &str, port: u16, error: &io::Error) -> String {
    let what = match error.kind() {
        ErrorKind::AddrInUse => {
            "Address already in use. Is another server running there? Choose another port with --port".to_owned()
        }
        ErrorKind::PermissionDenied => {
            "Permission denied. Ports below 1024 are for the system administrator".to_owned()
        }
        ErrorKind::AddrNotAvailable => "This machine does not have that address".to_owned(),
        _ => in_words(error),
    };
    format!("Could not create server TCP listening socket {name}:{port}: bind: {what}")
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::ENOPROTOOPT))
}

fn bind_name(name: &str, config: &Config) -> io::Result<TcpListener> {
    let port = config.port;
    let addr: SocketAddr = match name {
        "*" => ([0, 0, 0, 0], port).into(),
        "::*" => ([0u16; 8], port).into(),
        _ => {
            let plain = name.trim_start_matches('[').trim_end_matches(']');
            let mut found = (plain, port).to_socket_addrs()?;
            found.next().ok_or_else(|| io::Error::from(ErrorKind::AddrNotAvailable))?
        }
    };
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(config.tcp_backlog.max(1) as i32)?;
    TcpListener::from_std(socket.into())
}

fn open_unix(config: &Config) -> Result<Listener, String> {
    let path = Path::new(std::ffi::OsStr::from_bytes(&config.unixsocket)).to_owned();
    let fail = |what: &str, error: io::Error| {
        format!("Failed opening Unix socket {}: {what}: {}", path.display(), in_words(&error))
    };
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(fail("remove", error));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(|error| fail("socket", error))?;
    let address = socket2::SockAddr::unix(&path).map_err(|error| fail("bind", error))?;
    socket.bind(&address).map_err(|error| fail("bind", error))?;
    socket.set_nonblocking(true).map_err(|error| fail("bind", error))?;
    if config.unixsocketperm != 0 {
        let mode = std::fs::Permissions::from_mode(config.unixsocketperm);
        std::fs::set_permissions(&path, mode).map_err(|error| fail("chmod", error))?;
    }
    if !config.unixsocketgroup.is_empty() {
        let group = process::group_id(&config.unixsocketgroup)
            .ok_or_else(|| fail("chown", io::Error::other("there is no such group")))?;
        std::os::unix::fs::chown(&path, None, Some(group)).map_err(|error| fail("chown", error))?;
    }
    socket.listen(config.tcp_backlog.max(1) as i32).map_err(|error| fail("listen", error))?;
    let listener = UnixListener::from_std(socket.into()).map_err(|error| fail("listen", error))?;
    Ok(Listener::Unix(listener, path))
}

fn warn_of_backlog(backlog: u32) {
    let Ok(text) = std::fs::read_to_string("/proc/sys/net/core/somaxconn") else { return };
    let Ok(most) = text.trim().parse::<u32>() else { return };
    if most < backlog {
        log::warning(&format!(
            "The TCP backlog setting of {backlog} cannot be enforced because /proc/sys/net/core/somaxconn is set to the \
             lower value of {most}."
        ));
    }
}

/// Options of an accepted TCP socket.
pub fn tune(stream: &tokio::net::TcpStream, keepalive_seconds: u32) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    if keepalive_seconds > 0 {
        let interval = u64::from((keepalive_seconds / 3).max(1));
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(u64::from(keepalive_seconds)))
            .with_interval(Duration::from_secs(interval))
            .with_retries(3);
        let _ = socket.set_tcp_keepalive(&keepalive);
    }
}
