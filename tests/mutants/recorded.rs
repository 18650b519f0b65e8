//! Reads `recorded.txt`: of each variant its name, which tests see it and what they say, and what is changed where.

/// One way to break one promise.
pub struct Mutant {
    pub name: String,
    /// What nextest is asked to run.
    pub run: Vec<String>,
    /// What stands in its answer.
    pub says: Vec<String>,
    pub changes: Vec<Change>,
}

/// In a file these lines, which stand there once, become those.
pub struct Change {
    pub file: String,
    pub before: String,
    pub after: String,
}

impl Mutant {
    /// Which test programs it needs, as cargo is asked for them.
    pub fn targets(&self) -> Vec<&str> {
        let words = self.run.iter().map(String::as_str);
        words.filter(|word| word.starts_with("--test=") || *word == "--lib").collect()
    }
}

pub fn recorded() -> Vec<Mutant> {
    let mut mutants: Vec<Mutant> = Vec::new();
    let mut file = String::new();
    // Lines of one kind that follow each other belong together; a change ends where other lines come.
    let mut is_open = false;
    for line in include_str!("recorded.txt").lines() {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        if mark == "# " {
            mutants.push(Mutant { name: rest.to_owned(), run: Vec::new(), says: Vec::new(), changes: Vec::new() });
            is_open = false;
            continue;
        }
        let Some(mutant) = mutants.last_mut() else { continue };
        match mark.trim_end() {
            "-" => {
                if !is_open || mutant.changes.last().is_some_and(|change| !change.after.is_empty()) {
                    mutant.changes.push(Change { file: file.clone(), before: String::new(), after: String::new() });
                }
                is_open = true;
                add_line(&mut mutant.changes.last_mut().unwrap().before, rest);
            }
            "+" => add_line(&mut mutant.changes.last_mut().unwrap().after, &switched(rest, &mutant.name, &file)),
            _ => {
                is_open = false;
                if let Some(named) = line.strip_prefix("in: ") {
                    file = named.to_owned();
                } else if let Some(run) = line.strip_prefix("run: ") {
                    mutant.run = words(run);
                } else if let Some(says) = line.strip_prefix("says: ") {
                    mutant.says.push(says.to_owned());
                } else {
                    assert!(line.is_empty(), "{}: {line} is not understood", mutant.name);
                }
            }
        }
    }
    for Mutant { name, run, changes, .. } in &mutants {
        assert!(!run.is_empty() && !changes.is_empty(), "{name} breaks nothing, or nobody sees it");
        assert!(changes.iter().all(|change| change.after.contains("broken::is(")), "{name} is broken for everybody");
    }
    mutants
}

fn add_line(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(line);
}

/// `BROKEN` is whether this variant was asked for.
fn switched(line: &str, name: &str, file: &str) -> String {
    let root = if file.starts_with("src/") { "crate" } else { "carillon" };
    line.replace("BROKEN", &format!("{root}::broken::is(\"{name}\")"))
}

/// Words apart by spaces; what stands in quotes is one.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(n, part)| match n % 2 {
        1 => vec![part.to_owned()],
        _ => part.split_whitespace().map(ToOwned::to_owned).collect(),
    });
    words.collect()
}
