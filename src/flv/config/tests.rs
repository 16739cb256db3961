use super::*;
use proptest::prelude::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().map(|c| c.to_digit(16).unwrap()).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}

/// Records that x264 wrote, by way of ffmpeg 5.1.
const X264: [(&str, &str, (u32, u32)); 7] = [
    (
        "baseline",
        "0142c00bffe100176742c00bd902847e5c0440000003004000000f03c50a9201000568cb83cb20",
        (160, 120),
    ),
    (
        "high, cropped to 1080 lines",
        "01640028ffe1001b67640028acd940780227e5c044000003000400000300f03c60c65801000668ebe3cb22c0fdf8f800",
        (1920, 1080),
    ),
    (
        "4:2:2, cropped on both axes",
        "017a0028ffe1001b677a0028bcd940780227a8bc0440000003004000000f03c60c658001000668ebe3cb22c0fef8f800",
        (1918, 1078),
    ),
    (
        "4:4:4, odd",
        "01f4000dffe1001c67f4000d919b282a10f084218088000003000800000301e078a14cb001000668ebe3c44844fff8f800",
        (321, 241),
    ),
    (
        "interlaced",
        "01640028ffe1001a67640028acd94078044fde0220000003002000000783e2c5b2c001000668fba3cb22c0fdf8f800",
        (1920, 1080),
    ),
    (
        "grey",
        "0164000dffe1001a6764000df36505421e3e3f016c80000003008000001e078a14cb01000668ebe3cb22c0fcf8f800",
        (322, 242),
    ),
    (
        "8K",
        "0142c03cffe1001a6742c03cda00780021db0110000003001000000303c0f08042a001000468ce0fc8",
        (7680, 4320),
    ),
];

#[test]
fn picture_sizes_of_x264() {
    for (name, record, size) in X264 {
        assert_eq!(avc_picture_size(&bytes(record)), Some(size), "{name}");
    }
}

#[test]
fn records_that_end_early_have_no_size() {
    for (name, record, _) in X264 {
        let record = bytes(record);
        let set = usize::from(record[7]);
        // The size comes in the first half of the set.
        for end in 0..8 + set / 2 - 5 {
            assert_eq!(avc_picture_size(&record[..end]), None, "{name} {end}");
        }
    }
}

/// Writes a sequence parameter set as H.264 7.3.2.1.1 has it.
#[derive(Default)]
struct Writer(Vec<bool>);

impl Writer {
    fn bits(&mut self, number: u32, count: u32) -> &mut Self {
        self.0
            .extend((0..count).rev().map(|i| number >> i & 1 == 1));
        self
    }

    fn ue(&mut self, number: u32) -> &mut Self {
        let length = (number + 1).ilog2();
        self.bits(0, length).bits(number + 1, length + 1)
    }

    fn se(&mut self, number: i32) -> &mut Self {
        self.ue(if number > 0 {
            2 * number.unsigned_abs() - 1
        } else {
            2 * number.unsigned_abs()
        })
    }

    /// An AVCDecoderConfigurationRecord, with emulation prevention.
    fn record(&mut self) -> Vec<u8> {
        self.bits(1, 1);
        let mut set = vec![0x67];
        let mut zeros = 0;
        for byte in self.0.chunks(8) {
            let byte = byte
                .iter()
                .enumerate()
                .fold(0, |sum, (i, &bit)| sum | u8::from(bit) << (7 - i));
            if zeros >= 2 && byte <= 3 {
                set.push(3);
                zeros = 0;
            }
            set.push(byte);
            zeros = if byte == 0 { zeros + 1 } else { 0 };
        }
        let mut record = vec![1, set[1], set[2], set[3], 0xff, 0xe1, 0, set.len() as u8];
        record.extend(set);
        record
    }
}

#[test]
fn everything_that_may_stand_before_the_size() {
    let mut high = Writer::default();
    high.bits(100, 8).bits(0, 16).ue(0);
    // 4:2:0, 8 bits, and scaling lists: one whole, one that stops early, one of 64.
    high.ue(1).ue(0).ue(0).bits(0, 1).bits(1, 1);
    high.bits(1, 1);
    for delta in [1, -2, 3, -40, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] {
        high.se(delta);
    }
    high.bits(1, 1).se(5).se(-13);
    high.bits(0, 4).bits(1, 1);
    for _ in 0..64 {
        high.se(1);
    }
    high.bits(0, 1);
    // An order of frames that is listed.
    high.ue(0).ue(1).bits(1, 1).se(-3).se(7).ue(3);
    high.se(1).se(-1).se(100_000);
    high.ue(4).bits(0, 1);
    high.ue(44).ue(35).bits(1, 1).bits(1, 1).bits(0, 1);
    assert_eq!(avc_picture_size(&high.record()), Some((720, 576)));

    // Fields, an order of frames that needs nothing, and zeros that must be escaped.
    let mut main = Writer::default();
    main.bits(77, 8).bits(0, 16).ue(0).ue(0).ue(2).ue(0);
    main.bits(0, 1).ue(119).ue(33).bits(0, 1).bits(0, 1);
    main.bits(1, 1).bits(1, 1).ue(0).ue(0).ue(0).ue(2);
    assert_eq!(avc_picture_size(&main.record()), Some((1920, 1080)));

    // Three planes coded one by one are cropped by single pixels.
    let mut planes = Writer::default();
    planes.bits(244, 8).bits(0, 16).ue(0);
    planes.ue(3).bits(1, 1).ue(0).ue(0).bits(0, 1).bits(0, 1);
    planes.ue(0).ue(2).ue(0).bits(0, 1).ue(1).ue(1).bits(1, 1);
    planes.bits(0, 1).bits(1, 1).ue(1).ue(2).ue(3).ue(0);
    assert_eq!(avc_picture_size(&planes.record()), Some((29, 29)));
}

#[test]
fn sizes_that_no_picture_has() {
    let sized = |width: u32, height: u32, crop: u32| {
        let mut set = Writer::default();
        set.bits(66, 8).bits(0, 16).ue(0).ue(0).ue(2).ue(0);
        set.bits(0, 1).ue(width).ue(height).bits(1, 1).bits(0, 1);
        set.bits(1, 1).ue(0).ue(crop).ue(0).ue(0);
        avc_picture_size(&set.record())
    };
    assert_eq!(sized(1, 1, 0), Some((32, 32)));
    assert_eq!(sized(1, 1, 15), Some((2, 32)));
    assert_eq!(sized(1, 1, 16), None);
    assert_eq!(sized(1, 1, (1 << 31) - 2), None);
    assert_eq!(sized((1 << 31) - 2, 1, 0), None);
    assert_eq!(sized(1, (1 << 31) - 2, 0), None);
    assert_eq!(sized(4095, 1, 0), None, "65 536");
}

#[test]
fn formats_of_aac() {
    let cases = [
        ("1208", Some((44_100, 1))),
        ("1190", Some((48_000, 2))),
        ("11b0", Some((48_000, 6))),
        ("1588", Some((8_000, 1))),
        // Seven is eight channels.
        ("1038", Some((96_000, 8))),
        // A rate in full: 44 099 Hz, stereo.
        ("1780562190", Some((44_099, 2))),
        // What follows does not matter.
        ("17805621908000", Some((44_099, 2))),
        // Spectral band replication: 22 050 coded, 44 100 decoded.
        ("2b920800", Some((44_100, 2))),
        // And parametric stereo.
        ("eb8a0800", Some((44_100, 2))),
        // Channels left to the stream.
        ("1200", Some((44_100, 0))),
        ("1e88", None),
        ("12", None),
        ("", None),
    ];
    for (config, expected) in cases {
        assert_eq!(aac_format(&bytes(config)), expected, "{config}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_safe(record: Vec<u8>) {
        let _ = avc_picture_size(&record);
        let _ = aac_format(&record);
    }

    #[test]
    fn any_damage_is_safe(which in 0..X264.len(), at in 8..40_usize, value: u8) {
        let mut record = bytes(X264[which].1);
        let at = at.min(record.len() - 1);
        record[at] = value;
        if let Some((width, height)) = avc_picture_size(&record) {
            prop_assert!((1..=65_535).contains(&width) && (1..=65_535).contains(&height));
        }
    }
}
