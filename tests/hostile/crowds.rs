//! More strangers than there are places: whoever is about to publish keeps his.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::flv::{Kind, Tag, assert_same};
use crate::support::own_process::wait_until;
use crate::support::peer;
use crate::support::pipeline::Recording;
use crate::support::publishers::Ffmpeg;
use crate::{DEADLINE, PICTURE, alone, insist_on};

#[test]
fn idlers_do_not_keep_a_publisher_out() {
    const MAX: usize = 64;
    alone(|directory| {
        let properties = format!("max-connections={MAX}");
        let recording = Recording::start(directory, &properties).unwrap();
        let address = recording.address();
        let mut silent: Vec<_> = (0..MAX).map(|_| peer::connect(address).unwrap()).collect();
        insist_on(&recording, "idle-connections", MAX as u64);

        let done = AtomicBool::new(false);
        let (sent, came) = std::thread::scope(|scope| {
            let more = scope.spawn(|| {
                let mut came = 0;
                while !done.load(Ordering::Relaxed) {
                    // As many are kept open as the server keeps.
                    silent[came % MAX] = peer::connect(address).unwrap();
                    came += 1;
                }
                came
            });
            let publisher = Ffmpeg::LiveVideo.publish(recording.port(), directory);
            let sent = publisher.and_then(|publisher| publisher.finish());
            done.store(true, Ordering::Relaxed);
            (sent, more.join().unwrap())
        });
        assert_same(&sent.unwrap(), &recording_of(recording, came + MAX));
    });
}

/// What was recorded while `strangers` came, none of which shook hands.
fn recording_of(recording: Recording, strangers: usize) -> Vec<Tag> {
    assert!(strangers > 500, "only {strangers} came");
    assert_eq!(recording.counter("session"), 1, "publishers");
    insist_on(&recording, "connections", strangers as u64 + 1);
    recording.finish().unwrap()
}

/// However many come between its handshake and its publish.
#[test]
fn who_has_shaken_hands_does_not_make_way_for_strangers() {
    const MAX: u64 = 8;
    const STRANGERS: u64 = 50;
    alone(|directory| {
        let properties = format!("max-connections={MAX}");
        let recording = Recording::start(directory, &properties).unwrap();
        let address = recording.address();
        let mut publisher = peer::shake_hands(address).unwrap();
        let mut answer = [0; 1];
        publisher.write_all(&peer::connect_command("live")).unwrap();
        publisher.read_exact(&mut answer).unwrap();

        let strangers: Vec<_> = (0..STRANGERS)
            .map(|_| peer::connect(address).unwrap())
            .collect();
        insist_on(&recording, "connections", STRANGERS + 1);
        insist_on(&recording, "handshake-failures", STRANGERS - (MAX - 1));
        assert_eq!(recording.counter("idle-connections"), MAX);

        publisher.write_all(&peer::publish_command("test")).unwrap();
        assert!(wait_until(DEADLINE, || recording.is_publishing()));
        let more: Vec<_> = (0..STRANGERS)
            .map(|_| peer::connect(address).unwrap())
            .collect();
        insist_on(&recording, "connections", 2 * STRANGERS + 1);
        let picture = peer::message(peer::VIDEO, 1, PICTURE);
        publisher.write_all(&picture).unwrap();
        // The answers that it has not read would make a reset of a close.
        publisher.shutdown(Shutdown::Write).unwrap();
        let sent = Tag {
            kind: Kind::Video,
            timestamp: 0,
            body: PICTURE.to_vec(),
        };
        assert_same(&[sent], &recording.finish().unwrap());
        drop((strangers, more));
    });
}

/// Whoever has shaken hands publishes one picture, which is all there is in the file.
fn is_recorded(mut publisher: TcpStream, recording: Recording) {
    let commands = [
        peer::connect_command("live"),
        peer::publish_command("test"),
        peer::message(peer::VIDEO, 1, PICTURE),
    ];
    publisher.write_all(&commands.concat()).unwrap();
    publisher.shutdown(Shutdown::Write).unwrap();
    let sent = Tag {
        kind: Kind::Video,
        timestamp: 0,
        body: PICTURE.to_vec(),
    };
    assert_same(&[sent], &recording.finish().unwrap());
}

/// With the default of 64 places, between its C1 and its C2, which is a round trip.
#[test]
fn who_is_shaking_hands_does_not_make_way_for_silent_ones() {
    const SILENT: usize = 200;
    alone(|directory| {
        let recording = Recording::start(directory, "").unwrap();
        let address = recording.address();
        let mut publisher = peer::connect(address).unwrap();
        publisher.write_all(&peer::c0_c1()).unwrap();
        let mut answer = vec![0; 1 + 1536 + 1536];
        publisher.read_exact(&mut answer).unwrap();
        let silent: Vec<_> = (0..SILENT)
            .map(|_| peer::connect(address).unwrap())
            .collect();
        insist_on(&recording, "connections", SILENT as u64 + 1);
        publisher.write_all(&answer[1..1 + 1536]).unwrap();
        is_recorded(publisher, recording);
        drop(silent);
    });
}

/// Who takes up the places is who has to give them up.
#[test]
fn a_flood_from_one_address_leaves_the_others_their_places() {
    alone(|directory| {
        let recording = Recording::start(directory, "").unwrap();
        let mut publisher = peer::shake_hands(recording.address()).unwrap();
        let flooder = SocketAddr::from(([127, 0, 0, 2], 0));
        let flood: Vec<_> = (0..300)
            .map(|_| peer::shake_hands_from(flooder, recording.address()).unwrap())
            .collect();
        insist_on(&recording, "connections", 301);
        let commands = [
            peer::connect_command("live"),
            peer::publish_command("test"),
            peer::message(peer::VIDEO, 1, PICTURE),
        ];
        publisher.write_all(&commands.concat()).unwrap();
        publisher.shutdown(Shutdown::Write).unwrap();
        assert_eq!(recording.finish().unwrap().len(), 1);
        drop(flood);
    });
}

/// A connection from another of our addresses that has sent nothing.
fn connect_from(own: [u8; 4], address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// None of the three holds half of the places, and each tries for all of them. Strangers who stay silent, who speak RTMP
/// and stay, and both at once; the publisher is between accept and C0, or between its handshake and its publish.
#[test]
fn floods_from_a_few_addresses_leave_the_others_their_places() {
    const FLOODERS: [[u8; 4]; 3] = [[127, 0, 0, 2], [127, 0, 0, 3], [127, 0, 0, 4]];
    const EACH: u64 = 100;
    let silent = |own, address| connect_from(own, address);
    let speaking = |own, address| peer::shake_hands_from((own, 0).into(), address).unwrap();
    type Connect<'a> = &'a dyn Fn([u8; 4], SocketAddr) -> TcpStream;
    let floods: [&[Connect<'_>]; 3] = [&[&silent], &[&speaking], &[&silent, &speaking]];
    alone(|directory| {
        for (flood, is_greeted) in floods.iter().flat_map(|f| [(f, false), (f, true)]) {
            let recording = Recording::start(directory, "").unwrap();
            let address = recording.address();
            let greet = |mut publisher: TcpStream| {
                publisher.write_all(&peer::c0_c1()).unwrap();
                let mut answer = vec![0; 1 + 1536 + 1536];
                publisher.read_exact(&mut answer).unwrap();
                publisher.write_all(&answer[1..1 + 1536]).unwrap();
                publisher
            };
            let attack = || -> Vec<_> {
                let each =
                    |n: u64| FLOODERS.map(|own| flood[n as usize % flood.len()](own, address));
                (0..EACH).flat_map(each).collect()
            };
            let before = attack();
            let mut publisher = peer::connect(address).unwrap();
            if is_greeted {
                publisher = greet(publisher);
            }
            let after = attack();
            insist_on(&recording, "connections", 2 * 3 * EACH + 1);
            if !is_greeted {
                publisher = greet(publisher);
            }
            is_recorded(publisher, recording);
            drop((before, after));
        }
    });
}
