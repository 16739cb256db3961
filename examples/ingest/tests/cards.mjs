// Looks at some streams on the page: node tests/cards.mjs URL DIRECTORY EVENTS NAME=WHAT …
//
// WHAT is `plays` or a state to wait for. EVENTS is empty, or what the server is to have told, as JSON. Prints as JSON
// what is on the page then.

import { card, inBrowser, plays, words } from "./browser.mjs";

const [url, directory, events, ...wanted] = process.argv.slice(2);

await inBrowser(directory, async (page) => {
  if (events) {
    await page.route("**/events", (route) => route.fulfill({
      contentType: "text/event-stream",
      body: `data: ${events}\n\n`,
    }));
  }
  await page.goto(url);
  const [videos, streams] = [{}, {}];
  for (const [name, what] of wanted.map((argument) => argument.split("="))) {
    if (what === "plays") videos[name] = await plays(page, name);
    else await card(page, name).and(page.locator(`.${what}`)).waitFor();
    streams[name] = await words(page, name);
  }
  return { videos, streams };
});
