//! gst-launch-1.0 with the plugin that was built together with the test.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::Process;

const DEADLINE: Duration = Duration::from_secs(60);
/// There is no event to wait for when a socket of another process begins to listen.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// gst-launch-1.0 in `directory` with the plugin of this build.
pub fn gst_launch(directory: &Path) -> Command {
    with_plugin("gst-launch-1.0", directory)
}

/// A program in `directory` that finds the plugin of this build, and a plugin registry of its own.
pub fn with_plugin(program: impl AsRef<OsStr>, directory: &Path) -> Command {
    // The directory that cargo builds in holds many libraries; GStreamer is to look at this one only.
    let plugins = directory.join("plugins");
    fs::create_dir(&plugins).unwrap();
    std::os::unix::fs::symlink(built_plugin(), plugins.join("libgstrtmp2server.so")).unwrap();
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env("GST_PLUGIN_PATH", plugins)
        .env("GST_REGISTRY", directory.join("registry.bin"));
    command
}

/// The plugin that cargo built together with this test.
fn built_plugin() -> PathBuf {
    // target/PROFILE/deps/TEST-HASH
    let test = std::env::current_exe().unwrap();
    let dependencies = test.parent().unwrap();
    let plugin = dependencies.join("libgstrtmp2server.so");
    assert!(plugin.exists(), "{} was not built", plugin.display());
    plugin
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Waits until somebody listens on the port. It does not connect, because that would be a client.
pub fn wait_for_listener(port: u16, server: &Process) {
    let deadline = Instant::now() + DEADLINE;
    while !is_listening(port) {
        assert!(Instant::now() < deadline, "nobody listens on port {port}");
        assert!(
            server.is_running(),
            "the server ended before it listened on port {port}"
        );
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

fn is_listening(port: u16) -> bool {
    const LISTEN: &str = "0A";
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        // There is no table for IPv6 on a machine without it.
        fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
            .any(|line| {
                let fields: Vec<&str> = line.split_ascii_whitespace().collect();
                fields[1].ends_with(&format!(":{port:04X}")) && fields[3] == LISTEN
            })
    })
}
