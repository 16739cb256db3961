//! Ways to cut an input into what single reads of a socket bring.

/// Inputs above this are not cut into single bytes throughout: it takes long and
/// says no more.
const BYTE_BY_BYTE: usize = 4096;

/// Some cuttings of `bytes`, always the same ones: an input that fails once fails
/// again.
pub fn cuttings(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut random = Random::of(bytes);
    let mut cuttings = vec![at_random(bytes, &mut random, 64)];
    if bytes.len() <= BYTE_BY_BYTE {
        cuttings.push(bytes.chunks(1).collect());
    } else {
        cuttings.push(at_random(bytes, &mut random, 4000));
    }
    cuttings
}

fn at_random<'a>(bytes: &'a [u8], random: &mut Random, largest: u64) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let length = 1 + random.below(largest) as usize;
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// Begins with a hash (FNV-1a) of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let hash = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        Self(bytes.iter().fold(0xCBF2_9CE4_8422_2325, hash))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}
