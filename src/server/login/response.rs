//! What clients make of a challenge and a password.

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest, Md5};

fn md5(parts: &[&str]) -> impl AsRef<[u8]> {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()
}

/// The `response` of `authmod=adobe`. `opaque` is the server's challenge, `challenge` the
/// client's own.
pub(super) fn adobe(
    user: &str,
    password: &str,
    salt: &str,
    opaque: &str,
    challenge: &str,
) -> String {
    let salted = BASE64.encode(md5(&[user, salt, password]).as_ref());
    BASE64.encode(md5(&[&salted, opaque, challenge]).as_ref())
}

/// What goes into a Limelight response.
pub(super) struct Llnw<'a> {
    pub user: &'a str,
    pub password: &'a str,
    pub application: &'a str,
    pub nonce: &'a str,
    /// `nc`: how often the client used its nonce, eight hexadecimal digits.
    pub count: &'a str,
    /// `cnonce`
    pub their_nonce: &'a str,
}

/// The `response` of `authmod=llnw`: that of RFC 2617, section 3.2.2, for the realm
/// `live`, the method `publish` and the quality of protection `auth`.
pub(super) fn llnw(login: &Llnw<'_>) -> String {
    let hex = |parts: &[&str]| HEXLOWER.encode(md5(parts).as_ref());
    let who = hex(&[login.user, ":live:", login.password]);
    let instance = match login.application.contains('/') {
        true => "",
        false => "/_definst_",
    };
    let what = hex(&["publish:/", login.application, instance]);
    hex(&[
        &who,
        ":",
        login.nonce,
        ":",
        login.count,
        ":",
        login.their_nonce,
        ":auth:",
        &what,
    ])
}

/// What clients take for the application in [`Llnw`]: librtmp what is before the query,
/// ffmpeg what was there before it appended its login, query and all.
pub(super) fn llnw_applications(as_sent: &str) -> impl Iterator<Item = &str> {
    let librtmps = as_sent.split_once('?').map(|(name, _)| name);
    let ffmpegs = as_sent.rsplit_once('?').map(|(rest, _)| rest);
    [librtmps, ffmpegs].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From GStreamer's and FFmpeg's arithmetic done with md5sum and base64.
    #[test]
    fn adobe_response() {
        assert_eq!(
            adobe("user", "pass", "salt", "opaque", "0000abcd"),
            "H1JZcOy5BAiq84aHAKLlVw=="
        );
    }

    #[test]
    fn llnw_response() {
        let login = Llnw {
            user: "user",
            password: "pass",
            application: "live",
            nonce: "nonce",
            count: "00000001",
            their_nonce: "0000abcd",
        };
        assert_eq!(llnw(&login), "5bd79bacac4384c6c36fe3483952f569");
        let instance = Llnw {
            application: "live/inst",
            ..login
        };
        assert_eq!(llnw(&instance), "7dcdc78902e5120b430a3ad5c45eff31");
    }

    #[test]
    fn applications_of_a_limelight_response() {
        let of = |text| llnw_applications(text).collect::<Vec<_>>();
        assert_eq!(of("live?authmod=llnw"), ["live", "live"]);
        let twice = "live?authmod=llnw?authmod=llnw&user=u";
        assert_eq!(of(twice), ["live", "live?authmod=llnw"]);
    }
}
