//! What was measured, as a page: medians and ratios of one run, with the spread, the target and whether it is met.

use std::fmt::Write;
use std::process::Command;

/// Repetitions of one measurement.
#[derive(Debug, Clone, Default)]
pub struct Figures(pub Vec<f64>);

impl Figures {
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn text(&self) -> String {
        let (least, most) =
            self.0.iter().fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(*it), most.max(*it)));
        match self.0.len() {
            0 => "–".to_owned(),
            1 => number(self.median()),
            _ => format!("{} ({}–{})", number(self.median()), number(least), number(most)),
        }
    }
}

fn number(value: f64) -> String {
    match value {
        value if value >= 10_000.0 => format!("{:.1}k", value / 1_000.0),
        value if value >= 100.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

/// What a row must reach.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Our median over the yardstick's.
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtLeast(f64),
    AtMost(f64),
    None,
}

/// One line of the page.
#[derive(Debug, Clone)]
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub ours: Figures,
    pub yardstick: Option<(String, Figures)>,
    pub target: Target,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.yardstick.as_ref().map(|(_, figures)| self.ours.median() / figures.median())
    }

    fn is_met(&self) -> Option<bool> {
        match self.target {
            Target::RatioAtLeast(least) => self.ratio().map(|ratio| ratio >= least),
            Target::RatioAtMost(most) => self.ratio().map(|ratio| ratio <= most),
            Target::AtLeast(least) => Some(self.ours.median() >= least),
            Target::AtMost(most) => Some(self.ours.median() <= most),
            Target::None => None,
        }
    }

    fn line(&self) -> String {
        let (name, yardstick) = match &self.yardstick {
            Some((name, figures)) => (format!(" ({name})"), figures.text()),
            None => (String::new(), "–".to_owned()),
        };
        let ratio = self.ratio().map_or("–".to_owned(), |ratio| format!("{:.0}%", ratio * 100.0));
        let target = match self.target {
            Target::RatioAtLeast(least) => format!("≥ {:.0}%", least * 100.0),
            Target::RatioAtMost(most) => format!("≤ {:.0}%", most * 100.0),
            Target::AtLeast(least) => format!("≥ {}", number(least)),
            Target::AtMost(most) => format!("≤ {}", number(most)),
            Target::None => "–".to_owned(),
        };
        let met = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "–",
        };
        let Self { what, unit, .. } = self;
        format!("| {what} | {unit} | {} | {yardstick}{name} | {ratio} | {target} | {met} |", self.ours.text())
    }
}

/// The whole page.
pub fn page(rows: &[Row], notes: &[String], command: &str) -> String {
    let mut page = String::from("# How fast\n\n");
    let _ = writeln!(
        page,
        "One run of `{command}`. Medians of the repetitions, least and most in brackets; ratios are of medians from \
         this run. Absolute numbers say little about another machine, ratios more.\n\n{}\n",
        machine()
    );
    page.push_str("| what | unit | Carillon | yardstick | ratio | target | met |\n|---|---|---|---|---|---|---|\n");
    for row in rows {
        page.push_str(&row.line());
        page.push('\n');
    }
    if !notes.is_empty() {
        page.push_str("\n## Notes\n\n");
        notes.iter().for_each(|note| page.push_str(&format!("- {note}\n")));
    }
    page
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: f64 = kib.trim().trim_end_matches("kB").trim().parse().unwrap_or(0.0);
    let kernel = Command::new("uname").arg("-sr").output().map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    format!(
        "{cores} cores, {}, {:.0} GiB, {}.",
        model.trim_start_matches([':', '\t', ' ']),
        kib / 1_048_576.0,
        kernel.unwrap_or_default().trim()
    )
}
