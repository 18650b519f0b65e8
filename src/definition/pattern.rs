//! Event patterns inside definitions: read by the pattern language itself, its problems put where they were written.

use crate::definition::problem::Code;
use crate::definition::reader::At;
use crate::event::pattern::{Pattern, Step, Wrong, parse};

pub fn read(at: At<'_>) -> Option<Pattern> {
    let (pattern, problems) = parse(&at.value()?);
    if problems.is_empty() {
        return Some(pattern);
    }
    for problem in problems {
        let place = problem.at.iter().try_fold(at.clone(), |at, step| match step {
            Step::Key(name) => at.open_map()?.get(name),
            Step::Index(index) => at.item(*index),
        });
        let place = place.unwrap_or_else(|| at.clone());
        let code = match problem.wrong {
            Wrong::Type => Code::WrongType,
            Wrong::Value => Code::WrongValue,
            Wrong::Operator => Code::UnknownField,
            Wrong::Limit => Code::Limit,
        };
        let (line, column) = (place.node.line, place.node.column);
        let nearest = problem.nearest.map(str::to_owned);
        place.reader.push(line, column, &place.path, code, problem.message, nearest);
    }
    None
}
