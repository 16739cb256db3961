//! The digest handshake of Flash 9 and later, which Adobe never published.
//!
//! Each side hides an HMAC over its first packet in that packet, at an offset that the packet
//! itself states. The packet has two halves of 764 bytes for that, one with the digest and one
//! with a public key for RTMPE; which comes first is the [`Scheme`]. The server's second packet
//! ends in an HMAC that depends on the client's digest.
//!
//! The keys are public, so none of this proves who anybody is, and comparing in constant time
//! would hide nothing. It is spoken because some clients insist, or give up features without it.

use super::sha256::{DIGEST, hmac};
use super::{PACKET, Packet};

/// What clients sign with.
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";

/// What servers sign their first packet with.
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";

/// What follows [`SERVER_KEY`] in the key for the second packet.
const SERVER_KEY_REST: [u8; 32] = [
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57,
    0x6E, 0xEC, 0x5D, 0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];

/// How many places there are for a digest in its half of the packet.
const PLACES: usize = 728;

/// Where in its first packet a peer has the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// In the first half, after time and version. ffmpeg does that.
    DigestFirst,
    /// In the second half.
    KeyFirst,
}

impl Scheme {
    /// Where the half with the digest starts: with the four bytes that give the offset.
    fn half(self) -> usize {
        match self {
            Scheme::DigestFirst => 8,
            Scheme::KeyFirst => 772,
        }
    }

    /// Where the digest starts: 12 to 739 or 776 to 1503.
    fn offset(self, packet: &Packet) -> usize {
        let start = self.half() + 4;
        let sum: usize = packet[self.half()..start]
            .iter()
            .copied()
            .map(usize::from)
            .sum();
        start + sum % PLACES
    }

    /// The digest that `packet` has to carry if signed with `key`, and where.
    fn digest(self, packet: &Packet, key: &[u8]) -> (usize, [u8; DIGEST]) {
        let offset = self.offset(packet);
        (
            offset,
            hmac(key, &[&packet[..offset], &packet[offset + DIGEST..]]),
        )
    }
}

/// What a client's first packet says about itself.
pub(super) struct Signed {
    pub(super) scheme: Scheme,
    pub(super) digest: [u8; DIGEST],
}

/// Looks for a digest in `c1`; none means the simple handshake.
pub(super) fn find(c1: &Packet) -> Option<Signed> {
    [Scheme::DigestFirst, Scheme::KeyFirst]
        .into_iter()
        .find_map(|scheme| {
            let (offset, digest) = scheme.digest(c1, CLIENT_KEY);
            (c1[offset..offset + DIGEST] == digest).then_some(Signed { scheme, digest })
        })
}

/// Signs the server's first packet, in the scheme that the client looks for.
pub(super) fn sign_s1(s1: &mut Packet, scheme: Scheme) {
    let (offset, digest) = scheme.digest(s1, SERVER_KEY);
    s1[offset..offset + DIGEST].copy_from_slice(&digest);
}

/// Signs the server's second packet, in answer to the digest of the client's first.
pub(super) fn sign_s2(s2: &mut Packet, c1_digest: &[u8; DIGEST]) {
    let key = hmac(&[SERVER_KEY, &SERVER_KEY_REST].concat(), &[c1_digest]);
    let (random, signature) = s2.split_at_mut(PACKET - DIGEST);
    signature.copy_from_slice(&hmac(&key, &[random]));
}
