//! A real HAProxy in front of the element.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use super::pipeline::{DEADLINE, wait_until};
use super::process::Process;

/// Debian has it where a user's PATH does not lead.
pub const HAPROXY: &str = "/usr/sbin/haproxy";

pub struct Haproxy {
    process: Process,
    pub address: SocketAddr,
}

impl Haproxy {
    /// Forwards to `server`; `options` are those of HAProxy's `server` line, such as `send-proxy-v2 check`.
    pub fn start(directory: &Path, server: SocketAddr, options: &str) -> Haproxy {
        let port = free_port();
        let configuration = format!(
            "global\n maxconn 100\n\
             defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             listen rtmp\n bind 127.0.0.1:{port}\n default-server inter 50ms\n server element {server} {options}\n"
        );
        let file = directory.join("haproxy.cfg");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new(HAPROXY);
        let process = Process::spawn(command.arg("-db").arg("-f").arg(&file)).unwrap();
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let haproxy = Haproxy { process, address };
        let listens = || is_taken(address) || !haproxy.process.is_running();
        wait_until(DEADLINE, listens).unwrap();
        assert!(haproxy.process.is_running(), "HAProxy ended");
        haproxy
    }
}

/// HAProxy can't pick one itself and tell.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Without connecting, which would be forwarded.
fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err()
}
