// Chromium for the tests: one line of JSON on standard input asks for one look at a page, one line answers.
//
// A look opens an address or HTML at a width and in a colour scheme, keeps a picture of the whole page, and says what
// is wrong with it: what axe-core finds, text that is cut off, pictures that did not load, errors of the console.
// Nothing but this machine is reached: a request to any other host fails, and is told as a missing picture.
const fs = require("node:fs");
const path = require("node:path");
const readline = require("node:readline");
const { chromium } = require("playwright-core");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const HERE = new Set(["127.0.0.1", "localhost", "[::1]"]);
const WITHIN = 20_000;
const WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

const flags = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-lcd-text", "--font-render-hinting=none",
];

// Runs in the page. Text is cut off where it lies outside of a box that hides what overflows, or of the page itself.
const measure = () => {
  const clipped = new Set();
  const label = (element, text) => {
    const words = text.trim().replace(/\s+/g, " ");
    return `<${element.localName}> ${words.length > 60 ? words.slice(0, 60) + "…" : words}`;
  };
  // What is meant for screen readers, or for the line beside the subject, is hidden on purpose.
  const hidden = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const style = getComputedStyle(it);
      if (style.visibility !== "visible" || style.opacity === "0") return true;
      const box = it.getBoundingClientRect();
      if (style.display !== "inline" && style.display !== "contents" && style.overflow !== "visible" &&
        (box.width <= 1 || box.height <= 1)) return true;
      if (style.clipPath === "inset(50%)" || style.clip === "rect(0px, 0px, 0px, 0px)") return true;
    }
    return false;
  };
  const width = document.documentElement.clientWidth;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.data.trim() || hidden(element)) continue;
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width === 0 && box.height === 0) continue;
    let scrolls = false;
    for (let it = element; it && it !== document.documentElement; it = it.parentElement) {
      const style = getComputedStyle(it);
      const [x, y] = [style.overflowX, style.overflowY];
      const frame = it.getBoundingClientRect();
      if (x === "auto" || x === "scroll") {
        // Frames stand in a row of their own; whatever else must be scrolled sideways to be read is as good as cut off.
        const away = box.right > frame.right + 1 || box.left < frame.left - 1;
        if (away && !it.querySelector("iframe")) clipped.add(label(element, node.data));
        scrolls = true;
        break;
      }
      const cut = (x === "hidden" || x === "clip") && (box.right > frame.right + 1 || box.left < frame.left - 1) ||
        (y === "hidden" || y === "clip") && (box.bottom > frame.bottom + 2 || box.top < frame.top - 2);
      if (cut) { clipped.add(label(element, node.data)); break; }
    }
    if (!scrolls && (box.right > width + 1 || box.left < -1)) clipped.add(label(element, node.data));
  }
  if (document.documentElement.scrollWidth > width + 1) {
    clipped.add(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${width}`);
  }
  const pictures = [...document.images];
  return {
    clipped: [...clipped],
    missing: pictures.filter((it) => !(it.complete && it.naturalWidth > 0)).map((it) => it.currentSrc || it.src),
    unnamed: pictures.filter((it) => !it.hasAttribute("alt")).map((it) => it.currentSrc || it.src),
    pictures: pictures.map((it) => it.currentSrc || it.src),
    title: document.title,
    text: document.body.innerText,
  };
};

// Chromium paints no sandboxed frame that lies below its window: the window of a picture is as high as the page.
const wholeHeight = () => Math.max(document.documentElement.scrollHeight, innerHeight);
const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

// Resolves when each picture has come or failed.
const loaded = () => Promise.all([...document.images].map((it) => it.complete || new Promise((done) => {
  it.addEventListener("load", done);
  it.addEventListener("error", done);
})));

const violations = (found) => found.map((it) => ({
  id: it.id,
  impact: it.impact ?? "minor",
  help: it.help,
  nodes: it.nodes.map((node) => `${node.target.flat().join(" ")}: ${(node.failureSummary ?? "").replace(/\s+/g, " ")}`),
}));

// Only this machine answers, and no page is a sandbox: without script nobody could ask it anything. What else its
// policy says holds.
const guard = (asked) => async (route) => {
  const request = route.request();
  const url = new URL(request.url());
  const kind = request.resourceType();
  if (asked.images === false && kind === "image") return route.abort();
  if (url.protocol !== "data:" && !HERE.has(url.hostname)) return route.abort("addressunreachable");
  if (kind !== "document" || request.method() !== "GET") return route.continue();
  const response = await route.fetch({ maxRedirects: 0 });
  if (response.status() >= 300 && response.status() < 400) return route.continue();
  const headers = response.headers();
  const policy = headers["content-security-policy"];
  if (policy) headers["content-security-policy"] = policy.replace(/(^|;)\s*sandbox[^;]*/g, "$1");
  return route.fulfill({ response, headers });
};

// What is written into a page is fetched from nowhere, so nothing can be refused.
const pictureless = (html) => html.replace(/src="data:image[^"]*"/g, 'src="http://127.0.0.1:1/none.png"');

const open = async (context, asked, errors) => {
  const page = await context.newPage();
  const refused = (it) => asked.images === false && it.text().startsWith("Failed to load resource");
  page.on("console", (it) => { if (it.type() === "error" && !refused(it)) errors.push(it.text()); });
  page.on("pageerror", (it) => errors.push(String(it)));
  await page.route("**/*", guard(asked));
  await page.setViewportSize({ width: asked.width, height: asked.height ?? 800 });
  let status = 200;
  if (asked.url) status = (await page.goto(asked.url, { waitUntil: "load" }))?.status() ?? 0;
  else await page.setContent(asked.images === false ? pictureless(asked.html) : asked.html, { waitUntil: "load" });
  return { page, status };
};

const judge = async (page, asked) => {
  await page.evaluate(loaded);
  const measured = await page.evaluate(measure);
  // A policy of the page's own may forbid scripts in it; these are the tester's.
  await page.evaluate(axe);
  const run = await page.evaluate((tags) => globalThis.axe.run(document, {
    runOnly: { type: "tag", values: tags }, resultTypes: ["violations"], iframes: false,
  }), asked.mail ? WCAG : [...WCAG, "best-practice"]);
  return { ...measured, violations: violations(run.violations) };
};

// A frame is judged by itself, as wide as it is shown: its own policy may keep everybody out of it.
const framed = () => [...document.querySelectorAll("iframe")].filter((it) => it.clientWidth > 1).map((it) => ({
  width: it.clientWidth, height: Math.max(it.clientHeight, 1),
  ...(it.hasAttribute("srcdoc") ? { html: it.getAttribute("srcdoc") } : { url: it.src }),
})).filter((it) => it.html || it.url);

const look = async (browser, asked) => {
  const context = await browser.newContext({
    colorScheme: asked.scheme,
    extraHTTPHeaders: asked.headers ?? {},
    reducedMotion: "reduce",
    locale: asked.headers?.["accept-language"] ?? "en-GB",
    timezoneId: "UTC",
  });
  context.setDefaultTimeout(WITHIN);
  try {
    const errors = [];
    const { page, status } = await open(context, asked, errors);
    for (const step of asked.steps ?? []) {
      if (step.click) await page.click(step.click);
      if (step.fill) await page.fill(step.fill[0], step.fill[1]);
      if (step.press) await page.keyboard.press(step.press);
      if (step.wait) await page.waitForSelector(step.wait);
    }
    const seen = [await judge(page, asked)];
    if (asked.picture) {
      fs.mkdirSync(path.dirname(asked.picture), { recursive: true });
      await page.setViewportSize({ width: asked.width, height: await page.evaluate(wholeHeight) });
      await page.evaluate(painted);
      await page.screenshot({ path: asked.picture, fullPage: true, animations: "disabled" });
    }
    for (const frame of await page.evaluate(framed)) {
      const inside = { ...frame, images: asked.images, mail: true };
      seen.push(await judge((await open(context, inside, errors)).page, inside));
    }
    const all = (key) => seen.flatMap((it) => it[key]);
    return {
      status, errors, url: page.url(), title: seen[0].title, violations: all("violations"), clipped: all("clipped"),
      pictures: all("pictures"), missing: asked.images === false ? [] : all("missing"), unnamed: all("unnamed"),
      text: all("text").join("\n"),
    };
  } finally {
    await context.close();
  }
};

const main = async () => {
  const browser = await chromium.launch({ executablePath: process.env.CARILLON_TEST_CHROMIUM, args: flags });
  console.log(JSON.stringify({ ready: browser.version() }));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    let answer;
    try {
      answer = await look(browser, JSON.parse(line));
    } catch (error) {
      answer = { failed: String(error?.stack ?? error) };
    }
    console.log(JSON.stringify(answer));
  }
  await browser.close();
};

main().catch((error) => {
  console.log(JSON.stringify({ failed: String(error?.stack ?? error) }));
  process.exit(1);
});
