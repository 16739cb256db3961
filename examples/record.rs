//! Records one publisher to a file, as sent: `record [PORT [FILE]]`.
//!
//! Ends when the publisher has left, and at Ctrl-C, with all that was received in the file.

use std::cell::RefCell;
use std::error::Error;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::rc::Rc;

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
    let mut arguments = std::env::args().skip(1);
    let port: u32 = arguments.next().map_or(Ok(1935), |port| port.parse())?;
    let file = arguments.next().unwrap_or_else(|| "output.flv".to_owned());

    gst::init()?;
    // The element comes with this program; without this line it is looked for among the installed plugins.
    gstrtmp2server::plugin_register_static()?;

    let source = gst::ElementFactory::make("rtmp2serversrc")
        .property("port", port)
        .build()?;
    let sink = gst::ElementFactory::make("filesink")
        .property("location", file)
        .build()?;
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&source, &sink])?;
    source.link(&sink)?;

    let main_loop = glib::MainLoop::new(None, false);
    let outcome = Rc::new(RefCell::new(Ok(())));
    let bus = pipeline.bus().expect("a pipeline has a bus");
    let _watch = bus.add_watch_local({
        let (main_loop, outcome) = (main_loop.clone(), outcome.clone());
        move |_, message| {
            if let ControlFlow::Break(result) = handle(message) {
                *outcome.borrow_mut() = result;
                main_loop.quit();
            }
            glib::ControlFlow::Continue
        }
    })?;
    // Ctrl-C asks for the end instead of being it: the element puts out what it has, then EOS.
    let weak = pipeline.downgrade();
    glib_unix::unix_signal_add_local(libc::SIGINT, move || {
        if let Some(pipeline) = weak.upgrade() {
            pipeline.send_event(gst::event::Eos::new());
        }
        glib::ControlFlow::Continue
    });

    // What went wrong is on the bus, so that the loop is run also then.
    let _ = pipeline.set_state(gst::State::Playing);
    main_loop.run();
    pipeline.set_state(gst::State::Null)?;
    outcome.replace(Ok(()))
}

type Outcome = Result<(), Box<dyn Error>>;

/// Says what happened; breaks at the end.
fn handle(message: &gst::Message) -> ControlFlow<Outcome> {
    use gst::MessageView;
    match message.view() {
        MessageView::Eos(_) => ControlFlow::Break(Ok(())),
        MessageView::Error(error) => ControlFlow::Break(Err(error.error().to_string().into())),
        MessageView::Element(element) => {
            if let Some(structure) = element.structure() {
                tell(structure);
            }
            ControlFlow::Continue(())
        }
        _ => ControlFlow::Continue(()),
    }
}

fn tell(structure: &gst::StructureRef) {
    let text = |field| structure.get::<String>(field).unwrap_or_default();
    match structure.name().as_str() {
        "rtmp2server-listening" => {
            let port: u32 = structure.get("port").unwrap_or_default();
            println!("listening on port {port}");
        }
        "rtmp2server-publisher-connected" => println!("{} publishes", text("address")),
        "rtmp2server-publisher-disconnected" => {
            let tags: u64 = structure.get("tags").unwrap_or_default();
            println!("recorded {tags} tags: {}", text("reason"));
        }
        _ => {}
    }
}
