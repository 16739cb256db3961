//! Another host: a network namespace with a cable to ours that can be pulled out. Needs root and iproute2.

use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// Removed when it is dropped, with what is left of its network.
pub struct Host {
    namespace: String,
    cable: String,
    subnet: String,
}

impl Host {
    /// A host that reaches ours, and nothing else.
    pub fn new() -> Result<Host, String> {
        static NUMBER: AtomicU8 = AtomicU8::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Names and addresses differ between tests that run at once, in this process and in others.
        let process = std::process::id() & 0x3FFF;
        let host = Host {
            namespace: format!("rtmp-{process}-{number}"),
            cable: format!("rt{process}n{number}"),
            subnet: format!(
                "10.{}.{}",
                64 + (process >> 8),
                (process as u8).wrapping_add(number)
            ),
        };
        let Host {
            namespace,
            cable,
            subnet,
        } = &host;
        ip(&format!("netns add {namespace}"))?;
        ip(&format!(
            "link add {cable} type veth peer name eth0 netns {namespace}"
        ))?;
        ip(&format!("addr add {subnet}.1/24 dev {cable}"))?;
        ip(&format!("link set {cable} up"))?;
        ip(&format!("-n {namespace} addr add {subnet}.2/24 dev eth0"))?;
        ip(&format!("-n {namespace} link set eth0 up"))?;
        Ok(host)
    }

    /// Where this host finds ours.
    pub fn our_address(&self) -> String {
        format!("{}.1", self.subnet)
    }

    pub fn address(&self) -> String {
        format!("{}.2", self.subnet)
    }

    /// A program that runs there.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// Pulls the cable: nothing arrives any more, in either direction, and nobody is told.
    pub fn cut(&self) {
        // Its own end, so that our addresses stay as they are.
        ip(&format!("-n {} link set eth0 down", self.namespace)).expect("it was up");
    }

    pub fn mend(&self) {
        ip(&format!("-n {} link set eth0 up", self.namespace)).expect("it is there");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // A process that still runs there keeps the namespace, but not the cable.
        let _ = ip(&format!("link del {}", self.cable));
        let _ = ip(&format!("netns del {}", self.namespace));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments.split_ascii_whitespace())
        .output()
        .map_err(|e| format!("ip, of the package iproute2: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {arguments}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
