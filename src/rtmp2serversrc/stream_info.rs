//! What a publisher's stream is, as far as its headers and metadata tell.

use std::time::{Duration, Instant};

use super::limiter::Limiter;
use crate::amf0::{Decoder, Value};
use crate::flv::enhanced::ExPacket;
use crate::flv::{self, AudioCodec, AudioTag, VideoCodec, VideoTag};

/// Longer metadata are not read: real ones have less than 4 KiB.
const MAX_METADATA: usize = 64 << 10;
/// What is announced at once, and how often after that: a publisher could make any
/// number of changes, and the application may not read its bus.
const BURST: u32 = 8;
const INTERVAL: Duration = Duration::from_secs(1);

/// A publisher's stream. What is not known is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct StreamInfo {
    video_codec: Option<VideoCodec>,
    audio_codec: Option<AudioCodec>,
    /// By the decoder's configuration, which counts more than what metadata say.
    picture: Option<(u32, u32)>,
    /// Rate and channels, likewise.
    sound: Option<(u32, u32)>,
    metadata: Metadata,
}

/// The parts of `onMetaData` that describe the stream.
///
/// FLV file format 10.1, E.5.
#[derive(Debug, Clone, Default, PartialEq)]
struct Metadata {
    picture: Option<(u32, u32)>,
    framerate: Option<f64>,
    audio_rate: Option<u32>,
    audio_channels: Option<u32>,
    encoder: Option<String>,
}

impl StreamInfo {
    /// Whether there may be news of it.
    fn video(&mut self, tag: &VideoTag, body: &[u8]) -> bool {
        let is_new = tag.codec != VideoCodec::Unspecified && self.video_codec != Some(tag.codec);
        if is_new {
            self.video_codec = Some(tag.codec);
            self.picture = None;
        }
        if tag.is_sequence_header() {
            let is_avc = tag.codec_name() == VideoCodec::Avc.name();
            self.picture = match is_avc {
                true => configuration(ExPacket::video(body).ok(), body, 5)
                    .and_then(flv::avc_picture_size),
                false => None,
            };
        }
        is_new || tag.is_sequence_header()
    }

    /// Whether there may be news of it.
    fn audio(&mut self, tag: &AudioTag, body: &[u8]) -> bool {
        let is_new = tag.codec != AudioCodec::Unspecified && self.audio_codec != Some(tag.codec);
        let before = self.sound;
        if is_new {
            self.audio_codec = Some(tag.codec);
            self.sound = None;
        }
        if tag.is_sequence_header() {
            let is_aac = tag.codec_name() == AudioCodec::Aac.name();
            self.sound = match is_aac {
                true => {
                    configuration(ExPacket::audio(body).ok(), body, 2).and_then(flv::aac_format)
                }
                false => None,
            };
        } else if let (Some(rate), Some(channels)) = (tag.sample_rate, tag.channels) {
            self.sound = Some((rate, channels.into()));
        }
        is_new || self.sound != before
    }

    /// The codecs that were seen, for people: `H.264, AAC`.
    pub fn codecs(&self) -> String {
        let video = self.video_codec.map(VideoCodec::name);
        let audio = self.audio_codec.map(AudioCodec::name);
        let names: Vec<&str> = video.into_iter().chain(audio).collect();
        names.join(", ")
    }

    /// Adds what is known to a structure.
    pub fn describe(&self, structure: &mut gst::StructureRef) {
        if let Some(codec) = self.video_codec {
            structure.set("video-codec", codec.to_string());
        }
        if let Some((width, height)) = self.picture.or(self.metadata.picture) {
            structure.set("width", width as i32);
            structure.set("height", height as i32);
        }
        let framerate = self.metadata.framerate;
        if let Some(framerate) = framerate.and_then(gst::Fraction::approximate_f64) {
            structure.set("framerate", framerate);
        }
        if let Some(codec) = self.audio_codec {
            structure.set("audio-codec", codec.to_string());
        }
        let (rate, channels) = self.sound.unzip();
        if let Some(rate) = rate.or(self.metadata.audio_rate) {
            structure.set("audio-rate", rate as i32);
        }
        let channels = channels.filter(|&channels| channels > 0);
        if let Some(channels) = channels.or(self.metadata.audio_channels) {
            structure.set("audio-channels", channels as i32);
        }
        if let Some(encoder) = &self.metadata.encoder {
            structure.set("encoder", encoder);
        }
    }
}

/// The configuration in a sequence header: behind the extended header, or behind
/// the `legacy` bytes of the classic one.
fn configuration<'a>(ex: Option<ExPacket<'a>>, body: &'a [u8], legacy: usize) -> Option<&'a [u8]> {
    match ex {
        Some(mut ex) => ex.tracks.next()?.ok().map(|track| track.payload),
        None => body.get(legacy..),
    }
}

impl Metadata {
    /// Reads a script tag's body; `None` if it is not `onMetaData`.
    fn read(body: &[u8]) -> Option<Self> {
        if body.len() > MAX_METADATA || flv::script_name(body) != Some(b"onMetaData") {
            return None;
        }
        let mut values = Decoder::new(body);
        let _name = values.next_value().ok()?;
        let values = values.next_value().ok()??;
        let object = values.as_object()?;
        let number = |name, max: f64| {
            let number = object.get(name).and_then(Value::as_number);
            number.filter(|&number| number > 0.0 && number <= max)
        };
        let integer = |name, max| number(name, max).map(|number| number as u32);
        let stereo = object.get("stereo").and_then(Value::as_bool);
        Some(Self {
            picture: integer("width", 65_535.0).zip(integer("height", 65_535.0)),
            framerate: number("framerate", 1000.0),
            audio_rate: integer("audiosamplerate", 768_000.0),
            audio_channels: integer("audiochannels", 255.0)
                .or_else(|| stereo.map(|stereo| if stereo { 2 } else { 1 })),
            encoder: object
                .get("encoder")
                .and_then(Value::as_str)
                // Some would take a NUL for the end, others for a mistake of ours.
                .map(|text| text.chars().filter(|&c| c != '\0').take(256).collect()),
        })
    }
}

/// Follows one publisher's stream, and says when there is news.
#[derive(Debug)]
pub(super) struct Watch {
    info: StreamInfo,
    announced: StreamInfo,
    /// They may differ: to compare them with every frame costs more than all the rest of it.
    may_differ: bool,
    limiter: Limiter,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            info: StreamInfo::default(),
            announced: StreamInfo::default(),
            may_differ: false,
            limiter: Limiter::new(BURST, INTERVAL),
        }
    }
}

impl Watch {
    pub fn info(&self) -> &StreamInfo {
        &self.info
    }

    pub fn video(&mut self, tag: &VideoTag, body: &[u8]) {
        self.may_differ |= self.info.video(tag, body);
    }

    pub fn audio(&mut self, tag: &AudioTag, body: &[u8]) {
        self.may_differ |= self.info.audio(tag, body);
    }

    pub fn script(&mut self, body: &[u8]) {
        if let Some(metadata) = Metadata::read(body) {
            self.info.metadata = metadata;
            self.may_differ = true;
        }
    }

    /// What to announce with a frame at `now`, if anything has changed.
    pub fn news(&mut self, now: Instant) -> Option<StreamInfo> {
        if !self.may_differ {
            return None;
        }
        if self.info == self.announced {
            self.may_differ = false;
            return None;
        }
        self.limiter.pass(now)?;
        self.may_differ = false;
        self.announced = self.info.clone();
        Some(self.info.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(info: &StreamInfo) -> String {
        gst::init().unwrap();
        let mut structure = gst::Structure::new_empty("x");
        info.describe(&mut structure);
        structure.to_string()
    }

    fn watch(bodies: &[(char, &[u8])]) -> Watch {
        let mut watch = Watch::default();
        for &(kind, body) in bodies {
            match kind {
                'v' => watch.video(&flv::inspect_video(body), body),
                'a' => watch.audio(&flv::inspect_audio(body), body),
                _ => watch.script(body),
            }
        }
        watch
    }

    const SPS: &[u8] = &[
        1, 0x42, 0xc0, 0x0b, 0xff, 0xe1, 0, 0x17, 0x67, 0x42, 0xc0, 0x0b, 0xd9, 0x02, 0x84, 0x7e,
        0x5c, 0x04, 0x40, 0, 0, 3, 0, 4, 0, 0, 3, 0, 0xf0, 0x3c, 0x50, 0xa9, 0x20,
    ];

    fn metadata(values: &[(&str, Value)]) -> Vec<u8> {
        let mut object = crate::amf0::Object::new();
        for (name, value) in values {
            object.insert(*name, value.clone());
        }
        let mut body = bytes::BytesMut::new();
        crate::amf0::encode_all(&["onMetaData".into(), object.into()], &mut body);
        body.to_vec()
    }

    #[test]
    fn configurations_count_more_than_metadata() {
        gst::init().unwrap();
        let wrong = metadata(&[
            ("width", 99.0.into()),
            ("height", 99.0.into()),
            ("framerate", 29.97.into()),
            ("audiosamplerate", 8000.0.into()),
            ("stereo", true.into()),
            ("encoder", "Lavf".into()),
        ]);
        let legacy = [&[0x17, 0, 0, 0, 0], SPS].concat();
        let enhanced = [b"\x90avc1", SPS].concat();
        for (video, video_name) in [(legacy, "H.264"), (enhanced, "H.264 (avc1)")] {
            let seen = watch(&[('s', &wrong), ('v', &video), ('a', b"\xaf\0\x12\x08")]);
            let mut structure = gst::Structure::new_empty("x");
            seen.info().describe(&mut structure);
            assert_eq!(structure.get("video-codec"), Ok(video_name));
            let text = described(seen.info());
            for part in [
                "width=(int)160, height=(int)120",
                "framerate=(fraction)2997/100",
                "audio-codec=(string)AAC",
                "audio-rate=(int)44100, audio-channels=(int)1",
                "encoder=(string)Lavf",
            ] {
                assert!(text.contains(part), "{part}: {text}");
            }
            assert_eq!(seen.info().codecs(), "H.264, AAC");
        }
    }

    #[test]
    fn metadata_fill_in() {
        let sized = metadata(&[
            ("width", 1280.0.into()),
            ("height", 720.0.into()),
            ("audiochannels", 2.0.into()),
            ("audiosamplerate", 48000.0.into()),
        ]);
        let seen = watch(&[
            ('s', &sized),
            ('v', b"\x90hvc1\x01"),
            ('a', b"\x90OpusOpusHead"),
        ]);
        let text = described(seen.info());
        assert!(text.contains("width=(int)1280, height=(int)720"), "{text}");
        assert!(
            text.contains("audio-rate=(int)48000, audio-channels=(int)2"),
            "{text}"
        );
        assert_eq!(seen.info().codecs(), "H.265, Opus");
    }

    #[test]
    fn what_a_legacy_header_tells() {
        let seen = watch(&[('v', b"\x22\0"), ('a', b"\x2e\xff\xfb")]);
        assert_eq!(seen.info().codecs(), "Sorenson H.263, MP3");
        assert!(described(seen.info()).contains("audio-rate=(int)44100, audio-channels=(int)1"));
    }

    #[test]
    fn what_metadata_may_not_say() {
        for bad in [0.0, -1.0, 1e9, f64::NAN, f64::INFINITY] {
            let body = metadata(&[("width", bad.into()), ("height", 5.0.into())]);
            assert_eq!(
                watch(&[('s', &body)]).info().metadata.picture,
                None,
                "{bad}"
            );
        }
        let text = metadata(&[("width", "1280".into())]);
        assert_eq!(watch(&[('s', &text)]).info().metadata.picture, None);
        let long = "x".repeat(MAX_METADATA);
        let body = metadata(&[("encoder", long[..1000].into())]);
        let encoder = watch(&[('s', &body)]).info().metadata.encoder.clone();
        assert_eq!(encoder.unwrap().len(), 256);
        let body = metadata(&[("encoder", long.into())]);
        assert_eq!(watch(&[('s', &body)]).info().metadata.encoder, None);
    }

    #[test]
    fn news_once_and_not_too_often() {
        let mut watch = watch(&[('v', b"\x27\x01\0\0\0")]);
        let start = Instant::now();
        assert_eq!(watch.news(start).unwrap().codecs(), "H.264");
        assert_eq!(watch.news(start), None);
        let mut told = 0;
        for i in 0..10_000 {
            // MP3 and AAC in turn.
            let body: &[u8] = if i % 2 == 0 { b"\x2f\xff" } else { b"\xaf\x01" };
            watch.audio(&flv::inspect_audio(body), body);
            told += u32::from(watch.news(start + Duration::from_millis(i)).is_some());
        }
        // With the one above.
        assert_eq!(1 + told, 8 + 9);
    }
}
