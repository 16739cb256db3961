//! An encoder of our own that asks for acknowledgements, and may know requests to connect again (E-RTMP v2).

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use rml_rtmp::chunk_io::ChunkDeserializer;

use crate::support::flv::{Kind, Tag};
use crate::support::peer;

const SET_CHUNK_SIZE: u8 = 1;
const ACKNOWLEDGEMENT: u8 = 3;
const WINDOW_ACK_SIZE: u8 = 5;
const COMMAND: u8 = 20;

/// Bytes of which it wants an acknowledgement.
const WINDOW: u32 = 20_000;
const DEADLINE: Duration = Duration::from_secs(20);

/// A publication.
pub struct Encoder {
    stream: TcpStream,
    address: SocketAddr,
    sent: u64,
    heard: Arc<Heard>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    acknowledged: u64,
    let_in: bool,
    told_to_reconnect: bool,
    has_ended: bool,
}

impl Encoder {
    /// Connects and is let in, or not.
    pub fn publish(
        server: SocketAddr,
        application: &str,
        reconnects: bool,
    ) -> Result<Encoder, String> {
        let stream = peer::shake_hands(server).map_err(told)?;
        let heard = Arc::<Heard>::default();
        let reader = std::thread::spawn({
            let (stream, heard) = (stream.try_clone().map_err(told)?, heard.clone());
            move || {
                let _ = listen(stream, &heard);
                heard.state.lock().unwrap().has_ended = true;
                heard.changed.notify_all();
            }
        });
        let mut encoder = Encoder {
            address: stream.local_addr().map_err(told)?,
            stream,
            // C0, C1 and C2.
            sent: 1 + 2 * 1536,
            heard,
            reader: Some(reader),
        };
        encoder.write(&peer::connect_with(&command_object(
            application,
            reconnects,
        )))?;
        encoder.write(&peer::message(WINDOW_ACK_SIZE, 0, &WINDOW.to_be_bytes()))?;
        encoder.write(&peer::publish_command("key"))?;
        let state = encoder
            .heard
            .wait(|state| state.let_in || state.has_ended)?;
        match state.let_in {
            true => drop(state),
            false => return Err("not let in".to_owned()),
        }
        Ok(encoder)
    }

    /// Returns how many bytes have been sent so far.
    pub fn send(&mut self, tag: &Tag) -> Result<u64, String> {
        let type_id = match tag.kind {
            Kind::Audio => 8,
            Kind::Video => 9,
            Kind::Script => 18,
        };
        let mut message = peer::message(type_id, 1, &tag.body);
        // Small enough for a header that is not extended.
        message[1..4].copy_from_slice(&tag.timestamp.to_be_bytes()[1..]);
        self.write(&message)?;
        Ok(self.sent)
    }

    /// Its own.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn acknowledged(&self) -> u64 {
        self.heard.state.lock().unwrap().acknowledged
    }

    pub fn is_told_to_reconnect(&self) -> bool {
        self.heard.state.lock().unwrap().told_to_reconnect
    }

    /// Says that nothing follows, and waits until the server has read that and closed.
    pub fn finish(&mut self) -> Result<(), String> {
        self.stream.shutdown(Shutdown::Write).map_err(told)?;
        self.heard.wait(|state| state.has_ended).map(|_| ())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(told)?;
        self.sent += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Heard {
    fn wait(&self, is_so: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>, String> {
        let state = self.state.lock().unwrap();
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, DEADLINE, |state| !is_so(state))
            .unwrap();
        match timeout.timed_out() {
            true => Err(format!("nothing heard within {DEADLINE:?}")),
            false => Ok(state),
        }
    }
}

fn listen(mut stream: TcpStream, heard: &Heard) -> Result<(), String> {
    stream.set_read_timeout(None).map_err(told)?;
    let (mut reader, mut input, mut length) = (ChunkDeserializer::new(), [0; 4096], 0);
    loop {
        let message = reader.get_next_message(&input[..length]).map_err(told)?;
        length = 0;
        let Some(message) = message else {
            length = stream.read(&mut input).map_err(told)?;
            match length {
                0 => return Ok(()),
                _ => continue,
            }
        };
        let number = message.data.first_chunk().map(|n| u32::from_be_bytes(*n));
        let mut state = heard.state.lock().unwrap();
        match message.type_id {
            SET_CHUNK_SIZE => {
                let size = number.ok_or("a short chunk size")? as usize;
                reader.set_max_chunk_size(size).map_err(told)?;
            }
            ACKNOWLEDGEMENT => state.acknowledged = number.ok_or("a short number")?.into(),
            COMMAND => {
                let says = |text| peer::contains(&message.data, text);
                state.let_in |= says("NetStream.Publish.Start");
                state.told_to_reconnect |= says("NetConnection.Connect.ReconnectRequest");
            }
            _ => {}
        }
        drop(state);
        heard.changed.notify_all();
    }
}

/// An application, and whether it acts on a ReconnectRequest.
fn command_object(application: &str, reconnects: bool) -> Vec<u8> {
    const CAPS_EX_RECONNECT: f64 = 1.0;
    let name = |text: &str| peer::amf_string(text).split_off(1);
    let mut object = [&[3][..], &name("app"), &peer::amf_string(application)].concat();
    if reconnects {
        object.extend([name("capsEx"), vec![0]].concat());
        object.extend(CAPS_EX_RECONNECT.to_be_bytes());
    }
    object.extend([0, 0, 9]);
    object
}

fn told(error: impl std::fmt::Display) -> String {
    format!("the encoder: {error}")
}
