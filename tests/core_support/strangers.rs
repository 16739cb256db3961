//! What strangers may say at most.

use super::wire::{
    AUDIO, COMMAND, SET_CHUNK_SIZE, USER_CONTROL, call, control, fmt0, handshake, message, object,
    text,
};

/// The dearest things that a stranger can say and be kept for. It reads no answer.
pub fn strangers() -> Vec<(&'static str, Vec<u8>)> {
    let connect_to = |app: &[u8]| {
        let mut body = call(
            "connect",
            1.0,
            vec![object([("tcUrl", text("rtmp://host/"))])],
        );
        // Behind the last property, and before the end of the object.
        let end = body.len() - 3;
        let length = (app.len() as u16).to_be_bytes();
        body.splice(end..end, [b"\0\x03app\x02", &length[..], app].concat());
        message(COMMAND, 0, 0, &body)
    };
    let names = [handshake(), connect_to(&[b'x'; 8000])].concat();
    let chunk_size = control(SET_CHUNK_SIZE, 65);
    let unfinished =
        (10..134u32).flat_map(|id| [fmt0(id, 0, 8000, AUDIO, 1), vec![1; 65]].concat());
    let unfinished: Vec<u8> = unfinished.collect();
    let pings = message(USER_CONTROL, 0, 0, &[0, 6, 0, 0, 0, 1]).repeat(700);
    let all = [&names[..], &pings, &chunk_size, &unfinished].concat();
    vec![
        ("half a handshake", handshake()[..2000].to_vec()),
        ("a handshake", handshake()),
        ("long names", names),
        (
            "unfinished messages",
            [handshake(), chunk_size, unfinished].concat(),
        ),
        (
            "chatter",
            [handshake(), message(99, 0, 0, &[0; 100]).repeat(2000)].concat(),
        ),
        ("pings", [handshake(), pings].concat()),
        ("all of it", all),
    ]
}
