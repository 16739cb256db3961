//! What an audio body says about itself.

use super::enhanced::{
    ExPacket, FourCc, Multitrack, NoTracks, SOUND_FORMAT_EX_HEADER,
    audio_packet_type as packet_type,
};
use std::fmt;

/// The codec of an audio body.
///
/// FLV file format 10.1, E.4.2.1, SoundFormat, unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// 0: linear PCM in the byte order of the platform that made it.
    PcmPlatform,
    /// 1: ADPCM.
    Adpcm,
    /// 2: MP3.
    Mp3,
    /// 3: linear PCM, little endian.
    PcmLittleEndian,
    /// 4: Nellymoser at 16 kHz, mono.
    Nellymoser16k,
    /// 5: Nellymoser at 8 kHz, mono.
    Nellymoser8k,
    /// 6: Nellymoser.
    Nellymoser,
    /// 7: G.711 A-law.
    G711ALaw,
    /// 8: G.711 µ-law.
    G711MuLaw,
    /// 10: AAC.
    Aac,
    /// 11: Speex.
    Speex,
    /// 13: Opus as encoders send it that predate Enhanced RTMP; in no specification.
    Opus,
    /// 14: MP3 at 8 kHz.
    Mp3At8k,
    /// 15: specific to the device that made it.
    DeviceSpecific,
    /// Enhanced RTMP; may be one that no specification knows.
    ///
    /// E-RTMP v2, section "Enhanced Audio", AudioFourCc.
    FourCc(FourCc),
    /// Any other sound format, that is 12.
    Unknown(u8),
    /// The body names no codec: it is empty, or ends before the FourCC.
    Unspecified,
}

impl AudioCodec {
    const fn from_id(id: u8) -> Self {
        match id {
            0 => Self::PcmPlatform,
            1 => Self::Adpcm,
            2 => Self::Mp3,
            3 => Self::PcmLittleEndian,
            4 => Self::Nellymoser16k,
            5 => Self::Nellymoser8k,
            6 => Self::Nellymoser,
            7 => Self::G711ALaw,
            8 => Self::G711MuLaw,
            10 => Self::Aac,
            11 => Self::Speex,
            13 => Self::Opus,
            14 => Self::Mp3At8k,
            15 => Self::DeviceSpecific,
            id => Self::Unknown(id),
        }
    }

    /// A name for people, the same for one codec whichever way it is signalled.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PcmPlatform | Self::PcmLittleEndian => "PCM",
            Self::Adpcm => "ADPCM",
            Self::Mp3 | Self::Mp3At8k | Self::FourCc(FourCc::MP3) => "MP3",
            Self::Nellymoser16k | Self::Nellymoser8k | Self::Nellymoser => "Nellymoser",
            Self::G711ALaw => "G.711 A-law",
            Self::G711MuLaw => "G.711 µ-law",
            Self::Aac | Self::FourCc(FourCc::AAC) => "AAC",
            Self::Speex => "Speex",
            Self::Opus | Self::FourCc(FourCc::OPUS) => "Opus",
            Self::DeviceSpecific => "device specific",
            Self::FourCc(FourCc::AC3) => "AC-3",
            Self::FourCc(FourCc::EAC3) => "E-AC-3",
            Self::FourCc(FourCc::FLAC) => "FLAC",
            Self::FourCc(_) | Self::Unknown(_) => "unknown",
            Self::Unspecified => "unspecified",
        }
    }
}

impl fmt::Display for AudioCodec {
    /// The name, and in parentheses how a codec is signalled that has no id of its own here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FourCc(four_cc) => write!(f, "{} ({four_cc})", self.name()),
            Self::Unknown(id) => write!(f, "{} ({id})", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

/// What an audio body holds.
///
/// FLV file format 10.1, E.4.2.1, AACPacketType; E-RTMP v2, section "Enhanced Audio",
/// AudioPacketType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioPacket {
    /// The configuration that a decoder needs before the first frame.
    SequenceStart,
    /// Frames.
    CodedFrames,
    /// The end of the sequence; Enhanced RTMP only, holds nothing.
    SequenceEnd,
    /// Number and order of the channels; Enhanced RTMP only.
    MultichannelConfig,
    /// Frames of a codec whose header has no packet type.
    Legacy,
    /// A packet type that no specification knows. 5 in an extended header is a reserved layout of
    /// tracks.
    Unknown(u8),
    /// The body ends within its header or within the first track.
    Truncated,
    /// There is no body, which means silence.
    ///
    /// E-RTMP v2, section "Enhanced Audio".
    Empty,
}

impl AudioPacket {
    /// Whether there are frames to decode.
    pub const fn is_coded(self) -> bool {
        matches!(self, Self::CodedFrames | Self::Legacy)
    }

    /// The packet types of an extended header.
    const fn from_ex_header(bits: u8) -> Self {
        match bits {
            packet_type::SEQUENCE_START => Self::SequenceStart,
            packet_type::CODED_FRAMES => Self::CodedFrames,
            packet_type::SEQUENCE_END => Self::SequenceEnd,
            packet_type::MULTICHANNEL_CONFIG => Self::MultichannelConfig,
            bits => Self::Unknown(bits),
        }
    }
}

/// What [`inspect_audio`] found.
///
/// Of a multitrack message it describes the first track: what it says about sequences then holds
/// for that track, which `multitrack` names, and not for the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioTag {
    /// The codec.
    pub codec: AudioCodec,
    /// What the body holds.
    pub packet: AudioPacket,
    /// Samples per second, 5512 to 44 100, as far as the header tells: not for AAC, whose header
    /// always says 44 100, nor with an extended header.
    pub sample_rate: Option<u32>,
    /// Number of channels, 1 or 2, as far as the header tells: not for AAC, whose header always
    /// says 2, nor with an extended header.
    pub channels: Option<u8>,
    /// The layout of tracks and the first of them; `None` for a message that is not multitrack, or
    /// whose tracks can't be read.
    pub multitrack: Option<Multitrack>,
    /// Whether the body has the extended header of Enhanced RTMP.
    pub enhanced: bool,
}

impl AudioTag {
    /// Whether this is the configuration that a decoder needs.
    pub const fn is_sequence_header(&self) -> bool {
        matches!(self.packet, AudioPacket::SequenceStart)
    }

    /// Whether this says that no more frames follow.
    pub const fn is_end_of_sequence(&self) -> bool {
        matches!(self.packet, AudioPacket::SequenceEnd)
    }

    /// [`AudioCodec::name`].
    pub const fn codec_name(&self) -> &'static str {
        self.codec.name()
    }
}

/// Reads the header of an audio body, whatever the bytes are.
///
/// Takes time in proportion to the header, which is a few bytes except for ModEx data, and does not
/// allocate.
pub fn inspect_audio(body: &[u8]) -> AudioTag {
    match body {
        [] => AudioTag {
            codec: AudioCodec::Unspecified,
            packet: AudioPacket::Empty,
            sample_rate: None,
            channels: None,
            multitrack: None,
            enhanced: false,
        },
        [head, ..] if head >> 4 == SOUND_FORMAT_EX_HEADER => inspect_ex_header(body),
        [head, rest @ ..] => inspect_legacy(*head, rest),
    }
}

/// FLV file format 10.1, E.4.2.1.
fn inspect_legacy(head: u8, rest: &[u8]) -> AudioTag {
    let codec = AudioCodec::from_id(head >> 4);
    let packet = match (codec, rest) {
        (AudioCodec::Aac, []) => AudioPacket::Truncated,
        (AudioCodec::Aac, [0, ..]) => AudioPacket::SequenceStart,
        (AudioCodec::Aac, [1, ..]) => AudioPacket::CodedFrames,
        (AudioCodec::Aac, [other, ..]) => AudioPacket::Unknown(*other),
        _ => AudioPacket::Legacy,
    };
    AudioTag {
        codec,
        packet,
        sample_rate: sample_rate(codec, head),
        channels: channels(codec, head),
        multitrack: None,
        enhanced: false,
    }
}

/// SoundRate, unless the codec has a rate of its own.
fn sample_rate(codec: AudioCodec, head: u8) -> Option<u32> {
    match codec {
        AudioCodec::Nellymoser16k | AudioCodec::Speex => Some(16_000),
        AudioCodec::Nellymoser8k
        | AudioCodec::Mp3At8k
        | AudioCodec::G711ALaw
        | AudioCodec::G711MuLaw => Some(8_000),
        AudioCodec::PcmPlatform
        | AudioCodec::Adpcm
        | AudioCodec::Mp3
        | AudioCodec::PcmLittleEndian
        | AudioCodec::Nellymoser => Some(match (head >> 2) & 0x03 {
            0 => 5_512,
            1 => 11_025,
            2 => 22_050,
            _ => 44_100,
        }),
        _ => None,
    }
}

/// SoundType, unless the codec has a number of channels of its own.
fn channels(codec: AudioCodec, head: u8) -> Option<u8> {
    match codec {
        AudioCodec::Nellymoser16k | AudioCodec::Nellymoser8k | AudioCodec::Speex => Some(1),
        AudioCodec::PcmPlatform
        | AudioCodec::Adpcm
        | AudioCodec::Mp3
        | AudioCodec::PcmLittleEndian
        | AudioCodec::Nellymoser
        | AudioCodec::G711ALaw
        | AudioCodec::G711MuLaw
        | AudioCodec::Mp3At8k => Some(1 + (head & 0x01)),
        _ => None,
    }
}

/// E-RTMP v2, section "Enhanced Audio", ExAudioTagHeader.
fn inspect_ex_header(body: &[u8]) -> AudioTag {
    let mut tag = AudioTag {
        codec: AudioCodec::Unspecified,
        packet: AudioPacket::Truncated,
        sample_rate: None,
        channels: None,
        multitrack: None,
        enhanced: true,
    };
    let mut ex = match ExPacket::audio(body) {
        Ok(ex) => ex,
        Err(NoTracks::UnknownMultitrack(_)) => {
            tag.packet = AudioPacket::Unknown(packet_type::MULTITRACK);
            return tag;
        }
        Err(NoTracks::Truncated | NoTracks::NotEnhanced | NoTracks::Command) => return tag,
    };
    let Some(Ok(track)) = ex.tracks.next() else {
        return tag;
    };
    tag.codec = AudioCodec::FourCc(track.four_cc);
    tag.packet = AudioPacket::from_ex_header(ex.packet_type);
    tag.multitrack = ex.multitrack.map(|kind| Multitrack {
        kind,
        first_track: track.id,
    });
    tag
}

#[cfg(test)]
mod tests {
    use super::{AudioCodec as C, AudioPacket as P, *};
    use crate::flv::MultitrackKind;
    use proptest::prelude::*;

    const fn legacy(
        codec: C,
        packet: P,
        sample_rate: Option<u32>,
        channels: Option<u8>,
    ) -> AudioTag {
        AudioTag {
            codec,
            packet,
            sample_rate,
            channels,
            multitrack: None,
            enhanced: false,
        }
    }

    const fn enhanced(codec: C, packet: P) -> AudioTag {
        AudioTag {
            codec,
            packet,
            sample_rate: None,
            channels: None,
            multitrack: None,
            enhanced: true,
        }
    }

    const fn multitrack(kind: MultitrackKind, first_track: u8, tag: AudioTag) -> AudioTag {
        AudioTag {
            multitrack: Some(Multitrack { kind, first_track }),
            ..tag
        }
    }

    /// A name, a body, how many bytes of it tell all that is expected, and what is expected.
    type Case = (&'static str, &'static [u8], usize, AudioTag);

    #[rustfmt::skip]
    const CASES: &[Case] = &[
        ("PCM of the platform, 5.5 kHz mono", b"\x02data", 1, legacy(C::PcmPlatform, P::Legacy, Some(5512), Some(1))),
        ("ADPCM, 22 kHz mono", b"\x1adata", 1, legacy(C::Adpcm, P::Legacy, Some(22050), Some(1))),
        ("MP3, 44 kHz stereo", b"\x2fdata", 1, legacy(C::Mp3, P::Legacy, Some(44100), Some(2))),
        ("MP3, 11 kHz stereo", b"\x27data", 1, legacy(C::Mp3, P::Legacy, Some(11025), Some(2))),
        ("PCM, little endian, 8 bits", b"\x3ddata", 1, legacy(C::PcmLittleEndian, P::Legacy, Some(44100), Some(2))),
        ("Nellymoser 16 kHz", b"\x4fdata", 1, legacy(C::Nellymoser16k, P::Legacy, Some(16000), Some(1))),
        ("Nellymoser 8 kHz", b"\x5fdata", 1, legacy(C::Nellymoser8k, P::Legacy, Some(8000), Some(1))),
        ("Nellymoser, 22 kHz", b"\x6adata", 1, legacy(C::Nellymoser, P::Legacy, Some(22050), Some(1))),
        ("A-law", b"\x72data", 1, legacy(C::G711ALaw, P::Legacy, Some(8000), Some(1))),
        ("µ-law stereo", b"\x83data", 1, legacy(C::G711MuLaw, P::Legacy, Some(8000), Some(2))),
        ("Speex", b"\xb2data", 1, legacy(C::Speex, P::Legacy, Some(16000), Some(1))),
        ("format that nobody uses", b"\xc0data", 1, legacy(C::Unknown(12), P::Legacy, None, None)),
        ("Opus by id", b"\xd0data", 1, legacy(C::Opus, P::Legacy, None, None)),
        ("MP3 8 kHz", b"\xefdata", 1, legacy(C::Mp3At8k, P::Legacy, Some(8000), Some(2))),
        ("device specific", b"\xffdata", 1, legacy(C::DeviceSpecific, P::Legacy, None, None)),
        ("AAC sequence header", b"\xaf\x00\x12\x10", 2, legacy(C::Aac, P::SequenceStart, None, None)),
        ("AAC frame", b"\xaf\x01data", 2, legacy(C::Aac, P::CodedFrames, None, None)),
        ("AAC, unknown packet type", b"\xaf\x02data", 2, legacy(C::Aac, P::Unknown(2), None, None)),
        ("enhanced AC-3 sequence header", b"\x90ac-3data", 5, enhanced(C::FourCc(FourCc::AC3), P::SequenceStart)),
        ("enhanced AC-3 frame", b"\x91ac-3data", 5, enhanced(C::FourCc(FourCc::AC3), P::CodedFrames)),
        ("enhanced AC-3 end of sequence", b"\x92ac-3", 5, enhanced(C::FourCc(FourCc::AC3), P::SequenceEnd)),
        ("enhanced E-AC-3 sequence header", b"\x90ec-3data", 5, enhanced(C::FourCc(FourCc::EAC3), P::SequenceStart)),
        ("enhanced E-AC-3 frame", b"\x91ec-3data", 5, enhanced(C::FourCc(FourCc::EAC3), P::CodedFrames)),
        ("enhanced E-AC-3 end of sequence", b"\x92ec-3", 5, enhanced(C::FourCc(FourCc::EAC3), P::SequenceEnd)),
        ("enhanced Opus sequence header", b"\x90Opusdata", 5, enhanced(C::FourCc(FourCc::OPUS), P::SequenceStart)),
        ("enhanced Opus frame", b"\x91Opusdata", 5, enhanced(C::FourCc(FourCc::OPUS), P::CodedFrames)),
        ("enhanced Opus end of sequence", b"\x92Opus", 5, enhanced(C::FourCc(FourCc::OPUS), P::SequenceEnd)),
        ("enhanced MP3 sequence header", b"\x90.mp3data", 5, enhanced(C::FourCc(FourCc::MP3), P::SequenceStart)),
        ("enhanced MP3 frame", b"\x91.mp3data", 5, enhanced(C::FourCc(FourCc::MP3), P::CodedFrames)),
        ("enhanced MP3 end of sequence", b"\x92.mp3", 5, enhanced(C::FourCc(FourCc::MP3), P::SequenceEnd)),
        ("enhanced FLAC sequence header", b"\x90fLaCdata", 5, enhanced(C::FourCc(FourCc::FLAC), P::SequenceStart)),
        ("enhanced FLAC frame", b"\x91fLaCdata", 5, enhanced(C::FourCc(FourCc::FLAC), P::CodedFrames)),
        ("enhanced FLAC end of sequence", b"\x92fLaC", 5, enhanced(C::FourCc(FourCc::FLAC), P::SequenceEnd)),
        ("enhanced AAC sequence header", b"\x90mp4adata", 5, enhanced(C::FourCc(FourCc::AAC), P::SequenceStart)),
        ("enhanced AAC frame", b"\x91mp4adata", 5, enhanced(C::FourCc(FourCc::AAC), P::CodedFrames)),
        ("enhanced AAC end of sequence", b"\x92mp4a", 5, enhanced(C::FourCc(FourCc::AAC), P::SequenceEnd)),
        ("multichannel configuration", b"\x94Opus\x01\x06\x00\x00\x00\x3f", 5, enhanced(C::FourCc(FourCc::OPUS), P::MultichannelConfig)),
        ("unknown packet type", b"\x93Opusdata", 5, enhanced(C::FourCc(FourCc::OPUS), P::Unknown(3))),
        ("unknown FourCC", b"\x91\xff\xfe\xfd\xfcdata", 5, enhanced(C::FourCc(FourCc([0xff, 0xfe, 0xfd, 0xfc])), P::CodedFrames)),
        ("nanoseconds", b"\x97\x02\x00\x00\x01\x01mp4adata", 10, enhanced(C::FourCc(FourCc::AAC), P::CodedFrames)),
        ("one track", b"\x95\x01mp4a\x01data", 7, multitrack(MultitrackKind::OneTrack, 1, enhanced(C::FourCc(FourCc::AAC), P::CodedFrames))),
        ("many tracks", b"\x95\x10mp4a\x00\x00\x00\x02\x12\x10\x01\x00\x00\x02\x11\x90", 12, multitrack(MultitrackKind::ManyTracks, 0, enhanced(C::FourCc(FourCc::AAC), P::SequenceStart))),
        ("many codecs", b"\x95\x21Opus\x02\x00\x00\x01dmp4a\x00\x00\x00\x01d", 11, multitrack(MultitrackKind::ManyTracksManyCodecs, 2, enhanced(C::FourCc(FourCc::OPUS), P::CodedFrames))),
        ("reserved layout of tracks", b"\x95\xf1mp4adata", 2, enhanced(C::Unspecified, P::Unknown(5))),
    ];

    #[test]
    fn bodies_of_every_codec() {
        for (name, body, _, expected) in CASES {
            assert_eq!(inspect_audio(body), *expected, "{name}");
        }
    }

    #[test]
    fn truncated_bodies() {
        for (name, body, header, expected) in CASES {
            assert_eq!(inspect_audio(&body[..0]).packet, AudioPacket::Empty);
            for end in 1..*header {
                let tag = inspect_audio(&body[..end]);
                assert_eq!(tag.packet, AudioPacket::Truncated, "{name}, cut at {end}");
                assert_eq!(tag.enhanced, expected.enhanced, "{name}, cut at {end}");
            }
            for end in *header..body.len() {
                assert_eq!(
                    inspect_audio(&body[..end]),
                    *expected,
                    "{name}, cut at {end}"
                );
            }
        }
    }

    #[test]
    fn roles() {
        type Case<'a> = (&'a str, &'a [u8], (bool, bool));
        let cases: &[Case] = &[
            ("AAC sequence header", b"\xaf\x00\x12\x10", (true, false)),
            ("AAC frame", b"\xaf\x01d", (false, false)),
            ("MP3 frame that starts with 0", b"\x2f\x00", (false, false)),
            ("enhanced sequence header", b"\x90Opusd", (true, false)),
            ("enhanced frame", b"\x91Opusd", (false, false)),
            ("enhanced end of sequence", b"\x92Opus", (false, true)),
            (
                "multichannel configuration",
                b"\x94Opus\x00\x02",
                (false, false),
            ),
            ("silence", b"", (false, false)),
        ];
        for (name, body, expected) in cases {
            let tag = inspect_audio(body);
            let role = (tag.is_sequence_header(), tag.is_end_of_sequence());
            assert_eq!(role, *expected, "{name}");
        }
    }

    #[test]
    fn codec_names() {
        let display = |body| inspect_audio(body).codec.to_string();
        assert_eq!(display(b"\xaf"), "AAC");
        assert_eq!(display(b"\x90mp4a"), "AAC (mp4a)");
        assert_eq!(display(b"\x90a\nb\0"), "unknown (a\\nb\\x00)");
        assert_eq!(display(b"\xc0"), "unknown (12)");
        assert_eq!(display(b""), "unspecified");
        assert_eq!(inspect_audio(b"\x90mp4a").codec_name(), "AAC");
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body: Vec<u8>) {
            let tag = inspect_audio(&body);
            prop_assert_eq!(tag.enhanced, body.first().is_some_and(|&head| head >> 4 == 9));
            prop_assert_eq!(tag.packet == AudioPacket::Empty, body.is_empty());
        }

        #[test]
        fn known_bodies_with_a_wrong_byte_are_safe(
            case in any::<proptest::sample::Index>(),
            at in any::<proptest::sample::Index>(),
            byte: u8,
        ) {
            let mut body = case.get(CASES).1.to_vec();
            *at.get_mut(&mut body) = byte;
            prop_assert_ne!(inspect_audio(&body).packet, AudioPacket::Empty);
        }
    }
}
