//! What does not change from run to run: versions, sizes, and how long a build takes.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Result;
use crate::server::{nginx_files, plugin};
use crate::settings::Settings;

pub struct Facts {
    versions: String,
    settings: String,
    with_debug: u64,
    stripped: u64,
    dependencies: usize,
    /// Not measured with `BENCH_BUILD=0`.
    build: Option<Duration>,
}

impl Facts {
    pub fn find(settings: &Settings) -> Result<Self> {
        let (nginx, _) = nginx_files()?;
        let cpu = fs::read_to_string("/proc/cpuinfo")?;
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = cpu.unwrap_or_default().trim_matches([' ', '\t', ':']);
        let versions = [
            said("date", &["--utc", "+%Y-%m-%d"])?,
            format!(
                "commit {}",
                said("git", &["describe", "--always", "--dirty"])?
            ),
            format!("{cpu}, {} cores", std::thread::available_parallelism()?),
            format!("Linux {}", said("uname", &["-r"])?),
            said("rustc", &["--version"])?,
            gst::version_string().to_string(),
            said(nginx.to_str().ok_or("a readable path")?, &["-v"])?.replace("nginx version: ", ""),
            said("ffmpeg", &["-version"])?
                .split(" Copyright")
                .next()
                .unwrap_or_default()
                .to_owned(),
        ]
        .join(", ");
        let settings = format!(
            "{} runs; {} MB at full speed, {} MB of small tags; paced publishers for {} s, {} at a time; {} idle \
             connections; a long stream of {} GB",
            settings.runs,
            settings.megabytes,
            settings.small_megabytes,
            settings.seconds,
            settings.publishers,
            settings.idle,
            settings.long_gigabytes,
        );
        let directory = tempfile::TempDir::new()?;
        let stripped = directory.path().join("stripped.so");
        let plugin = plugin()?;
        let status = Command::new("strip")
            .arg("-o")
            .arg(&stripped)
            .arg(&plugin)
            .status()?;
        if !status.success() {
            return Err(format!("strip ended with {status}").into());
        }
        Ok(Self {
            versions,
            settings,
            with_debug: fs::metadata(&plugin)?.len(),
            stripped: fs::metadata(&stripped)?.len(),
            dependencies: dependencies()?,
            build: match std::env::var("BENCH_BUILD").as_deref() {
                Ok("0") => None,
                _ => Some(build()?),
            },
        })
    }

    pub fn setting(&self) -> String {
        format!("{}.\n\n{}.\n", self.versions, self.settings)
    }

    pub fn table(&self) -> String {
        let mut table = format!(
            "| what | figure |\n|---|---:|\n\
             | the plugin, stripped | {:.2} MiB |\n\
             | the same with line tables, as `make build` leaves it | {:.1} MiB |\n\
             | crates in it, of all features | {} |\n",
            self.stripped as f64 / f64::from(1 << 20),
            self.with_debug as f64 / f64::from(1 << 20),
            self.dependencies,
        );
        if let Some(build) = self.build {
            table += &format!(
                "| clean release build, sources at hand | {:.0} s |\n",
                build.as_secs_f64()
            );
        }
        table
    }
}

/// The first line that a program says.
fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    // nginx has its version on the other stream.
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Crates that end up in the plugin, without itself, proc macros and build scripts.
fn dependencies() -> Result<usize> {
    let output = cargo()
        .args([
            "tree",
            "--edges",
            "normal,no-proc-macro",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let crates: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.split(" (").next())
        .filter(|line| !line.is_empty())
        .collect();
    Ok(crates.len().saturating_sub(1))
}

/// From nothing to the plugin.
fn build() -> Result<Duration> {
    let directory = tempfile::TempDir::new()?;
    let fetched = cargo().args(["fetch", "--locked", "--quiet"]).status()?;
    let start = Instant::now();
    let built = cargo()
        .args(["build", "--release", "--lib", "--locked", "--quiet"])
        .arg("--target-dir")
        .arg(directory.path())
        .status()?;
    match fetched.success() && built.success() {
        true => Ok(start.elapsed()),
        false => Err("the clean build failed".into()),
    }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}
