//! How much is measured: `make bench RUNS=5`, and environment variables. `BENCH_BUILD=0` leaves out the clean build;
//! `BENCH_WRAP="perf record --output FILE"` puts a profiler in front of each server.

use crate::Result;

pub struct Settings {
    /// `BENCH_RUNS`, 5: times that everything is measured; the tables have medians.
    pub runs: u32,
    /// `BENCH_MB`, 400: of 1080p at 8 Mbit/s, sent at full speed.
    pub megabytes: u64,
    /// `BENCH_SMALL_MB`, 60: of 320x240 at 300 kbit/s.
    pub small_megabytes: u64,
    /// `BENCH_SECONDS`, 8: that a paced publisher sends.
    pub seconds: u32,
    /// `BENCH_PUBLISHERS`, 50: at a time.
    pub publishers: usize,
    /// `BENCH_IDLE`, 2000: connections that do not publish.
    pub idle: usize,
    /// `BENCH_CONNECTS`, 50: publishers one after another.
    pub connects: u32,
    /// `BENCH_LONG_GB`, 20: through one element, once.
    pub long_gigabytes: u64,
    /// `BENCH_CORE_MB`, 4000: through the core.
    pub core_megabytes: u64,
    /// `BENCH_ONLY`: measure only rows whose name holds this, and write nothing.
    pub only: Option<String>,
}

impl Settings {
    pub fn from_environment() -> Result<Self> {
        Ok(Self {
            runs: number("BENCH_RUNS", 5)?,
            megabytes: number("BENCH_MB", 400)?,
            small_megabytes: number("BENCH_SMALL_MB", 60)?,
            seconds: number("BENCH_SECONDS", 8)?,
            publishers: number("BENCH_PUBLISHERS", 50)?,
            idle: number("BENCH_IDLE", 2000)?,
            connects: number("BENCH_CONNECTS", 50)?,
            long_gigabytes: number("BENCH_LONG_GB", 20)?,
            core_megabytes: number("BENCH_CORE_MB", 4000)?,
            only: std::env::var("BENCH_ONLY").ok(),
        })
    }
}

fn number<T: std::str::FromStr>(name: &str, default: T) -> Result<T> {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name}={text} is no number").into()),
        Err(_) => Ok(default),
    }
}
