//! Chromium as the tests see it: one process for as long as the handle lives, and one answer for each look at a page.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where Debian and others put it; `CARILLON_TEST_CHROMIUM` names another.
const PLACES: [&str; 4] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];

/// Pixels of a desk, and of a hand.
pub const WIDE: u32 = 1280;
pub const NARROW: u32 = 390;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    #[default]
    Light,
    Dark,
}

/// Something done before the page is looked at. Elements are named by CSS selectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Click(String),
    /// Into which field, what.
    Fill(String, String),
    /// A key, such as `Tab` or `Enter`.
    Press(String),
    /// Until this is there to be seen.
    Wait(String),
}

/// What is to be looked at, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Look {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    html: Option<String>,
    width: u32,
    scheme: Scheme,
    images: bool,
    mail: bool,
    headers: std::collections::BTreeMap<String, String>,
    steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<PathBuf>,
}

impl Look {
    /// At an address of this machine.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::of(None) }
    }

    /// At a mail's HTML. It is judged by the rules for what people read, not by those for how a site is built.
    pub fn at_mail(html: impl Into<String>) -> Self {
        Self { mail: true, ..Self::of(Some(html.into())) }
    }

    fn of(html: Option<String>) -> Self {
        Self {
            url: None,
            html,
            width: WIDE,
            scheme: Scheme::Light,
            images: true,
            mail: false,
            headers: std::collections::BTreeMap::new(),
            steps: Vec::new(),
            picture: None,
        }
    }

    pub fn width(self, width: u32) -> Self {
        Self { width, ..self }
    }

    pub fn scheme(self, scheme: Scheme) -> Self {
        Self { scheme, ..self }
    }

    /// As who has pictures switched off sees it.
    pub fn without_images(self) -> Self {
        Self { images: false, ..self }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn after(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Keeps the whole page as `target/pictures/NAME.png`.
    pub fn picture(self, name: &str) -> Self {
        Self { picture: Some(pictures().join(format!("{name}.png"))), ..self }
    }
}

/// What was seen.
#[derive(Debug, Clone, Deserialize)]
pub struct Sight {
    /// Where the look ended, after whatever led elsewhere.
    pub url: String,
    pub status: u16,
    pub title: String,
    /// All that can be read, as a reader would copy it.
    pub text: String,
    pub violations: Vec<Violation>,
    /// Text that is cut off or outside of the page.
    pub clipped: Vec<String>,
    /// Addresses of all pictures, of those that did not load, of those without `alt`.
    pub pictures: Vec<String>,
    pub missing: Vec<String>,
    pub unnamed: Vec<String>,
    /// Errors of the console.
    pub errors: Vec<String>,
}

/// A rule of axe-core that is broken.
#[derive(Debug, Clone, Deserialize)]
pub struct Violation {
    pub id: String,
    /// minor, moderate, serious or critical.
    pub impact: String,
    pub help: String,
    /// Where, and how it could be mended.
    pub nodes: Vec<String>,
}

impl Sight {
    /// Everything that must not be: one line each, none when all is well.
    pub fn faults(&self) -> Vec<String> {
        let of = |what: &'static str, list: &[String]| list.iter().map(move |it| format!("{what}: {it}")).collect();
        let mut faults: Vec<String> = of("cut off", &self.clipped);
        faults.extend(of("picture missing", &self.missing) as Vec<_>);
        faults.extend(of("picture without alt", &self.unnamed) as Vec<_>);
        faults.extend(of("error", &self.errors) as Vec<_>);
        let serious = self.violations.iter().filter(|it| ["serious", "critical"].contains(&it.impact.as_str()));
        faults.extend(serious.map(|it| format!("{} ({}): {} at {}", it.id, it.impact, it.help, it.nodes.join(" | "))));
        faults
    }
}

/// Where pictures are kept.
pub fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pictures")
}

pub struct Browser {
    child: Child,
    /// Closed when the handle goes: the driver then closes the browser and ends.
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    pub fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let modules = root.join("target/test-services/node_modules");
        assert!(
            modules.join("playwright-core").is_dir() && modules.join("axe-core").is_dir(),
            "no playwright-core and axe-core in {}; run tests/services/install",
            modules.display()
        );
        let named = std::env::var_os("CARILLON_TEST_CHROMIUM").map(PathBuf::from);
        let chromium = named.or_else(|| PLACES.iter().map(PathBuf::from).find(|it| it.exists()));
        let chromium = chromium
            .filter(|it| it.exists())
            .expect("no Chromium on this machine; run tests/services/install, or name one with CARILLON_TEST_CHROMIUM");
        let mut child = Command::new("node")
            .arg(root.join("tests/browser/driver.cjs"))
            .env("NODE_PATH", &modules)
            .env("CARILLON_TEST_CHROMIUM", chromium)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let asks = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut browser = Self { child, asks, answers };
        let ready = browser.answer();
        assert!(ready.get("ready").is_some(), "Chromium did not start: {ready:#}");
        browser
    }

    pub fn look(&mut self, look: &Look) -> Sight {
        let mut line = serde_json::to_string(look).unwrap();
        line.push('\n');
        self.asks.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let answer = self.answer();
        assert!(answer.get("failed").is_none(), "{look:?}: {}", answer["failed"].as_str().unwrap_or_default());
        serde_json::from_value(answer).unwrap()
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the browser's driver ended: {line}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.asks.take());
        let _ = self.child.wait();
    }
}
