//! What most of a mail is made of, written without Handlebars' machinery, which costs several times the writing: text,
//! values by their path, and loops over these.
//!
//! Handlebars renders what is anything else, and says what is wrong: where something is not as usual here, the piece is
//! rendered by it from the start.

use handlebars::template::{HelperTemplate, Parameter, Template as Tree, TemplateElement};
use handlebars::{Output, Path, PathSeg};
use serde_json::Value;

use crate::render::budget::{Budget, Capped, STEP};
use crate::render::compile::Escape;

/// Which elements of a prepared tree can be written here.
pub(super) fn direct(tree: &Tree) -> Vec<bool> {
    tree.elements.iter().map(is_direct).collect()
}

fn is_direct(element: &TemplateElement) -> bool {
    match element {
        TemplateElement::RawString(_) | TemplateElement::Comment(_) => true,
        TemplateElement::Expression(call) => match (call.name.as_name(), call.params.as_slice()) {
            (Some("print"), [Parameter::Path(path)]) => is_plain(path) && call.hash.is_empty(),
            (Some(STEP), [Parameter::Literal(_)]) => true,
            _ => false,
        },
        TemplateElement::HelperBlock(call) => is_loop(call),
        _ => false,
    }
}

fn is_loop(call: &HelperTemplate) -> bool {
    let is_over_path = matches!(call.params.as_slice(), [Parameter::Path(path)] if is_plain(path));
    let body = call.template.as_ref().is_some_and(|body| body.elements.iter().all(is_direct));
    call.name.as_name() == Some("each") && is_over_path && body && call.hash.is_empty() && call.block_param.is_none()
}

/// Names alone, from where it stands: neither `@index` nor `../name`. None at all is `this`.
fn is_plain(path: &Path) -> bool {
    match path {
        Path::Relative((names, _)) => names.iter().all(|name| matches!(name, PathSeg::Named(_))),
        Path::Local(_) => false,
    }
}

/// Where it is written, and what it may use up.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Capped,
    pub(super) budget: &'a Budget,
    pub(super) escape: Escape,
}

impl Writer<'_> {
    /// None: Handlebars has to look at it.
    pub(super) fn write(&mut self, element: &TemplateElement, at: &Value) -> Option<()> {
        match element {
            TemplateElement::RawString(text) => self.out.write(text).ok(),
            TemplateElement::Comment(_) => Some(()),
            TemplateElement::Expression(call) => match call.params.first()? {
                Parameter::Path(path) => match found(at, path)? {
                    Value::String(text) => self.escape.write(text, self.out).ok(),
                    Value::Number(number) => self.out.write(number.as_str()).ok(),
                    _ => None,
                },
                Parameter::Literal(size) => self.budget.take(size.as_u64()?).then_some(()),
                _ => None,
            },
            TemplateElement::HelperBlock(call) => self.write_loop(call, at),
            _ => None,
        }
    }

    fn write_loop(&mut self, call: &HelperTemplate, at: &Value) -> Option<()> {
        let (Some(Parameter::Path(path)), Some(body)) = (call.params.first(), &call.template) else { return None };
        let items = found(at, path)?.as_array().filter(|items| !items.is_empty())?;
        for item in items {
            for element in &body.elements {
                self.write(element, item)?;
            }
        }
        Some(())
    }
}

fn found<'v>(at: &'v Value, path: &Path) -> Option<&'v Value> {
    let Path::Relative((names, _)) = path else { return None };
    names.iter().try_fold(at, |at, name| match (at, name) {
        (Value::Object(fields), PathSeg::Named(name)) => fields.get(name),
        (Value::Array(items), PathSeg::Named(index)) => items.get(index.parse::<usize>().ok()?),
        _ => None,
    })
}
