// What the Node drivers share: the plan on standard input, the address and key in the environment, the exit status.
const fs = require("node:fs");

const required = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
};

module.exports = {
  url: required("CARILLON_CLIENT_URL"),
  writeKey: required("CARILLON_CLIENT_KEY"),
  plan: () => JSON.parse(fs.readFileSync(0, "utf8")),
  // A client that gave an event up says so here, and the run fails whatever the server stored.
  finish: (failures) => {
    for (const failure of failures) console.error("given up by the client:", String(failure));
    process.exit(failures.length === 0 ? 0 : 1);
  },
};
