//! The functions a template may call: money, dates, defaults, plurals, shortening. No other code runs in a template.

use std::io;

use handlebars::{
    Context, Handlebars, Helper as Call, HelperDef as Function, HelperResult, Output, RenderContext, RenderError,
    RenderErrorReason, ScopedJson,
};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Value;

use crate::render::compile::Escape;
use crate::render::locale::{self, Locale};

/// The names a template may use, as shown to people.
pub(super) const NAMES: [&str; 5] = ["default", "money", "date", "truncate", "plural"];

type Result<T> = std::result::Result<T, RenderError>;

#[derive(Clone, Copy)]
struct Pure(fn(&Call<'_>, &Value) -> Result<Value>);

impl Function for Pure {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        call: &Call<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>> {
        (self.0)(call, context.data()).map(ScopedJson::Derived)
    }
}

/// What a bare `{{name}}` does: writes the value out, without a copy where it is a text.
struct Print(Escape);

impl Function for Print {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        call: &Call<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>> {
        text_of(required(call, 0, "a value")?).map(|text| ScopedJson::Derived(text.into()))
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Call<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        match required(call, 0, "a value")? {
            Value::String(text) => self.0.write(text, out)?,
            // As the client wrote it: 40.00 stays 40.00.
            Value::Number(number) => out.write(number.as_str())?,
            other => self.0.write(&text_of(other)?, out)?,
        }
        Ok(())
    }
}

impl Escape {
    pub(super) fn write(self, text: &str, out: &mut dyn Output) -> io::Result<()> {
        match self {
            Self::Plain => out.write(text),
            Self::Json => out.write(&json_escape(text)),
            Self::Html => {
                let mut rest = text;
                while let Some((at, reference)) = first_markup(rest) {
                    out.write(&rest[..at])?;
                    out.write(reference)?;
                    rest = &rest[at + 1..];
                }
                out.write(rest)
            }
        }
    }
}

/// The first character that means something in HTML, and how it is written instead.
fn first_markup(text: &str) -> Option<(usize, &'static str)> {
    text.bytes().enumerate().find_map(|(at, byte)| {
        let reference = match byte {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'&' => "&amp;",
            b'\'' => "&#x27;",
            b'`' => "&#x60;",
            b'=' => "&#x3D;",
            _ => return None,
        };
        Some((at, reference))
    })
}

pub(super) fn json_escape(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

pub(super) fn register(registry: &mut Handlebars<'_>, escape: Escape) {
    registry.register_helper("print", Box::new(Print(escape)));
    let functions: [fn(&Call<'_>, &Value) -> Result<Value>; 5] = [default, money, date, truncate, plural];
    for (name, function) in NAMES.into_iter().zip(functions) {
        registry.register_helper(name, Box::new(Pure(function)));
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(RenderErrorReason::Other(message.into()).into())
}

/// The n-th value, which must be there and not null.
fn required<'a>(call: &'a Call<'_>, n: usize, what: &str) -> Result<&'a Value> {
    let Some(given) = call.param(n) else { return refuse(format!("`{}` needs {what}", call.name())) };
    if given.is_value_missing() || given.value().is_null() {
        return Err(RenderError::strict_error(given.relative_path()));
    }
    Ok(given.value())
}

fn text_of(value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        // As the client wrote it: 40.00 stays 40.00.
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(it) => Ok(it.to_string()),
        Value::Array(items) => Ok(items.iter().map(text_of).collect::<Result<Vec<_>>>()?.join(", ")),
        Value::Null => refuse("there is a null in the list"),
        Value::Object(_) => refuse("an object cannot be printed; name the field wanted"),
    }
}

/// `{{default profile.traits.first_name "there"}}`: the second value where the first is missing, null or blank.
fn default(call: &Call<'_>, _: &Value) -> Result<Value> {
    let given = call.param(0).map(|it| it.value()).filter(|value| match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        _ => true,
    });
    given.map_or_else(|| required(call, 1, "a value and what to use instead"), Ok).cloned()
}

/// The hash parameter in which the compiler tells the language of the text a call stands in.
pub(super) const LANGUAGE: &str = "language";

/// Where the reader lives: what the call says (`locale="de-AT"`), else what is known of the reader, as long as that is
/// the language of the text.
fn locale(call: &Call<'_>, root: &Value) -> Result<Option<&'static Locale>> {
    if let Some(given) = call.hash_get("locale") {
        let Some(tag) = given.value().as_str() else { return Err(RenderError::strict_error(given.relative_path())) };
        return locale::find(tag)
            .map_or_else(|| refuse(format!("`{tag}` is not a locale such as de-AT")), |it| Ok(Some(it)));
    }
    let reader = reader_locale(root);
    Ok(match call.hash_get(LANGUAGE).and_then(|it| it.value().as_str()) {
        Some(text) => {
            let language = |tag: &str| locale::language(tag).to_ascii_lowercase();
            locale::find(reader.filter(|reader| language(reader) == language(text)).unwrap_or(text))
        }
        None => reader.and_then(locale::find),
    })
}

/// The trait `locale`, else that of the event's context.
pub(super) fn reader_locale(root: &Value) -> Option<&str> {
    let of = |path: &str| root.pointer(path).and_then(Value::as_str).filter(|it| !it.trim().is_empty());
    of("/profile/traits/locale").or_else(|| of("/event/context/locale"))
}

/// `{{money event.properties.price event.properties.currency}}`: `€1,234.50`, rounded half to even, and written as the
/// reader writes it.
fn money(call: &Call<'_>, root: &Value) -> Result<Value> {
    let amount = decimal(required(call, 0, "an amount and a currency")?)?;
    let currency = required(call, 1, "an amount and a currency")?;
    let code = currency.as_str().unwrap_or_default().to_ascii_uppercase();
    if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_uppercase()) {
        return refuse(format!("`{currency}` is not a currency such as EUR"));
    }
    let digits = minor_digits(&code);
    let mut rounded = amount.round_dp_with_strategy(digits, RoundingStrategy::MidpointNearestEven);
    rounded.rescale(digits);
    if let Some(locale) = locale(call, root)? {
        return Ok(locale.money(rounded, &code).into());
    }
    let sign = if rounded.is_sign_negative() && !rounded.is_zero() { "-" } else { "" };
    let number = rounded.abs().to_string();
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let symbol = match code.as_str() {
        "EUR" => "€",
        "USD" => "$",
        "GBP" => "£",
        "JPY" => "¥",
        _ => return Ok(format!("{sign}{grouped}{rest} {code}").into()),
    };
    Ok(format!("{sign}{symbol}{grouped}{rest}").into())
}

fn decimal(value: &Value) -> Result<Decimal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return refuse("an amount must be a number"),
    };
    let parsed = Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text));
    parsed.or_else(|_| refuse("an amount must be a number of at most 28 digits"))
}

/// ISO 4217 minor units where they are not two.
pub(super) fn minor_digits(code: &str) -> u32 {
    match code {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// `{{date event.at}}`: `1 March 2026`, in the reader's zone and words; `{{date event.at "short"}}`, or `medium`,
/// `long`, `full`, `time`; `{{date event.at "%-d %B %Y, %H:%M" zone="Europe/Berlin"}}`.
fn date(call: &Call<'_>, root: &Value) -> Result<Value> {
    let given = required(call, 0, "an instant")?;
    let text = given.as_str().unwrap_or_default();
    let zone = match call.hash_get("zone") {
        None => reader_zone(root),
        Some(zone) if zone.is_value_missing() || zone.value().is_null() => {
            return Err(RenderError::strict_error(zone.relative_path()));
        }
        Some(zone) => zone.value().as_str().unwrap_or_default(),
    };
    let Ok(zone) = jiff::tz::TimeZone::get(zone) else {
        return refuse("the zone is not a name such as Europe/Berlin");
    };
    let instant = text.parse::<jiff::Timestamp>().map(|instant| instant.to_zoned(zone.clone()));
    // A plain day, such as a birthday, is that day in every zone.
    let local = instant.or_else(|_| text.parse::<jiff::civil::Date>().and_then(|day| day.to_zoned(zone)));
    let Ok(local) = local else { return refuse("a date must be written as 2026-03-01T10:00:00Z or 2026-03-01") };
    let format = call.param(1).and_then(|it| it.value().as_str());
    let format = match (format, locale(call, root)?) {
        (given, Some(locale)) => {
            let given = given.unwrap_or("long");
            locale.named(locale.date_style(given).unwrap_or(given), &local)
        }
        (given, None) => written_out(given.unwrap_or("long")).to_owned(),
    };
    if format.len() > 100 {
        return refuse("the date format is longer than 100 characters");
    }
    jiff::fmt::strtime::format(&format, &local).map(Value::from).or_else(|cause| refuse(cause.to_string()))
}

/// The zone of the reader's trait, else the workspace's.
fn reader_zone(root: &Value) -> &str {
    let of = |path: &str| root.pointer(path).and_then(Value::as_str);
    let known = |zone: &&str| jiff::tz::TimeZone::get(zone).is_ok();
    of("/profile/traits/timezone").filter(known).or_else(|| of("/workspace/timezone").filter(known)).unwrap_or("UTC")
}

/// Where nobody knows where the reader lives.
fn written_out(format: &str) -> &str {
    match format {
        "short" => "%Y-%m-%d",
        "medium" => "%-d %b %Y",
        "long" => "%-d %B %Y",
        "full" => "%A, %-d %B %Y",
        "time" => "%H:%M",
        other => other,
    }
}

/// `{{truncate event.properties.title 40}}`: at most that many characters, the last an ellipsis where it was cut.
fn truncate(call: &Call<'_>, _: &Value) -> Result<Value> {
    let text = text_of(required(call, 0, "a text and a length")?)?;
    let length = required(call, 1, "a text and a length")?.as_u64().and_then(|n| usize::try_from(n).ok());
    let Some(length) = length.filter(|n| *n > 0) else { return refuse("the length must be a whole number over 0") };
    if text.chars().nth(length).is_none() {
        return Ok(text.into());
    }
    let kept: String = text.chars().take(length - 1).collect();
    Ok(format!("{}…", kept.trim_end()).into())
}

/// `{{plural event.properties.items "item" "items"}}`: the word that fits a count, or a list's length. Languages with
/// more forms name them: `{{plural 3 one="produkt" few="produkty" many="produktów" other="produktu"}}`.
fn plural(call: &Call<'_>, root: &Value) -> Result<Value> {
    let count = required(call, 0, "a count and two words")?;
    let count = match count {
        Value::Array(items) => Decimal::from(items.len()),
        other => decimal(other)?,
    };
    let form = match locale(call, root)? {
        Some(locale) => locale.plural(count),
        None if count.abs() == Decimal::ONE => "one",
        None => "other",
    };
    if call.hash_get("other").is_none() {
        return required(call, if form == "one" { 1 } else { 2 }, "a count and two words").cloned();
    }
    let word = call.hash_get(form).or_else(|| call.hash_get("other")).filter(|it| !it.is_value_missing());
    word.map_or_else(|| refuse("`plural` needs a count and its words"), |it| Ok(it.value().clone()))
}
