//! Traces over OTLP, set up by OpenTelemetry's own variables, and nothing at all without them.
//!
//! Spans go into a bounded queue that a thread of its own empties; where it is full they are dropped, so a collector that
//! is slow or away costs the service nothing. No span holds an address, a name or a property of anybody.

use std::sync::OnceLock;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::ids::TraceContext;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// What sends spans, until the program ends.
pub struct Exporter(SdkTracerProvider);

/// One span under way; none where nobody wants traces.
pub struct TraceSpan(Option<opentelemetry_sdk::trace::Span>);

/// Begins to trace if `OTEL_EXPORTER_OTLP_ENDPOINT` (or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`) says where to.
///
/// # Errors
/// The variables cannot be meant, in words for the person who set them.
pub fn start(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Exporter>, String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let is_wanted =
        ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"].iter().any(|name| set(name).is_some());
    let is_off = set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|value| value != "otlp");
    if !is_wanted || is_off {
        return Ok(None);
    }
    let protocol = set("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| set("OTEL_EXPORTER_OTLP_PROTOCOL"));
    if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
        return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL={other}: traces are sent as http/protobuf (port 4318) alone"));
    }
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    let schemes = ["http://", "https://"];
    if let Some(other) = endpoint.filter(|endpoint| !schemes.iter().any(|scheme| endpoint.trim().starts_with(scheme))) {
        return Err(format!("OTEL_EXPORTER_OTLP_ENDPOINT={other}: it begins with http:// or https://"));
    }
    let exporter = SpanExporter::builder().with_http().build().map_err(|error| format!("traces: {error}"))?;
    let mut resource = Resource::builder();
    let names_service = set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|text| text.contains("service.name="));
    if set("OTEL_SERVICE_NAME").is_none() && !names_service {
        resource = resource.with_service_name("carillon");
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let provider = SdkTracerProvider::builder()
        .with_resource(resource.with_attribute(version).build())
        .with_batch_exporter(exporter)
        .build();
    let _ = TRACER.set(provider.tracer("carillon"));
    Ok(Some(Exporter(provider)))
}

impl Exporter {
    /// Sends what waits, as long as that takes but for a few seconds. Blocks.
    pub fn stop(self) {
        let _ = self.0.shutdown_with_timeout(std::time::Duration::from_secs(3));
    }
}

/// Whether anybody wants traces.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

impl TraceSpan {
    /// A request of a client; `parent` is what it says it is part of.
    pub fn of_request(method: &str, route: &str, parent: Option<TraceContext>) -> Self {
        Self::begin(SpanKind::Server, parent, || format!("{method} {route}"))
    }

    /// Something of our own that follows from `parent`; without one there is no span.
    pub fn within(name: &'static str, parent: Option<TraceContext>) -> Self {
        if parent.is_none() { Self(None) } else { Self::begin(SpanKind::Internal, parent, || name.to_owned()) }
    }

    /// A call of somebody else's server.
    pub fn of_call(name: &'static str, parent: Option<TraceContext>) -> Self {
        if parent.is_none() { Self(None) } else { Self::begin(SpanKind::Client, parent, || name.to_owned()) }
    }

    fn begin(kind: SpanKind, parent: Option<TraceContext>, name: impl FnOnce() -> String) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let builder = SpanBuilder::from_name(name()).with_kind(kind);
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(SpanContext::new(
                TraceId::from_bytes(parent.trace),
                SpanId::from_bytes(parent.span),
                TraceFlags::new(parent.flags),
                true,
                TraceState::NONE,
            ))
        });
        Self(Some(tracer.build_with_context(builder, &parent)))
    }

    /// For whatever follows from this; none where nothing is traced.
    pub fn context(&self) -> Option<TraceContext> {
        let context = self.0.as_ref()?.span_context();
        context.is_valid().then(|| TraceContext {
            trace: context.trace_id().to_bytes(),
            span: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        })
    }

    pub fn note<V: Into<opentelemetry::Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(KeyValue::new(name, value()));
        }
    }

    pub fn failed(&mut self, why: impl FnOnce() -> String) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            span.set_status(Status::error(why()));
        }
    }
}
