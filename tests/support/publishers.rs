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
    tee_to(ffmpeg(program), input_and_codecs, &url(port), directory)
}

fn url(port: u16) -> String {
    format!("rtmp://127.0.0.1:{port}/live/test")
}

/// Video and sound in real time for so many seconds, to any URL, from a command that may run in another place.
pub fn live_to(
    mut command: Command,
    seconds: u32,
    url: &str,
    directory: &Path,
) -> Result<Publisher, String> {
    let arguments = format!(
        "-re -f lavfi -i testsrc2=size=160x120:rate=30 -re -f lavfi -i sine=frequency=440 -t {seconds} {X264} \
         -c:a aac -map 0 -map 1"
    );
    command.args(words("-hide_banner -nostdin -v warning -y"));
    let arguments = words(&arguments).map(String::from).collect();
    tee_to(command, arguments, url, directory)
}

/// Writes an FLV file of so many seconds, as [`copy_to`] sends it.
pub fn write_live_file(directory: &Path, seconds: u32) -> Result<PathBuf, String> {
    let file = directory.join("live.flv");
    let arguments = format!(
        "-f lavfi -i testsrc2=size=160x120:rate=30 -f lavfi -i sine=frequency=440 -t {seconds} {X264} -c:a aac \
         -f flv -flvflags no_duration_filesize"
    );
    let whole = directory.join("encoded.flv");
    Process::spawn(ffmpeg(FFMPEG.as_ref()).args(words(&arguments)).arg(&whole))?
        .wait(DEADLINE)?
        .expect_success("ffmpeg")?;
    // Through the muxer once more, as it goes when it is sent.
    let mut copy = ffmpeg(FFMPEG.as_ref());
    copy.arg("-i").arg(&whole);
    copy.args(words("-c copy -f flv -flvflags no_duration_filesize"));
    Process::spawn(copy.arg(&file))?
        .wait(DEADLINE)?
        .expect_success("ffmpeg")?;
    Ok(file)
}

/// Publishes a file in real time, as it is.
pub fn copy_to(command: Command, file: &Path, url: &str) -> Result<Publisher, String> {
    let process = Process::spawn(&mut copy_command(command, file, url))?;
    Ok(Publisher {
        process,
        name: "ffmpeg",
        sent: file.to_owned(),
    })
}

/// The command that does so.
pub fn copy_command(mut command: Command, file: &Path, url: &str) -> Command {
    command.args(words("-hide_banner -nostdin -v warning -y -re -i"));
    command.arg(file);
    command.args(words("-c copy -f flv -flvflags no_duration_filesize"));
    command.args(words(without_verification(url)));
    command.arg(url);
    command
}

/// What has ffmpeg take any certificate: from version 9 on, it insists on one that the system trusts.
pub fn without_verification(url: &str) -> &'static str {
    match url.starts_with("rtmps:") {
        true => "-tls_verify 0",
        false => "",
    }
}

/// [`ffmpeg_tee`] to any URL, from a command that may run in another place.
pub fn tee_to(
    mut command: Command,
    input_and_codecs: Vec<String>,
    url: &str,
    directory: &Path,
) -> Result<Publisher, String> {
    let sent = directory.join("sent.flv");
    let flv = "f=flv:flvflags=no_duration_filesize";
    // From version 9 on, ffmpeg insists on a certificate that the system trusts.
    let tls = if url.starts_with("rtmps:") {
        ":tls_verify=0"
    } else {
        ""
    };
    let outputs = format!("[{flv}]{}|[{flv}:onfail=abort{tls}]{url}", sent.display());
    command.args(input_and_codecs);
    command.args(words("-flags +global_header -f tee"));
    let process = Process::spawn(command.arg(outputs))?;
    Ok(Publisher {
        process,
        name: "ffmpeg",
        sent,
    })
}

/// ffmpeg, a second of audio and video, to any URL: `rtmp://USER:PASSWORD@…` for one.
pub fn ffmpeg_to(url: &str, directory: &Path) -> Result<Publisher, String> {
    let arguments = format!(
        "-f lavfi -i testsrc=size=160x120:rate=30 -f lavfi -i sine=frequency=440 -t 1 {X264} -c:a aac -map 0 -map 1"
    );
    let arguments = words(&arguments).map(String::from).collect();
    tee_to(ffmpeg(FFMPEG.as_ref()), arguments, url, directory)
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
        self.publish_to(&url(port), directory)
    }

    pub fn publish_to(&self, url: &str, directory: &Path) -> Result<Publisher, String> {
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
                return tee_to(ffmpeg(FFMPEG.as_ref()), arguments, url, directory);
            }
            Ffmpeg::Repeat(file, times) => {
                let again = (times - 1).to_string();
                let file = file.display().to_string();
                let mut arguments = vec!["-stream_loop".to_string(), again, "-i".to_string(), file];
                arguments.extend(words("-c copy -map 0").map(String::from));
                return tee_to(ffmpeg(FFMPEG.as_ref()), arguments, url, directory);
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
        let arguments = words(&arguments).map(String::from).collect();
        tee_to(ffmpeg(FFMPEG.as_ref()), arguments, url, directory)
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
        self.publish_to(&url(port), directory)
    }

    pub fn publish_to(self, url: &str, directory: &Path) -> Result<Publisher, String> {
        // Only rtmps:// looks at the flags: whose certificate it is does not matter here.
        let properties = match self {
            GstSink::Rtmp2Sink { .. } => "tls-validation-flags=0",
            GstSink::RtmpSink => "",
        };
        self.publish_with(properties, url, None, directory)
    }

    /// The same with other properties of the sink, and with a library that is preloaded.
    pub fn publish_with(
        self,
        properties: &str,
        location: &str,
        preload: Option<&Path>,
        directory: &Path,
    ) -> Result<Publisher, String> {
        let sent = directory.join("sent.flv");
        let sink = match self {
            GstSink::Rtmp2Sink { chunk_size } => {
                format!("rtmp2sink sync=false chunk-size={chunk_size} {properties}")
            }
            GstSink::RtmpSink => format!("rtmpsink sync=false {properties}"),
        };
        let encoders = "flvmux name=mux streamable=true ! tee name=tee \
             videotestsrc num-buffers=60 pattern=ball ! video/x-raw,width=160,height=120,framerate=30/1 \
             ! x264enc speed-preset=ultrafast tune=zerolatency key-int-max=30 threads=1 ! queue ! mux. \
             audiotestsrc num-buffers=86 ! audio/x-raw,rate=44100,channels=1 ! voaacenc ! aacparse ! queue ! mux.";
        let process = Process::spawn(
            Command::new("gst-launch-1.0")
                // librtmp tells GStreamer's log alone why it failed.
                .env("GST_DEBUG", "rtmp:1")
                // Tests read it from standard error, wherever else the log goes.
                .env_remove("GST_DEBUG_FILE")
                .env("GST_DEBUG_NO_COLOR", "1")
                .envs(preload.map(|library| ("LD_PRELOAD", library)))
                .arg("--quiet")
                .args(words(encoders))
                .args(words("tee. ! queue ! filesink"))
                .arg(format!("location={}", sent.display()))
                .args(words("tee. ! queue !"))
                .args(words(&sink))
                .arg(format!("location={location}")),
        )?;
        Ok(Publisher {
            process,
            name: "gst-launch-1.0",
            sent,
        })
    }
}
