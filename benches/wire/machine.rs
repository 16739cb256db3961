//! What the kernel tells of processes, and which core they run on.

use std::fs;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::Result;

/// The server has this core for itself, the load the other.
pub const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// There is no event to wait for when a socket of another process begins to listen.
const BETWEEN_LOOKS: Duration = Duration::from_micros(200);
const DEADLINE: Duration = Duration::from_secs(20);

/// Moves this process, and all threads it will have, to the load's core.
pub fn pin_load() -> Result<()> {
    pin(LOAD_CORE)
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).map_err(|error| {
        format!("can't run on core {core}: {error}; the benchmark needs two cores").into()
    })
}

/// As many descriptors as this process may have.
pub fn raise_descriptor_limit() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// A process, by what it uses.
pub struct Usage {
    pid: u32,
    clock: ClockId,
}

impl Usage {
    pub fn of(pid: u32) -> Result<Self> {
        let clock = clock_getcpuclockid(Pid::from_raw(pid.try_into()?))?;
        Ok(Self { pid, clock })
    }

    /// User and system time of all its threads, also of those that have ended: what /proc/PID/stat shows in steps of
    /// 10 ms.
    pub fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(self.clock)?.into())
    }

    /// Resident memory in bytes: now, and the most so far.
    pub fn resident(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.map(|kib| kib << 10)
                .ok_or(format!("no {name} in {status}"))
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The one clock that all processes of this machine share.
pub fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC)
        .expect("Linux has it")
        .into()
}

/// Waits until somebody listens on the port. It does not connect: that would be a client.
pub fn wait_for_listener(port: u16) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !is_listening(port) {
        if Instant::now() > deadline {
            return Err(format!("nobody listens on port {port}").into());
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    Ok(())
}

fn is_listening(port: u16) -> bool {
    const LISTEN: &str = "0A";
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        // There is no table for IPv6 on a machine without it.
        let table = fs::read_to_string(table).unwrap_or_default();
        table.lines().skip(1).any(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            let state = fields.nth(1);
            local.ends_with(&format!(":{port:04X}")) && state == Some(LISTEN)
        })
    })
}
