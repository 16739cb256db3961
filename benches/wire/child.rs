//! Inside the processes that are measured: a pipeline, a bare `recv` loop, or the core alone.
//!
//! They say on standard output when they listen, on which ports, and when they have all, and what that was. Then they
//! wait to be read from /proc until standard input ends.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};

use gst::prelude::*;

use crate::Result;
use crate::checksum::Checksum;
use crate::driven::{Driven, READ};
use crate::load::content::Content;
use crate::load::wire::Wire;
use crate::machine::{self, monotonic};

/// Longer than any run takes.
const DEADLINE: gst::ClockTime = gst::ClockTime::from_seconds(180);

/// What the first line begins with; the ports follow.
pub const LISTENING: &str = "listening";

pub fn run(arguments: &[String]) -> Result<()> {
    machine::raise_descriptor_limit()?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["pipeline", description] => pipeline(description),
        ["recv", size] => recv(size.parse()?),
        ["checksum", megabytes] => checksum(megabytes.parse()?),
        ["core", chunk_size, megabytes] => core(chunk_size.parse()?, megabytes.parse()?),
        ["memcpy", megabytes] => memcpy(megabytes.parse()?),
        _ => Err(format!("no such child: {arguments:?}").into()),
    }
}

fn done(what: &str) -> Result<()> {
    println!("{what}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Runs a pipeline to its end. Of an element named `hashed` the checksum of its input is taken; of one named `timed`
/// the time of each buffer that it puts out goes into the file `arrivals`, with the bytes so far.
fn pipeline(description: &str) -> Result<()> {
    gst::init()?;
    gstrtmp2server::plugin_register_static()?;
    let pipeline = gst::parse::launch(description)?;
    let pipeline = pipeline
        .downcast::<gst::Pipeline>()
        .map_err(|_| "no pipeline")?;
    let sum = Arc::new(Mutex::new(Checksum::default()));
    if let Some(sink) = pipeline.by_name("hashed") {
        let pad = sink.static_pad("sink").ok_or("a sink has one")?;
        let sum = sum.clone();
        each_buffer(&pad, move |buffer| {
            let map = buffer.map_readable().expect("system memory");
            sum.lock().unwrap().add(&map);
        });
    }
    let arrivals = Arc::new(Mutex::new((0_u64, Vec::new())));
    let timed = pipeline.by_name("timed");
    if let Some(source) = &timed {
        let pad = source.static_pad("src").ok_or("a source has one")?;
        let arrivals = arrivals.clone();
        each_buffer(&pad, move |buffer| {
            let (bytes, times) = &mut *arrivals.lock().unwrap();
            *bytes += buffer.size() as u64;
            times.push((monotonic(), *bytes));
        });
    }
    pipeline.set_state(gst::State::Playing)?;
    let mut ports = String::from(LISTENING);
    // Sorted so that their ports come in the order of the description.
    let mut sources: Vec<_> = pipeline
        .iterate_sources()
        .into_iter()
        .collect::<std::result::Result<_, _>>()?;
    sources.sort_by_key(|source| source.name());
    for source in sources {
        write!(
            ports,
            " {}",
            source
                .property_value("current-port")
                .transform::<i64>()?
                .get::<i64>()?
        )?;
    }
    println!("{ports}");
    let bus = pipeline.bus().ok_or("a pipeline has one")?;
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus
        .timed_pop_filtered(DEADLINE, &types)
        .ok_or("no EOS in time")?;
    if let gst::MessageView::Error(error) = message.view() {
        return Err(format!("{}: {:?}", error.error(), error.debug()).into());
    }
    if timed.is_some() {
        let arrivals = arrivals.lock().unwrap();
        let lines = arrivals
            .1
            .iter()
            .map(|(at, bytes)| format!("{} {bytes}\n", at.as_nanos()));
        fs::write("arrivals", lines.collect::<String>())?;
    }
    let sum = sum.lock().unwrap().to_string();
    done(&sum)?;
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

fn each_buffer(pad: &gst::Pad, mut see: impl FnMut(&gst::BufferRef) + Send + 'static) {
    let see = Mutex::new(move |buffer: &gst::BufferRef| see(buffer));
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(types, move |_, info| {
        let mut see = see.lock().unwrap();
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => see(buffer),
            Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(&mut *see),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// Nothing but reading: what the bytes cost without anything done to them.
fn recv(size: usize) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{LISTENING} {}", listener.local_addr()?.port());
    let (mut client, _) = listener.accept()?;
    let (mut buffer, mut sum) = (vec![0; size], Checksum::default());
    loop {
        match client.read(&mut buffer)? {
            0 => return done(&sum.to_string()),
            read => sum.add(&buffer[..read]),
        }
    }
}

/// What it costs to check, of memory that was just written: CPU seconds per GB.
fn checksum(megabytes: usize) -> Result<()> {
    let buffer = vec![1; 32 << 10];
    let mut sum = Checksum::default();
    let start = machine::thread_cpu()?;
    while sum.length() < (megabytes as u64) * 1_000_000 {
        sum.add(&buffer);
    }
    let cpu = machine::thread_cpu()? - start;
    std::hint::black_box(sum.to_string());
    done(&(cpu.as_secs_f64() * 1e9 / sum.length() as f64).to_string())
}

/// GB/s of the core, from chunks in memory to FLV tags.
fn core(chunk_size: usize, megabytes: u64) -> Result<()> {
    let content = Content::synthetic(8_000_000);
    let wire = Wire::new(&content, chunk_size);
    let laps = content.laps(megabytes * 1_000_000);
    let mut driven = Driven::new(&wire, chunk_size);
    let (_, before) = driven.made();
    let start = machine::thread_cpu()?;
    for _ in 0..laps {
        driven.feed(&wire.lap);
    }
    let cpu = machine::thread_cpu()? - start;
    let bytes = driven.made().1 - before;
    if bytes != content.sizes().1 * u64::from(laps) {
        return Err("the core lost something".into());
    }
    done(&(bytes as f64 / 1e9 / cpu.as_secs_f64()).to_string())
}

/// GB/s of copying the same lap to memory of the size of a read.
fn memcpy(megabytes: usize) -> Result<()> {
    let from = Wire::new(&Content::synthetic(8_000_000), 4096).lap;
    let mut to = vec![0; READ];
    let (start, mut bytes) = (machine::thread_cpu()?, 0);
    while bytes < megabytes * 1_000_000 {
        for part in from.chunks(READ) {
            to[..part.len()].copy_from_slice(part);
            std::hint::black_box(&mut to);
        }
        bytes += from.len();
    }
    let cpu = machine::thread_cpu()? - start;
    done(&(bytes as f64 / 1e9 / cpu.as_secs_f64()).to_string())
}
