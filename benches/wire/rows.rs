//! What is measured, and where it is to get to.

use std::fmt;

use crate::server::Peer;

/// One figure of each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Fake4096,
    Fake65536,
    Fake128,
    File4096,
    SmallTags,
    LatencyMedian,
    Latency99,
    Connect,
    ManyCpu,
    ManyResident,
    Idle,
    Long,
    Core4096,
    Core65536,
    Core128,
    Startup,
}

impl Row {
    pub fn unit(self) -> &'static str {
        match self {
            Self::Fake4096 | Self::Fake65536 | Self::Fake128 | Self::File4096 => "CPU s/GB",
            Self::SmallTags => "CPU µs per tag",
            Self::LatencyMedian | Self::Latency99 => "µs",
            Self::Connect | Self::Startup => "ms",
            Self::ManyCpu => "CPU %",
            Self::ManyResident => "MiB resident",
            Self::Idle => "KiB resident each",
            Self::Long => "MiB growth",
            Self::Core4096 | Self::Core65536 | Self::Core128 => "GB/s",
        }
    }

    fn is_better_when_more(self) -> bool {
        matches!(self, Self::Core4096 | Self::Core65536 | Self::Core128)
    }

    /// Three significant digits or so.
    pub fn show(self, value: f64) -> String {
        match value.abs() {
            v if v < 1.0 => format!("{value:.3}"),
            v if v < 10.0 => format!("{value:.2}"),
            v if v < 100.0 => format!("{value:.1}"),
            _ => format!("{value:.0}"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fake4096 => "8 Mbit/s content at full speed, chunk 4096, not recorded",
            Self::Fake65536 => "the same, chunk 65536",
            Self::Fake128 => "the same, chunk 128",
            Self::File4096 => "8 Mbit/s content at full speed, chunk 4096, recorded",
            Self::SmallTags => "300 kbit/s content at full speed, recorded",
            Self::LatencyMedian => "paced, last byte written to buffer on the src pad, p50",
            Self::Latency99 => "the same, p99",
            Self::Connect => "connect to NetStream.Publish.Start",
            Self::ManyCpu => "many paced publishers at 8 Mbit/s, recorded",
            Self::ManyResident => "the same, at most",
            Self::Idle => "idle connections that have said connect",
            Self::Long => "a long stream through one element",
            Self::Core4096 => "core: chunks to tags, chunk 4096",
            Self::Core65536 => "core: chunks to tags, chunk 65536",
            Self::Core128 => "core: chunks to tags, chunk 128",
            Self::Startup => "process start to listening",
        })
    }
}

/// Where a figure of rtmp2serversrc is to get to.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// This often a peer's figure in a row.
    Times(f64, Peer, Row),
    /// The figure itself.
    Is(f64),
}

pub struct Target {
    pub row: Row,
    pub bar: &'static [Bound],
    pub beyond: &'static [Bound],
}

pub const TARGETS: &[Target] = {
    use Bound::{Is, Times};
    use Peer::{Nginx, Recv, TcpServerSrc};
    &[
        Target {
            row: Row::Fake4096,
            bar: &[Times(0.5, TcpServerSrc, Row::Fake4096)],
            beyond: &[
                Times(1.0, Nginx, Row::Fake4096),
                Times(2.0, Recv, Row::Fake4096),
            ],
        },
        Target {
            row: Row::Fake128,
            bar: &[Times(0.15, Nginx, Row::Fake128)],
            beyond: &[Times(0.5, TcpServerSrc, Row::Fake4096)],
        },
        Target {
            row: Row::File4096,
            bar: &[Times(0.6, Nginx, Row::File4096)],
            beyond: &[Times(0.5, TcpServerSrc, Row::File4096)],
        },
        Target {
            row: Row::SmallTags,
            bar: &[Times(1.0, Nginx, Row::SmallTags)],
            beyond: &[Is(3.0)],
        },
        Target {
            row: Row::LatencyMedian,
            bar: &[Times(1.0, TcpServerSrc, Row::LatencyMedian)],
            beyond: &[Is(100.0)],
        },
        Target {
            row: Row::Latency99,
            bar: &[Times(1.0, TcpServerSrc, Row::Latency99)],
            beyond: &[],
        },
        Target {
            row: Row::Connect,
            bar: &[Is(3.0)],
            beyond: &[Is(1.0)],
        },
        Target {
            row: Row::ManyCpu,
            bar: &[Times(1.0, Nginx, Row::ManyCpu)],
            beyond: &[],
        },
        Target {
            row: Row::ManyResident,
            bar: &[Is(64.0)],
            beyond: &[Is(32.0)],
        },
        Target {
            row: Row::Idle,
            bar: &[Is(16.0)],
            beyond: &[Is(8.0)],
        },
        Target {
            row: Row::Long,
            bar: &[Is(1.0)],
            beyond: &[],
        },
        Target {
            row: Row::Core4096,
            bar: &[Is(2.0)],
            beyond: &[Times(0.5, Peer::Memory, Row::Core4096)],
        },
        Target {
            row: Row::Core128,
            bar: &[Is(1.0)],
            beyond: &[],
        },
    ]
};

impl Bound {
    /// What it says, the limit that it comes to, and whether `value` keeps it.
    pub fn judge(
        self,
        row: Row,
        value: f64,
        figure: impl Fn(Row, Peer) -> Option<f64>,
    ) -> Option<(String, bool)> {
        let sign = if row.is_better_when_more() {
            "≥"
        } else {
            "≤"
        };
        let (limit, text) = match self {
            Self::Is(limit) => (limit, format!("{sign} {limit}")),
            Self::Times(times, peer, of) => {
                let limit = times * figure(of, peer)?;
                (
                    limit,
                    format!("{sign} {times} × {peer} = {}", row.show(limit)),
                )
            }
        };
        let kept = match row.is_better_when_more() {
            true => value >= limit,
            false => value <= limit,
        };
        Some((text, kept))
    }
}
