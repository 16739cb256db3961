// Looks at the page in a real browser: node tests/page.mjs URL DIRECTORY [SCREENSHOT]
//
// Waits until stage-left and stage-right play, and until terrace says why it does not. Prints as JSON what
// is on the page then.

import { card, inBrowser, plays, words } from "./browser.mjs";

const [url, directory, screenshot] = process.argv.slice(2);

await inBrowser(directory, async (page, context) => {
  await page.goto(url);
  await card(page, "stage-left").and(page.locator(".live")).waitFor();
  const videos = {};
  for (const name of ["stage-left", "stage-right"]) videos[name] = await plays(page, name);
  // Who comes later sees as much: no segment needs an earlier one.
  const later = await context.newPage();
  await later.goto(url);
  videos.later = await plays(later, "stage-left");
  await later.close();
  await card(page, "terrace").getByText("no preview:").waitFor();
  const summary = await page.locator("#summary").textContent();
  const streams = {};
  for (const name of ["stage-left", "stage-right", "terrace"]) streams[name] = await words(page, name);
  const waiting = await card(page, "backstage").locator(".badge").textContent();
  if (screenshot) {
    // Until there is something to see in the graphs.
    const marks = await card(page, "stage-left").locator(".keys").elementHandle();
    await page.waitForFunction((keys) => keys.childElementCount >= 25, marks);
    await page.screenshot({ path: screenshot });
  }
  return { summary, videos, streams, waiting };
});
