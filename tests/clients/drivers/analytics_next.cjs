// Sends the plan with @segment/analytics-next, the browser client, loaded as its own UMD bundle into a jsdom page.
//
//   drop-in   only `writeKey` and `cdnURL` are given; the settings route tells the client the rest. The page has no
//             `fetch`, so the client uses XMLHttpRequest, for which jsdom enforces CORS with real preflights.
//   batching  several events a request, over `fetch`, with the delivery options of the client.
const fs = require("node:fs");
const path = require("node:path");
const { JSDOM, VirtualConsole } = require("jsdom");
const { plan, url, writeKey, finish } = require("./driver.cjs");

const mode = process.argv[2];
const calls = plan();
const failures = [];
const waiting = new Set(calls.map((call) => call.call));

// The client keeps what it could not deliver and says nothing of success, so the page's own transport is watched.
function answered(status, body) {
  if (!(status >= 200 && status < 400)) return;
  const sent = JSON.parse(body);
  for (const item of sent.batch ?? [sent]) waiting.delete(item.context.call);
  if (waiting.size === 0) finish(failures);
}
setTimeout(() => finish([...failures, `never delivered: calls ${[...waiting]}`]), 25000);

const page = new JSDOM("<!doctype html><title>Cart</title>", {
  url: "http://shop.example.test/cart",
  runScripts: "outside-only",
  virtualConsole: new VirtualConsole(),
  beforeParse(window) {
    if (mode === "batching") {
      window.fetch = async (target, init) => {
        const answer = await fetch(target, init);
        if (init?.body) answered(answer.status, init.body);
        return answer;
      };
    } else {
      const { send } = window.XMLHttpRequest.prototype;
      window.XMLHttpRequest.prototype.send = function (body) {
        if (body) this.addEventListener("loadend", () => answered(this.status, body));
        return send.call(this, body);
      };
    }
  },
});
const bundle = path.join(path.dirname(require.resolve("@segment/analytics-next/package.json")), "dist/umd/index.js");
page.window.eval(fs.readFileSync(bundle, "utf8"));

const segment = {
  apiHost: `${new URL(url).host}/v1`,
  protocol: "http",
  deliveryStrategy: { strategy: "batching", config: { size: 2, timeout: 200 } },
  httpConfig: { backoffConfig: { baseBackoffInterval: 0.2, maxBackoffInterval: 1 } },
};
const init = mode === "batching" ? { integrations: { "Segment.io": segment } } : {};

page.window.AnalyticsNext.AnalyticsBrowser.load({ writeKey, cdnURL: url }, init).then(async ([analytics]) => {
  analytics.on("error", (error) => failures.push(error.reason ?? error));
  for (const call of calls) {
    if (call.anonymous) analytics.setAnonymousId(call.anonymous);
    const options = { context: { call: call.call }, ...(call.at && { timestamp: new Date(call.at) }) };
    switch (call.type) {
      case "identify": await analytics.identify(call.user, call.traits, options); break;
      case "track": await analytics.track(call.event, call.properties, options); break;
      case "page": await analytics.page(call.category, call.name, call.properties, options); break;
      case "screen": await analytics.screen(call.name, call.properties, options); break;
      case "group": await analytics.group(call.group, call.traits, options); break;
      case "alias": await analytics.alias(call.user, call.previous, options); break;
      default: throw new Error(`unknown call ${call.type}`);
    }
  }
}).catch((error) => finish([error]));
