//! Basic header, message header and extended timestamp (RTMP 1.0, section 5.3.1).

/// The bytes end before the header does. Nothing was consumed; ask again when
/// there are more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incomplete;

/// A 24-bit timestamp of this value says that 32 bits follow the header.
pub(super) const EXTENDED: u32 = 0xFF_FFFF;

/// Reads big-endian fields off the front of a slice.
#[derive(Clone)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Incomplete> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Incomplete)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Incomplete> {
        self.take::<1>().map(|[b]| b)
    }

    fn u24(&mut self) -> Result<u32, Incomplete> {
        self.take::<3>()
            .map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    fn u32(&mut self) -> Result<u32, Incomplete> {
        self.take().map(u32::from_be_bytes)
    }

    /// The message stream id alone is little-endian.
    fn u32_le(&mut self) -> Result<u32, Incomplete> {
        self.take().map(u32::from_le_bytes)
    }

    /// Consumes four bytes if they hold one of `values`. With fewer bytes at
    /// hand the answer waits only as long as they could still become one.
    pub fn skip_u32_if(&mut self, values: [u32; 2]) -> Result<bool, Incomplete> {
        let here = &self.0[..self.0.len().min(4)];
        if !values.iter().any(|v| v.to_be_bytes().starts_with(here)) {
            return Ok(false);
        }
        self.u32().map(|_| true)
    }
}

/// What a chunk's message header says beyond the chunk before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageHeader {
    /// fmt 0: everything, with an absolute time.
    Full {
        time: u32,
        length: u32,
        type_id: u8,
        stream_id: u32,
    },
    /// fmt 1: the message stream of the chunk before.
    SameStream { time: u32, length: u32, type_id: u8 },
    /// fmt 2: length and type of the chunk before as well.
    SameShape { time: u32 },
    /// fmt 3: nothing new.
    Same,
}

/// One chunk header, up to and without the extended timestamp of fmt 3, which
/// can only be judged with the chunk stream's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkHeader {
    pub chunk_stream_id: u32,
    pub message: MessageHeader,
    /// The 24-bit field was `EXTENDED` and `time` is from the 32 bits after it.
    pub extended: bool,
}

impl ChunkHeader {
    pub fn parse(fields: &mut Fields<'_>) -> Result<Self, Incomplete> {
        let first = fields.u8()?;
        let chunk_stream_id = match first & 0x3F {
            0 => 64 + u32::from(fields.u8()?),
            1 => {
                // The second of the two bytes counts 256 (section 5.3.1.1).
                let low = u32::from(fields.u8()?);
                64 + low + 256 * u32::from(fields.u8()?)
            }
            id => u32::from(id),
        };
        let format = first >> 6;
        if format == 3 {
            return Ok(Self {
                chunk_stream_id,
                message: MessageHeader::Same,
                extended: false,
            });
        }
        let short = fields.u24()?;
        let shape = if format < 2 {
            Some((fields.u24()?, fields.u8()?))
        } else {
            None
        };
        let stream_id = if format == 0 { fields.u32_le()? } else { 0 };
        let extended = short == EXTENDED;
        let time = if extended { fields.u32()? } else { short };
        let message = match shape {
            None => MessageHeader::SameShape { time },
            Some((length, type_id)) if format == 1 => MessageHeader::SameStream {
                time,
                length,
                type_id,
            },
            Some((length, type_id)) => MessageHeader::Full {
                time,
                length,
                type_id,
                stream_id,
            },
        };
        Ok(Self {
            chunk_stream_id,
            message,
            extended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<(ChunkHeader, usize), Incomplete> {
        let mut fields = Fields(bytes);
        ChunkHeader::parse(&mut fields).map(|h| (h, bytes.len() - fields.0.len()))
    }

    #[test]
    fn chunk_stream_ids_of_all_widths() {
        for (bytes, id) in [
            (&[0xC2][..], 2),
            (&[0xFF], 63),
            (&[0xC0, 0], 64),
            (&[0xC0, 255], 319),
            (&[0xC1, 0, 0], 64),
            (&[0xC1, 1, 0], 65),
            (&[0xC1, 0, 1], 320),
            (&[0xC1, 255, 255], 65_599),
        ] {
            let (header, used) = parse(bytes).unwrap();
            assert_eq!((header.chunk_stream_id, used), (id, bytes.len()));
        }
    }

    #[test]
    fn every_format_and_every_prefix_of_it() {
        let full = [
            0x04, 0xFF, 0xFF, 0xFF, 0, 1, 2, 9, 5, 0, 0, 0, 0x80, 0, 0, 1,
        ];
        let cases: [(&[u8], MessageHeader, bool); 4] = [
            (
                &full,
                MessageHeader::Full {
                    time: 0x8000_0001,
                    length: 258,
                    type_id: 9,
                    stream_id: 5,
                },
                true,
            ),
            (
                &[0x44, 0, 0, 40, 0, 0, 3, 8],
                MessageHeader::SameStream {
                    time: 40,
                    length: 3,
                    type_id: 8,
                },
                false,
            ),
            (
                &[0x84, 0, 1, 0],
                MessageHeader::SameShape { time: 256 },
                false,
            ),
            (&[0xC4], MessageHeader::Same, false),
        ];
        for (bytes, message, extended) in cases {
            let (header, used) = parse(bytes).unwrap();
            assert_eq!((header.message, header.extended), (message, extended));
            assert_eq!((header.chunk_stream_id, used), (4, bytes.len()));
            for n in 0..bytes.len() {
                assert_eq!(parse(&bytes[..n]), Err(Incomplete));
            }
        }
    }

    #[test]
    fn peeking_waits_only_while_it_could_match() {
        let peek = |bytes: &[u8]| Fields(bytes).skip_u32_if([0x0100_0000, 0xFFFF_FFE7]);
        assert_eq!(peek(&[]), Err(Incomplete));
        assert_eq!(peek(&[1, 0]), Err(Incomplete));
        assert_eq!(peek(&[0xFF, 0xFF, 0xFF]), Err(Incomplete));
        assert_eq!(peek(&[2]), Ok(false));
        assert_eq!(peek(&[1, 0, 0, 1]), Ok(false));
        assert_eq!(peek(&[1, 0, 0, 0]), Ok(true));
    }
}
