// Looks at the page in a real browser: node tests/page.mjs URL DIRECTORY [SCREENSHOT]
//
// Waits until stage-left and stage-right play, and until terrace says why it does not. Prints as JSON what
// is on the page then. DIRECTORY is for the browser's profile.

import { chromium } from "playwright-core";
import { join } from "node:path";

const [url, directory, screenshot] = process.argv.slice(2);
const TIMEOUT = 60_000;

const context = await chromium.launchPersistentContext(join(directory, "profile"), {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  viewport: { width: 1000, height: 735 },
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
try {
  const page = await context.newPage();
  page.setDefaultTimeout(TIMEOUT);
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(url);

  const card = (name, on = page) => on.locator(`[data-name="${name}"]`);
  const plays = async (name, on = page) => {
    const video = await card(name, on).locator("video").elementHandle();
    await on.waitForFunction((v) => v.videoWidth > 0 && v.currentTime > 0 && !v.paused, video);
    const from = await video.evaluate((v) => v.currentTime);
    await on.waitForFunction(([v, t]) => v.currentTime > t + 3, [video, from]);
    return video.evaluate((v, t) => ({
      from: t,
      to: v.currentTime,
      width: v.videoWidth,
      height: v.videoHeight,
      frames: v.getVideoPlaybackQuality().totalVideoFrames,
    }), from);
  };
  const words = async (name) => {
    const text = (part) => card(name).locator(part).textContent();
    return {
      badge: await text(".badge"),
      format: await text(".format"),
      origin: await text(".origin"),
      received: await text(".received"),
      pushed: await text(".pushed"),
      verdict: await text(".verdict dd"),
      notice: await text(".notice"),
      keyMarks: await card(name).locator(".keys rect").count(),
      line: await card(name).locator(".line").getAttribute("d"),
    };
  };

  await card("stage-left").and(page.locator(".live")).waitFor();
  const videos = {};
  for (const name of ["stage-left", "stage-right"]) videos[name] = await plays(name);
  // Who comes later sees as much: no segment needs an earlier one.
  const later = await context.newPage();
  await later.goto(url);
  videos.later = await plays("stage-left", later);
  await later.close();
  await card("terrace").getByText("no preview:").waitFor();
  const summary = await page.locator("#summary").textContent();
  const names = ["stage-left", "stage-right", "terrace"];
  const streams = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await words(name)])));
  const waiting = await card("backstage").locator(".badge").textContent();
  if (screenshot) {
    // Until there is something to see in the graphs.
    const marks = await card("stage-left").locator(".keys").elementHandle();
    await page.waitForFunction((keys) => keys.childElementCount >= 25, marks);
    await page.screenshot({ path: screenshot });
  }
  console.log(JSON.stringify({ summary, videos, streams, waiting, complaints }));
} finally {
  await context.close();
}
