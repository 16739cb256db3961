//! The processes that are measured, each on the server's core and in a directory of its own.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::Result;
use crate::child::LISTENING;
use crate::machine::{self, SERVER_CORE, Usage};

/// How long a process may take to end when it is asked to, and how often it is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Rtmp2ServerSrc,
    TcpServerSrc,
    Nginx,
    Ffmpeg,
    Recv,
    Memory,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rtmp2ServerSrc => "rtmp2serversrc",
            Self::TcpServerSrc => "tcpserversrc",
            Self::Nginx => "nginx-rtmp",
            Self::Ffmpeg => "ffmpeg -listen",
            Self::Recv => "recv loop",
            Self::Memory => "memory",
        })
    }
}

pub struct Server {
    child: Child,
    /// Of our own children.
    lines: Option<BufReader<ChildStdout>>,
    stdin: Option<ChildStdin>,
    pub ports: Vec<u16>,
    pub usage: Usage,
    directory: TempDir,
}

impl Server {
    /// This program again, as one of the things in [`child`](crate::child).
    pub fn child(arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe()?;
        let directory = TempDir::new()?;
        let mut command = on_its_core(&program);
        command.arg(crate::CHILD).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = Self::spawn(command, directory)?;
        server.lines = server.child.stdout.take().map(BufReader::new);
        server.stdin = server.child.stdin.take();
        Ok(server)
    }

    /// A child that listens.
    pub fn listening(arguments: &[&str]) -> Result<Self> {
        let mut server = Self::child(arguments)?;
        let line = server.line()?;
        let ports = line.strip_prefix(LISTENING).ok_or("it does not listen")?;
        let ports = ports.split_ascii_whitespace().map(str::parse);
        server.ports = ports.collect::<std::result::Result<_, _>>()?;
        Ok(server)
    }

    pub fn pipeline(description: &str) -> Result<Self> {
        Self::listening(&["pipeline", description])
    }

    /// One process, as a benchmark of one core wants it; what it records is in `KEY.flv`.
    pub fn nginx(records: bool) -> Result<Self> {
        let directory = TempDir::new()?;
        let port = free_port()?;
        let (program, module) = nginx_files()?;
        let record = if records { "all" } else { "off" };
        let configuration = format!(
            "load_module {module};
            daemon off;
            master_process off;
            pid nginx.pid;
            error_log error.log;
            events {{ worker_connections 4096; }}
            rtmp {{ server {{
                listen 127.0.0.1:{port};
                access_log off;
                application live {{ live on; record {record}; record_path {directory}; }}
            }} }}",
            module = module.display(),
            directory = directory.path().display(),
        );
        fs::write(directory.path().join("nginx.conf"), configuration)?;
        let mut command = on_its_core(&program);
        command.arg("-p").arg(directory.path());
        command.args(["-e", "error.log", "-c", "nginx.conf"]);
        command.stdin(Stdio::null());
        let mut server = Self::spawn(command, directory)?;
        server.ports = vec![port];
        machine::wait_for_listener(port)?;
        Ok(server)
    }

    /// Takes one publisher and writes `out.flv`.
    pub fn ffmpeg() -> Result<Self> {
        let port = free_port()?;
        let url = format!("rtmp://127.0.0.1:{port}/live/bench");
        let mut command = on_its_core("ffmpeg".as_ref());
        command.args(["-loglevel", "fatal", "-listen", "1", "-i", &url]);
        command.args(["-codec", "copy", "-f", "flv", "out.flv"]);
        command.stdin(Stdio::null());
        let mut server = Self::spawn(command, TempDir::new()?)?;
        server.ports = vec![port];
        machine::wait_for_listener(port)?;
        Ok(server)
    }

    /// The plugin as it is installed, in gst-launch-1.0.
    pub fn gst_launch(source: &str) -> Result<Self> {
        let port = free_port()?;
        let mut command = on_its_core("gst-launch-1.0".as_ref());
        with_plugin(&mut command)?;
        let port_property = format!("port={port}");
        command.args(["--quiet", source, &port_property, "!", "fakesink"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut server = Self::spawn(command, TempDir::new()?)?;
        server.ports = vec![port];
        machine::wait_for_listener(port)?;
        Ok(server)
    }

    fn spawn(mut command: Command, directory: TempDir) -> Result<Self> {
        let name = format!("{:?}", command.get_args().nth(2).unwrap_or_default());
        let child = command.current_dir(directory.path()).spawn();
        let child = child.map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self {
            usage: Usage::of(child.id())?,
            child,
            lines: None,
            stdin: None,
            ports: Vec::new(),
            directory,
        })
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The next line that a child of ours says.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let lines = self.lines.as_mut().ok_or("it says nothing")?;
        if lines.read_line(&mut line)? == 0 {
            return Err("it ended before it was done".into());
        }
        Ok(line.trim_end().to_owned())
    }

    pub fn cpu(&self) -> Result<Duration> {
        self.usage.cpu()
    }

    /// Waits until the process has ended; its CPU time can still be read.
    pub fn wait(&self) -> Result<()> {
        waitid(
            Id::Pid(pid(&self.child)),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT,
        )?;
        Ok(())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // By its id, which is its own until it is waited for. A profiler in front of it writes down what it has.
        let _ = kill(pid(&self.child), Signal::SIGTERM);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().expect("Linux's are below 2^22"))
}

/// taskset replaces itself with the program, so its process is the program's.
fn on_its_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &SERVER_CORE.to_string()]);
    // A profiler, say: the figures are then its own.
    let wrapper = std::env::var("BENCH_WRAP").unwrap_or_default();
    command.args(wrapper.split_ascii_whitespace());
    command.arg(program);
    command
}

/// Lets a process find the plugin that cargo built together with this program.
pub fn with_plugin(command: &mut Command) -> Result<()> {
    let plugin = plugin()?;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-plugins");
    fs::create_dir_all(&directory)?;
    // A path with this plugin alone; GStreamer would look at all that lies beside it.
    let link = directory.join("libgstrtmp2server.so");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(plugin, link)?;
    command.env("GST_PLUGIN_PATH", &directory);
    command.env(
        "GST_REGISTRY",
        directory.with_file_name("bench-registry.bin"),
    );
    Ok(())
}

pub fn plugin() -> Result<PathBuf> {
    // target/PROFILE/deps/BENCH-HASH
    let plugin = std::env::current_exe()?.with_file_name("libgstrtmp2server.so");
    match plugin.exists() {
        true => Ok(plugin),
        false => Err(format!("{} was not built", plugin.display()).into()),
    }
}

/// nginx and its RTMP module: unpacked by `make bench`, or installed.
pub fn nginx_files() -> Result<(PathBuf, PathBuf)> {
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nginx");
    for root in [&unpacked, Path::new("/")] {
        let program = root.join("usr/sbin/nginx");
        let module = root.join("usr/lib/nginx/modules/ngx_rtmp_module.so");
        if program.exists() && module.exists() {
            return Ok((program, module));
        }
    }
    Err("there is no nginx with its RTMP module: `make bench` gets them".into())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
