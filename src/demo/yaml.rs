//! The shop's own figures are YAML compiled in; what reads them here only needs plain maps, lists and values.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// A document as JSON; numbers keep their digits.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut open = vec![Open::List(Vec::new())];
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| error.to_string())?;
        let closed = match event {
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(items)) => Value::Array(items),
                Some(Open::Map(fields, _)) => Value::Object(fields),
                None => Value::Null,
            },
            _ => continue,
        };
        match open.last_mut() {
            Some(Open::List(items)) => items.push(closed),
            Some(Open::Map(fields, key)) => match key.take() {
                Some(key) => {
                    fields.insert(key, closed);
                }
                None => *key = Some(closed.as_str().map_or_else(|| closed.to_string(), str::to_owned)),
            },
            None => {}
        }
    }
    match open.pop() {
        Some(Open::List(mut documents)) => documents.pop().ok_or_else(|| "is empty".to_owned()),
        _ => Err("ends too early".to_owned()),
    }
}

enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    let number = text.parse::<Number>().ok().filter(|_| crate::money::parse(text).is_ok());
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}
