//! The console as somebody sees it who runs the application in a terminal.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use support::{App, Encoder, H264, PICTURE, SOUND, assert_same, read, wait_for};

const ROWS: u16 = 40;
/// Room for every line.
const COLUMNS: u16 = 240;

/// The application at work, and what is on its screen.
struct Terminal {
    child: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    fn start(directory: &Path) -> Terminal {
        let (mut keyboard, screen) = open_terminal();
        let child = App::command(directory, 0)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stderr(screen)
            .spawn()
            .expect("the application starts");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let reader = std::thread::spawn({
            let screen = screen.clone();
            move || {
                let mut bytes = [0; 4096];
                // It is an error when nobody has the other side open any more.
                while let Ok(count @ 1..) = keyboard.read(&mut bytes) {
                    screen.lock().unwrap().process(&bytes[..count]);
                }
            }
        });
        Terminal {
            child,
            screen,
            reader: Some(reader),
        }
    }

    /// What is on the screen, without empty lines.
    fn lines(&self) -> Vec<String> {
        let text = self.screen.lock().unwrap().screen().contents();
        let lines = text.lines().map(|line| line.trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }

    fn wait_for_line(&self, text: &str) -> String {
        wait_for(text, || self.lines().into_iter().find(|l| l.contains(text)))
    }

    fn interrupt(mut self) -> ExitStatus {
        let id = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: the child was not reaped, so the id is its own.
        assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
        let status = wait_for("end of the application", || self.child.try_wait().unwrap());
        self.reader.take().unwrap().join().unwrap();
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both are harmless if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both sides of a pseudo-terminal: what a person has, and what a program has.
fn open_terminal() -> (File, OwnedFd) {
    let size = libc::winsize {
        ws_row: ROWS,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut person, mut program) = (-1, -1);
    // SAFETY: writes two descriptors, which are nobody else's, and takes no name and no settings.
    unsafe {
        let result = libc::openpty(
            &mut person,
            &mut program,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            &size,
        );
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        (File::from_raw_fd(person), OwnedFd::from_raw_fd(program))
    }
}

/// `N of M tags recorded` at the end of a line.
fn counts(line: &str) -> Option<(usize, usize)> {
    let counts = line.strip_suffix(" tags recorded")?;
    let (rest, received) = counts.rsplit_once(" of ")?;
    let (_, pushed) = rest.rsplit_once(' ')?;
    Some((pushed.parse().ok()?, received.parse().ok()?))
}

#[test]
fn a_line_per_publication_while_it_lasts() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("keys"), "camera key\n").unwrap();
    let terminal = Terminal::start(directory.path());
    let listening = terminal.wait_for_line("publishers: rtmp://HOST:");
    let (_, port) = listening.split_once("HOST:").unwrap();
    let port = port.split('/').next().unwrap().parse().unwrap();
    let arguments = format!("{SOUND} {PICTURE} -map 1 -c:a aac {H264}");
    let encoder = Encoder::start(port, "key", &arguments, directory.path());

    // It stands below the log, says all that it has to, and goes on.
    let mut least = 0;
    for _ in 0..3 {
        least = wait_for("a line with all tags", || {
            let lines = terminal.lines();
            let line = lines.last()?;
            let (pushed, received) = counts(line)?;
            let whole = pushed == received
                && pushed > least
                && line.contains(" camera  00:00:")
                && line.contains("  H.264, AAC 320x240  ")
                && line.contains(" Mbit/s  ")
                && line.contains(" MB  ");
            whole.then_some(pushed)
        });
        let begun = |line: &String| line.contains("camera: 127.0.0.1:");
        assert_eq!(terminal.lines().iter().filter(|l| begun(l)).count(), 1);
    }
    let of_it = |line: &&String| counts(line).is_some();
    assert_eq!(terminal.lines().iter().filter(of_it).count(), 1);

    // It goes, and the log stays.
    let sent = encoder.interrupt();
    let ended = terminal.wait_for_line("camera: ended: ");
    assert!(
        ended.contains(&format!("; all of {} tags, 0 withheld, ", sent.len())),
        "{ended}"
    );
    assert!(least < sent.len());
    wait_for("screen without the line", || {
        (terminal.lines().iter().filter(of_it).count() == 0).then_some(())
    });
    terminal.wait_for_line("publishers: rtmp://HOST:");
    let recordings = directory.path().join("recordings");
    let mut files = std::fs::read_dir(recordings).unwrap();
    assert_same(&sent, &read(&files.next().unwrap().unwrap().path()));
    assert!(terminal.interrupt().success());
}
