// Sends the plan with @segment/analytics-node, each call in that client's own form.
// Only public options shorten its delays.
const { Analytics } = require("@segment/analytics-node");
const { plan, url, writeKey, finish } = require("./driver.cjs");

const analytics = new Analytics({
  writeKey,
  host: url,
  flushAt: 2,
  flushInterval: 100,
  httpRequestTimeout: 1200,
});
const failures = [];
analytics.on("error", (error) => failures.push(error.reason ?? error));

for (const call of plan()) {
  const who = call.user ? { userId: call.user } : { anonymousId: call.anonymous };
  const common = { ...who, context: { call: call.call }, ...(call.at && { timestamp: new Date(call.at) }) };
  switch (call.type) {
    case "identify": analytics.identify({ ...common, traits: call.traits }); break;
    case "track": analytics.track({ ...common, event: call.event, properties: call.properties }); break;
    case "page": analytics.page({ ...common, name: call.name, category: call.category, properties: call.properties }); break;
    case "screen": analytics.screen({ ...common, name: call.name, properties: call.properties }); break;
    case "group": analytics.group({ ...common, groupId: call.group, traits: call.traits }); break;
    case "alias": analytics.alias({ userId: call.user, previousId: call.previous, context: common.context }); break;
    default: throw new Error(`unknown call ${call.type}`);
  }
}
analytics.closeAndFlush({ timeout: 25000 }).then(() => finish(failures));
