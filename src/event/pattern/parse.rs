//! Reading an event pattern from its JSON form, with every problem and the place it is in.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::event::pattern::cidr::Cidr;
use crate::event::pattern::matcher::{Bound, Comparison, Excluded, Matcher};
use crate::event::pattern::text::{TextTest, Wildcard, folded};
use crate::event::pattern::{Field, Pattern};

/// Levels of mappings, those of `$or` counted.
const PATTERN_DEPTH_MAX: usize = 12;
/// Alternatives of one field, and values of one `anything-but`.
const ALTERNATIVES_MAX: usize = 1_000;
/// Alternatives of a whole pattern once every `$or` is multiplied out.
const CLAUSES_MAX: usize = 1_000;
/// Fields that must all be met.
const FIELDS_MAX: usize = 64;
/// Bytes of one text in a pattern.
const TEXT_BYTES_MAX: usize = 4_096;
/// What is wrong beyond these is not told.
const PROBLEMS_MAX: usize = 1_000;

const OPERATORS: [&str; 8] =
    ["prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "exists", "cidr"];
/// What `anything-but` may leave out beside plain values.
const EXCLUDING: [&str; 4] = ["prefix", "suffix", "equals-ignore-case", "wildcard"];
const OR: &str = "$or";

/// One step from the pattern's root to a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// In what way a pattern is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Something of another type is wanted there.
    Type,
    Value,
    /// No operator of this name.
    Operator,
    /// Beyond a bound.
    Limit,
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatternError {
    pub at: Vec<Step>,
    pub wrong: Wrong,
    pub message: String,
    /// The known operator nearest to an unknown one.
    pub nearest: Option<&'static str>,
}

/// The pattern, as far as it could be read, and every problem in it.
pub fn parse(json: &Value) -> (Pattern, Vec<PatternError>) {
    let mut parser = Parser::default();
    let alternatives = match json {
        Value::Object(object) => parser.object(object, false, 1),
        other => {
            parser.wanted::<()>("a mapping of fields", other);
            Vec::new()
        }
    };
    (Pattern::new(alternatives), parser.problems)
}

/// Alternatives, each of fields that must all be met.
type Alternatives = Vec<Vec<Arc<Field>>>;

#[derive(Default)]
struct Parser {
    at: Vec<Step>,
    path: Vec<String>,
    problems: Vec<PatternError>,
    /// A bound on the whole was passed: nothing is multiplied further.
    is_too_large: bool,
}

impl Parser {
    fn note<T>(&mut self, wrong: Wrong, message: impl Into<String>) -> Option<T> {
        self.note_near(wrong, message.into(), None)
    }

    fn note_near<T>(&mut self, wrong: Wrong, message: String, nearest: Option<&'static str>) -> Option<T> {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(PatternError { at: self.at.clone(), wrong, message, nearest });
        }
        None
    }

    fn wanted<T>(&mut self, what: &str, found: &Value) -> Option<T> {
        let found = match found {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Number(_) => "a number".to_owned(),
            Value::String(_) => "text".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a mapping".to_owned(),
        };
        self.note(Wrong::Type, format!("wanted {what}, found {found}"))
    }

    fn at<T>(&mut self, step: Step, read: impl FnOnce(&mut Self) -> T) -> T {
        self.at.push(step);
        let answer = read(self);
        self.at.pop();
        answer
    }

    fn object(&mut self, object: &Map<String, Value>, inside_or: bool, depth: usize) -> Alternatives {
        let mut all: Alternatives = vec![Vec::new()];
        if object.is_empty() {
            self.note::<()>(Wrong::Value, "an empty mapping matches nothing; name at least one field");
            return all;
        }
        if depth > PATTERN_DEPTH_MAX {
            self.note::<()>(Wrong::Limit, format!("nested deeper than {PATTERN_DEPTH_MAX} levels"));
            return all;
        }
        for (key, value) in object {
            let more = self.at(Step::Key(key.clone()), |parser| match key.as_str() {
                OR => parser.or(value, depth),
                _ => parser.member(key, value, inside_or, depth),
            });
            all = self.multiplied(all, more);
        }
        all
    }

    /// What each mapping of the list asks, one of them to be met.
    fn or(&mut self, json: &Value, depth: usize) -> Alternatives {
        let Value::Array(items) = json else {
            self.wanted::<()>("a list of at least two mappings", json);
            return vec![Vec::new()];
        };
        if items.len() < 2 {
            self.note::<()>(Wrong::Value, "`$or` wants a list of at least two mappings");
            return vec![Vec::new()];
        }
        let mut any = Vec::new();
        for (index, item) in items.iter().enumerate() {
            any.extend(self.at(Step::Index(index), |parser| match item {
                Value::Object(object) => parser.object(object, true, depth + 1),
                other => {
                    parser.wanted::<()>("a mapping of fields", other);
                    Vec::new()
                }
            }));
        }
        any
    }

    /// Both, in every combination.
    fn multiplied(&mut self, one: Alternatives, other: Alternatives) -> Alternatives {
        if self.is_too_large {
            return one;
        }
        if one.len().saturating_mul(other.len()) > CLAUSES_MAX {
            self.is_too_large = true;
            let message = format!("`$or` makes more than {CLAUSES_MAX} combinations");
            self.note::<()>(Wrong::Limit, message);
            return one;
        }
        let longest = |alternatives: &Alternatives| alternatives.iter().map(Vec::len).max().unwrap_or(0);
        if longest(&one) + longest(&other) > FIELDS_MAX {
            self.is_too_large = true;
            self.note::<()>(Wrong::Limit, format!("more than {FIELDS_MAX} fields must be met at once"));
            return one;
        }
        let both = |ours: &Vec<Arc<Field>>| {
            let ours = ours.clone();
            other.iter().map(move |theirs| ours.iter().chain(theirs).cloned().collect::<Vec<_>>())
        };
        one.iter().flat_map(both).collect()
    }

    fn member(&mut self, key: &str, value: &Value, inside_or: bool, depth: usize) -> Alternatives {
        let steps_before = self.path.len();
        self.path.extend(key.split('.').map(str::to_owned));
        let read = if self.path.iter().any(String::is_empty) {
            self.note::<()>(Wrong::Value, "a field's name may not be empty");
            Vec::new()
        } else if inside_or && OPERATORS.contains(&key) {
            self.note::<()>(
                Wrong::Value,
                format!(
                    "`{key}` is an operator; inside `$or` name the field first, as in {{ price: [ {{ {key}: … }} ] }}"
                ),
            );
            Vec::new()
        } else {
            match value {
                Value::Object(object) => self.object(object, inside_or, depth + 1),
                Value::Array(alternatives) => {
                    self.field(alternatives).map(|field| vec![vec![field]]).unwrap_or_default()
                }
                other => self.wanted("a list of values, such as [ shoes ], or a mapping", other).unwrap_or_default(),
            }
        };
        self.path.truncate(steps_before);
        read
    }

    fn field(&mut self, alternatives: &[Value]) -> Option<Arc<Field>> {
        if alternatives.is_empty() {
            return self.note(Wrong::Value, "an empty list matches nothing; name at least one value");
        }
        if alternatives.len() > ALTERNATIVES_MAX {
            return self.note(Wrong::Limit, format!("more than {ALTERNATIVES_MAX} values for one field"));
        }
        let mut any_of = Vec::new();
        for (index, alternative) in alternatives.iter().enumerate() {
            any_of.extend(self.at(Step::Index(index), |parser| parser.matcher(alternative)));
        }
        Some(Arc::new(Field { path: self.path.clone(), any_of }))
    }

    fn matcher(&mut self, json: &Value) -> Option<Matcher> {
        match json {
            Value::Object(object) if object.len() == 1 => {
                let (operator, operand) = object.iter().next()?;
                self.at(Step::Key(operator.clone()), |parser| parser.operator(operator, operand))
            }
            Value::Object(_) => {
                self.note(Wrong::Value, "one operator each; several alternatives are several items of the list")
            }
            Value::Array(_) => self.wanted("a scalar or an operator such as { prefix: sho }", json),
            Value::Null => Some(Matcher::Null),
            Value::Bool(value) => Some(Matcher::Bool(*value)),
            Value::Number(_) => self.number(json).map(Matcher::Number),
            Value::String(_) => self.text(json).map(|text| Matcher::Text(TextTest::Equals(text))),
        }
    }

    fn number(&mut self, json: &Value) -> Option<Bound> {
        match (Bound::of(json), json) {
            (Some(bound), _) => Some(bound),
            (None, Value::Number(_)) => {
                self.note(Wrong::Value, "this number is too large or too fine to compare exactly")
            }
            (None, _) => self.wanted("a number", json),
        }
    }

    fn text(&mut self, json: &Value) -> Option<String> {
        match json {
            Value::String(text) if text.len() > TEXT_BYTES_MAX => {
                self.note(Wrong::Limit, format!("a text of more than {TEXT_BYTES_MAX} bytes"))
            }
            Value::String(text) => Some(text.clone()),
            other => self.wanted("text", other),
        }
    }

    fn operator(&mut self, operator: &str, operand: &Value) -> Option<Matcher> {
        match operator {
            "exists" => match operand {
                Value::Bool(exists) => Some(Matcher::Exists(*exists)),
                other => self.wanted("true or false", other),
            },
            "numeric" => self.numeric(operand),
            "cidr" => {
                let text = self.text(operand)?;
                match Cidr::parse(&text) {
                    Some(range) => Some(Matcher::Cidr(range)),
                    None => {
                        self.note(Wrong::Value, "wanted a range of addresses, such as 10.0.0.0/24 or 2001:db8::/32")
                    }
                }
            }
            "anything-but" => self.anything_but(operand).map(Matcher::AnythingBut),
            "prefix" | "suffix" => match operand {
                Value::Object(object) if object.len() == 1 && object.contains_key("equals-ignore-case") => {
                    let (step, inner) = object.iter().next()?;
                    let text = self.at(Step::Key(step.clone()), |parser| parser.text(inner))?;
                    let blind =
                        if operator == "prefix" { TextTest::PrefixIgnoreCase } else { TextTest::SuffixIgnoreCase };
                    Some(Matcher::Text(blind(folded(&text))))
                }
                Value::String(_) => self.text_test(operator, operand).map(Matcher::Text),
                other => self.wanted("text, or { equals-ignore-case: text }", other),
            },
            "equals-ignore-case" | "wildcard" => self.text_test(operator, operand).map(Matcher::Text),
            unknown => self.unknown(unknown, &OPERATORS, "an operator of event patterns"),
        }
    }

    fn unknown<T>(&mut self, unknown: &str, known: &[&'static str], what: &str) -> Option<T> {
        let lower = unknown.to_lowercase();
        let nearest = known.iter().copied().find(|known| strsim::damerau_levenshtein(known, &lower) <= 2);
        let message = format!("`{unknown}` is not {what}; there are {}", known.join(", "));
        self.note_near(Wrong::Operator, message, nearest)
    }

    /// One of [`EXCLUDING`] over one text.
    fn text_test(&mut self, operator: &str, operand: &Value) -> Option<TextTest> {
        let text = self.text(operand)?;
        Some(match operator {
            "prefix" => TextTest::Prefix(text),
            "suffix" => TextTest::Suffix(text),
            "equals-ignore-case" => TextTest::EqualsIgnoreCase(folded(&text)),
            _ => match Wildcard::parse(&text) {
                Ok(wildcard) => TextTest::Wildcard(wildcard),
                Err(problem) => return self.note(Wrong::Value, problem),
            },
        })
    }

    /// One comparison, or a lower bound and then an upper one.
    fn numeric(&mut self, json: &Value) -> Option<Matcher> {
        use Comparison::{Greater, GreaterOrEqual, Less, LessOrEqual};
        let Value::Array(parts) = json else { return self.wanted("a list such as [ \">=\", 5 ]", json) };
        let (pairs, []) = parts.as_chunks::<2>() else {
            return self.note(Wrong::Value, "`numeric` wants pairs of a comparison and a number");
        };
        let read: Option<Vec<_>> = pairs
            .iter()
            .map(|[sign, bound]| Some((sign.as_str().and_then(Comparison::parse)?, Bound::of(bound)?)))
            .collect();
        match read.as_deref() {
            Some([_]) => read.map(Matcher::Numeric),
            Some([(Greater | GreaterOrEqual, low), (Less | LessOrEqual, high)]) if low.exact < high.exact => {
                read.map(Matcher::Numeric)
            }
            Some([(Greater | GreaterOrEqual, _), (Less | LessOrEqual, _)]) => {
                self.note(Wrong::Value, "the lower bound must be below the upper one")
            }
            Some(_) => {
                self.note(Wrong::Value, "`numeric` wants one comparison, or a lower bound and then an upper one")
            }
            None => {
                self.note(Wrong::Value, "`numeric` wants pairs of =, <, <=, > or >= and a number of at most 28 digits")
            }
        }
    }

    fn anything_but(&mut self, json: &Value) -> Option<Excluded> {
        match json {
            Value::String(_) => self.text(json).map(|text| Excluded::Texts(vec![TextTest::Equals(text)])),
            Value::Number(_) => self.number(json).map(|number| Excluded::Numbers(vec![number])),
            Value::Array(items) => self.listed(items, |parser, items| match items.first() {
                Some(Value::Number(_)) => parser.each(items, Self::number).map(Excluded::Numbers),
                Some(Value::String(_)) => {
                    let texts = parser.each(items, Self::text)?;
                    Some(Excluded::Texts(texts.into_iter().map(TextTest::Equals).collect()))
                }
                _ => parser.note(Wrong::Type, "wanted texts only or numbers only"),
            }),
            Value::Object(object) if object.len() == 1 => {
                let (operator, operand) = object.iter().next()?;
                self.at(Step::Key(operator.clone()), |parser| parser.anything_but_test(operator, operand))
            }
            other => self.wanted("a text, a number, a list of either, or one operator", other),
        }
    }

    fn anything_but_test(&mut self, operator: &str, operand: &Value) -> Option<Excluded> {
        if !EXCLUDING.contains(&operator) {
            return self.unknown(operator, &EXCLUDING, "what `anything-but` takes");
        }
        let test = |parser: &mut Self, item: &Value| {
            if matches!(operator, "prefix" | "suffix") && item.as_str() == Some("") {
                return parser.note(Wrong::Value, format!("every text has an empty {operator}; name one"));
            }
            parser.text_test(operator, item)
        };
        match operand {
            Value::Array(items) => self.listed(items, |parser, items| parser.each(items, test).map(Excluded::Texts)),
            Value::String(_) => test(self, operand).map(|test| Excluded::Texts(vec![test])),
            other => self.wanted("text or a list of texts", other),
        }
    }

    fn listed<T>(&mut self, items: &[Value], read: impl FnOnce(&mut Self, &[Value]) -> Option<T>) -> Option<T> {
        match items.len() {
            0 => self.note(Wrong::Value, "an empty list leaves nothing out; name at least one value"),
            1..=ALTERNATIVES_MAX => read(self, items),
            _ => self.note(Wrong::Limit, format!("more than {ALTERNATIVES_MAX} values for one field")),
        }
    }

    /// Every item, or none after each problem was noted.
    fn each<T>(&mut self, items: &[Value], read: impl Fn(&mut Self, &Value) -> Option<T>) -> Option<Vec<T>> {
        let read_all: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| self.at(Step::Index(index), |parser| read(parser, item)))
            .collect();
        read_all.into_iter().collect()
    }
}
