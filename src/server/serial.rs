//! Calls into the host application, one after another and off the workers.

use tokio::sync::mpsc;

/// Calls that may wait while one blocks.
const BACKLOG: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Runs what may block, in order, on a thread that may be blocked. Jobs that are
/// left when it is dropped still run.
#[derive(Debug)]
pub struct Serial(mpsc::Sender<Job>);

impl Serial {
    /// An error if the process can have no more threads.
    pub fn new() -> std::io::Result<Self> {
        let (sender, mut jobs) = mpsc::channel::<Job>(BACKLOG);
        super::runtime()?.spawn(async move {
            while let Some(job) = jobs.recv().await {
                // A panic in a job is that job's alone.
                let _ = tokio::task::spawn_blocking(job).await;
            }
        });
        Ok(Self(sender))
    }

    /// Runs `job` when those before it are done. False if too many wait: then it
    /// is dropped.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.0.try_send(Box::new(job)).is_ok()
    }
}
