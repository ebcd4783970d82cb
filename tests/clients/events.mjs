// node events.mjs URL: follows a stream by EventSource and prints each event on a line, as JSON, until the stream's `end`.
import { EventSource } from "eventsource";

const [url] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (address, options) =>
    fetch(address, { ...options, headers: { ...options.headers, Authorization: `Bearer ${process.env.KEY}` } }),
});
// While it waits to come back nothing else keeps the process.
const alive = setInterval(() => {}, 1000);
for (const name of ["job", "move", "progress", "reset", "end"]) {
  source.addEventListener(name, ({ lastEventId, data }) => {
    console.log(JSON.stringify({ name, id: lastEventId, data: JSON.parse(data) }));
    if (name !== "end") return;
    source.close();
    clearInterval(alive);
  });
}
source.addEventListener("error", ({ code }) => {
  if (source.readyState === EventSource.CLOSED) {
    console.error(`closed by ${code}`);
    process.exit(1);
  }
});
