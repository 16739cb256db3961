//! Decides by program who may publish; records all of them, one after another, to a file: `auth_signal [PORT [FILE]]`.
//!
//! Here by a list; a database or an HTTP request would do as well, because the handler has a thread of its own and may block
//! for up to 5 s.

use std::error::Error;
use std::process::ExitCode;

use gst::glib;
use gst::prelude::*;

/// Stream keys and whose they are. Not in a program of your own: anybody who has it can read them.
const KEYS: [(&str, &str); 2] = [("s3cret-of-anna", "anna"), ("s3cret-of-ben", "ben")];

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
    let port: u32 = arguments.next().map_or(Ok(1935), |port| port.parse())?;
    let file = arguments.next().unwrap_or_else(|| "output.flv".to_owned());
    gst::init()?;
    gstrtmp2server::plugin_register_static()?;

    // With `loop`, it waits for the next one when a publisher has left.
    let source = gst::ElementFactory::make("rtmp2serversrc")
        .property("port", port)
        .property("loop", true)
        .build()?;
    let sink = gst::ElementFactory::make("filesink")
        .property("location", file)
        .build()?;
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &sink])?;
    source.link(&sink)?;

    // The first handler that returns FALSE turns the publisher away; it is told so.
    source.connect("caller-connecting", false, |values| {
        let caller: gst::Structure = values[1].get().expect("a structure, as documented");
        Some(decide(&caller).to_value())
    });
    // What became of it. These structures have no key in them, and can be logged.
    for signal in ["caller-added", "caller-removed", "caller-rejected"] {
        source.connect(signal, false, move |values| {
            let caller: gst::Structure = values[1].get().expect("a structure, as documented");
            println!("{signal}: {caller}");
            None
        });
    }

    let main_loop = glib::MainLoop::new(None, false);
    let failure = std::rc::Rc::new(std::cell::RefCell::new(None));
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let _watch = bus.add_watch_local({
        let (main_loop, failure) = (main_loop.clone(), failure.clone());
        move |_, message| {
            match message.view() {
                gst::MessageView::Eos(_) => main_loop.quit(),
                gst::MessageView::Error(error) => {
                    *failure.borrow_mut() = Some(error.error());
                    main_loop.quit();
                }
                gst::MessageView::Element(_) => {
                    if let Some(port) = listening_on(message) {
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
    match failure.take() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

fn decide(caller: &gst::StructureRef) -> bool {
    let text = |field| caller.get::<&str>(field).unwrap_or_default();
    let key = text("stream-key");
    let name = KEYS.iter().find(|(known, _)| same(known, key));
    match name {
        Some((_, name)) => println!("{} is {name}", text("address")),
        None => println!("{} is nobody we know", text("address")),
    }
    name.is_some()
}

/// Compares in a time that does not depend on where the first difference is.
fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq;
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn listening_on(message: &gst::Message) -> Option<u32> {
    let structure = message.structure()?;
    match structure.name().as_str() {
        "rtmp2server-listening" => structure.get("port").ok(),
        _ => None,
    }
}
