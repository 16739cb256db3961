//! A child process that cannot outlive its test.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a process left behind.
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Insists on exit status 0, and shows what the process said if it is another one.
    pub fn expect_success(self, name: &str) -> Result<Self, String> {
        if self.status.success() {
            return Ok(self);
        }
        Err(format!(
            "{name} ended with {}:\n{}{}",
            self.status, self.stdout, self.stderr
        ))
    }
}

#[derive(Default)]
struct Ended {
    flag: Mutex<bool>,
    changed: Condvar,
}

/// A running child; dropping it kills it by its id and reaps it.
pub struct Process {
    name: String,
    child: Child,
    ended: Arc<Ended>,
    waiter: Option<JoinHandle<()>>,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Result<Process, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{name} does not start: {e}"))?;
        let stdout = read_all(child.stdout.take().unwrap());
        let stderr = read_all(child.stderr.take().unwrap());
        let ended = Arc::new(Ended::default());
        let waiter = std::thread::spawn({
            let (pid, ended) = (child.id(), ended.clone());
            move || {
                wait_without_reaping(pid);
                *ended.flag.lock().unwrap() = true;
                ended.changed.notify_all();
            }
        });
        Ok(Process {
            name,
            child,
            ended,
            waiter: Some(waiter),
            stdout: Some(stdout),
            stderr: Some(stderr),
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&self) -> bool {
        !*self.ended.flag.lock().unwrap()
    }

    /// Of all its threads, so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("Linux");
        // The second field is the name, which may hold anything.
        let fields = stat
            .rsplit_once(')')
            .expect("a name")
            .1
            .split_ascii_whitespace();
        // The 14th and 15th, utime and stime (proc(5)).
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .map(|n| n.parse::<u64>().expect("a number"))
            .sum();
        // SAFETY: takes no pointers.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        Duration::from_secs_f64(ticks as f64 / per_second as f64)
    }

    /// SIGKILL: the process gets no chance to say good-bye.
    pub fn kill(&mut self) {
        self.child
            .kill()
            .expect("a child that was not reaped can be killed");
    }

    /// SIGINT, as from Ctrl-C.
    pub fn interrupt(&self) {
        self.signal(libc::SIGINT);
    }

    /// SIGTERM, as from whoever runs services.
    pub fn terminate(&self) {
        self.signal(libc::SIGTERM);
    }

    fn signal(&self, signal: libc::c_int) {
        let id = libc::pid_t::try_from(self.child.id()).expect("ids are small");
        // SAFETY: the child was not reaped, so the id is its own.
        let result = unsafe { libc::kill(id, signal) };
        assert_eq!(result, 0, "a child that was not reaped can be signalled");
    }

    fn ended_within(&self, deadline: Duration) -> bool {
        let flag = self.ended.flag.lock().unwrap();
        let (flag, _) = self
            .ended
            .changed
            .wait_timeout_while(flag, deadline, |ended| !*ended)
            .unwrap();
        *flag
    }

    /// Waits for the end of the process; kills it if that does not come in time.
    pub fn wait(mut self, deadline: Duration) -> Result<Finished, String> {
        let in_time = self.ended_within(deadline);
        if !in_time {
            self.kill();
        }
        let status = self
            .child
            .wait()
            .map_err(|e| format!("waiting for {}: {e}", self.name))?;
        let stdout = self.stdout.take().unwrap().join().unwrap();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        if !in_time {
            return Err(format!(
                "{} did not end within {deadline:?}:\n{stdout}{stderr}",
                self.name
            ));
        }
        Ok(Finished {
            status,
            stdout,
            stderr,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both are harmless if the child was already reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(waiter) = self.waiter.take() {
            let _ = waiter.join();
        }
    }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Blocks until the child has ended, and leaves it to its owner to reap it, so that its id stays its own until then.
fn wait_without_reaping(pid: u32) {
    loop {
        // SAFETY: an all-zero siginfo_t is valid, and waitid writes to nothing else.
        let result = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            libc::waitid(libc::P_PID, pid, &mut info, libc::WEXITED | libc::WNOWAIT)
        };
        let interrupted = result == -1
            && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted;
        if !interrupted {
            return;
        }
    }
}
