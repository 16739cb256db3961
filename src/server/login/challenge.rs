//! Challenges that nobody has to remember until they are answered.
//!
//! A challenge goes to whoever asks, and its answer comes on another connection. A list
//! of open ones would have to be bounded, and a flood of questions would push out those
//! of honest clients. So a challenge certifies itself: a number and the time, with a
//! MAC. Only those that a login was won with are remembered, until they expire; to
//! make this list grow takes the password.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How old a challenge may be when the answer comes. Clients answer at once, if their
/// network lets them.
const LIFETIME: Duration = Duration::from_secs(60);

/// Logins within [`LIFETIME`]; more have to wait.
const MAX_SPENT: usize = 4096;

/// Bytes of the MAC that a token shows, and of the salt, which is made of the rest.
const TAG: usize = 16;
const SALT: usize = 4;

pub(super) struct Challenges {
    key: [u8; 32],
    since: Instant,
    issued: AtomicU64,
    /// Won with, by number, and when they expire.
    spent: Mutex<BTreeMap<u64, Duration>>,
}

/// One question to one client.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    number: u64,
    /// Seconds since the listener began.
    time: u32,
    mac: [u8; 32],
}

impl Challenge {
    /// All of it for the client to bring back: 56 hexadecimal digits. More would not fit
    /// into the 255 bytes that ffmpeg reads of a description.
    pub fn token(&self) -> String {
        let [number, time] = [&self.number.to_be_bytes()[..], &self.time.to_be_bytes()];
        HEXLOWER.encode(&[number, time, &self.mac[..TAG]].concat())
    }

    /// What the password is hashed with first. Not brought back, so it follows from the rest.
    pub fn salt(&self) -> String {
        HEXLOWER.encode(&self.mac[TAG..TAG + SALT])
    }
}

impl Challenges {
    pub fn new() -> io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self {
            key,
            since: Instant::now(),
            issued: AtomicU64::new(0),
            spent: Mutex::default(),
        })
    }

    pub fn issue(&self) -> Challenge {
        self.issue_at(self.since.elapsed())
    }

    /// The challenge that a token is of, if it is one of ours and not too old.
    pub fn recognise(&self, token: &str) -> Option<Challenge> {
        self.recognise_at(self.since.elapsed(), token)
    }

    /// Lets each challenge be won once. False if this one was.
    pub fn spend(&self, challenge: &Challenge) -> bool {
        self.spend_at(self.since.elapsed(), challenge)
    }

    fn issue_at(&self, now: Duration) -> Challenge {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        // Enough for 136 years.
        self.certify(number, now.as_secs() as u32)
    }

    fn certify(&self, number: u64, time: u32) -> Challenge {
        let mac = self.mac(number, time).finalize().into_bytes().into();
        Challenge { number, time, mac }
    }

    fn mac(&self, number: u64, time: u32) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(&number.to_be_bytes());
        mac.update(&time.to_be_bytes());
        mac
    }

    fn recognise_at(&self, now: Duration, token: &str) -> Option<Challenge> {
        let mut bytes = [0; 8 + 4 + TAG];
        let length = HEXLOWER.decode_len(token.len()).ok()?;
        if length != bytes.len() {
            return None;
        }
        HEXLOWER.decode_mut(token.as_bytes(), &mut bytes).ok()?;
        let (number, rest) = bytes.split_first_chunk()?;
        let (time, tag) = rest.split_first_chunk()?;
        let (number, time) = (u64::from_be_bytes(*number), u32::from_be_bytes(*time));
        // In constant time.
        self.mac(number, time).verify_truncated_left(tag).ok()?;
        let age = now.checked_sub(Duration::from_secs(time.into()))?;
        (age <= LIFETIME).then(|| self.certify(number, time))
    }

    fn spend_at(&self, now: Duration, challenge: &Challenge) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.retain(|_, expires| *expires >= now);
        let expires = Duration::from_secs(challenge.time.into()) + LIFETIME;
        spent.len() < MAX_SPENT && spent.insert(challenge.number, expires).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_challenge_comes_back_and_is_won_once() {
        let challenges = Challenges::new().unwrap();
        let challenge = challenges.issue_at(SOON);
        let token = challenge.token();
        assert_eq!(token.len(), 56);
        let back = challenges.recognise_at(SOON, &token).expect("is ours");
        assert!(back == challenge && back.salt() == challenge.salt());
        assert!(challenges.spend_at(SOON, &back));
        assert!(!challenges.spend_at(SOON, &back));
    }

    #[test]
    fn each_is_another() {
        let challenges = Challenges::new().unwrap();
        let [a, b] = [0; 2].map(|_| challenges.issue_at(SOON));
        assert!(a.token() != b.token() && a.salt() != b.salt());
        let other = Challenges::new().unwrap().issue_at(SOON);
        assert!(challenges.recognise_at(SOON, &other.token()).is_none());
    }

    #[test]
    fn none_is_ours_that_was_changed() {
        let challenges = Challenges::new().unwrap();
        let token = challenges.issue_at(SOON).token();
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(challenges.recognise_at(SOON, &changed).is_none(), "{at}");
        }
        let upper = token.to_uppercase();
        let longer = format!("{token}00");
        for other in ["", "0", "zz", &token[2..], &longer, &upper, "é"] {
            assert!(challenges.recognise_at(SOON, other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn time_runs_out() {
        let challenges = Challenges::new().unwrap();
        let challenge = challenges.issue_at(SOON);
        let token = challenge.token();
        let last = SOON + LIFETIME;
        assert!(challenges.recognise_at(last, &token).is_some());
        let late = last + Duration::from_nanos(1);
        assert!(challenges.recognise_at(late, &token).is_none());
        // From the future: of no clock of ours.
        assert!(challenges.recognise_at(Duration::ZERO, &token).is_none());
        // Remembered for as long as it would be recognised.
        assert!(challenges.spend_at(SOON, &challenge));
        assert!(!challenges.spend_at(last, &challenge));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let challenges = Challenges::new().unwrap();
        for _ in 0..MAX_SPENT {
            let challenge = challenges.issue_at(SOON);
            assert!(challenges.spend_at(SOON, &challenge));
        }
        let one_more = challenges.issue_at(SOON);
        assert!(!challenges.spend_at(SOON, &one_more));
        let later = SOON + LIFETIME + Duration::from_secs(1);
        assert!(challenges.spend_at(later, &challenges.issue_at(later)));
        assert_eq!(challenges.spent.lock().unwrap().len(), 1);
    }
}
