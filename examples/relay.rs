//! Relays whoever publishes to another RTMP server and over SRT: `relay PORT RTMP-URL SRT-URL`, such as
//! `relay 1935 rtmp://example.com/live/key srt://:7001?mode=listener`.
//!
//! Nothing is transcoded. RTMP gets the FLV as it came, whatever the codecs; SRT gets MPEG-TS with H.264 and AAC or MP3.
//! It ends with the publisher, at Ctrl-C, and when either target fails, so that whoever started it can start it again.

use std::cell::RefCell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, rtmp, srt] = arguments.as_slice() else {
        return Err("usage: relay PORT RTMP-URL SRT-URL".into());
    };
    gst::init()?;
    gstrtmp2server::plugin_register_static()?;

    // A queue for each, so that neither waits for the other. If one is full, the publisher is slowed down: nothing is lost.
    // The sinks send as it comes, not by the clock, and do not wait for one another to begin (`async`); an SRT listener does
    // not wait for somebody to watch.
    let pipeline = gst::parse::launch(
        "rtmp2serversrc name=source ! tee name=tee \
         tee. ! queue max-size-time=5000000000 ! rtmp2sink name=rtmp sync=false async=false \
         tee. ! queue max-size-time=5000000000 ! flvdemux name=demux \
         mpegtsmux name=mux alignment=7 ! srtsink name=srt sync=false async=false wait-for-connection=false",
    )?
    .downcast::<gst::Pipeline>()
    .expect("a description of several elements");
    let named = |name| pipeline.by_name(name).expect("in the description");
    named("source").set_property("port", port.parse::<u32>()?);
    named("rtmp").set_property("location", rtmp);
    named("srt").set_property("uri", srt);

    named("srt").connect("caller-added", false, |_| {
        println!("somebody watches over SRT");
        None
    });

    // Which streams there are is known when they come.
    let (weak, mux) = (pipeline.downgrade(), named("mux"));
    named("demux").connect_pad_added(move |_, pad| {
        if let Some(pipeline) = weak.upgrade()
            && let Err(error) = mux_stream(&pipeline, &mux, pad)
        {
            gst::element_error!(pipeline, gst::CoreError::Pad, ["{error}"]);
        }
    });

    let main_loop = glib::MainLoop::new(None, false);
    let outcome = Rc::new(RefCell::new(Ok(())));
    // A closed SRT connection loses what is under way: it stays for as long as that may take.
    let srt_latency = named("srt").property::<i32>("latency").unsigned_abs();
    let under_way = 4 * Duration::from_millis(srt_latency.into());
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let _watch = bus.add_watch_local({
        let (main_loop, outcome) = (main_loop.clone(), outcome.clone());
        move |_, message| {
            match message.view() {
                gst::MessageView::Eos(_) => {
                    let main_loop = main_loop.clone();
                    glib::timeout_add_local_once(under_way, move || main_loop.quit());
                }
                gst::MessageView::Error(error) => {
                    let whose = error.src().map(|src| src.name()).unwrap_or_default();
                    *outcome.borrow_mut() = Err(format!("{whose}: {}", error.error()).into());
                    main_loop.quit();
                }
                gst::MessageView::Element(element) => {
                    let port = element.structure().and_then(listening_on);
                    if let Some(port) = port {
                        println!("listening on port {port}");
                    }
                }
                _ => {}
            }
            glib::ControlFlow::Continue
        }
    })?;
    let weak = pipeline.downgrade();
    glib_unix::unix_signal_add_local(libc::SIGINT, move || {
        if let Some(pipeline) = weak.upgrade() {
            pipeline.send_event(gst::event::Eos::new());
        }
        glib::ControlFlow::Continue
    });

    let _ = pipeline.set_state(gst::State::Playing);
    main_loop.run();
    pipeline.set_state(gst::State::Null)?;
    outcome.replace(Ok(()))
}

/// Leads one of the demuxer's streams into the muxer, or nowhere if MPEG-TS does not take it.
fn mux_stream(
    pipeline: &gst::Pipeline,
    mux: &gst::Element,
    pad: &gst::Pad,
) -> Result<(), Box<dyn Error>> {
    let caps = pad.current_caps().ok_or("a stream without caps")?;
    let caps = caps.structure(0).ok_or("caps of any kind")?;
    // MP3 has the name of AAC, and another version.
    let mpeg = caps.get::<i32>("mpegversion").unwrap_or_default();
    let description = match caps.name().as_str() {
        // With its configuration at every key frame, or nobody who comes later could decode it.
        "video/x-h264" => "queue ! h264parse config-interval=-1",
        "audio/mpeg" if mpeg == 4 => "queue ! aacparse",
        "audio/mpeg" => "queue ! mpegaudioparse",
        other => {
            eprintln!("not relayed over SRT: {other}");
            "fakesink async=false"
        }
    };
    let bin = gst::parse::bin_from_description(description, true)?;
    pipeline.add(&bin)?;
    if let Some(stream) = bin.static_pad("src") {
        let sink = mux.request_pad_simple("sink_%d").ok_or("no pad")?;
        stream.link(&sink)?;
    }
    bin.sync_state_with_parent()?;
    pad.link(&bin.static_pad("sink").ok_or("no pad")?)?;
    Ok(())
}

fn listening_on(structure: &gst::StructureRef) -> Option<u32> {
    (structure.name() == "rtmp2server-listening").then(|| structure.get("port").ok())?
}
