//! Templates made ready to render: parsed once, everything dangerous refused, every loop paid for.
//!
//! The parsed tree is changed in two places. A bare `{{name}}` becomes a call of `print`, which refuses to print a null
//! or a whole object. The body of every `each` starts with a call of `step`, which takes the body's size from the
//! render's budget.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use handlebars::template::{HelperTemplate, Parameter, Template as Tree, TemplateElement};
use handlebars::{Handlebars, Path, PathSeg};
use serde_json::Value;

use crate::message::Channel;
use crate::money::Currency;
use crate::render::direct::direct;
use crate::render::includes::Origins;
use crate::render::pieces::{Maker, Piece, Pieces};
use crate::render::places::{Place, move_back};
use crate::render::template::Template;
use crate::render::{dressing, formatting, locale, syntax};

/// What a template may start a path with; inside `each` and `with` any name may.
pub(super) const ROOTS: [&str; 8] = ["profile", "event", "entry", "cart", "campaign", "message", "workspace", "links"];
const BLOCKS: [&str; 12] = ["if", "unless", "each", "with", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or"];

const UNKNOWN_NAME: &str = "is not known; variables start with";

/// What is wrong with a template, and where. Lines and columns start at 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}, line {line}, column {column}: {message}")]
pub struct TemplateError {
    pub part: String,
    pub line: usize,
    pub column: usize,
    pub message: String,
    /// What else is wrong with the same part.
    pub more: Vec<TemplateError>,
}

impl TemplateError {
    /// This, and what else is wrong with the same part.
    pub fn all(mut self) -> Vec<Self> {
        let more = std::mem::take(&mut self.more);
        std::iter::once(self).chain(more).collect()
    }
}

/// What values are escaped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    Html,
    /// Nothing: SMS, push, subjects and text bodies are not markup.
    Plain,
    /// Inside a JSON string.
    Json,
}

impl Origins {
    /// What is wrong at a place of a part's text, where its author finds it.
    pub(super) fn error(&self, part: &str, place: Place, mut message: String) -> TemplateError {
        let (file, line, column) = self.written(place);
        if file != part && message.contains(UNKNOWN_NAME) {
            message.push_str(", or are given where this is included: {{> … name=value}}");
        }
        TemplateError { part: file.to_owned(), line, column, message, more: Vec::new() }
    }
}

impl Escape {
    pub(super) fn registry(self) -> &'static Handlebars<'static> {
        static HTML: LazyLock<Handlebars<'static>> = LazyLock::new(|| registry(Escape::Html));
        static PLAIN: LazyLock<Handlebars<'static>> = LazyLock::new(|| registry(Escape::Plain));
        static JSON: LazyLock<Handlebars<'static>> = LazyLock::new(|| registry(Escape::Json));
        match self {
            Self::Html => &HTML,
            Self::Plain => &PLAIN,
            Self::Json => &JSON,
        }
    }
}

fn registry(escape: Escape) -> Handlebars<'static> {
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    for name in ["log", "lookup", "raw"] {
        registry.unregister_helper(name);
    }
    registry.register_escape_fn(match escape {
        Escape::Html => handlebars::html_escape,
        Escape::Plain => handlebars::no_escape,
        Escape::Json => formatting::json_escape,
    });
    formatting::register(&mut registry, escape);
    registry
}

/// A template version ready to render, made once and kept.
#[derive(Debug, Clone)]
pub struct Compiled {
    pub(super) key: String,
    pub(super) version: u32,
    pub(super) defaults: Vec<(Vec<String>, Value)>,
    base: Pieces,
    /// By locale, in small letters: what is said to its readers instead.
    variants: Vec<(String, Pieces)>,
}

impl Compiled {
    /// Compiles every part.
    ///
    /// # Errors
    /// The first problem with the name of its part, line and column: bad syntax, `{{{raw}}}`, pieces that are not there,
    /// decorators, unknown names, too long, too deep.
    pub fn new(template: &Template) -> Result<Self, TemplateError> {
        let variants = template
            .variants
            .iter()
            .map(|(locale, parts)| Ok((locale.to_ascii_lowercase(), Maker::of(template, Some(locale)).pieces(parts)?)));
        Ok(Self {
            key: template.key.clone(),
            version: template.version,
            defaults: template.defaults.iter().map(|(path, value)| (steps(path), value.clone())).collect(),
            base: Maker::of(template, None).pieces(&template.parts)?,
            variants: variants.collect::<Result<_, _>>()?,
        })
    }

    /// What is wrong with every part, each told once; nothing where it can be compiled.
    pub fn faults(template: &Template) -> Vec<TemplateError> {
        let mut all: Vec<TemplateError> = Vec::new();
        let own = std::iter::once((None, &template.parts));
        for (locale, parts) in own.chain(template.variants.iter().map(|(tag, parts)| (Some(tag.as_str()), parts))) {
            for fault in Maker::of(template, locale).faults(parts).into_iter().flat_map(TemplateError::all) {
                // What several parts include is wrong in each of them.
                if !all.contains(&fault) {
                    all.push(fault);
                }
            }
        }
        all
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    pub fn has(&self, channel: Channel) -> bool {
        self.base.has(channel)
    }

    /// What is said on a channel to the reader of these variables: what is written for their locale, else for their
    /// language, else what is written for all.
    pub(super) fn pieces(&self, channel: Channel, root: &Value) -> &Pieces {
        if self.variants.is_empty() {
            return &self.base;
        }
        let reader = formatting::reader_locale(root).unwrap_or_default().trim().replace('_', "-").to_ascii_lowercase();
        let find = |tag: &str| self.variants.iter().find(|(it, pieces)| it == tag && pieces.has(channel));
        let found = find(&reader).or_else(|| find(locale::language(&reader)));
        found.map_or(&self.base, |(_, pieces)| pieces)
    }
}

fn steps(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// A text to compile. With `places` it is made by us of one that was compiled before: its tags stand elsewhere than they
/// were written, and it may call `mail`.
pub(super) struct Source<'s> {
    pub name: &'s str,
    pub text: &'s str,
    pub places: Option<&'s BTreeMap<Place, Place>>,
    pub origins: &'s Arc<Origins>,
}

pub(super) fn compiled(of: &Source<'_>, escape: Escape, language: Option<&str>) -> Result<Piece, TemplateError> {
    let Source { name, text: source, places, origins } = *of;
    let error = |line, column, message| origins.error(name, (line, column), message);
    syntax::bound(source).map_err(|(line, column, message)| error(line, column, message))?;
    // The parser is not ours; should it panic on some text, that text is a bad template and nothing else.
    let parsed = std::panic::catch_unwind(|| Tree::compile(source))
        .map_err(|_| error(1, 1, "cannot be parsed".to_owned()))?
        .map_err(|cause| {
            let (line, column, message) = syntax::explained(source, cause.pos(), cause.reason());
            error(line, column, message)
        });
    let mut tree = parsed?;
    if let Some(places) = places {
        move_back(&mut tree, places);
    }
    let rules = Rules { inner: false, ours: places.is_some(), language };
    let mut problems = Vec::new();
    prepare(&mut tree, rules, &mut problems);
    let mut problems = problems.into_iter().map(|((line, column), message)| error(line, column, message));
    if let Some(first) = problems.next() {
        return Err(TemplateError { more: problems.collect(), ..first });
    }
    let is_dressed = places.is_some() && dressing::is_dressed(source);
    let has_loops = source.contains("each");
    // Values are about as long as what names them; and so that one more loop fits.
    let length = source.len() + source.len() / 4;
    let origins = Arc::clone(origins);
    Ok(Piece { name: name.to_owned(), origins, direct: direct(&tree), tree, escape, has_loops, is_dressed, length })
}

type Problem = (Place, String);

/// What may stand at a place of a tree.
#[derive(Clone, Copy)]
struct Rules<'a> {
    /// Where `each` or `with` changed what names mean.
    inner: bool,
    /// Whether we made the text, and may call what authors may not.
    ours: bool,
    /// The language of the text, where it is declared: functions that write for a reader are told.
    language: Option<&'a str>,
}

/// Checks and rewrites a tree. Returns its size, which is right where there is no problem.
fn prepare(tree: &mut Tree, rules: Rules<'_>, problems: &mut Vec<Problem>) -> usize {
    let mut size = 0;
    for (n, element) in tree.elements.iter_mut().enumerate() {
        let place = || tree.mapping.get(n).map_or((1, 1), |it| (it.0, it.1));
        size += 1;
        let inside = problems.len();
        match prepare_element(element, rules, problems) {
            Ok(inner) => size += inner,
            // What holds others stands before them.
            Err(message) => problems.insert(inside, (place(), message)),
        }
    }
    size
}

fn prepare_element(
    element: &mut TemplateElement,
    rules: Rules<'_>,
    problems: &mut Vec<Problem>,
) -> Result<usize, String> {
    let here = |message: &str| Err(message.to_owned());
    match element {
        TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(0),
        TemplateElement::Expression(call) => prepare_expression(call, rules).map(|()| 0),
        TemplateElement::HelperBlock(call) => prepare_block(call, rules, problems),
        TemplateElement::HtmlExpression(_) => here("unescaped output ({{{…}}} or {{&…}}) is not allowed"),
        // All others were replaced by what they name.
        TemplateElement::PartialExpression(_) => here("`\\{{>` cannot stand here; without the \\ it includes a file"),
        TemplateElement::PartialBlock(_) => here("a piece is included by {{> name}}; {{#> …}} is not known"),
        _ => here("decorators ({{* …}}) are not allowed"),
    }
}

fn prepare_expression(call: &mut HelperTemplate, rules: Rules<'_>) -> Result<(), String> {
    let bare = call.params.is_empty() && call.hash.is_empty();
    if !bare {
        check_call(call, rules)?;
        tell_language(call, rules.language);
        return Ok(());
    }
    check_parameter(&call.name, rules)?;
    let name = std::mem::replace(&mut call.name, Parameter::Name("print".to_owned()));
    call.params.push(name);
    Ok(())
}

fn prepare_block(call: &mut HelperTemplate, rules: Rules<'_>, problems: &mut Vec<Problem>) -> Result<usize, String> {
    let name = call.name.as_name().unwrap_or_default().to_owned();
    let is_ours = rules.ours && name == dressing::MAIL;
    if !is_ours && !BLOCKS.contains(&name.as_str()) {
        return Err(format!("`{{{{#{name}}}}}` is not known; use `{{{{#each {name}}}}}` or `{{{{#if {name}}}}}`"));
    }
    let checked = check_parameters(call, rules);
    tell_language(call, rules.language);
    let rescoped = name == "each" || name == "with";
    let mut size = 0;
    if let Some(body) = &mut call.template {
        let body_size = prepare(body, Rules { inner: rules.inner || rescoped, ..rules }, problems);
        if name == "each" {
            charge(body, body_size + 1)?;
        }
        size += body_size;
    }
    if let Some(otherwise) = &mut call.inverse {
        size += prepare(otherwise, rules, problems);
    }
    checked.map(|()| size)
}

/// Puts `{{step SIZE}}` before a loop's body.
fn charge(body: &mut Tree, size: usize) -> Result<(), String> {
    let step = Tree::compile(&format!("{{{{step {size}}}}}")).map_err(|cause| cause.reason().to_string())?;
    body.mapping.splice(0..0, step.mapping);
    body.elements.splice(0..0, step.elements);
    Ok(())
}

fn check_call(call: &HelperTemplate, rules: Rules<'_>) -> Result<(), String> {
    let name = call.name.as_name().unwrap_or_default();
    let comparison = BLOCKS[4..].contains(&name) || name == "not" || name == "len";
    let is_ours = rules.ours && name == dressing::MAIL;
    if !comparison && !is_ours && !formatting::NAMES.contains(&name) {
        return Err(format!("`{name}` is not a function; there are {}", formatting::NAMES.join(", ")));
    }
    if let ("money", Some(Parameter::Literal(Value::String(code)))) = (name, call.params.get(1)) {
        code.to_ascii_uppercase().parse::<Currency>().map_err(|error| error.to_string())?;
    }
    check_parameters(call, rules)
}

/// In the call and those in its brackets.
fn tell_language(call: &mut HelperTemplate, language: Option<&str>) {
    let Some(language) = language else { return };
    for parameter in call.params.iter_mut().chain(call.hash.values_mut()) {
        if let Parameter::Subexpression(sub) = parameter
            && let TemplateElement::Expression(inner) = sub.element.as_mut()
        {
            tell_language(inner, Some(language));
        }
    }
    if matches!(call.name.as_name(), Some("money" | "date" | "plural")) {
        call.hash.insert(formatting::LANGUAGE.to_owned(), Parameter::Literal(language.into()));
    }
}

fn check_parameters(call: &HelperTemplate, rules: Rules<'_>) -> Result<(), String> {
    call.params.iter().try_for_each(|it| check_parameter(it, rules))?;
    // The first by name, so that the same template always gives the same message.
    let mut named: Vec<_> = call.hash.iter().collect();
    named.sort_by_key(|(name, _)| name.as_str());
    named.into_iter().try_for_each(|(_, it)| check_parameter(it, rules))
}

fn check_parameter(parameter: &Parameter, rules: Rules<'_>) -> Result<(), String> {
    match parameter {
        Parameter::Literal(_) => Ok(()),
        Parameter::Subexpression(sub) => match sub.element.as_ref() {
            TemplateElement::Expression(call) => check_call(call, rules),
            _ => Err("only a function can stand in brackets".to_owned()),
        },
        _ if rules.inner => Ok(()),
        Parameter::Name(name) => Err(unknown(name)),
        Parameter::Path(Path::Local((_, _, raw))) => Err(format!("`{raw}` only has a meaning inside `each`")),
        Parameter::Path(Path::Relative((segments, raw))) => match segments.first() {
            Some(PathSeg::Named(root)) if !ROOTS.contains(&root.as_str()) => Err(unknown(raw)),
            _ => Ok(()),
        },
        _ => Err("this cannot stand here".to_owned()),
    }
}

fn unknown(name: &str) -> String {
    if name.contains(['“', '”', '„', '‘', '’']) {
        return format!("`{name}`: use straight quotes (\") instead of curly ones");
    }
    if formatting::NAMES.contains(&name) {
        return format!("`{name}` needs something to work on");
    }
    format!("`{name}` {UNKNOWN_NAME} {}", ROOTS.join(", "))
}
