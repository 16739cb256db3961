//! Real publishers. Each also writes what it sends to a local FLV file: the truth that a capture is compared with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use super::flv::{self, Tag};
use super::process::Process;

/// Longer than any publisher here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The one that is installed.
const FFMPEG: &str = "ffmpeg";

/// A publisher at work.
pub struct Publisher {
    process: Process,
    name: &'static str,
    sent: PathBuf,
}

impl Publisher {
    /// Waits until the publisher has ended with status 0, and returns what it sent.
    pub fn finish(self) -> Result<Vec<Tag>, String> {
        self.process.wait(DEADLINE)?.expect_success(self.name)?;
        read_flv(&self.sent)
    }

    /// Ctrl-C: ffmpeg ends as at the end of its input, except for its status. Returns what it sent.
    pub fn interrupt(self) -> Result<Vec<Tag>, String> {
        self.process.interrupt();
        let finished = self.process.wait(DEADLINE)?;
        match finished.status.code() {
            Some(255) => read_flv(&self.sent),
            _ => Err(format!(
                "ended with {}: {}",
                finished.status, finished.stderr
            )),
        }
    }

    /// SIGKILL; the publisher's own file is worth nothing after that.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// The tags of a file that must be whole.
pub fn read_flv(path: &Path) -> Result<Vec<Tag>, String> {
    let file = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    flv::parse(&file).map_err(|e| format!("{}: {e}", path.display()))
}

/// The options by which ffmpeg reads an input as if it were live, from the first frame on: since 6.1 it begins with half a
/// second at once otherwise, and what comes too early is never late.
pub fn live_input() -> &'static str {
    static IS_NEW: LazyLock<bool> = LazyLock::new(|| {
        let version = Process::spawn(Command::new(FFMPEG).arg("-version"));
        let version = version
            .and_then(|process| process.wait(DEADLINE))
            .expect(FFMPEG);
        let major = version
            .stdout
            .split(['.', '-'])
            .next()
            .and_then(|start| start.split(' ').nth(2));
        major
            .and_then(|major| major.parse::<u32>().ok())
            .is_none_or(|major| major > 6)
    });
    if *IS_NEW {
        // 0 is taken for the default.
        "-re -readrate_initial_burst 0.001"
    } else {
        "-re"
    }
}

fn words(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split_ascii_whitespace()
}

fn ffmpeg(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(words("-hide_banner -nostdin -v warning -y"));
    command
}

/// ffmpeg with its tee muxer: every packet goes to the server and to `sent.flv` in `directory`.
///
/// Without `no_duration_filesize` ffmpeg goes back in the file at the end and completes the metadata, which it cannot do
/// on the network; with it both outputs get the same bytes. Unlike the flv muxer, the tee muxer does not ask the encoders
/// for the global headers of which sequence headers are made. Without `onfail=abort` it may go on with the file alone.
pub fn ffmpeg_tee(
    input_and_codecs: Vec<String>,
    port: u16,
    directory: &Path,
) -> Result<Publisher, String> {
    tee_of(FFMPEG.as_ref(), input_and_codecs, port, directory)
}

/// The same with another build of ffmpeg.
pub fn tee_of(
    program: &Path,
    input_and_codecs: Vec<String>,
    port: u16,
    directory: &Path,
) -> Result<Publisher, String> {
    let sent = directory.join("sent.flv");
    let flv = "f=flv:flvflags=no_duration_filesize";
    let outputs = format!(
        "[{flv}]{}|[{flv}:onfail=abort]rtmp://127.0.0.1:{port}/live/test",
        sent.display()
    );
    let mut command = ffmpeg(program);
    command.args(input_and_codecs);
    command.args(words("-flags +global_header -f tee"));
    let process = Process::spawn(command.arg(outputs))?;
    Ok(Publisher {
        process,
        name: "ffmpeg",
        sent,
    })
}

const X264: &str = "-c:v libx264 -preset ultrafast -g 30 -threads 1";

/// What ffmpeg publishes.
#[derive(Clone, Debug)]
pub enum Ffmpeg {
    /// A second of video in real time, as a live encoder sends it.
    LiveVideo,
    AudioAndVideo,
    /// Composition times differ from decoding times.
    BFrames,
    AudioOnly,
    /// This file, copied as fast as the network takes it.
    Copy(PathBuf),
    /// The same, several times over.
    Repeat(PathBuf, u32),
    /// Times beyond 24 bits from the first frame on, with frames that take many chunks: needs extended timestamps.
    LateStart,
    /// Real time, until it is killed.
    Endless,
}

impl Ffmpeg {
    pub fn publish(&self, port: u16, directory: &Path) -> Result<Publisher, String> {
        let arguments = match self {
            Ffmpeg::LiveVideo => format!("-re -f lavfi -i testsrc=size=160x120:rate=30 -t 1 {X264} -map 0"),
            Ffmpeg::AudioAndVideo => format!(
                "-f lavfi -i testsrc=size=160x120:rate=30 -f lavfi -i sine=frequency=440 -t 2 {X264} -c:a aac \
                 -map 0 -map 1"
            ),
            Ffmpeg::BFrames => "-f lavfi -i testsrc2=size=160x120:rate=30 -f lavfi -i sine=frequency=440 -t 2 \
                 -c:v libx264 -preset veryfast -bf 3 -b_strategy 0 -g 30 -threads 1 -c:a aac -map 0 -map 1"
                .to_string(),
            Ffmpeg::AudioOnly => "-f lavfi -i sine=frequency=440 -t 4 -c:a aac -map 0".to_string(),
            Ffmpeg::Copy(file) => {
                // The name of the file may hold a space, so it goes in on its own.
                let mut arguments = vec!["-i".to_string(), file.display().to_string()];
                arguments.extend(words("-c copy -map 0").map(String::from));
                return ffmpeg_tee(arguments, port, directory);
            }
            Ffmpeg::Repeat(file, times) => {
                let again = (times - 1).to_string();
                let file = file.display().to_string();
                let mut arguments = vec!["-stream_loop".to_string(), again, "-i".to_string(), file];
                arguments.extend(words("-c copy -map 0").map(String::from));
                return ffmpeg_tee(arguments, port, directory);
            }
            Ffmpeg::LateStart => format!(
                "-f lavfi -i {NOISE} -f lavfi -i sine=frequency=440 -t 0.4 {X264} -qp 0 -c:a aac \
                 -output_ts_offset 16780 -map 0 -map 1"
            ),
            Ffmpeg::Endless => format!(
                "-re -f lavfi -i testsrc2=size=320x240:rate=30 -re -f lavfi -i sine=frequency=440 {X264} -c:a aac \
                 -map 0 -map 1"
            ),
        };
        ffmpeg_tee(
            words(&arguments).map(String::from).collect(),
            port,
            directory,
        )
    }
}

/// A picture that does not compress: the frames are large.
const NOISE: &str = "color=gray:size=320x240:rate=30,noise=alls=100:allf=t";

/// Writes an FLV file of more than 400 tags and 13 MB.
pub fn write_burst_file(directory: &Path) -> Result<PathBuf, String> {
    let file = directory.join("burst.flv");
    let arguments = format!(
        "-f lavfi -i {NOISE} -f lavfi -i sine=frequency=440 -t 8 {X264} -b:v 14M -c:a aac -f flv"
    );
    Process::spawn(ffmpeg(FFMPEG.as_ref()).args(words(&arguments)).arg(&file))?
        .wait(DEADLINE)?
        .expect_success("ffmpeg")?;
    Ok(file)
}

/// What a GStreamer pipeline publishes with.
#[derive(Clone, Copy, Debug)]
pub enum GstSink {
    Rtmp2Sink {
        chunk_size: u32,
    },
    /// librtmp.
    RtmpSink,
}

impl GstSink {
    pub fn publish(self, port: u16, directory: &Path) -> Result<Publisher, String> {
        let sent = directory.join("sent.flv");
        let url = format!("rtmp://127.0.0.1:{port}/live/test");
        let sink = match self {
            GstSink::Rtmp2Sink { chunk_size } => {
                format!("rtmp2sink sync=false chunk-size={chunk_size}")
            }
            GstSink::RtmpSink => "rtmpsink sync=false".to_string(),
        };
        let encoders = "flvmux name=mux streamable=true ! tee name=tee \
             videotestsrc num-buffers=60 pattern=ball ! video/x-raw,width=160,height=120,framerate=30/1 \
             ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=30 threads=1 ! queue ! mux. \
             audiotestsrc num-buffers=86 ! audio/x-raw,rate=44100,channels=1 ! voaacenc ! aacparse ! queue ! mux.";
        let process = Process::spawn(
            Command::new("gst-launch-1.0")
                .arg("--quiet")
                .args(words(encoders))
                .args(words("tee. ! queue ! filesink"))
                .arg(format!("location={}", sent.display()))
                .args(words("tee. ! queue !"))
                .args(words(&sink))
                .arg(format!("location={url}")),
        )?;
        Ok(Publisher {
            process,
            name: "gst-launch-1.0",
            sent,
        })
    }
}
