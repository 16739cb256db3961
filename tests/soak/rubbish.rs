//! What a port on the internet hears all day.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::report::{Counts, Kind};
use crate::support::client::{Client, Random};
use crate::support::peer;
use crate::support::station;

/// Until `done`.
pub fn talk(seed: u64, port: u16, counts: &Mutex<Counts>, done: &AtomicBool) {
    let mut random = Random(seed);
    let address = station::address(port);
    // Held open until they are told to go.
    let mut silent = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let kind = match random.below(5) {
            0 => {
                let answer = Client::connect(address, "live").and_then(|mut c| c.publish("wrong"));
                let answer = answer.expect("it is answered");
                assert_eq!(answer.code, "NetStream.Publish.Denied");
                Kind::WrongKey
            }
            n => {
                // What becomes of it is not its business.
                if let Ok(mut stream) = peer::connect(address) {
                    let noise: Vec<u8> =
                        (0..256).flat_map(|_| random.next().to_be_bytes()).collect();
                    let _ = match n {
                        1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                        2 => stream.write_all(&noise),
                        3 => stream.write_all(&peer::c0_c1()),
                        _ => Ok(()),
                    };
                    silent.push(stream);
                }
                Kind::Rubbish
            }
        };
        counts.lock().unwrap().add(kind);
        if silent.len() > 20 {
            silent.remove(0);
        }
        thread::sleep(Duration::from_millis(random.below(400)));
    }
}
