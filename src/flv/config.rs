//! What the configuration of a decoder says of picture and sound: as much as people want to read.
//!
//! Sources:
//! - *H.264*: ITU-T H.264;
//! - *AVC file format*: ISO/IEC 14496-15;
//! - *MPEG-4 audio*: ISO/IEC 14496-3.

/// Width and height in pixels, 1 to 65 535, of an H.264 stream, from its AVCDecoderConfigurationRecord.
///
/// That is what a decoder puts out: cropped, and before any change of its aspect ratio. `None` if the
/// record or its first sequence parameter set can't be read.
///
/// AVC file format, 5.3.3.1; H.264, 7.3.2.1.1 and 7.4.2.1.1.
pub fn avc_picture_size(record: &[u8]) -> Option<(u32, u32)> {
    // Version, profile, compatibility, level, size of lengths, number of sets; then the first.
    let (&[1, _, _, _, _, sets, high, low], rest) = record.split_first_chunk()? else {
        return None;
    };
    let set = rest.get(..u16::from_be_bytes([high, low]).into())?;
    match set {
        [nal_header, payload @ ..] if sets & 0x1f > 0 && nal_header & 0x1f == 7 => {
            sps_picture_size(&mut Bits::of_nal_unit(payload))
        }
        _ => None,
    }
}

/// Sampling rate in Hz and number of channels of an AAC stream, from its AudioSpecificConfig.
///
/// With spectral band replication or parametric stereo that is said in so many words, those of the
/// decoded sound; encoders also signal both in ways that can't be seen here. The number of channels is
/// 0 if the configuration leaves it to the stream. `None` if it can't be read.
///
/// MPEG-4 audio, 1.6.2.1 and 1.6.3.
pub fn aac_format(config: &[u8]) -> Option<(u32, u32)> {
    const SPECTRAL_BAND_REPLICATION: u32 = 5;
    const PARAMETRIC_STEREO: u32 = 29;
    let bits = &mut Bits::new(config);
    let object_type = match bits.take(5)? {
        31 => 32 + bits.take(6)?,
        object_type => object_type,
    };
    let mut rate = sampling_rate(bits)?;
    let mut channels = match bits.take(4)? {
        channels @ 0..=6 => channels,
        7 | 12 | 14 => 8,
        11 => 7,
        13 => 24,
        _ => return None,
    };
    if matches!(object_type, SPECTRAL_BAND_REPLICATION | PARAMETRIC_STEREO) {
        rate = sampling_rate(bits)?;
    }
    if object_type == PARAMETRIC_STEREO && channels == 1 {
        channels = 2;
    }
    Some((rate, channels))
}

/// MPEG-4 audio, 1.6.3.4, samplingFrequencyIndex.
fn sampling_rate(bits: &mut Bits<'_>) -> Option<u32> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025,
        8_000, 7_350,
    ];
    match bits.take(4)? {
        15 => bits.take(24),
        index => RATES.get(index as usize).copied(),
    }
}

/// From behind the NAL unit's header up to the cropping.
fn sps_picture_size(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    let profile = bits.take(8)?;
    // Constraints and level.
    bits.take(16)?;
    let _id = bits.ue()?;
    // 4:2:0 unless said otherwise; 0 also for three planes that are coded one by one.
    let mut chroma_array_type = 1;
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma_array_type = high_profile(bits)?;
    }
    let _log2_max_frame_num = bits.ue()?;
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.take(1)?;
            bits.ue()?;
            bits.ue()?;
            // At most 255 of them, by the specification.
            let frames @ 0..=255 = bits.ue()? else {
                return None;
            };
            for _ in 0..frames {
                bits.ue()?;
            }
        }
        _ => {}
    }
    let _reference_frames = bits.ue()?;
    let _gaps = bits.take(1)?;
    let width = bits.ue()?.checked_add(1)?.checked_mul(16)?;
    let map_units = bits.ue()?.checked_add(1)?.checked_mul(16)?;
    let frames_only = bits.take(1)?;
    // Of two fields, each has half of the lines.
    let fields = 2 - frames_only;
    let height = map_units.checked_mul(fields)?;
    if frames_only == 0 {
        let _adaptive = bits.take(1)?;
    }
    let _direct_8x8 = bits.take(1)?;
    let mut crop = [0; 4];
    if bits.take(1)? == 1 {
        for side in &mut crop {
            *side = bits.ue()?;
        }
    }
    let (unit_x, unit_y) = match chroma_array_type {
        1 => (2, 2 * fields),
        2 => (2, fields),
        _ => (1, fields),
    };
    let [left, right, top, bottom] = crop;
    let cropped = |size: u32, one: u32, other: u32, unit: u32| {
        let off = one.checked_add(other)?.checked_mul(unit)?;
        let size = size.checked_sub(off)?;
        (1..=65_535).contains(&size).then_some(size)
    };
    Some((
        cropped(width, left, right, unit_x)?,
        cropped(height, top, bottom, unit_y)?,
    ))
}

/// The part that only some profiles have. Returns ChromaArrayType.
fn high_profile(bits: &mut Bits<'_>) -> Option<u32> {
    let chroma_format = bits.ue()?;
    let separate_planes = chroma_format == 3 && bits.take(1)? == 1;
    // Bit depths, and a flag.
    bits.ue()?;
    bits.ue()?;
    bits.take(1)?;
    if bits.take(1)? == 1 {
        let lists = if chroma_format == 3 { 12 } else { 8 };
        for list in 0..lists {
            if bits.take(1)? == 1 {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(if separate_planes { 0 } else { chroma_format })
}

/// H.264, 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Some(())
}

/// Reads bits, the highest of a byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    byte: u8,
    /// Bits of `byte` still to come.
    left: u32,
    /// Zero bytes in a row, if 3 after two of them is no data (H.264, 7.4.1.1).
    zeros: Option<u32>,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            byte: 0,
            left: 0,
            zeros: None,
        }
    }

    fn of_nal_unit(bytes: &'a [u8]) -> Self {
        Self {
            zeros: Some(0),
            ..Self::new(bytes)
        }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            self.byte = self.next_byte()?;
            if self.byte == 3 && self.zeros.is_some_and(|zeros| zeros >= 2) {
                self.zeros = Some(0);
                self.byte = self.next_byte()?;
            }
            self.zeros = match (self.zeros, self.byte) {
                (Some(zeros), 0) => Some(zeros + 1),
                (Some(_), _) => Some(0),
                (None, _) => None,
            };
            self.left = 8;
        }
        self.left -= 1;
        Some(u32::from(self.byte >> self.left) & 1)
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(byte)
    }

    /// A number of up to 32 bits.
    fn take(&mut self, bits: u32) -> Option<u32> {
        let mut number = 0;
        for _ in 0..bits {
            number = number << 1 | self.bit()?;
        }
        Some(number)
    }

    /// H.264, 9.1: as many bits again as there were zeros. `None` above 2^31 − 2, which nothing here
    /// can be.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 30 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }

    /// H.264, 9.1.1: 0, 1, −1, 2, −2…
    fn se(&mut self) -> Option<i64> {
        let number = i64::from(self.ue()?);
        Some(if number % 2 == 0 {
            -number / 2
        } else {
            (number + 1) / 2
        })
    }
}

#[cfg(test)]
mod tests;
