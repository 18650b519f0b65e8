//! Reading an event pattern from its JSON form, with every problem and the place it is in.

use serde_json::Value;

use crate::event::number::decimal;
use crate::event::pattern::{Comparison, Field, Matcher, Pattern};

/// Levels of nesting and alternatives of one field.
const PATTERN_DEPTH_MAX: usize = 12;
const ALTERNATIVES_MAX: usize = 1_000;

/// Operators the pattern language has and this version does not.
const LATER: [&str; 6] = ["suffix", "anything-but", "wildcard", "cidr", "equals-ignore-case", "ip-address"];
const OPERATORS: [&str; 3] = ["prefix", "exists", "numeric"];

/// One step from the pattern's root to a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    pub at: Vec<Step>,
    /// The language has it, this version does not.
    pub later: bool,
    pub message: String,
    /// The known operator nearest to an unknown one.
    pub nearest: Option<&'static str>,
}

/// The pattern, as far as it could be read, and every problem in it.
pub fn parse(json: &Value) -> (Pattern, Vec<PatternError>) {
    let mut parser = Parser { at: Vec::new(), path: Vec::new(), fields: Vec::new(), problems: Vec::new() };
    match json {
        Value::Object(_) => parser.object(json),
        _ => parser.wrong("an event pattern is a mapping of fields"),
    }
    (Pattern { fields: parser.fields }, parser.problems)
}

struct Parser {
    at: Vec<Step>,
    path: Vec<String>,
    fields: Vec<Field>,
    problems: Vec<PatternError>,
}

impl Parser {
    fn wrong(&mut self, message: impl Into<String>) {
        self.problems.push(PatternError { at: self.at.clone(), later: false, message: message.into(), nearest: None });
    }

    fn later(&mut self, what: &str) {
        self.problems.push(PatternError {
            at: self.at.clone(),
            later: true,
            message: format!("`{what}` in event patterns is not supported yet"),
            nearest: None,
        });
    }

    fn object(&mut self, json: &Value) {
        let Some(object) = json.as_object() else { return };
        if object.is_empty() {
            return self.wrong("an empty mapping matches nothing; name at least one field");
        }
        if self.at.len() >= PATTERN_DEPTH_MAX {
            return self.wrong(format!("nested deeper than {PATTERN_DEPTH_MAX} levels"));
        }
        for (key, value) in object {
            self.at.push(Step::Key(key.clone()));
            let steps_before = self.path.len();
            self.path.extend(key.split('.').map(str::to_owned));
            match value {
                _ if key == "$or" => self.later("$or"),
                _ if self.path.iter().any(String::is_empty) => self.wrong("a field's name may not be empty"),
                Value::Object(_) => self.object(value),
                Value::Array(alternatives) => self.field(alternatives),
                _ => self.wrong("the values of a field are a list, such as [ shoes ]"),
            }
            self.path.truncate(steps_before);
            self.at.pop();
        }
    }

    fn field(&mut self, alternatives: &[Value]) {
        if alternatives.is_empty() {
            return self.wrong("an empty list matches nothing; name at least one value");
        }
        if alternatives.len() > ALTERNATIVES_MAX {
            return self.wrong(format!("more than {ALTERNATIVES_MAX} values for one field"));
        }
        let mut any_of = Vec::new();
        for (index, alternative) in alternatives.iter().enumerate() {
            self.at.push(Step::Index(index));
            any_of.extend(self.matcher(alternative));
            self.at.pop();
        }
        self.fields.push(Field { path: self.path.clone(), any_of });
    }

    fn matcher(&mut self, json: &Value) -> Option<Matcher> {
        match json {
            Value::Object(object) if object.len() == 1 => {
                let (operator, operand) = object.iter().next()?;
                self.at.push(Step::Key(operator.clone()));
                let matcher = self.operator(operator, operand);
                self.at.pop();
                matcher
            }
            Value::Object(_) => {
                self.wrong("one operator each; several alternatives are several items of the list");
                None
            }
            Value::Array(_) => {
                self.wrong("a value is a scalar or an operator, not a list");
                None
            }
            Value::Number(_) if decimal(json).is_none() => {
                self.wrong("this number is too large or too fine to compare exactly");
                None
            }
            scalar => Some(Matcher::Exact(scalar.clone())),
        }
    }

    fn operator(&mut self, operator: &str, operand: &Value) -> Option<Matcher> {
        match (operator, operand) {
            ("prefix", Value::String(prefix)) => Some(Matcher::Prefix(prefix.clone())),
            ("prefix", Value::Object(_)) => {
                self.later("prefix with a mapping");
                None
            }
            ("prefix", _) => {
                self.wrong("`prefix` wants text");
                None
            }
            ("exists", Value::Bool(exists)) => Some(Matcher::Exists(*exists)),
            ("exists", _) => {
                self.wrong("`exists` wants true or false");
                None
            }
            ("numeric", Value::Array(parts)) => self.numeric(parts),
            ("numeric", _) => {
                self.wrong("`numeric` wants a list such as [ \">=\", 5 ]");
                None
            }
            (later, _) if LATER.contains(&later) => {
                self.later(later);
                None
            }
            (unknown, _) => {
                let nearest = OPERATORS
                    .into_iter()
                    .find(|known| strsim::damerau_levenshtein(known, &unknown.to_lowercase()) <= 2);
                self.wrong(format!("`{unknown}` is not an operator of event patterns"));
                if let Some(problem) = self.problems.last_mut() {
                    problem.nearest = nearest;
                }
                None
            }
        }
    }

    /// One comparison, or a lower bound and then an upper one.
    fn numeric(&mut self, parts: &[Value]) -> Option<Matcher> {
        let pairs = parts.as_chunks::<2>();
        let read: Option<Vec<_>> = pairs
            .0
            .iter()
            .map(|[sign, bound]| Some((sign.as_str().and_then(Comparison::parse)?, decimal(bound)?)))
            .collect();
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        match read.as_deref() {
            _ if !pairs.1.is_empty() => self.wrong("`numeric` wants pairs of a comparison and a number"),
            Some([_]) => return read.map(Matcher::Numeric),
            Some([(Greater | GreaterOrEqual, low), (Less | LessOrEqual, high)]) if low < high => {
                return read.map(Matcher::Numeric);
            }
            Some([(Greater | GreaterOrEqual, _), (Less | LessOrEqual, _)]) => {
                self.wrong("the lower bound must be below the upper one");
            }
            Some(_) => self.wrong("`numeric` wants one comparison, or a lower bound and then an upper one"),
            None => self.wrong("`numeric` wants pairs of =, <, <=, > or >= and a number"),
        }
        None
    }
}
