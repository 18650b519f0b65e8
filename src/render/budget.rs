//! What one render may use up: steps in loops and bytes of output, counted and never timed.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use handlebars::{
    Context, Handlebars, Helper as Call, HelperDef as Function, HelperResult, Output, RenderContext,
    RenderError as Failure, RenderErrorReason, Renderable,
};

use crate::render::RenderError;
use crate::render::direct::Writer;
use crate::render::dressing::{MAIL, Mail};
use crate::render::pieces::Piece;

/// Template elements rendered inside loops, over all parts of one message.
pub const STEPS_MAX: u64 = 100_000;
/// Bytes of one rendered part.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// The steps one message has used so far.
#[derive(Debug, Default)]
pub(super) struct Budget {
    steps: AtomicU64,
}

/// The name of the function that takes steps.
pub(super) const STEP: &str = "step";

impl Budget {
    /// Whether there were so many steps left.
    pub(super) fn take(&self, steps: u64) -> bool {
        self.steps.fetch_add(steps, Ordering::Relaxed).saturating_add(steps) <= STEPS_MAX
    }
}

/// `{{step SIZE}}`, placed at the start of each loop's body when the template is compiled.
struct Step<'a>(&'a Budget);

impl Function for Step<'_> {
    fn call<'reg: 'rc, 'rc>(
        &self,
        call: &Call<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        _: &mut dyn Output,
    ) -> HelperResult {
        let size = call.param(0).and_then(|it| it.value().as_u64()).unwrap_or(1);
        if self.0.take(size) { Ok(()) } else { Err(RenderErrorReason::Other("too many steps".to_owned()).into()) }
    }
}

/// Output that stops at [`OUTPUT_BYTES_MAX`].
#[derive(Default)]
pub(super) struct Capped {
    text: String,
    full: bool,
}

impl Output for Capped {
    fn write(&mut self, segment: &str) -> io::Result<()> {
        if self.text.len() + segment.len() > OUTPUT_BYTES_MAX {
            self.full = true;
            return Err(io::Error::other("output is full"));
        }
        self.text.push_str(segment);
        Ok(())
    }
}

impl Piece {
    pub(super) fn render(&self, context: &Context, budget: &Budget) -> Result<String, RenderError> {
        self.render_in(context, budget, &Mail { preheader: "", tracking: None })
    }

    /// The same with what belongs to each mail.
    pub(super) fn render_in(&self, context: &Context, budget: &Budget, mail: &Mail<'_>) -> Result<String, RenderError> {
        let before = budget.steps.load(Ordering::Relaxed);
        if let Some(text) = self.written(context, budget, mail) {
            return Ok(text);
        }
        budget.steps.store(before, Ordering::Relaxed);
        self.rendered(context, budget, mail)
    }

    /// The text as Handlebars renders it, or what is wrong with it.
    fn rendered(&self, context: &Context, budget: &Budget, mail: &Mail<'_>) -> Result<String, RenderError> {
        let mut out = Capped::default();
        let mut state = self.state(budget, mail);
        let done = self.tree.render(self.escape.registry(), context, &mut state, &mut out);
        drop(state);
        match done {
            Ok(()) => Ok(out.text),
            Err(_) if out.full => Err(RenderError::Limit {
                part: self.name.clone(),
                limit: format!("the output is longer than {OUTPUT_BYTES_MAX} bytes"),
            }),
            Err(_) if budget.steps.load(Ordering::Relaxed) > STEPS_MAX => Err(RenderError::Limit {
                part: self.name.clone(),
                limit: format!("its loops take more than {STEPS_MAX} steps"),
            }),
            Err(failure) => Err(self.failed(&failure)),
        }
    }

    /// The text, as far as possible without Handlebars; none where anything is not as usual.
    fn written(&self, context: &Context, budget: &Budget, mail: &Mail<'_>) -> Option<String> {
        let mut out = Capped { text: String::with_capacity(self.length), full: false };
        let mut state = None;
        for (element, is_direct) in self.tree.elements.iter().zip(&self.direct) {
            if *is_direct {
                let mut writer = Writer { out: &mut out, budget, escape: self.escape };
                writer.write(element, context.data())?;
            } else {
                let state = state.get_or_insert_with(|| self.state(budget, mail));
                element.render(self.escape.registry(), context, state, &mut out).ok()?;
            }
        }
        Some(out.text)
    }

    fn state<'a>(&self, budget: &'a Budget, mail: &'a Mail<'_>) -> RenderContext<'static, 'a> {
        let mut state = RenderContext::new(None);
        if self.has_loops {
            state.register_local_helper(STEP, Box::new(Step(budget)));
        }
        if self.is_dressed {
            state.register_local_helper(MAIL, Box::new(mail));
        }
        state
    }

    fn failed(&self, failure: &Failure) -> RenderError {
        let place = (failure.line_no.unwrap_or(1), failure.column_no.unwrap_or(1));
        let (part, line, column) = self.origins.written(place);
        let part = part.to_owned();
        match failure.reason() {
            RenderErrorReason::MissingVariable(path) => {
                let variable = path.clone().unwrap_or_default();
                RenderError::Missing { part, variable, line, column }
            }
            RenderErrorReason::ParamNotFoundForIndex(name, _) => {
                let message = format!("a value `{name}` compares is missing");
                RenderError::Failed { part, line, column, message }
            }
            other => RenderError::Failed { part, line, column, message: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use super::*;
    use crate::render::compile::{Escape, Source, compiled};
    use crate::render::includes::Origins;

    const ELEMENTS: [&str; 18] = [
        "plain <b>text</b>\n  ",
        "{{event.properties.a}}",
        "{{~event.properties.a~}}",
        "{{event.properties.list.0}}",
        "{{event.properties.list.[1].name}}",
        "{{profile.traits.first_name}}",
        "{{default event.properties.none \"-\"}}",
        "{{#each event.properties.list}}<i>{{name}}</i>\n{{/each}}",
        "{{#each event.properties.list}}{{this}},{{/each}}",
        "{{#each event.properties.list}}{{@index}}{{name}}{{else}}none{{/each}}",
        "{{#each event.properties.list}}[{{#each parts}}{{this}};{{name}}{{/each}}]{{/each}}",
        "{{#each event.properties.list}}{{#each this.parts}}{{../name}}{{/each}}{{/each}}",
        "{{#each event.properties.list as |one|}}{{one.name}}{{/each}}",
        "{{#each event.properties.a}}{{this}}{{/each}}",
        "{{#each event.properties}}{{@key}} {{/each}}",
        "{{#if event.properties.a}}yes{{else}}no{{/if}}",
        "{{#with event.properties}}{{a}}{{/with}}",
        "{{! a remark }}\n",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let plain = vec![json!("A <b> & 'c'"), json!(40.50), json!(0), json!(true), json!(null), json!(""), json!([])];
        let item =
            vec![json!({"name": "n"}), json!({"name": 2, "parts": ["x", "y"]}), json!({"parts": [{"name": "z"}]})];
        let list = proptest::collection::vec(prop_oneof![select(item), select(plain.clone())], 0..4);
        prop_oneof![select(plain), list.prop_map(Value::from)]
    }

    /// A text and the steps it took.
    type Done = (String, u64);

    fn both(source: &str, escape: Escape, data: Value) -> (Option<Done>, Result<Done, RenderError>) {
        let origins = Arc::new(Origins::own("it"));
        let piece =
            compiled(&Source { name: "it", text: source, places: None, origins: &origins }, escape, None).unwrap();
        let mut context = Context::null();
        *context.data_mut() = data;
        let mail = Mail { preheader: "", tracking: None };
        let (ours, theirs) = (Budget::default(), Budget::default());
        let written = piece.written(&context, &ours, &mail).map(|text| (text, ours.steps.into_inner()));
        let rendered = piece.rendered(&context, &theirs, &mail).map(|text| (text, theirs.steps.into_inner()));
        (written, rendered)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_written_directly_is_what_handlebars_renders(
            elements in proptest::collection::vec(select(ELEMENTS.to_vec()), 1..4),
            escape in select(vec![Escape::Html, Escape::Plain, Escape::Json]),
            (a, list) in (value(), value()),
        ) {
            let data = json!({
                "event": { "properties": { "a": a, "list": list } },
                "profile": { "traits": { "first_name": "Ann" } },
            });
            if let (Some(written), rendered) = both(&elements.concat(), escape, data) {
                prop_assert_eq!(Ok(written), rendered);
            }
        }
    }

    #[test]
    fn a_mail_of_values_and_loops_needs_no_handlebars_and_a_missing_value_is_told_by_it() {
        let source = "<p>{{profile.traits.name}}</p>{{#each event.properties.list}}<i>{{name}} {{price}}</i>{{/each}}";
        let data =
            |list: Value| json!({"profile": {"traits": {"name": "A&B"}}, "event": {"properties": {"list": list}}});
        let (written, rendered) = both(source, Escape::Html, data(json!([{"name": "x", "price": 1.50}])));
        assert_eq!(written.unwrap().0, "<p>A&amp;B</p><i>x 1.5</i>");
        assert!(rendered.is_ok());
        let (written, rendered) = both(source, Escape::Html, data(json!([{"name": "x"}])));
        assert_eq!(written, None);
        assert!(matches!(rendered, Err(RenderError::Missing { variable, .. }) if variable == "price"));
    }
}
