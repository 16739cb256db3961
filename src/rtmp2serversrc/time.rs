//! From publishers' times to one timeline.
//!
//! flvdemux, and any FLV file, knows one clock for the whole stream. A publisher
//! that comes back restarts its own at 0, or goes on counting. So the first one's
//! times are kept, and each later one is placed where the pipeline's clock stands
//! when its first frame arrives.
//!
//! All arithmetic is modulo 2³¹ ms (24.8 days): ffmpeg wraps there, others at 2³²,
//! and the two look alike modulo 2³¹. flvdemux takes a step back by 2³¹ as a
//! resync and stays continuous; a wrap at 2³² sends it 49.7 days back. It goes on
//! where it was at such a step, so that it must not come with a gap: not when
//! another publisher begins, but a minute later.

use gst::glib;

/// Which clock the tags carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstRtmp2ServerSrcTimestampMode")]
pub enum TimestampMode {
    /// One timeline: later publishers are placed on the pipeline's clock.
    #[default]
    #[enum_value(
        name = "One timeline, later publishers placed on the pipeline's clock",
        nick = "session"
    )]
    Session,
    /// Each publisher's own times, unchanged.
    #[enum_value(name = "Every publisher's own times, unchanged", nick = "passthrough")]
    Passthrough,
}

/// Where a tag goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// Time to write into the tag, in ms.
    pub timestamp: u32,
    /// The same without wraps: the buffer's time, in ms.
    pub position: u64,
    /// The timeline starts here, or starts anew: a segment is due whose start is
    /// `position` and whose base is the running time now.
    pub starts: bool,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    mode: TimestampMode,
    publishers: u32,
    /// The current publisher has sent no frame yet. Headers and metadata often
    /// carry 0, whatever its clock says.
    expected: bool,
    /// The pipeline's running time at the first tag of all, in ms.
    began: u64,
    /// Where the first publisher's first frame is.
    origin: Option<Origin>,
    last: Option<Last>,
    written: Written,
}

/// How positions become the times that are written, which have 32 bits.
#[derive(Debug)]
struct Written {
    /// How much less than the position, a multiple of 2³¹ ms.
    less: i64,
    /// The position from which on it is 2³¹ ms more than that.
    next_step: i64,
}

/// Milliseconds between headers and the first frame that nobody sees: sinks take their
/// time from the headers then, and downstream is spared a second segment.
const AT_ONCE: u64 = 10;

#[derive(Debug, Clone, Copy)]
struct Origin {
    position: i64,
    /// The pipeline's, in ms.
    running_time: u64,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    /// As it came.
    timestamp: u32,
    /// On the timeline, in ms and without wraps.
    position: i64,
}

impl Timeline {
    pub fn new(mode: TimestampMode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// The tags of another publisher follow.
    pub fn begin(&mut self) {
        self.expected = true;
        self.publishers += 1;
    }

    /// Whether a script tag with this time, ahead of the publisher's first frame,
    /// is about all that follows rather than about a moment. It keeps its 0 then:
    /// ffmpeg takes metadata at any other time for a stream of subtitles.
    pub fn is_untimed(&self, timestamp: u32) -> bool {
        self.expected && timestamp == 0
    }

    /// Places a tag. `is_frame` is false for metadata and sequence headers;
    /// `running_time` is the pipeline's, in ms, if it has one; asked for only
    /// where a publisher has to be placed.
    pub fn place(
        &mut self,
        timestamp: u32,
        is_frame: bool,
        running_time: impl Fn() -> Option<u64>,
    ) -> Placed {
        let keeps_times = self.publishers <= 1 || self.mode == TimestampMode::Passthrough;
        let position = match self.last {
            Some(last) if !self.expected => last.position + step(last.timestamp, timestamp),
            _ if keeps_times => initial(timestamp),
            _ => {
                let position = self.wall_clock(running_time());
                self.written.begin(position, self.last);
                position
            }
        };
        // Again at the first frame, if that is at another place or late: an encoder may send
        // what goes before it, with whatever time, while it is still about to encode.
        let starts = match self.last {
            None => {
                self.began = running_time().unwrap_or(0);
                true
            }
            Some(last) if is_frame && self.origin.is_none() => {
                let waited = running_time().unwrap_or(0).saturating_sub(self.began);
                last.position != position || waited > AT_ONCE
            }
            Some(_) => false,
        };
        let is_stranger = self.origin.is_none() && !is_frame;
        if is_frame {
            self.expected = false;
            if self.origin.is_none() {
                self.origin = Some(Origin {
                    position,
                    running_time: running_time().unwrap_or(0),
                });
                self.written.start(position);
            }
        }
        self.last = Some(Last {
            timestamp,
            position,
        });
        Placed {
            timestamp: match self.mode {
                TimestampMode::Passthrough => timestamp,
                TimestampMode::Session if is_stranger => timestamp,
                TimestampMode::Session => self.written.at(position),
            },
            position: position.try_into().unwrap_or(0),
            starts,
        }
    }

    /// The time of a frame that arrives now; never behind what is out already,
    /// as a publisher may have been faster than real time.
    fn wall_clock(&self, running_time: Option<u64>) -> i64 {
        let next = self.last.map_or(0, |last| last.position + 1);
        match (self.origin, running_time) {
            (Some(origin), Some(now)) => {
                let elapsed = now.saturating_sub(origin.running_time);
                next.max(origin.position.saturating_add_unsigned(elapsed))
            }
            _ => next,
        }
    }
}

/// 24.8 days.
const MODULUS: i64 = 1 << 31;
const MINUTE: i64 = 60_000;

impl Default for Written {
    fn default() -> Self {
        Self {
            less: 0,
            next_step: MODULUS,
        }
    }
}

impl Written {
    /// The first publisher keeps its times, up to the end of the half of 2³² that it
    /// begins in.
    fn start(&mut self, origin: i64) {
        self.next_step = if origin >= MODULUS {
            2 * MODULUS
        } else {
            MODULUS
        };
    }

    /// Another publisher begins at `position`: no step until it has sent for a minute,
    /// but then, if it is in the upper half, where the next gap may reach 2³².
    fn begin(&mut self, position: i64, last: Option<Last>) {
        if last.is_some_and(|last| last.position >= self.next_step) {
            self.step();
        }
        let time = position - self.less;
        if (MODULUS..2 * MODULUS - 2 * MINUTE).contains(&time) {
            self.next_step = position + MINUTE;
        }
    }

    fn step(&mut self) {
        self.less += MODULUS;
        self.next_step += MODULUS;
    }

    /// Just below 0 as FLV has it: a signed number.
    fn at(&mut self, position: i64) -> u32 {
        // The other kinds of tags are past it as well.
        while position >= self.next_step + MODULUS / 2 {
            self.step();
        }
        let stepped = position >= self.next_step;
        let less = self.less + if stepped { MODULUS } else { 0 };
        (position - less) as u32
    }
}

/// Where a clock stands that shows `timestamp`. Within a minute of 2³² it is more
/// likely below 0 than 49.7 days old: audio may begin some ms before the video.
fn initial(timestamp: u32) -> i64 {
    if timestamp > u32::MAX - MINUTE as u32 {
        i64::from(timestamp as i32)
    } else {
        i64::from(timestamp)
    }
}

/// The shorter way from one time to another, modulo 2³¹: forward, or back as
/// B-frames, jitter and retrying encoders go.
fn step(from: u32, to: u32) -> i64 {
    // Sign-extended from 31 bits.
    i64::from((to.wrapping_sub(from) << 1) as i32 >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(timestamp: u32, position: u64, starts: bool) -> Placed {
        Placed {
            timestamp,
            position,
            starts,
        }
    }

    fn timeline(mode: TimestampMode) -> Timeline {
        let mut timeline = Timeline::new(mode);
        timeline.begin();
        timeline
    }

    #[test]
    fn the_first_publisher_keeps_its_times() {
        let mut t = timeline(TimestampMode::Session);
        assert_eq!(t.place(0, false, || Some(3000)), placed(0, 0, true));
        assert_eq!(t.place(0, false, || Some(3000)), placed(0, 0, false));
        // Where the clock stands now is where it starts.
        assert_eq!(t.place(0, true, || Some(3500)), placed(0, 0, true));
        assert_eq!(t.place(40, true, || Some(3040)), placed(40, 40, false));
        assert_eq!(t.place(20, true, || Some(3041)), placed(20, 20, false));
    }

    #[test]
    fn a_late_clock_starts_at_its_first_frame() {
        let mut t = timeline(TimestampMode::Session);
        t.place(0, false, || Some(0));
        let late = 16_800_000;
        assert_eq!(
            t.place(late, true, || Some(5)),
            placed(late, late.into(), true)
        );
        let next = late + 33;
        assert_eq!(
            t.place(next, true, || Some(40)),
            placed(next, next.into(), false)
        );
    }

    #[test]
    fn later_publishers_are_placed_on_the_wall_clock() {
        for restart in [0, 5_000, 4_960, 3_000_000_000] {
            let mut t = timeline(TimestampMode::Session);
            t.place(0, true, || Some(1_000));
            t.place(5_000, true, || Some(6_000));
            t.begin();
            // A gap of 4 s: metadata first, whatever its time.
            assert_eq!(
                t.place(0, false, || Some(10_000)),
                placed(9_000, 9_000, false)
            );
            assert_eq!(
                t.place(restart, true, || Some(10_001)),
                placed(9_001, 9_001, false)
            );
            let next = restart.wrapping_add(33);
            assert_eq!(
                t.place(next, true, || Some(10_100)),
                placed(9_034, 9_034, false)
            );
        }
    }

    #[test]
    fn a_file_sent_faster_than_real_time_is_not_stepped_behind() {
        let mut t = timeline(TimestampMode::Session);
        t.place(0, true, || Some(0));
        t.place(60_000, true, || Some(100));
        t.begin();
        assert_eq!(t.place(0, true, || Some(500)).timestamp, 60_001);
    }

    #[test]
    fn both_ways_to_wrap_are_one_step_back_by_2_31() {
        for after in [12, 0x8000_000C] {
            let mut t = timeline(TimestampMode::Session);
            t.place(0x7FFF_FFF0, true, || Some(0));
            assert_eq!(
                t.place(after, true, || Some(28)),
                placed(12, 0x8000_000C, false)
            );
        }
        // Begun in the upper half, it is kept there.
        let mut t = timeline(TimestampMode::Session);
        t.place(0xF000_0000, true, || Some(0));
        t.place(0xFFFF_FFF0, true, || Some(0));
        assert_eq!(
            t.place(12, true, || Some(28)),
            placed(0x8000_000C, (1 << 32) + 12, false)
        );
    }

    /// Where flvdemux, which knows no gap at a step back, would lose it.
    #[test]
    fn a_publisher_that_begins_behind_a_wrap_is_stepped_back_a_minute_later() {
        let mut t = timeline(TimestampMode::Session);
        let start = 0x7FFF_0000;
        t.place(start, true, || Some(0));
        t.begin();
        let position = u64::from(start) + 100_000;
        let time = start + 100_000;
        let header = t.place(0, false, || Some(99_999));
        assert_eq!(header, placed(time - 1, position - 1, false));
        let frame = t.place(0, true, || Some(100_000));
        assert_eq!(frame, placed(time, position, false));
        assert_eq!(t.place(59_999, true, || None).timestamp, time + 59_999);
        let stepped = time - 0x8000_0000;
        assert_eq!(t.place(60_001, true, || None).timestamp, stepped + 60_001);
        // Audio may be a little behind.
        assert_eq!(t.place(59_999, true, || None).timestamp, time + 59_999);
        assert_eq!(t.place(60_002, true, || None).timestamp, stepped + 60_002);
        // The next one goes on in the lower half.
        t.begin();
        assert_eq!(
            t.place(0, true, || Some(200_000)),
            placed(
                start + 200_000 - 0x8000_0000,
                u64::from(start) + 200_000,
                false
            )
        );
    }

    #[test]
    fn times_stay_below_2_32_for_years() {
        let mut t = timeline(TimestampMode::Session);
        let (mut now, mut position) = (0, 0);
        let mut last = t.place(0, true, || Some(0)).timestamp;
        const DAY: u64 = 24 * 3600 * 1000;
        for publisher in 0..200_u64 {
            t.begin();
            now += 3 * DAY + publisher * 1000;
            // A gap in the file as on the clock.
            let placed = t.place(0, true, || Some(now));
            assert_eq!(placed.position, now);
            assert_eq!(u64::from(placed.timestamp - last), now - position);
            for hour in 1..=100_u32 {
                let tag = t.place(hour * 3_600_000, true, || None);
                position = now + u64::from(hour) * 3_600_000;
                assert_eq!(tag.position, position);
                assert_eq!(u64::from(tag.timestamp) % (1 << 31), position % (1 << 31));
                last = tag.timestamp;
            }
            now = position;
        }
    }

    #[test]
    fn a_clock_that_begins_below_zero_is_no_clock_of_49_days() {
        const BELOW: u32 = 23_u32.wrapping_neg();
        let mut t = timeline(TimestampMode::Session);
        assert_eq!(t.place(BELOW, true, || Some(0)), placed(BELOW, 0, true));
        assert_eq!(t.place(0, true, || Some(1)), placed(0, 0, false));
        assert_eq!(t.place(40, true, || Some(40)), placed(40, 40, false));

        let mut t = timeline(TimestampMode::Session);
        t.place(0, true, || Some(0));
        assert_eq!(t.place(BELOW, true, || Some(1)), placed(BELOW, 0, false));
        assert_eq!(t.place(40, true, || Some(40)), placed(40, 40, false));
    }

    #[test]
    fn passthrough_changes_no_time() {
        let mut t = timeline(TimestampMode::Passthrough);
        for time in [0, 40, 0x8000_0000, 3, 2_000] {
            assert_eq!(t.place(time, true, || Some(0)).timestamp, time);
        }
        t.begin();
        assert_eq!(t.place(7, true, || Some(99)).timestamp, 7);
    }

    #[test]
    fn without_a_clock_later_publishers_follow_on() {
        let mut t = timeline(TimestampMode::Session);
        t.place(500, true, || None);
        t.begin();
        assert_eq!(t.place(0, true, || None).timestamp, 501);
        assert_eq!(t.place(33, true, || None).timestamp, 534);
    }
}
