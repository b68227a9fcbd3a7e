//! The system calls that std has no name for: epoll and the choice of a processor core. All `unsafe` of the
//! benchmark is here; the invariant is that every pointer given to the system is to a live value of this
//! function's own, with its true length.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// An epoll instance, level-triggered.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// What has become ready.
#[derive(Clone, Copy)]
pub struct Ready {
    /// The number that was given with the socket.
    pub token: usize,
    /// There is something to read, or the other side has gone.
    pub readable: bool,
}

impl Poller {
    /// An instance without sockets.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: no pointer is passed; the descriptor is new, and owned from here on.
        let epoll = unsafe {
            let fd = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Poller { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; 256] })
    }

    /// Watches a socket for input.
    pub fn add(&self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, token, libc::EPOLLIN)
    }

    /// Watches a socket that is there already for input, and for room if `room`.
    pub fn change(&self, socket: &impl AsRawFd, token: usize, room: bool) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket, token, libc::EPOLLIN | if room { libc::EPOLLOUT } else { 0 })
    }

    fn control(&self, what: i32, socket: &impl AsRawFd, token: usize, events: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: token as u64 };
        // SAFETY: `event` lives through the call; both descriptors are open.
        let result = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, socket.as_raw_fd(), &mut event) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until something is ready, at most this long; nothing means that time is up.
    pub fn wait(&mut self, patience_ms: i32, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        let room = self.events.len() as i32;
        // SAFETY: `events` has room for `room` events and lives through the call.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), room, patience_ms) };
        if count < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        ready.extend(
            self.events[..count as usize].iter().map(|event| Ready {
                token: event.u64 as usize,
                readable: event.events & !(libc::EPOLLOUT as u32) != 0,
            }),
        );
        Ok(())
    }
}

/// The processor cores that this process may use.
pub fn cores() -> Vec<usize> {
    // SAFETY: an all-zero set is an empty set; the call writes at most the size it is given.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set);
        set
    };
    // SAFETY: the index is below the capacity of a set.
    (0..libc::CPU_SETSIZE as usize).filter(|core| unsafe { libc::CPU_ISSET(*core, &set) }).collect()
}

/// Lets this thread, and the processes it starts from now on, use all cores again.
pub fn pin_all() {
    // SAFETY: as in `pin`; cores that do not exist are passed over.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (0..libc::CPU_SETSIZE as usize).for_each(|core| libc::CPU_SET(core, &mut set));
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// Keeps this thread, and the processes it starts from now on, on one core.
pub fn pin(core: usize) {
    // SAFETY: an all-zero set is an empty set, the core is one that `cores` named, and the set lives through
    // the call.
    let result = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    assert_eq!(result, 0, "this process may not use core {core}");
}
