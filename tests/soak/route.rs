//! What happens on one route. One thing after another, so that what has to come out is known at any time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::report::{Counts, Kind};
use crate::support::client::{Client, Random};
use crate::support::flv::{self, Tag};
use crate::support::host::Host;
use crate::support::load::{Content, Digest, send_in_real_time};
use crate::support::publishers::{Publisher, copy_to, read_flv, write_live_file};
use crate::support::station::{self, Station};

const BITS_PER_SECOND: usize = 1_000_000;
/// Silence after which a publisher is given up.
const TIMEOUT: u32 = 8;

pub fn properties(route: usize) -> String {
    // Also for hosts behind links.
    let host = "host=0.0.0.0";
    format!(
        "{host} loop=true stream-key={} timeout={TIMEOUT}",
        key(route)
    )
}

fn key(route: usize) -> String {
    format!("route{route}")
}

/// What all routes have in common.
pub struct Surroundings<'a> {
    pub station: &'a Station,
    pub port: u16,
    pub clips: &'a [Clip],
    pub hosts: Mutex<Vec<Host>>,
    pub counts: Mutex<Counts>,
    pub failures: Mutex<Vec<String>>,
}

/// What ffmpeg publishes, as it has to come out.
pub struct Clip {
    file: PathBuf,
    tags: Vec<Tag>,
}

impl Clip {
    pub fn new(directory: &Path, seconds: u32) -> Result<Clip, String> {
        let directory = directory.join(seconds.to_string());
        std::fs::create_dir(&directory).map_err(|e| e.to_string())?;
        let file = write_live_file(&directory, seconds)?;
        let mut tags = read_flv(&file)?;
        // With `loop` the element withholds the end of sequence, with which ffmpeg ends.
        let is_end = |tag: &Tag| tag.kind == flv::Kind::Video && tag.body.starts_with(&[0x17, 2]);
        tags.retain(|tag| !is_end(tag));
        Ok(Clip { file, tags })
    }

    fn digest(&self, count: usize) -> Digest {
        let mut digest = Digest::default();
        self.tags[..count.min(self.tags.len())]
            .iter()
            .for_each(|tag| digest.add(tag));
        digest
    }
}

pub struct Driver<'a> {
    route: usize,
    random: Random,
    key: String,
    /// Publications of our client so far.
    own: u64,
    around: &'a Surroundings<'a>,
}

impl<'a> Driver<'a> {
    pub fn new(route: usize, seed: u64, around: &'a Surroundings<'a>) -> Self {
        Driver {
            route,
            random: Random(seed ^ (route as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            key: key(route),
            own: 0,
            around,
        }
    }

    pub fn run_until(&mut self, end: Instant) {
        while Instant::now() < end {
            match self.random.below(20) {
                0..6 => self.publish_with_our_client(),
                6..12 => self.attempt(Kind::Ffmpeg, Self::publish_with_ffmpeg),
                12..14 => self.attempt(Kind::TakenOver, Self::take_over),
                14..16 => self.attempt(Kind::Changed, Self::change_properties),
                16..18 => self.with_a_host(),
                _ => self.attempt(Kind::Restart, |driver| {
                    driver.around.station.restart(driver.route).map(|_| ())
                }),
            }
            thread::sleep(Duration::from_millis(self.random.below(1000)));
        }
    }

    pub fn publish_with_our_client(&mut self) {
        self.attempt(Kind::Client, |driver| {
            let (client, content, count) = driver.begin("127.0.0.1")?;
            let (client, content, count) = driver.send(client, content, count)?;
            driver.end(client, content, count)?;
            driver.expect_whole(content.digest(count))
        });
    }

    fn attempt(&mut self, kind: Kind, act: impl FnOnce(&mut Self) -> Result<(), String>) {
        match act(self) {
            Ok(()) => self.around.counts.lock().unwrap().add(kind),
            Err(error) => {
                let failure = format!("route {}, {kind:?}: {error}", self.route);
                self.around.failures.lock().unwrap().push(failure);
            }
        }
    }

    fn publish_with_ffmpeg(&mut self) -> Result<(), String> {
        let (publisher, clip) = self.ffmpeg(Command::new("ffmpeg"), "127.0.0.1")?;
        publisher.finish()?;
        self.expect_whole(clip.digest(usize::MAX))
    }

    /// Another publisher comes while one publishes, and all that the first had sent is there.
    fn take_over(&mut self) -> Result<(), String> {
        self.set("publisher-policy", "takeover")?;
        let first = self.begin("127.0.0.1")?;
        let (mut first, first_content, first_count) = self.send(first.0, first.1, first.2)?;
        let (second, content, count) = self.begin("127.0.0.1")?;
        let told = first.status()?;
        if !told.text.contains("took over") {
            return Err(format!("the first was told {told:?}"));
        }
        drop(first);
        self.set("publisher-policy", "takeover-if-idle")?;
        let (second, content, count) = self.send(second, content, count)?;
        self.end(second, content, count)?;
        self.expect_whole(first_content.digest(first_count))?;
        self.expect_whole(content.digest(count))
    }

    /// Changes all that can be changed while somebody publishes, who does not notice.
    fn change_properties(&mut self) -> Result<(), String> {
        let former = self.key.clone();
        let (client, content, count) = self.begin("127.0.0.1")?;
        self.key = format!("{former}-{}", self.own);
        self.set("stream-key", &self.key)?;
        self.set("application", "live")?;
        self.set("timeout", "1")?;
        self.set("publisher-policy", "reject")?;
        // Longer than the new timeout, which is not its own.
        thread::sleep(Duration::from_millis(1500));
        let mut wrong = Client::connect(self.server(), "live")?;
        let told = wrong.publish(&former)?;
        if told.code != "NetStream.Publish.Denied" {
            return Err(format!("with the former key: {told:?}"));
        }
        let (client, content, count) = self.send(client, content, count)?;
        self.end(client, content, count)?;
        self.expect_whole(content.digest(count))?;

        let (client, content, count) = self.begin("127.0.0.1")?;
        self.key = former;
        self.set("stream-key", &self.key)?;
        self.set("timeout", &TIMEOUT.to_string())?;
        self.set("publisher-policy", "takeover-if-idle")?;
        let (client, content, count) = self.send(client, content, count)?;
        self.end(client, content, count)?;
        self.expect_whole(content.digest(count))
    }

    /// A publisher behind a link that is cut for a moment or for good, if a host is to be had.
    fn with_a_host(&mut self) {
        let Some(host) = self.around.hosts.lock().unwrap().pop() else {
            return;
        };
        match self.random.below(3) {
            0 => self.attempt(Kind::Stalled, |driver| driver.stall(&host)),
            1 => self.attempt(Kind::CutAndReplaced, |driver| driver.cut(&host, true)),
            _ => self.attempt(Kind::Cut, |driver| driver.cut(&host, false)),
        }
        self.around.hosts.lock().unwrap().push(host);
    }

    /// TCP brings what the link did not.
    fn stall(&mut self, host: &Host) -> Result<(), String> {
        let (publisher, clip) = self.ffmpeg(host.command("ffmpeg"), &host.our_address())?;
        host.cut();
        thread::sleep(Duration::from_millis(200 + self.random.below(1000)));
        host.mend();
        publisher.finish()?;
        self.expect_whole(clip.digest(usize::MAX))
    }

    /// The publisher is lost. It comes back by another way, or nobody does and its silence is noticed.
    fn cut(&mut self, host: &Host, comes_back: bool) -> Result<(), String> {
        let (publisher, clip) = self.ffmpeg(host.command("ffmpeg"), &host.our_address())?;
        thread::sleep(Duration::from_millis(self.random.below(1500)));
        host.cut();
        let result = self.after_cut(clip, comes_back);
        // In this order, or it would go on.
        publisher.kill();
        host.mend();
        result
    }

    fn after_cut(&mut self, clip: &Clip, comes_back: bool) -> Result<(), String> {
        if !comes_back {
            return self.expect_beginning(clip);
        }
        let (client, content, count) = self.begin("127.0.0.1")?;
        self.expect_beginning(clip)?;
        let (client, content, count) = self.send(client, content, count)?;
        self.end(client, content, count)?;
        self.expect_whole(content.digest(count))
    }

    // Publishers.

    fn server(&self) -> SocketAddr {
        station::address(self.around.port)
    }

    /// Our client, let in, and what it is to send.
    fn begin(&mut self, host: &str) -> Result<(Client, Content, usize), String> {
        let address = SocketAddr::new(host.parse().expect("an address"), self.around.port);
        self.own += 1;
        let id = (self.route as u64) << 32 | self.own;
        let count = 3 + self.random.below(Content::tags_in(5) as u64) as usize;
        let mut client = Client::connect(address, "live")?;
        client.must_publish(&self.key)?;
        Ok((client, Content::new(id, BITS_PER_SECOND), count))
    }

    fn send(
        &self,
        mut client: Client,
        content: Content,
        count: usize,
    ) -> Result<(Client, Content, usize), String> {
        send_in_real_time(&mut client, content, count, Instant::now())?;
        Ok((client, content, count))
    }

    /// In one of the ways that there are.
    fn end(&mut self, mut client: Client, content: Content, count: usize) -> Result<(), String> {
        match self.random.below(5) {
            0 => client.fc_unpublish()?,
            1 => client.delete_stream()?,
            2 => client.close_stream()?,
            3 => client.send_half(&content.tag(count))?,
            _ => {}
        }
        client.close()
    }

    /// ffmpeg, let in, and what it sends.
    fn ffmpeg(&mut self, command: Command, host: &str) -> Result<(Publisher, &'a Clip), String> {
        let clips = self.around.clips;
        let clip = &clips[self.random.below(clips.len() as u64) as usize];
        let url = format!("rtmp://{host}:{}/live/{}", self.around.port, self.key);
        let next = self.around.station.begun(self.route) + 1;
        let publisher = copy_to(command, &clip.file, &url)?;
        self.around.station.wait_for_begin(self.route, next)?;
        Ok((publisher, clip))
    }

    fn set(&self, property: &str, value: &str) -> Result<(), String> {
        self.around.station.set(self.route, property, value)
    }

    // What came out.

    fn expect_whole(&self, sent: Digest) -> Result<(), String> {
        let captured = self.around.station.take(self.route)?;
        let lost = sent.tags.saturating_sub(captured.tags);
        self.around.counts.lock().unwrap().tags(captured.tags, lost);
        match (captured.tags, captured.hash) == (sent.tags, sent.hash()) {
            true => Ok(()),
            false => Err(format!("{} tags sent, {captured:?}", sent.tags)),
        }
    }

    fn expect_beginning(&self, clip: &Clip) -> Result<(), String> {
        let captured = self.around.station.take(self.route)?;
        self.around.counts.lock().unwrap().tags(captured.tags, 0);
        let beginning = clip.digest(captured.tags);
        match (captured.tags, captured.hash) == (beginning.tags, beginning.hash()) {
            true => Ok(()),
            false => Err(format!("not the beginning of what was sent: {captured:?}")),
        }
    }
}
