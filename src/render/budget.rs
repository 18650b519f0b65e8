//! What one render may use up: steps in loops and bytes of output, counted and never timed.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use handlebars::{
    Context, Handlebars, Helper as Call, HelperDef as Function, HelperResult, Output, RenderContext,
    RenderError as Failure, RenderErrorReason, Renderable,
};

use crate::render::RenderError;
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
        if self.0.steps.fetch_add(size, Ordering::Relaxed).saturating_add(size) > STEPS_MAX {
            return Err(RenderErrorReason::Other("too many steps".to_owned()).into());
        }
        Ok(())
    }
}

/// Output that stops at [`OUTPUT_BYTES_MAX`].
#[derive(Default)]
struct Capped {
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
        let mut out = Capped::default();
        let mut state = RenderContext::new(None);
        if self.has_loops {
            state.register_local_helper("step", Box::new(Step(budget)));
        }
        if self.is_dressed {
            state.register_local_helper(MAIL, Box::new(mail));
        }
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

    fn failed(&self, failure: &Failure) -> RenderError {
        let (part, line, column) = (self.name.clone(), failure.line_no.unwrap_or(1), failure.column_no.unwrap_or(1));
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
