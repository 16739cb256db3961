// Shows what the server tells once a second. All words of encoders are set as text, never as markup.

const cards = new Map();
const list = document.getElementById("streams");
const summary = document.getElementById("summary");
// What the graphs show at least; the server has up to 120.
const MIN_SECONDS = 30;

const events = new EventSource("events");
events.onmessage = ({ data }) => show(JSON.parse(data));
events.onerror = () => { summary.textContent = "no connection to the server; trying again …"; };

function show(streams) {
  if (!Array.isArray(streams)) return; // not looked yet
  const order = { live: 0, ended: 1, waiting: 2 };
  streams.sort((a, b) => order[a.state] - order[b.state] || a.name.localeCompare(b.name));
  const live = streams.filter((stream) => stream.state === "live");
  const total = live.reduce((sum, stream) => sum + stream.figures.bitrate, 0);
  summary.textContent = `${live.length} of ${streams.length} live, ${rate(total)}`;

  for (const [name, card] of cards) {
    if (!streams.some((stream) => stream.name === name)) {
      card.remove();
      cards.delete(name);
    }
  }
  streams.forEach((stream, place) => {
    let card = cards.get(stream.name);
    if (!card) {
      card = new Card(stream.name);
      cards.set(stream.name, card);
    }
    // Moving a video would stop it.
    if (list.children[place] !== card.root) list.insertBefore(card.root, list.children[place] ?? null);
    card.update(stream);
  });
}

class Card {
  constructor(name) {
    this.root = document.getElementById("stream").content.firstElementChild.cloneNode(true);
    this.root.dataset.name = name;
    this.text("name", name);
    this.video = this.part("video");
  }

  part(selector) { return this.root.querySelector(selector); }

  text(part, text) { this.part(`.${part}`).textContent = text; }

  update(stream) {
    this.root.className = `stream ${stream.state}`;
    this.text("badge", stream.state);
    if (!stream.figures) {
      this.stop();
      return;
    }
    const { figures, history, end } = stream;
    this.text("format", format(figures));
    const encoder = figures.encoder ? ` with ${figures.encoder}` : "";
    this.text("origin", `from ${figures.remote_address ?? "?"}${encoder}, ${duration(stream.seconds)}`);
    this.graph(history);
    this.text("rate", rate(figures.bitrate));
    this.text("peak", `peak ${rate(Math.max(0, ...history.map((second) => second.bitrate)))}`);
    const keys = history.reduce((sum, second) => sum + second.key_frames, 0);
    this.text("gop", keys ? `key frame every ${(history.length / keys).toFixed(1)} s` : "no key frames");
    for (const figure of ["received", "pushed", "queued", "withheld"]) {
      this.text(figure, figures[figure].toLocaleString("en"));
    }
    const verdict = this.part(".verdict");
    verdict.classList.toggle("bad", !stream.is_complete);
    verdict.lastElementChild.textContent = stream.is_complete ? "✓ complete" : "✗ missing";
    this.text("file", fileLine(stream));
    this.text("missing", end?.missing ? `not complete: ${end.missing}` : "");
    this.preview(stream);
  }

  graph(history) {
    const [width, height, top] = [480, 96, 8];
    const seconds = Math.max(MIN_SECONDS, history.length);
    const step = width / seconds;
    const peak = Math.max(1, ...history.map((second) => second.bitrate));
    const first = seconds - history.length;
    const points = history.map(({ bitrate }, n) => {
      const y = height - (bitrate / peak) * (height - top);
      return `${((first + n + 0.5) * step).toFixed(1)},${y.toFixed(1)}`;
    });
    const line = points.length ? `M${points.join("L")}` : "";
    this.part(".line").setAttribute("d", line);
    const [from, to] = [(first + 0.5) * step, width - step / 2];
    this.part(".area").setAttribute("d", line && `${line}L${to},${height}L${from},${height}Z`);
    const marks = history.map(({ key_frames }, n) => {
      if (!key_frames) return null;
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const tall = Math.min(key_frames, 8) * 3;
      const place = { x: (first + n + 0.25) * step, y: height - tall, width: step / 2, height: tall };
      for (const [name, value] of Object.entries(place)) mark.setAttribute(name, value);
      return mark;
    });
    this.part(".keys").replaceChildren(...marks.filter(Boolean));
  }

  preview({ state, preview }) {
    const url = state === "live" && preview.state === "playing" ? preview.url : null;
    if (url) {
      this.text("notice", "");
      this.play(url);
      return;
    }
    this.stop();
    const notices = { starting: "preview starts at the next key frame …", none: `no preview: ${preview.reason}` };
    this.text("notice", state === "ended" ? "ended" : notices[preview.state]);
  }

  play(url) {
    if (this.url === url) return;
    this.stop();
    this.url = url;
    this.video.hidden = false;
    if (globalThis.Hls?.isSupported()) {
      // Segments are a second long; the browser stays two behind.
      this.hls = new Hls({ enableWorker: false, liveSyncDurationCount: 2, backBufferLength: 10 });
      this.hls.on(Hls.Events.ERROR, (_, error) => {
        if (!error.fatal) return;
        // Once more with the next news.
        this.stop();
        this.text("notice", `the preview stopped: ${error.details}`);
      });
      this.hls.loadSource(url);
      this.hls.attachMedia(this.video);
    } else {
      this.video.src = url; // Safari plays HLS itself.
    }
    this.video.play().catch(() => {}); // Without leave to play it shows its controls.
  }

  stop() {
    this.url = null;
    this.hls?.destroy();
    this.hls = null;
    this.video.removeAttribute("src");
    this.video.hidden = true;
  }

  remove() {
    this.stop();
    this.root.remove();
  }
}

function format(figures) {
  const rate = figures.framerate ? `, ${+figures.framerate.toFixed(2)} fps` : "";
  const size = figures.width && figures.height ? ` ${figures.width}×${figures.height}${rate}` : rate;
  const count = figures.audio_channels;
  const channels = count ? ` ${{ 1: "mono", 2: "stereo" }[count] ?? `${count} channels`}` : "";
  const sound = (figures.audio_rate ? ` ${figures.audio_rate / 1000} kHz` : "") + channels;
  const parts = [figures.video_codec && figures.video_codec + size, figures.audio_codec && figures.audio_codec + sound];
  return parts.filter(Boolean).join(" · ");
}

function fileLine({ file, figures, end }) {
  if (!end) return `${file ?? "?"}, ${bytes(figures.bytes)}`;
  const how = end.clean ? "" : "lost: ";
  return `${file ?? "?"}, ${bytes(end.file_bytes)}; ${how}${end.reason}`;
}

function rate(bits) {
  return bits >= 1e6 ? `${(bits / 1e6).toFixed(2)} Mbit/s` : `${Math.round(bits / 1e3)} kbit/s`;
}

function bytes(count) {
  return count >= 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.round(count / 1e3)} kB`;
}

function duration(seconds) {
  const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60];
  return parts.map((part) => String(Math.floor(part)).padStart(2, "0")).join(":");
}
