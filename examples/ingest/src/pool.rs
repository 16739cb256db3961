//! Recordings that wait for a publisher, on one port, a few more of them than have one.
//!
//! Elements that name the same host and port share its listener, and equal ones are a pool: whoever is free gets the next
//! publisher. So each publication has a pipeline of its own, and what happens in it concerns nobody else.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context;

use crate::recording::{Config, News, Recording};
use crate::streams::Streams;

/// So many publishers may come at the same moment.
const SPARE: usize = 4;
/// Between attempts, if a pipeline can't be started.
const RETRY: Duration = Duration::from_secs(1);

enum Event {
    Recording(u64, News),
    Stop,
}

pub struct Pool {
    events: Sender<Event>,
    thread: thread::JoinHandle<()>,
}

impl Pool {
    /// Listens; an error is that of the first pipeline. Returns the port too.
    pub fn start(
        config: Config,
        streams: Arc<Streams>,
        max_publishers: usize,
    ) -> anyhow::Result<(Self, u16)> {
        let (events, incoming) = mpsc::channel();
        let mut run = Run {
            port: config.port,
            config: Arc::new(config),
            streams,
            max_publishers,
            events: events.clone(),
            recordings: HashMap::new(),
            next_id: 0,
        };
        run.add()?;
        let port = run.port;
        let thread = thread::Builder::new()
            .name("pool".to_owned())
            .spawn(move || run.until_stopped(&incoming))
            .context("can't start a thread")?;
        Ok((Self { events, thread }, port))
    }

    /// Ends all recordings, each with what was received.
    pub fn stop(self) {
        // If it does not listen it has stopped.
        let _ = self.events.send(Event::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the pool's thread panicked");
        }
    }
}

struct Run {
    config: Arc<Config>,
    streams: Arc<Streams>,
    max_publishers: usize,
    /// In use: may have been picked by the system.
    port: u16,
    events: Sender<Event>,
    recordings: HashMap<u64, Entry>,
    next_id: u64,
}

struct Entry {
    recording: Recording,
    is_free: bool,
}

impl Run {
    fn until_stopped(mut self, incoming: &Receiver<Event>) {
        loop {
            let filled = self.fill();
            if let Err(error) = &filled {
                tracing::error!("can't wait for more publishers: {error:#}");
            }
            let event = match filled {
                Ok(()) => incoming.recv().ok(),
                Err(_) => match incoming.recv_timeout(RETRY) {
                    Err(RecvTimeoutError::Timeout) => continue,
                    event => event.ok(),
                },
            };
            match event {
                Some(Event::Recording(id, News::Taken)) => {
                    if let Some(entry) = self.recordings.get_mut(&id) {
                        entry.is_free = false;
                    }
                }
                Some(Event::Recording(id, News::Over)) => {
                    if let Some(entry) = self.recordings.remove(&id) {
                        entry.recording.join();
                    }
                }
                Some(Event::Stop) | None => break,
            }
        }
        for entry in self.recordings.values() {
            entry.recording.stop();
        }
        for entry in self.recordings.into_values() {
            entry.recording.join();
        }
    }

    fn fill(&mut self) -> anyhow::Result<()> {
        let free = self.recordings.values().filter(|e| e.is_free).count();
        let room = self.max_publishers - self.recordings.len();
        for _ in free..SPARE.min(free + room) {
            self.add()?;
        }
        Ok(())
    }

    fn add(&mut self) -> anyhow::Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let events = self.events.clone();
        let tell = move |news| {
            // While stopping, nobody is interested.
            let _ = events.send(Event::Recording(id, news));
        };
        let (config, streams) = (self.config.clone(), self.streams.clone());
        let (recording, port) = Recording::start(config, streams, self.port, tell)?;
        self.port = port;
        let is_free = true;
        self.recordings.insert(id, Entry { recording, is_free });
        Ok(())
    }
}
