//! Records many RTMP publishers on one port, each to its own file as sent, and shows them live on a web page.

mod console;
mod figures;
mod keys;
mod pool;
mod preview;
mod recording;
mod streams;
mod web;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::time::MissedTickBehavior;

use console::Console;
use keys::Keys;
use pool::Pool;
use streams::Streams;

/// Records many RTMP publishers on one port, each to its own file exactly as sent, and shows them live on a web page.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Who may publish: a file with one line "NAME KEY" each, read again when it changes
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,

    /// Where the recordings go: NAME-TIME.flv
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,

    /// Address or name to listen on for publishers
    #[arg(long, default_value = "0.0.0.0")]
    host: String,

    /// Port to listen on for publishers, 0 = any free one
    #[arg(long, default_value_t = 1935)]
    port: u16,

    /// Application that publishers must name: rtmp://HOST:PORT/APPLICATION
    #[arg(long, default_value = "live")]
    application: String,

    /// Who comes when so many publish is turned away
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    max_publishers: u16,

    /// Silence after which a publisher counts as lost, 0 = never
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u32,

    /// Address of the web page. Whoever can reach it can watch all streams
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    http: SocketAddr,

    /// No previews on the page
    #[arg(long)]
    no_preview: bool,
}

/// What the previews are made of, and the Debian package that has it.
const PREVIEW_ELEMENTS: [(&str, &str); 6] = [
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("flvdemux", "gstreamer1.0-plugins-good"),
    ("aacparse", "gstreamer1.0-plugins-good"),
    ("mpegaudioparse", "gstreamer1.0-plugins-good"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("hlssink2", "gstreamer1.0-plugins-bad"),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let mut console = Console::start();
    gst::init().context("GStreamer does not start")?;
    gstrtmp2server::plugin_register_static().context("the plugin does not register")?;

    let keys = Keys::open(&args.keys)?;
    if keys.names().is_empty() {
        tracing::warn!("nobody is in {} yet", args.keys.display());
    }
    std::fs::create_dir_all(&args.directory)
        .with_context(|| format!("can't record to {}", args.directory.display()))?;
    let previews = match args.no_preview || !can_preview() {
        true => None,
        false => Some(
            tempfile::Builder::new()
                .prefix("ingest-")
                .tempdir()
                .context("no place for previews")?,
        ),
    };
    let previews_at = previews
        .as_ref()
        .map(|directory| directory.path().to_owned());

    let http = TcpListener::bind(args.http)
        .await
        .with_context(|| format!("can't serve the page on {}", args.http))?;
    let streams = Arc::new(Streams::new(keys));
    let router = web::router(streams.clone(), previews_at.as_deref());
    let config = recording::Config {
        host: args.host,
        port: args.port,
        application: args.application.clone(),
        directory: args.directory,
        timeout: args.timeout,
        preview_directory: previews_at,
    };
    let (pool, port) = Pool::start(config, streams.clone(), args.max_publishers.into())?;
    tracing::info!("publishers: rtmp://HOST:{port}/{}/KEY", args.application);
    tracing::info!("page: http://{}/", http.local_addr()?);

    let every_second = async {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            streams.tick();
            console.show(&streams.live());
        }
    };
    tokio::select! {
        () = every_second => {}
        result = axum::serve(http, router) => result.context("the page")?,
        signal = asked_to_stop() => signal?,
    }
    console.show(&[]);
    tracing::info!("stopping; once more to stop at once");
    tokio::select! {
        result = tokio::task::spawn_blocking(move || pool.stop()) => result?,
        signal = asked_to_stop() => {
            signal?;
            // What was received is in the files all the same.
            std::process::exit(130);
        }
    }
    Ok(())
}

fn can_preview() -> bool {
    let missing: Vec<String> = PREVIEW_ELEMENTS
        .iter()
        .filter(|(element, _)| gst::ElementFactory::find(element).is_none())
        .map(|(element, package)| format!("{element} (Debian package {package})"))
        .collect();
    if !missing.is_empty() {
        tracing::warn!("no previews: GStreamer lacks {}", missing.join(", "));
    }
    missing.is_empty()
}

/// Ctrl-C, or what service managers send.
async fn asked_to_stop() -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result?,
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok(())
}
