// A real browser for the scripts that look at the page.

import { chromium } from "playwright-core";
import { join } from "node:path";

const TIMEOUT = 60_000;

// Prints as JSON what `look` finds, and what the browser complained of. `directory` is for the browser's profile.
export async function inBrowser(directory, look) {
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
    const seen = await look(page, context);
    console.log(JSON.stringify({ ...seen, complaints }));
  } finally {
    await context.close();
  }
}

export const card = (page, name) => page.locator(`[data-name="${name}"]`);

// Waits until a preview plays for three seconds.
export async function plays(page, name) {
  const video = await card(page, name).locator("video").elementHandle();
  await page.waitForFunction((v) => v.currentTime > 0 && !v.paused, video);
  const from = await video.evaluate((v) => v.currentTime);
  await page.waitForFunction(([v, t]) => v.currentTime > t + 3, [video, from]);
  return video.evaluate((v, t) => ({
    from: t,
    to: v.currentTime,
    width: v.videoWidth,
    height: v.videoHeight,
    frames: v.getVideoPlaybackQuality().totalVideoFrames,
    soundBytes: v.webkitAudioDecodedByteCount,
  }), from);
}

export async function words(page, name) {
  const text = (part) => card(page, name).locator(part).textContent();
  return {
    badge: await text(".badge"),
    format: await text(".format"),
    origin: await text(".origin"),
    received: await text(".received"),
    pushed: await text(".pushed"),
    verdict: await text(".verdict dd"),
    file: await text(".file"),
    missing: await text(".missing"),
    notice: await text(".notice"),
    keyMarks: await card(page, name).locator(".keys rect").count(),
    line: await card(page, name).locator(".line").getAttribute("d"),
  };
}
