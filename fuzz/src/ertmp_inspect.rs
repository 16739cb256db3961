use gstrtmp2server::flv::enhanced::ExPacket;
use gstrtmp2server::flv::legacy::{Legacy, Rewrite, to_legacy_audio, to_legacy_video};
use gstrtmp2server::flv::{
    self, TAG_HEADER_SIZE, TAG_TRAILER_SIZE, TagKind, VideoPacket, inspect_audio, inspect_video,
};

/// The first byte says whether it is an audio or a video body.
pub fn ertmp_inspect(data: &[u8]) {
    let Some((&kind, body)) = data.split_first() else {
        return;
    };
    let _ = flv::script_name(body);
    let _ = flv::aac_format(body);
    if let Some((width, height)) = flv::avc_picture_size(body) {
        assert!((1..=65_535).contains(&width) && (1..=65_535).contains(&height));
    }
    match kind & 1 {
        0 => audio(body),
        _ => video(body),
    }
}

fn video(body: &[u8]) {
    let tag = inspect_video(body);
    assert_eq!(tag.packet == VideoPacket::Empty, body.is_empty());
    if let Ok(ex) = ExPacket::video(body) {
        assert!(tag.enhanced);
        check_tracks(ex, body);
    }
    if let Legacy::Rewrite(rewriting) = to_legacy_video(body) {
        assert!(tag.enhanced);
        let legacy = rewrite(body, &rewriting, TagKind::Video);
        let again = inspect_video(&legacy);
        assert!(!again.enhanced);
        // Of a multitrack message, inspection is of the first track and not of
        // the main one.
        if tag.multitrack.is_none() {
            assert_eq!(again.is_key_frame(), tag.is_key_frame());
            assert_eq!(again.is_sequence_header(), tag.is_sequence_header());
            assert_eq!(again.composition_time_ms, tag.composition_time_ms);
            assert_eq!(again.codec_name(), tag.codec_name());
        }
        // What was rewritten is never rewritten again, nor refused.
        assert_eq!(to_legacy_video(&legacy), Legacy::AsIs);
    }
}

fn audio(body: &[u8]) {
    let tag = inspect_audio(body);
    if let Ok(ex) = ExPacket::audio(body) {
        assert!(tag.enhanced);
        check_tracks(ex, body);
    }
    if let Legacy::Rewrite(rewriting) = to_legacy_audio(body) {
        assert!(tag.enhanced);
        let legacy = rewrite(body, &rewriting, TagKind::Audio);
        let again = inspect_audio(&legacy);
        assert!(!again.enhanced);
        if tag.multitrack.is_none() {
            assert_eq!(again.is_sequence_header(), tag.is_sequence_header());
            assert_eq!(again.codec_name(), tag.codec_name());
        }
        assert_eq!(to_legacy_audio(&legacy), Legacy::AsIs);
    }
}

/// Tracks lie in the body, one behind the other.
fn check_tracks(ex: ExPacket<'_>, body: &[u8]) {
    if let Some(offset) = ex.nanosecond_offset {
        assert!(offset <= 999_999);
    }
    assert!(ex.packet_type < 16);
    let mut end = 1;
    let mut truncated = false;
    for track in ex.tracks {
        assert!(!truncated, "an error is the last");
        let Ok(track) = track else {
            truncated = true;
            continue;
        };
        let start = track.payload.as_ptr().addr() - body.as_ptr().addr();
        assert!(end <= start);
        end = start + track.payload.len();
    }
    assert!(end <= body.len());
    if ex.multitrack.is_none() {
        assert_eq!(end, body.len());
    }
}

/// Rewrites a body as the element does, in front of which there is room for a tag
/// header, and frames it.
fn rewrite(body: &[u8], rewriting: &Rewrite, kind: TagKind) -> Vec<u8> {
    const SPARE: u8 = 0xEE;
    let mut tag = [&[SPARE; TAG_HEADER_SIZE], body].concat();
    rewriting.apply(&mut tag, TAG_HEADER_SIZE);
    assert!(tag.len() <= TAG_HEADER_SIZE + body.len(), "it grew");
    assert_eq!(tag[..TAG_HEADER_SIZE], [SPARE; TAG_HEADER_SIZE]);
    let legacy = tag[TAG_HEADER_SIZE..].to_vec();
    flv::frame(&mut tag, kind, 1).expect("a body no longer than it was");
    assert_eq!(tag.len(), TAG_HEADER_SIZE + legacy.len() + TAG_TRAILER_SIZE);
    legacy
}
