//! Serves whoever publishes as HTTP-FLV to any number of players: `http_flv [RTMP-PORT [HTTP-PORT]]`.
//!
//! `ffplay http://localhost:8080/`, or flv.js in a page. Players may come at any time: multifdsink sends them the stream
//! header that the element puts into its caps (file header, metadata, codec headers), and then goes on from a key frame.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::time::Duration;

use gst::prelude::*;

const PATIENCE: Duration = Duration::from_secs(5);
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nCache-Control: no-store\r\n\
                      Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rtmp_port: u32 = arguments.next().map_or(Ok(1935), |port| port.parse())?;
    let http_port: u16 = arguments.next().map_or(Ok(8080), |port| port.parse())?;
    gst::init()?;
    gstrtmp2server::plugin_register_static()?;

    let source = gst::ElementFactory::make("rtmp2serversrc")
        .property("port", rtmp_port)
        .property("loop", true)
        .build()?;
    // It keeps enough for a new player to begin at the latest key frame. Who is too slow goes on at the next one.
    let sink = gst::ElementFactory::make("multifdsink")
        .property_from_str("sync-method", "latest-keyframe")
        .property_from_str("recover-policy", "keyframe")
        .property("resend-streamheader", false)
        .property_from_str("unit-format", "time")
        .property(
            "time-min",
            gst::ClockTime::from_seconds(10).nseconds() as i64,
        )
        .property(
            "units-soft-max",
            gst::ClockTime::from_seconds(15).nseconds() as i64,
        )
        .property(
            "units-max",
            gst::ClockTime::from_seconds(30).nseconds() as i64,
        )
        // Not to be waited for by the pipeline: there may be no player and no publisher.
        .property("async", false)
        .build()?;
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &sink])?;
    source.link(&sink)?;

    // The sink does not close what it was given.
    sink.connect("client-fd-removed", false, |values| {
        let fd: RawFd = values[1].get().expect("as documented");
        // SAFETY: `serve` gave it away, and the sink says that it is done with it.
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
        None
    });
    let listener = TcpListener::bind(("0.0.0.0", http_port))?;
    println!(
        "players: http://localhost:{}/",
        listener.local_addr()?.port()
    );
    // Who comes before the first publisher waits in the listener's backlog: the stream header is not known yet.
    let mut listener = Some(listener);

    let (interrupts, bus) = (pipeline.downgrade(), pipeline.bus().expect("it has one"));
    glib_unix::unix_signal_add(libc::SIGINT, move || {
        if let Some(pipeline) = interrupts.upgrade() {
            pipeline.send_event(gst::event::Eos::new());
        }
        gst::glib::ControlFlow::Continue
    });
    // Signals are handled by the default context's loop; messages are waited for here.
    std::thread::spawn(|| gst::glib::MainLoop::new(None, false).run());

    let _ = pipeline.set_state(gst::State::Playing);
    let mut result = Ok(());
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => {
                result = Err(error.error().into());
                break;
            }
            gst::MessageView::Element(element) => {
                let Some(structure) = element.structure() else {
                    continue;
                };
                match structure.name().as_str() {
                    "rtmp2server-listening" => {
                        println!("listening on port {}", structure.get::<u32>("port")?);
                    }
                    "rtmp2server-stream-info" => {
                        if let Some(listener) = listener.take() {
                            let sink = sink.clone();
                            std::thread::spawn(move || serve(&listener, &sink));
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    pipeline.set_state(gst::State::Null)?;
    result
}

fn serve(listener: &TcpListener, sink: &gst::Element) {
    for stream in listener.incoming() {
        let sink = sink.clone();
        // One that says nothing must not keep the others waiting.
        let handler = move || match stream.and_then(greet) {
            // From here on it is the sink's.
            Ok(stream) => sink.emit_by_name::<()>("add", &[&stream.into_raw_fd()]),
            Err(error) => eprintln!("a player: {error}"),
        };
        std::thread::spawn(handler);
    }
}

/// Reads the request, whatever it asks for, and answers it.
fn greet(mut stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(std::io::Read::take(&stream, 16 << 10)).lines();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    stream.write_all(ANSWER.as_bytes())?;
    Ok(stream)
}
