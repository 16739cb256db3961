//! The client's part of a login, worked out once more: nothing of it comes from the crate that is tested.

use std::net::SocketAddr;

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest, Md5};

use super::client::{Client, Status};

/// A value of the query that a description ends in.
fn value<'a>(description: &'a str, name: &str) -> &'a str {
    let (_, query) = description.split_once('?').expect("a query");
    let mut pairs = query.split('&').filter_map(|part| part.split_once('='));
    let pair = pairs.find(|(key, _)| *key == name);
    pair.unwrap_or_else(|| panic!("no {name} in {description}"))
        .1
}

fn md5(text: &str) -> impl AsRef<[u8]> {
    Md5::digest(text)
}

/// Connects, which must be turned away, and returns the reason.
pub fn turned_away(server: SocketAddr, application: &str) -> String {
    match Client::try_connect(server, application).unwrap() {
        Ok(_) => panic!("{application} is let in"),
        Err(Status { code, text }) => {
            assert_eq!(code, "NetConnection.Connect.Rejected");
            text
        }
    }
}

/// An application that answers a new challenge.
pub fn answer(server: SocketAddr, user: &str, password: &str) -> String {
    let asked = turned_away(server, &format!("live?authmod=adobe&user={user}"));
    let (salt, opaque) = (value(&asked, "salt"), value(&asked, "opaque"));
    let salted = BASE64.encode(md5(&format!("{user}{salt}{password}")).as_ref());
    let response = BASE64.encode(md5(&format!("{salted}{opaque}0000abcd")).as_ref());
    let own = format!("authmod=adobe&user={user}&challenge=0000abcd&response={response}");
    format!("live?{own}&opaque={opaque}")
}

/// The same by Limelight's.
pub fn limelights_answer(server: SocketAddr, user: &str, password: &str) -> String {
    let asked = turned_away(server, &format!("live?authmod=llnw&user={user}"));
    let nonce = value(&asked, "nonce");
    let hex = |text: &str| HEXLOWER.encode(md5(text).as_ref());
    let who = hex(&format!("{user}:live:{password}"));
    let what = hex("publish:/live/_definst_");
    let response = hex(&format!("{who}:{nonce}:00000001:0000abcd:auth:{what}"));
    let own = format!("authmod=llnw&user={user}&nonce={nonce}&cnonce=0000abcd&nc=00000001");
    format!("live?{own}&response={response}")
}
