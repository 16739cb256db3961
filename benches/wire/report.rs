//! The tables, on the terminal and in docs/performance.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::facts::Facts;
use crate::rows::{Row, TARGETS};
use crate::runs::Figures;
use crate::server::Peer;

/// Every figure of every run.
#[derive(Default)]
pub struct Results {
    figures: BTreeMap<(Row, Peer), Vec<f64>>,
    checksum: Vec<f64>,
}

impl Results {
    pub fn add(&mut self, figures: Figures) {
        for (row, peer, value) in figures {
            self.figures.entry((row, peer)).or_default().push(value);
        }
    }

    pub fn add_checksum(&mut self, cost: f64) {
        self.checksum.push(cost);
    }

    /// Without the cost of the checksum where the measured process took one: nginx does not, nor do those that
    /// record, whose files are checked afterwards.
    fn net(&self, row: Row, peer: Peer) -> Option<Summary> {
        let checked =
            matches!(row, Row::Fake4096 | Row::Fake65536 | Row::Fake128) && peer != Peer::Nginx;
        let cost = match checked {
            true => Summary::of(&self.checksum, 0.0).map_or(0.0, |checksum| checksum.median),
            false => 0.0,
        };
        Summary::of(self.figures.get(&(row, peer))?, cost)
    }

    /// Where rtmp2serversrc is, and where it is to get to.
    pub fn targets(&self) -> String {
        let mut table = String::from(
            "| work | measure | rtmp2serversrc | bar | beyond |\n|---|---|---:|---|---|\n",
        );
        let median = |row, peer| Some(self.net(row, peer)?.median);
        for target in TARGETS {
            let row = target.row;
            let Some(value) = median(row, Peer::Rtmp2ServerSrc) else {
                continue;
            };
            let judged = |bounds: &[crate::rows::Bound]| {
                let parts = bounds.iter().filter_map(|bound| {
                    let (text, kept) = bound.judge(row, value, median)?;
                    Some(format!("{} {text}", if kept { "✓" } else { "✗" }))
                });
                parts.collect::<Vec<_>>().join("; ")
            };
            let _ = writeln!(
                table,
                "| {row} | {} | **{}** | {} | {} |",
                row.unit(),
                row.show(value),
                judged(target.bar),
                judged(target.beyond),
            );
        }
        table
    }

    /// All figures: the median, and from the least to the most.
    pub fn all(&self) -> String {
        let mut table = String::from(
            "| work | measure | who | median | least to most | runs |\n|---|---|---|---:|---:|---:|\n",
        );
        for &(row, peer) in self.figures.keys() {
            let Some(summary) = self.net(row, peer) else {
                continue;
            };
            let _ = writeln!(
                table,
                "| {row} | {} | {peer} | {} | {} to {} | {} |",
                row.unit(),
                row.show(summary.median),
                row.show(summary.least),
                row.show(summary.most),
                summary.runs,
            );
        }
        if let Some(cost) = Summary::of(&self.checksum, 0.0) {
            let _ = writeln!(
                table,
                "| checksum of every byte, taken off where one was taken | CPU s/GB | | {:.3} | {:.3} to {:.3} | {} |",
                cost.median, cost.least, cost.most, cost.runs
            );
        }
        table
    }
}

struct Summary {
    median: f64,
    least: f64,
    most: f64,
    runs: usize,
}

impl Summary {
    fn of(values: &[f64], less: f64) -> Option<Self> {
        let mut values: Vec<f64> = values.iter().map(|value| value - less).collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
            runs: values.len(),
        })
    }
}

/// Puts the tables between their marks in docs/performance.md; all other text in it is people's.
pub fn write(results: &Results, facts: &Facts) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let mut page = fs::read_to_string(&path)?;
    for (name, text) in [
        ("targets", results.targets()),
        ("setting", facts.setting()),
        ("figures", results.all()),
        ("size", facts.table()),
    ] {
        replace(&mut page, name, &text)?;
    }
    fs::write(&path, page)?;
    println!("written to {}", path.display());
    Ok(())
}

fn replace(page: &mut String, name: &str, text: &str) -> Result<()> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let from = page.find(&begin).ok_or(format!("no mark {begin}"))? + begin.len();
    let to = page[from..].find(&end).ok_or(format!("no mark {end}"))? + from;
    page.replace_range(from..to, text);
    Ok(())
}
