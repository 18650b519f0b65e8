// Sends the plan with @rudderstack/rudder-sdk-node, each call in that client's own form.
// As it comes it has no time limit, and with one it does not send again what ran into it: its HTTP library calls
// that an abort unless `clarifyTimeoutError` is set, and counts the time of all tries unless `shouldResetTimeout` is.
// Its batches overlap, so one of them may meet several faults of the script; three tries could be too few.
const RudderAnalytics = require("@rudderstack/rudder-sdk-node");
const { plan, url, writeKey, finish } = require("./driver.cjs");

const failures = [];
const analytics = new RudderAnalytics(writeKey, {
  dataPlaneUrl: url,
  flushAt: 2,
  flushInterval: 50,
  logLevel: "error",
  retryCount: 6,
  gzip: process.argv[2] !== "plain",
  axiosConfig: { timeout: 1200, transitional: { clarifyTimeoutError: true } },
  axiosRetryConfig: { shouldResetTimeout: true },
  errorHandler: (error) => failures.push(error),
});

const sent = plan().map((call) => new Promise((resolve) => {
  const who = call.user ? { userId: call.user } : { anonymousId: call.anonymous };
  const common = { ...who, context: { call: call.call }, ...(call.at && { originalTimestamp: new Date(call.at) }) };
  switch (call.type) {
    case "identify": return analytics.identify({ ...common, traits: call.traits }, resolve);
    case "track": return analytics.track({ ...common, event: call.event, properties: call.properties }, resolve);
    case "page": return analytics.page({ ...common, name: call.name, category: call.category, properties: call.properties }, resolve);
    case "screen": return analytics.screen({ ...common, name: call.name, properties: call.properties }, resolve);
    case "group": return analytics.group({ ...common, groupId: call.group, traits: call.traits }, resolve);
    case "alias": return analytics.alias({ ...common, previousId: call.previous }, resolve);
    default: throw new Error(`unknown call ${call.type}`);
  }
}));
Promise.all(sent).then((errors) => finish([...failures, ...errors.filter(Boolean)]));
