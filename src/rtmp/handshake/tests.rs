use super::digest::Scheme;
use super::sha256::hmac;
use super::*;

const SEED: [u8; 32] = *b"every connection has another one";
const FFMPEG: &[u8] = include_bytes!("../../../tests/fixtures/client-ff5-bframes.bin");
const OBS: &[u8] = include_bytes!("../../../tests/fixtures/client-obs29.bin");

// Written once more, apart from the code under test.
const PLAYER: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER: &[u8] = b"Genuine Adobe Flash Media Server 001\
    \xF0\xEE\xC2\x4A\x80\x68\xBE\xE8\x2E\x00\xD0\xD1\x02\x9E\x7E\x57\
    \x6E\xEC\x5D\x2D\x29\x80\x6F\xAB\x93\xB8\xE6\x36\xCF\xEB\x31\xAE";

/// Where the digest is, given where the four bytes of its offset are.
fn digest_position(packet: &[u8], at: usize) -> usize {
    let sum: usize = packet[at..at + 4]
        .iter()
        .map(|&byte| usize::from(byte))
        .sum();
    sum % 728 + at + 4
}

fn digest_of(packet: &[u8], position: usize, key: &[u8]) -> [u8; 32] {
    hmac(
        key,
        &[&[&packet[..position], &packet[position + 32..]].concat()],
    )
}

/// A client's C0 and C1 with the digest in the half that starts at `at`.
fn signed_hello(at: usize, fill: u8) -> Vec<u8> {
    let mut c1 = vec![fill; PACKET];
    c1[..8].copy_from_slice(&[0, 0, 0, 0, 10, 0, 45, 2]);
    let position = digest_position(&c1, at);
    let digest = digest_of(&c1, position, PLAYER);
    c1[position..position + 32].copy_from_slice(&digest);
    [&[3], c1.as_slice()].concat()
}

/// S1 and S2 in answer to C0 and C1.
fn answer_to(hello: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut input = hello;
    let mut output = BytesMut::new();
    let progress = ServerHandshake::new(SEED).read(&mut input, &mut output);
    assert_eq!(progress, Ok(Progress::NeedMore));
    assert_eq!(input, []);
    assert_eq!(output.len(), 1 + 2 * PACKET);
    assert_eq!(output[0], 3);
    (
        output[1..1 + PACKET].to_vec(),
        output[1 + PACKET..].to_vec(),
    )
}

/// The checks of ffmpeg's rtmp_handshake() when it reads a stream. Returns the half in which it
/// finds the server's digest.
fn ffmpeg_accepts(hello: &[u8], at: usize, s1: &[u8], s2: &[u8]) -> Option<usize> {
    assert!(s1[4] >= 3, "no check below Flash Media Server 3");
    let found = [772, 8].into_iter().find(|&half| {
        let position = digest_position(s1, half);
        s1[position..position + 32] == digest_of(s1, position, &SERVER[..36])
    })?;
    let c1 = &hello[1..];
    let position = digest_position(c1, at);
    let key = hmac(SERVER, &[&c1[position..position + 32]]);
    (s2[1504..] == hmac(&key, &[&s2[..1504]])).then_some(found)
}

fn is_simple(hello: &[u8]) -> bool {
    let (s1, s2) = answer_to(hello);
    let simple = s2 == hello[1..];
    assert_eq!(simple, s1[..8] == [0; 8], "S1 and S2 disagree");
    simple
}

#[test]
fn both_schemes_pass_the_checks_of_ffmpeg() {
    // The fill moves the offset about: 0, the last place, and around the modulus.
    for fill in [0, 1, 181, 182, 183, 255] {
        for at in [8, 772] {
            let hello = signed_hello(at, fill);
            let (s1, s2) = answer_to(&hello);
            assert_eq!(
                ffmpeg_accepts(&hello, at, &s1, &s2),
                Some(at),
                "fill {fill}"
            );
        }
    }
}

/// Every offset that four bytes can state keeps the digest inside the packet.
#[test]
fn every_offset_fits() {
    for (scheme, at) in [(Scheme::DigestFirst, 8), (Scheme::KeyFirst, 772)] {
        for sum in 0..=4 * 255usize {
            let mut s1 = [0; PACKET];
            for (index, byte) in s1[at..at + 4].iter_mut().enumerate() {
                *byte = u8::try_from(sum.saturating_sub(index * 255).min(255)).unwrap();
            }
            digest::sign_s1(&mut s1, scheme);
            let position = digest_position(&s1, at);
            assert_eq!(position, at + 4 + sum % 728);
            let digest = digest_of(&s1, position, &SERVER[..36]);
            assert_eq!(s1[position..position + 32], digest);
        }
    }
}

#[test]
fn recorded_ffmpeg_gets_the_digest_handshake() {
    let hello = &FFMPEG[..1 + PACKET];
    let (s1, s2) = answer_to(hello);
    assert_eq!(ffmpeg_accepts(hello, 8, &s1, &s2), Some(8));
}

#[test]
fn recorded_obs_gets_the_simple_handshake() {
    let hello = &OBS[..1 + PACKET];
    assert!(is_simple(hello));
    let (s1, _) = answer_to(hello);
    assert!(
        s1[8..].windows(8).all(|bytes| bytes != [0; 8]),
        "no random part"
    );
}

#[test]
fn a_version_without_a_valid_digest_is_simple() {
    let mut hello = signed_hello(8, 5);
    assert!(!is_simple(&hello));
    hello[1500] ^= 1;
    assert!(is_simple(&hello));
}

#[test]
fn version_zero_is_simple_whatever_else_there_is() {
    let mut c1 = [0; PACKET];
    let position = digest_position(&c1, 8);
    let digest = digest_of(&c1, position, PLAYER);
    c1[position..position + 32].copy_from_slice(&digest);
    assert!(digest::find(&c1).is_some());
    assert!(is_simple(&[&[3], c1.as_slice()].concat()));
}

#[test]
fn the_seed_is_what_differs() {
    let hello = &OBS[..1 + PACKET];
    let with = |seed| {
        let mut output = BytesMut::new();
        ServerHandshake::new(seed)
            .read(&mut &*hello, &mut output)
            .unwrap();
        output
    };
    assert_eq!(with(SEED), with(SEED));
    assert_ne!(with(SEED), with([0; 32]));
}

/// Feeds `data` in the given pieces, as a connection does. Returns what is sent and what remains.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (BytesMut, Vec<u8>, Progress) {
    let mut handshake = ServerHandshake::new(SEED);
    let (mut buffer, mut output) = (Vec::new(), BytesMut::new());
    let mut progress = Progress::NeedMore;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let mut input = buffer.as_slice();
        progress = handshake.read(&mut input, &mut output).expect("RTMP");
        let consumed = buffer.len() - input.len();
        buffer.drain(..consumed);
        if progress == Progress::NeedMore {
            assert!(buffer.len() <= PACKET);
        }
    }
    (output, buffer, progress)
}

#[test]
fn any_split_gives_the_same() {
    for recording in [FFMPEG, OBS] {
        // The handshake and the start of the chunks, which must be left alone.
        let data = &recording[..1 + 2 * PACKET + 100];
        let whole = feed([data]);
        assert_eq!(whole.0.len(), 1 + 2 * PACKET);
        assert_eq!(whole.1, data[1 + 2 * PACKET..]);
        assert_eq!(whole.2, Progress::Done);
        for split in 0..=data.len() {
            let (left, right) = data.split_at(split);
            assert_eq!(feed([left, right]), whole, "split at {split}");
        }
        for size in [1, 2, 3, 100, 1535, 1536, 1537] {
            assert_eq!(feed(data.chunks(size)), whole, "pieces of {size}");
        }
    }
}

#[test]
fn the_answer_waits_for_the_whole_c1_only() {
    let (output, rest, progress) = feed([&OBS[..PACKET]]);
    assert_eq!(
        (output.len(), rest.len(), progress),
        (0, PACKET, Progress::NeedMore)
    );
    let (output, rest, progress) = feed([&OBS[..1 + PACKET]]);
    assert_eq!(
        (output.len(), rest.len(), progress),
        (1 + 2 * PACKET, 0, Progress::NeedMore)
    );
    let (_, rest, progress) = feed([&OBS[..2 * PACKET]]);
    assert_eq!((rest.len(), progress), (PACKET - 1, Progress::NeedMore));
}

#[test]
fn any_c2_will_do() {
    for c2 in [[0; PACKET], [0xFF; PACKET]] {
        let (_, rest, progress) = feed([&OBS[..1 + PACKET], &c2]);
        assert_eq!((rest.len(), progress), (0, Progress::Done));
    }
}

#[test]
fn every_first_byte_is_judged_at_once() {
    for c0 in 0..=u8::MAX {
        let expected = match c0 {
            3 => Ok(Progress::NeedMore),
            6 | 8 | 9 => Err(HandshakeError::Encrypted(c0)),
            0x16 => Err(HandshakeError::Tls),
            b'A'..=b'Z' => Err(HandshakeError::Http),
            _ => Err(HandshakeError::Version(c0)),
        };
        let mut handshake = ServerHandshake::new(SEED);
        let mut output = BytesMut::new();
        // A closed connection must not look like progress, and an error stays one.
        assert_eq!(
            handshake.read(&mut &[][..], &mut output),
            Ok(Progress::NeedMore)
        );
        for _ in 0..2 {
            let mut input = &[c0][..];
            assert_eq!(
                handshake.read(&mut input, &mut output),
                expected,
                "{c0:#04x}"
            );
            assert_eq!(input, [c0]);
            assert!(output.is_empty());
        }
    }
}

#[test]
fn http_requests_are_named() {
    for method in [
        "GET ", "POST", "HEAD", "PUT ", "OPTI", "CONN", "DELE", "PATC",
    ] {
        let mut input = method.as_bytes();
        let result = ServerHandshake::new(SEED).read(&mut input, &mut BytesMut::new());
        assert_eq!(result, Err(HandshakeError::Http), "{method}");
    }
}

#[test]
fn farewells_are_well_formed() {
    let http = std::str::from_utf8(HandshakeError::Http.farewell()).unwrap();
    let (head, body) = http.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "this port speaks RTMP, not HTTP\n");
    let lines: Vec<_> = head.split("\r\n").collect();
    assert_eq!(lines[0], "HTTP/1.1 400 Bad Request");
    assert!(lines.contains(&"Connection: close"));
    assert!(lines.contains(&format!("Content-Length: {}", body.len()).as_str()));

    let tls = HandshakeError::Tls.farewell();
    let length = u16::from_be_bytes([tls[3], tls[4]]);
    assert_eq!(usize::from(length), tls.len() - 5);

    assert!(HandshakeError::Encrypted(6).farewell().is_empty());
    assert!(HandshakeError::Version(0).farewell().is_empty());
}

/// Another implementation's client, which signs its C1 and goes through to the end.
#[test]
fn another_client_completes() {
    use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};

    let mut client = Handshake::new(PeerType::Client);
    let hello = client.generate_outbound_p0_and_p1().unwrap();
    assert!(!is_simple(&hello));

    let mut server = ServerHandshake::new(SEED);
    let mut output = BytesMut::new();
    server.read(&mut hello.as_slice(), &mut output).unwrap();
    let Ok(HandshakeProcessResult::Completed {
        response_bytes,
        remaining_bytes,
    }) = client.process_bytes(&output)
    else {
        panic!("the client is not content");
    };
    assert_eq!(remaining_bytes, []);
    let progress = server.read(&mut response_bytes.as_slice(), &mut output);
    assert_eq!(progress, Ok(Progress::Done));
}
