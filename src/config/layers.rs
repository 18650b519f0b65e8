//! How defaults, file and environment become one set of values, and how a name nobody knows is caught.

use std::collections::BTreeMap;
use std::path::Path;

use figment::error::Kind;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Provider};

use super::{Config, DEFAULTS, Refused, Wrong};
use crate::definition::problem::nearest;

const PREFIX: &str = "CARILLON_";
/// Variables under our prefix that are no settings: the command line's own, and what our tests are told.
const NOT_SETTINGS: [&str; 4] = ["CARILLON_CONFIG", "CARILLON_DATA", "CARILLON_TEST_", "CARILLON_CLIENT_"];
/// Keys whose values are never printed.
const SECRETS: [&str; 3] = ["database.url", "redis.url", "smtp.url"];

/// Default values by dotted key: the keys there are, and the type each has.
type Known = BTreeMap<String, Value>;

/// Keys that the environment sets, each with its variable.
pub(super) type Variables = BTreeMap<String, String>;

/// The settings, and which of them are the environment's.
pub(super) fn read(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, Variables), Refused> {
    let defaults = Toml::string(DEFAULTS);
    let known = keys_of(dict_of(&defaults, "the defaults")?);
    let mut figment = Figment::from(defaults);
    let (mut wrong, mut variables) = (Vec::new(), Variables::new());
    if let Some(path) = file {
        let place = path.display().to_string();
        // Read here, so that a missing or unreadable file has its own words.
        let text = std::fs::read_to_string(path).map_err(|error| refused(&place, "", error.to_string()))?;
        let layer = Toml::string(&text);
        unknown_in_file(&place, dict_of(&layer, &place)?, &known, &mut wrong);
        figment = figment.merge(layer);
    }
    for (name, text) in environment {
        let Some(key) = key_of(&name) else { continue };
        match known.get(&key) {
            Some(default) => {
                figment = figment.merge(Serialized::default(&key, typed(default, text)));
                variables.insert(key, name);
            }
            None => wrong.push(unknown_in_environment(name, &known)),
        }
    }
    if !wrong.is_empty() {
        return Err(Refused(wrong));
    }
    match figment.extract::<Config>() {
        Ok(config) => Ok((tidied(config), variables)),
        Err(errors) => Err(Refused(errors.into_iter().map(|error| wrong_value(error, &variables)).collect())),
    }
}

fn refused(place: &str, key: &str, message: String) -> Refused {
    Refused(vec![Wrong { place: place.to_owned(), key: key.to_owned(), message, nearest: None }])
}

fn dict_of(layer: &impl Provider, place: &str) -> Result<Dict, Refused> {
    let layers = layer.data().map_err(|error| refused(place, "", error.kind.to_string()))?;
    Ok(layers.into_values().next().unwrap_or_default())
}

fn keys_of(dict: Dict) -> Known {
    let mut known = Known::new();
    for (section, value) in dict {
        if let Value::Dict(_, keys) = value {
            known.extend(keys.into_iter().map(|(key, value)| (format!("{section}.{key}"), value)));
        }
    }
    known
}

fn unknown_in_file(place: &str, dict: Dict, known: &Known, wrong: &mut Vec<Wrong>) {
    let mut refuse = |key: String, message: &str, nearest| {
        wrong.push(Wrong { place: place.to_owned(), key, message: message.to_owned(), nearest });
    };
    let sections: Vec<&str> = known.keys().filter_map(|key| key.split('.').next()).collect();
    for (section, value) in dict {
        if !sections.contains(&section.as_str()) {
            let near = nearest(&section, sections.iter().copied());
            refuse(section, "there is no such section", near);
            continue;
        }
        let Value::Dict(_, keys) = value else {
            refuse(section, "is a section: write its keys below it", None);
            continue;
        };
        for key in keys.into_keys().map(|key| format!("{section}.{key}")) {
            if !known.contains_key(&key) {
                let near = nearest(&key, known.keys().map(String::as_str));
                refuse(key, "there is no such setting", near);
            }
        }
    }
}

/// `CARILLON_SMTP__URL` is `smtp.url`; none for variables that are not ours.
fn key_of(variable: &str) -> Option<String> {
    let ours = !NOT_SETTINGS.iter().any(|name| match name.strip_suffix('_') {
        Some(_) => variable.starts_with(name),
        None => variable == *name,
    });
    let rest = variable.strip_prefix(PREFIX).filter(|_| ours)?;
    Some(rest.to_ascii_lowercase().replace("__", "."))
}

fn unknown_in_environment(name: String, known: &Known) -> Wrong {
    let variables: Vec<String> = known.keys().map(|key| variable_of(key)).collect();
    let near = nearest(&name, variables.iter().map(String::as_str));
    Wrong { place: name, key: String::new(), message: "there is no such setting".to_owned(), nearest: near }
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Text of the environment as the type the setting has; text that does not fit is refused later, by key.
fn typed(default: &Value, text: String) -> Value {
    match default {
        Value::Bool(..) => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        Value::Num(..) => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        Value::Array(..) => {
            let items: Vec<Value> = text.split(',').map(|item| item.trim().to_owned().into()).collect();
            items.into()
        }
        _ => text.into(),
    }
}

fn wrong_value(error: figment::Error, variables: &Variables) -> Wrong {
    let key = error.path.join(".");
    // An item of a list is a part of its key.
    let variable = variables
        .iter()
        .find(|(set, _)| key.strip_prefix(set.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    let variable = variable.map(|(_, name)| name.clone());
    let source = error.metadata.as_ref().and_then(|metadata| metadata.source.as_ref()).map(ToString::to_string);
    let message = match &error.kind {
        _ if SECRETS.contains(&key.as_str()) => "is written as text".to_owned(),
        Kind::InvalidType(_, expected) => format!("is of the wrong type; expected {expected}"),
        kind => kind.to_string(),
    };
    let nearest = match &error.kind {
        Kind::UnknownVariant(found, known) => nearest(found, known.iter().copied()),
        Kind::UnknownField(found, known) => nearest(found, known.iter().copied()),
        _ => None,
    };
    Wrong { place: variable.or(source).unwrap_or_default(), key, message, nearest }
}

/// Where another part's settings say "none" by an empty text.
fn tidied(mut config: Config) -> Config {
    config.ingest.public_url = config.ingest.public_url.filter(|url| !url.is_empty());
    config
}
