//! The commands that the documents name in their sentences are commands; those in blocks are run by `tests/commands`.
#![allow(clippy::unwrap_used)]

use clap::Parser;
use clap::error::ErrorKind;

use super::Cli;

/// Whether `command` is one; where it is only `named`, what it must be told may be missing.
fn is_a_command(command: &str, named: bool) -> bool {
    match Cli::try_parse_from(command.split_whitespace()) {
        Ok(_) => true,
        Err(error) => match error.kind() {
            ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => named,
            _ => false,
        },
    }
}

#[test]
fn every_command_in_a_sentence_of_the_documents_is_one() {
    let folder = std::fs::read_dir("docs").unwrap().map(|it| it.unwrap().path());
    let files = folder.filter(|it| it.extension().is_some_and(|it| it == "md")).chain(["README.md".into()]);
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut in_block = false;
        for (n, line) in text.lines().enumerate() {
            in_block ^= line.trim_start().starts_with("```");
            let spans = line.split('`').skip(1).step_by(2).filter(|_| !in_block);
            for command in spans.filter(|it| it.starts_with("carillon ") && !it.contains('…')) {
                // The last cell of a table says what to do: it is typed as it stands.
                let named = !line.trim_end().ends_with(&format!("| `{command}` |"));
                if !is_a_command(command, named) {
                    wrong.push(format!("{}:{}: {command}", file.display(), n + 1));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(!is_a_command("carillon resume all", true) && !is_a_command("carillon resume", false));
}
