//! The element's virtual methods.
//!
//! Three cells, none held across anything that blocks or calls out: the settings;
//! what runs between start and stop; and the streaming thread's output, which
//! includes the buffer that the pad has yet to see.

mod streaming;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;

use super::CAT;
use super::observer::{ElementGate, ElementObserver};
use super::output::Output;
use super::settings::{ProxyProtocol, Settings};
use super::stats::OutputStats;
use super::{properties, signals, stats, uri};
use crate::flv::{TAG_HEADER_SIZE, TAG_TRAILER_SIZE};
use crate::rtmp::{Limits, SessionConfig};
use crate::server::{
    BindError, ListenerSettings, Listening, ListeningConfig, Publisher, Route, TlsFiles,
};
use streaming::Stream;

/// Time from accept to publish. Real encoders need a second at the most.
const PUBLISH_DEADLINE: Duration = Duration::from_secs(10);
/// How long an EOS event waits for a slow pipeline to take what is queued.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Rtmp2ServerSrc {
    settings: Mutex<Settings>,
    running: Mutex<Option<Running>>,
    /// An EOS event was taken over: what is queued goes out, and then EOS. Written with `running` locked.
    draining: AtomicBool,
    /// Shared with the probe on the pad, which would have to look for the element with
    /// every buffer otherwise.
    stream: Arc<Mutex<Stream>>,
}

/// Between start and stop.
struct Running {
    listening: Listening,
    route: Arc<Route>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rtmp2ServerSrc {
    fn route(&self) -> Option<Arc<Route>> {
        lock(&self.running).as_ref().map(|r| r.route.clone())
    }

    /// In PAUSED or PLAYING, or on the way there and listening already.
    fn is_running(&self) -> bool {
        lock(&self.running).is_some() || self.obj().current_state() > gst::State::Ready
    }

    /// Who publishes now.
    pub(super) fn publisher(&self) -> Option<Arc<Publisher>> {
        self.route().and_then(|route| route.publisher())
    }

    fn listen(
        &self,
        settings: &Settings,
        tls: Option<TlsFiles>,
        route: Arc<Route>,
    ) -> Result<Listening, BindError> {
        let config = ListeningConfig {
            name: self.obj().name().into(),
            host: settings.host.clone(),
            port: settings.port,
            settings: ListenerSettings {
                max_connections: settings.max_connections as usize,
                publish_deadline: PUBLISH_DEADLINE,
                session: SessionConfig {
                    limits: Limits::with_max_message_size(settings.max_message_size as usize),
                    headroom: TAG_HEADER_SIZE,
                    tailroom: TAG_TRAILER_SIZE,
                },
                tls,
                proxy_protocol: settings.proxy_protocol == ProxyProtocol::Required,
            },
        };
        Listening::start(config, route)
    }

    fn make_route(&self, settings: &Settings, tls: bool) -> Result<Arc<Route>, BindError> {
        let observer = ElementObserver::new(&self.obj(), tls).map_err(BindError::Runtime)?;
        Ok(Arc::new(Route::new(
            settings.route(),
            settings.max_queue_bytes as usize,
            Arc::new(observer),
            Some(Arc::new(ElementGate {
                element: self.obj().downgrade(),
                tls,
            })),
        )))
    }
}

fn bind_error(error: &BindError) -> gst::ErrorMessage {
    let kind = match error {
        BindError::Certificate(_) => gst::ResourceError::Settings,
        _ if error.is_busy() => gst::ResourceError::Busy,
        _ => gst::ResourceError::OpenRead,
    };
    let advice = error.advice();
    gst::error_msg!(
        kind,
        ("Could not start the RTMP server: {error}: {advice}"),
        ["{error:?}"]
    )
}

#[glib::object_subclass]
impl ObjectSubclass for Rtmp2ServerSrc {
    const NAME: &'static str = "GstRtmp2ServerSrc";
    type Type = super::Rtmp2ServerSrc;
    type ParentType = gst_base::PushSrc;
    type Interfaces = (gst::URIHandler,);
}

impl ObjectImpl for Rtmp2ServerSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(properties::param_specs);
        &PROPERTIES
    }

    fn constructed(&self) {
        self.parent_constructed();
        let obj = self.obj();
        obj.set_live(true);
        obj.set_format(gst::Format::Time);
        let pad = obj.src_pad();
        let stream = Arc::clone(&self.stream);
        // One probe: each one more is a search with every buffer.
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(types, move |_, info| {
            match &info.data {
                Some(gst::PadProbeData::Buffer(_)) => lock(&stream).seen(),
                // Also after an error downstream, or num-buffers: the publisher must
                // hear that nobody takes its data any more.
                Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => {
                    let route = lock(&stream).route.clone();
                    if let Some(route) = route {
                        route.end();
                    }
                }
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(signals::signals);
        &SIGNALS
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        // Some of what it stands for could be taken up, and some could not.
        if pspec.name() == "location" && self.is_running() {
            gst::warning!(
                CAT,
                imp = self,
                "location is ignored: it can be set in NULL and READY alone"
            );
            return;
        }
        let is_live = {
            let mut settings = lock(&self.settings);
            settings.set(pspec.name(), value);
            settings.is_live
        };
        match pspec.name() {
            "is-live" => self.obj().set_live(is_live),
            "latency" => self.announce_latency(),
            _ => {}
        }
        if let Some(route) = self.route() {
            // Copied inside, so that of two threads the later one's value stays.
            route.update(|route| *route = lock(&self.settings).route());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "current-port" => {
                let running = lock(&self.running);
                let port = running.as_ref().map_or(0, |r| r.listening.port());
                u32::from(port).to_value()
            }
            "stats" => {
                let output = {
                    let stream = lock(&self.stream);
                    let output = stream.output.as_ref();
                    output.map(|output| OutputStats::of(output, stream.tally()))
                };
                let running = lock(&self.running);
                let (listening, route) = match &*running {
                    Some(running) => (Some(&running.listening), Some(&*running.route)),
                    None => (None, None),
                };
                stats::structure(listening, route, &output.unwrap_or_default()).to_value()
            }
            name => lock(&self.settings)
                .get(name)
                .unwrap_or_else(|| unreachable!("GObject knows the names: {name}")),
        }
    }
}

impl GstObjectImpl for Rtmp2ServerSrc {}

impl URIHandlerImpl for Rtmp2ServerSrc {
    const URI_TYPE: gst::URIType = gst::URIType::Src;

    fn protocols() -> &'static [&'static str] {
        uri::PROTOCOLS
    }

    fn uri(&self) -> Option<String> {
        lock(&self.settings).uri()
    }

    fn set_uri(&self, uri: &str) -> Result<(), glib::Error> {
        if self.is_running() {
            let text = "the URI can't be changed while the element runs";
            return Err(glib::Error::new(gst::URIError::BadState, text));
        }
        lock(&self.settings).set_location(uri, uri::PROTOCOLS)
    }
}

impl ElementImpl for Rtmp2ServerSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "RTMP server source",
                "Source/Network",
                "Listens for an RTMP publisher (OBS, ffmpeg, rtmp2sink) and puts out its stream as FLV",
                "The gst-plugin-rtmp2server authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let caps = gst::Caps::new_empty_simple("video/x-flv");
            let src = gst::PadTemplate::new(
                "src",
                gst::PadDirection::Src,
                gst::PadPresence::Always,
                &caps,
            );
            vec![src.expect("a valid template")]
        });
        &TEMPLATES
    }

    /// The base class answers an EOS event by flushing `create` and never calling
    /// it again: what is queued would be lost. So the event only closes the
    /// queue; EOS follows when it is empty, at once if it is.
    ///
    /// A seek it would only refuse from downstream: of one for the element itself it
    /// flushes the pipeline first, and what goes on has no segment.
    fn send_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Seek {
            gst::debug!(CAT, imp = self, "a seek is refused: this is a live stream");
            return false;
        }
        if event.type_() == gst::EventType::Eos {
            let route = lock(&self.running).as_ref().map(|running| {
                self.draining.store(true, Ordering::Relaxed);
                running.route.clone()
            });
            if let Some(route) = route {
                gst::debug!(CAT, imp = self, "EOS event: draining the queue");
                route.end();
                return true;
            }
        }
        self.parent_send_event(event)
    }
}

impl PushSrcImpl for Rtmp2ServerSrc {}

impl BaseSrcImpl for Rtmp2ServerSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = lock(&self.settings).clone();
        if let Some(error) = settings.error() {
            return Err(gst::error_msg!(
                gst::ResourceError::Settings,
                ("Could not start the RTMP server: {error}"),
                [
                    "location is rtmp://HOST:PORT/APPLICATION/KEY or NULL; username and password are both set or neither"
                ]
            ));
        }
        let tls = settings.tls().map_err(|error| {
            gst::error_msg!(
                gst::ResourceError::Settings,
                ("Could not start the RTMP server: {error}"),
                ["RTMPS is on if both files are set"]
            )
        })?;
        let (route, listening) = self
            .make_route(&settings, tls.is_some())
            .and_then(|route| Ok((route.clone(), self.listen(&settings, tls, route)?)))
            .map_err(|error| bind_error(&error))?;
        gst::info!(CAT, imp = self, "listening on {:?}", listening.addresses());
        let message = signals::listening(listening.addresses(), listening.port());
        let output = Output::new(settings.timestamp_mode, settings.compat);
        *lock(&self.stream) = Stream::new(output, route.clone());
        let mut running = lock(&self.running);
        self.draining.store(false, Ordering::Relaxed);
        *running = Some(Running { listening, route });
        drop(running);
        self.obj().notify("current-port");
        signals::post(&self.obj(), message);
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        let running = lock(&self.running).take();
        // With no lock held: that closes the port, if nobody shares it.
        drop(running);
        *lock(&self.stream) = Stream::default();
        self.obj().notify("current-port");
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    /// Not the push source's, which comes to the same with two more calls between the
    /// languages for each buffer.
    fn create(
        &self,
        _offset: u64,
        _buffer: Option<&mut gst::BufferRef>,
        _length: u32,
    ) -> Result<CreateSuccess, gst::FlowError> {
        self.next_buffer()
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(q) => {
                let settings = lock(&self.settings).clone();
                let latency = gst::ClockTime::from_mseconds(settings.latency.into());
                // No maximum: a slow pipeline slows down the publisher.
                q.set(settings.is_live, latency, gst::ClockTime::NONE);
                true
            }
            // As rtmp2src: forward only, and no faster than the network.
            gst::QueryViewMut::Scheduling(q) => {
                let flags =
                    gst::SchedulingFlags::SEQUENTIAL | gst::SchedulingFlags::BANDWIDTH_LIMITED;
                q.set(flags, 1, -1, 0);
                q.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            _ => BaseSrcImplExt::parent_query(self, query),
        }
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(route) = self.route() {
            route.queue().unlock();
        }
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        if let Some(route) = self.route() {
            route.queue().unlock_stop();
        }
        Ok(())
    }
}
