//! The application as it is run, and encoders for it.
#![allow(dead_code)]

#[path = "../../../../tests/support/flv.rs"]
pub mod flv;
#[path = "../../../../tests/support/process.rs"]
pub mod process;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flv::Tag;
use process::Process;
use serde_json::Value;

pub const DEADLINE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Waits for what has no event to wait for.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "no {what} within {DEADLINE:?}");
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

/// `ingest` at work, with everything in `directory`.
pub struct App {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    directory: PathBuf,
    pub port: u16,
    pub page: String,
}

impl App {
    pub fn command(directory: &Path, port: u16) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
        command
            .args(["--host", "127.0.0.1", "--http", "127.0.0.1:0"])
            .args(["--port", &port.to_string()])
            .arg("--keys")
            .arg(directory.join("keys"))
            .arg("--directory")
            .arg(directory.join("recordings"))
            // For the previews.
            .env("TMPDIR", directory);
        command
    }

    pub fn start(directory: &Path, keys: &str) -> App {
        App::start_with(directory, keys, |command| command)
    }

    /// The same with more said to the command.
    pub fn start_with(
        directory: &Path,
        keys: &str,
        also: impl FnOnce(&mut Command) -> &mut Command,
    ) -> App {
        std::fs::write(directory.join("keys"), keys).unwrap();
        let mut child = also(&mut App::command(directory, 0))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the application starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in lines.map_while(Result::ok) {
                    eprintln!("{line}");
                    log.lock().unwrap().push(line);
                }
            }
        });
        let mut app = App {
            child,
            log,
            reader: Some(reader),
            directory: directory.to_owned(),
            port: 0,
            page: String::new(),
        };
        let after = |line: &str, text: &str| line.split_once(text).map(|(_, rest)| rest.to_owned());
        let port = app.wait_for_line("rtmp://HOST:");
        let port = after(&port, "rtmp://HOST:").unwrap();
        app.port = port.split('/').next().unwrap().parse().unwrap();
        app.page = after(&app.wait_for_line("page: "), "page: ").unwrap();
        app
    }

    pub fn write_keys(&self, keys: &str) {
        std::fs::write(self.directory.join("keys"), keys).unwrap();
    }

    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first line of the log with that text.
    pub fn wait_for_line(&self, text: &str) -> String {
        wait_for(text, || {
            self.log().into_iter().find(|line| line.contains(text))
        })
    }

    fn get(&self, path: &str) -> String {
        let address = self
            .page
            .trim_start_matches("http://")
            .trim_end_matches('/');
        let mut stream = TcpStream::connect(address).expect("the page is served");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
        body.to_owned()
    }

    /// What the page shows of a stream.
    pub fn stream(&self, name: &str) -> Option<Value> {
        let all: Value = serde_json::from_str(&self.get("/streams")).expect("JSON");
        let mut all = all.as_array()?.iter();
        all.find(|stream| stream["name"] == name).cloned()
    }

    /// Waits until what the page shows of a stream is as wanted.
    pub fn wait_for_stream(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("{name}: {what}"), || {
            self.stream(name).filter(|stream| is_so(stream))
        })
    }

    /// All files of a name, in order.
    pub fn recordings(&self, name: &str) -> Vec<PathBuf> {
        let directory = std::fs::read_dir(self.directory.join("recordings")).unwrap();
        let mut files: Vec<PathBuf> = directory
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let file = path.file_name().unwrap().to_string_lossy();
                file.starts_with(&format!("{name}-"))
            })
            .collect();
        files.sort();
        files
    }

    /// The tags of the only recording of a name.
    pub fn recorded(&self, name: &str) -> Vec<Tag> {
        let files = self.recordings(name);
        assert_eq!(files.len(), 1, "{files:?}");
        read(&files[0])
    }

    /// Ctrl-C.
    pub fn interrupt(mut self) -> ExitStatus {
        let id = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: the child was not reaped, so the id is its own.
        assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
        let status = wait_for("end of the application", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        status
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Both are harmless if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// No file of the command grows beyond that: to write more fails, as on a full disk.
pub fn limit_files(command: &mut Command, bytes: u64) -> &mut Command {
    let limit = move || {
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: bytes,
        };
        // SAFETY: both calls are allowed between fork and exec, and the pointer is to what lives longer.
        unsafe {
            // Or it would be killed at the limit.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        }
    };
    // SAFETY: see there.
    unsafe { command.pre_exec(limit) }
}

pub fn read(file: &Path) -> Vec<Tag> {
    flv::parse(&std::fs::read(file).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// The tags of a file that may stop in the middle of one.
pub fn read_prefix(file: &Path) -> Vec<Tag> {
    flv::parse_prefix(&std::fs::read(file).unwrap()).unwrap().0
}

pub fn assert_same(sent: &[Tag], recorded: &[Tag]) {
    let comparison = flv::compare(sent, recorded, flv::Rules::default());
    assert!(comparison.is_same(), "{comparison}");
}

pub const PICTURE: &str = "-re -f lavfi -i testsrc2=size=320x240:rate=30 -map 0";
pub const SOUND: &str = "-re -f lavfi -i sine=frequency=440";
pub const H264: &str = "-c:v libx264 -preset ultrafast -g 30 -threads 1";

/// A real ffmpeg, which also writes what it sends to a file.
pub struct Encoder {
    pub process: Process,
    pub sent: PathBuf,
}

impl Encoder {
    pub fn start(port: u16, key: &str, arguments: &str, directory: &Path) -> Encoder {
        let sent = directory.join(format!("sent-{key}.flv"));
        let flv = "f=flv:flvflags=no_duration_filesize";
        let outputs = format!(
            "[{flv}]{}|[{flv}:onfail=abort]rtmp://127.0.0.1:{port}/live/{key}",
            sent.display()
        );
        let mut command = Command::new("ffmpeg");
        command
            .args("-hide_banner -nostdin -v warning -y".split(' '))
            .args(arguments.split_ascii_whitespace())
            .args("-flags +global_header -f tee".split(' '))
            .arg(outputs);
        let process = Process::spawn(&mut command).unwrap();
        Encoder { process, sent }
    }

    /// Waits until it has ended well, and returns what it sent.
    pub fn finish(self) -> Vec<Tag> {
        let finished = self.process.wait(DEADLINE);
        finished.and_then(|f| f.expect_success("ffmpeg")).unwrap();
        read(&self.sent)
    }

    /// Ctrl-C: it ends as at the end of its input, except for its status. Returns what it sent.
    pub fn interrupt(self) -> Vec<Tag> {
        self.process.interrupt();
        let finished = self.process.wait(DEADLINE).unwrap();
        assert_eq!(finished.status.code(), Some(255), "{}", finished.stderr);
        read(&self.sent)
    }

    /// Waits until it has ended because it was turned away or disconnected.
    pub fn fail(self) {
        let finished = self.process.wait(DEADLINE).unwrap();
        assert!(!finished.status.success(), "ffmpeg was not stopped");
    }
}
