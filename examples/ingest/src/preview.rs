//! A preview: HLS for the page, made of what is recorded without transcoding, in a pipeline of its own.
//!
//!     appsrc ! flvdemux ! h264parse ! hlssink2
//!                       ! aacparse  !
//!
//! Its appsrc is a leaky queue: if the preview can't keep up it loses frames, and nobody else does. If it fails, there is
//! no preview, and a recording.

use std::path::Path;

use anyhow::{Context, bail};
use gst::prelude::*;
use gst_utils::StreamProducer;
use gst_utils::streamproducer::{ConsumerSettings, ConsumptionLink};

/// What flvdemux, the MPEG-TS muxer and browsers have in common.
const VIDEO: &str = "H.264";
const AUDIO: [(&str, &str); 2] = [("AAC", "aacparse"), ("MP3", "mpegaudioparse")];

const PLAYLIST: &str = "index.m3u8";

/// More than a healthy pipeline ever holds.
const MAX_BYTES: u64 = 16 << 20;
const MAX_TIME: gst::ClockTime = gst::ClockTime::from_seconds(10);

/// What the preview's pipeline consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    video: bool,
    /// The parser.
    audio: Option<&'static str>,
}

impl Layout {
    /// By the element's message about the stream. An error names the codec that can't be shown.
    pub fn of(info: &gst::StructureRef) -> anyhow::Result<Self> {
        // "H.265 (hvc1)": the codec, and how it is signalled.
        let codec = |field| {
            let codec: Option<&str> = info.get_optional(field).ok().flatten();
            codec.map(|codec| codec.split(" (").next().unwrap_or(codec))
        };
        let video = codec("video-codec");
        if let Some(video) = video
            && video != VIDEO
        {
            bail!("it takes {VIDEO}, and this is {video}");
        }
        let audio = match codec("audio-codec") {
            None => None,
            Some(audio) => {
                let parser = AUDIO.iter().find(|(name, _)| *name == audio);
                let Some((_, parser)) = parser else {
                    bail!("it takes AAC or MP3, and this is {audio}");
                };
                Some(*parser)
            }
        };
        if video.is_none() && audio.is_none() {
            bail!("its codecs are not known");
        }
        Ok(Self {
            video: video.is_some(),
            audio,
        })
    }

    fn description(&self) -> String {
        let mut description = String::from(
            // Segments end at the encoder's key frames: asking it for more would be in vain.
            "appsrc name=source ! flvdemux name=demux \
             hlssink2 name=hls target-duration=1 playlist-length=6 max-files=12 send-keyframe-requests=false",
        );
        if self.video {
            // With its configuration in every segment, or only who has the first could play it.
            description += " demux.video ! queue ! h264parse config-interval=-1 ! hls.video";
        }
        if let Some(parser) = self.audio {
            description += &format!(" demux.audio ! queue ! {parser} ! hls.audio");
        }
        description
    }
}

/// What a demuxer needs that begins in the middle: the file header, the metadata and the codecs' headers.
fn stream_headers(caps: &gst::Caps) -> Vec<gst::Buffer> {
    let headers: Option<gst::Array> = caps
        .structure(0)
        .and_then(|caps| caps.get("streamheader").ok());
    let headers = headers.as_ref().map(|headers| headers.as_slice());
    let headers = headers.unwrap_or_default().iter();
    headers.filter_map(|header| header.get().ok()).collect()
}

pub struct Preview {
    layout: Layout,
    pipeline: gst::Pipeline,
    /// Goes before the pipeline stops.
    link: Option<ConsumptionLink>,
    directory: tempfile::TempDir,
}

impl Preview {
    /// Starts at the next key frame of a stream with these caps. `tell` gets the pipeline's messages, on any thread.
    pub fn start(
        layout: Layout,
        producer: &StreamProducer,
        caps: &gst::Caps,
        parent: &Path,
        tell: impl Fn(&gst::Message) + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        // With a new name, so that no browser has an earlier one's segments.
        let directory = tempfile::Builder::new()
            .prefix("stream-")
            .tempdir_in(parent)?;
        let pipeline = gst::parse::launch(&layout.description())?
            .downcast::<gst::Pipeline>()
            .expect("more than one element");
        let hls = pipeline.by_name("hls").expect("named above");
        hls.set_property("location", directory.path().join("%05d.ts"));
        hls.set_property("playlist-location", directory.path().join(PLAYLIST));
        let source = pipeline
            .by_name("source")
            .and_downcast::<gst_app::AppSrc>()
            .expect("named above");
        let settings = ConsumerSettings {
            max_buffer: 0,
            max_bytes: gst::format::Bytes::from_u64(MAX_BYTES),
            max_time: MAX_TIME,
            event_types: Vec::new(),
        };
        source.set_caps(Some(caps));
        // It must be live before it starts.
        StreamProducer::configure_consumer_with(&source, settings.clone());
        let bus = pipeline.bus().expect("a pipeline has a bus");
        bus.set_sync_handler(move |_, message| {
            tell(message);
            gst::BusSyncReply::Drop
        });
        let mut preview = Self {
            layout,
            pipeline,
            link: None,
            directory,
        };
        preview
            .pipeline
            .set_state(gst::State::Playing)
            .context("the preview's pipeline does not start")?;
        for header in stream_headers(caps) {
            source.push_buffer(header)?;
        }
        preview.link = Some(producer.add_consumer_with(&source, settings)?);
        Ok(preview)
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn is_from(&self, message: &gst::Message) -> bool {
        message.src().is_some_and(|src| {
            src == self.pipeline.upcast_ref::<gst::Object>() || src.has_as_ancestor(&self.pipeline)
        })
    }

    /// Whether there is something to play.
    pub fn has_playlist(&self) -> bool {
        self.directory.path().join(PLAYLIST).exists()
    }

    /// Where the web server has it.
    pub fn url(&self) -> String {
        let name = self.directory.path().file_name().unwrap_or_default();
        format!("/preview/{}/{PLAYLIST}", name.to_string_lossy())
    }
}

impl Drop for Preview {
    fn drop(&mut self) {
        self.link = None;
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::error!("a preview's pipeline does not stop");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(video: Option<&str>, audio: Option<&str>) -> anyhow::Result<Layout> {
        gst::init().unwrap();
        let info = gst::Structure::builder("info")
            .field_if_some("video-codec", video)
            .field_if_some("audio-codec", audio)
            .build();
        Layout::of(&info)
    }

    #[test]
    fn codecs_that_a_browser_can_show() {
        let both = layout(Some("H.264"), Some("AAC")).unwrap();
        assert!(both.video && both.audio == Some("aacparse"));
        let enhanced = layout(Some("H.264 (avc1)"), Some("MP3")).unwrap();
        assert!(enhanced.video && enhanced.audio == Some("mpegaudioparse"));
        let sound = layout(None, Some("AAC")).unwrap();
        assert!(!sound.video && sound.audio.is_some());
        for (video, audio, named) in [
            (Some("H.265 (hvc1)"), Some("AAC"), "H.265"),
            (Some("H.264"), Some("Opus (Opus)"), "Opus"),
        ] {
            let error = layout(video, audio).unwrap_err().to_string();
            assert!(error.ends_with(named), "{error}");
        }
        // It would wait for ever.
        assert!(layout(None, None).is_err());
    }
}
