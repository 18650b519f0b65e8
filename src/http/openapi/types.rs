//! What the words of the pure half look like in JSON: they know nothing of documentation, so it is written here. Where
//! a value has many shapes, what all of them share is named and the rest left open.

use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ArrayItems, KnownFormat, Object, ObjectBuilder, OneOfBuilder, Schema,
    SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::audience::Consent;
use crate::audience::consent::ConsentState;
use crate::decision::campaign::CampaignStatus;
use crate::decision::{Enrollment, Finding};
use crate::event::Origin;
use crate::http::scope::Scope;
use crate::ids::{EnrollmentId, EventId, MessageId, Position, ProfileId, Timestamp};
use crate::intake::imports::Holds;
use crate::message::{Channel, Outcome, Purpose, Suppression};
use crate::render::Content;
use crate::render::kept::{Kept, KeptSummary};

/// A type that is described by hand, under its own name.
macro_rules! described {
    ($($type:ty as $name:literal => $schema:expr;)*) => {
        $(
            impl PartialSchema for $type {
                fn schema() -> RefOr<Schema> {
                    Schema::from($schema).into()
                }
            }

            impl ToSchema for $type {
                fn name() -> std::borrow::Cow<'static, str> {
                    std::borrow::Cow::Borrowed($name)
                }
            }
        )*
    };
}

fn text(says: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(says))
}

fn integer(says: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .description(Some(says))
}

fn hash_id(says: &str) -> Object {
    text(says).pattern(Some("^[0-9a-f]{32}$")).build()
}

fn one_of<'n>(says: &str, names: impl IntoIterator<Item = &'n str>) -> Object {
    text(says).enum_values(Some(names)).build()
}

fn instant() -> RefOr<Schema> {
    Ref::from_schema_name("Timestamp").into()
}

fn maybe(kind: Type) -> Object {
    Object::with_type(SchemaType::from_iter([kind, Type::Null]))
}

fn flag(says: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).description(Some(says)).build()
}

fn list(of: impl Into<ArrayItems>) -> ArrayBuilder {
    ArrayBuilder::new().items(of)
}

fn one_or_null(name: &str, says: &str) -> Schema {
    let null = Object::with_type(Type::Null);
    OneOfBuilder::new().item(Ref::from_schema_name(name)).item(null).description(Some(says)).build().into()
}

fn mailbox() -> Object {
    let address = Object::with_type(Type::String);
    ObjectBuilder::new()
        .property("name", maybe(Type::String))
        .property("address", address)
        .required("name")
        .required("address")
        .build()
}

/// A message of one kind, with these texts.
fn content(kind: &str, texts: &[&str]) -> ObjectBuilder {
    let kind = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([kind]));
    let of_kind = ObjectBuilder::new().property("kind", kind).required("kind");
    texts.iter().fold(of_kind, |object, name| object.property(*name, Object::with_type(Type::String)).required(*name))
}

/// With these fields, and maybe others.
fn open_object(says: &str) -> ObjectBuilder {
    ObjectBuilder::new().description(Some(says)).additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

/// One of the names of [`Scope`].
pub struct ScopeName;

/// A duration as people write it.
pub struct SpanText;

/// What a file that is taken in holds.
pub struct ImportFormat;

/// Where an import stands.
pub struct ImportStateName;

/// A JSON object of any shape.
pub struct AnyObject;

/// Any JSON.
pub struct AnyJson;

described! {
    Timestamp as "Timestamp" =>
        text("An instant in UTC, RFC 3339").format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    Position as "Position" => integer("Where an entry stands in the log");
    ProfileId as "ProfileId" => integer("The number of a profile");
    EventId as "EventId" => hash_id("The id of an event");
    MessageId as "MessageId" => hash_id("The id of a message");
    EnrollmentId as "EnrollmentId" => hash_id("The id of one person's walk through a campaign");
    Channel as "Channel" => one_of("How a message travels", Channel::ALL.map(Channel::as_str));
    Purpose as "Purpose" => one_of("Marketing asks consent and caps; transactional belongs to an order or account",
        ["marketing", "transactional"]);
    ScopeName as "Scope" => one_of("What a token may do", Scope::ALL.map(Scope::as_str));
    ImportFormat as "ImportFormat" => one_of("What a file holds", Holds::names());
    ImportStateName as "ImportState" => one_of("Where an import stands; interrupted: the process that has its file does not run, and it goes on when that does",
        ["waiting", "running", "interrupted", "done", "stopped", "failed"]);
    SpanText as "Duration" => text("A whole number and a unit: 90s, 30m, 24h, 7d, 2w")
        .pattern(Some(r"^(0|[1-9][0-9]{0,3})(s|m|h|d|w)$"));
    AnyObject as "AnyObject" => open_object("A JSON object");
    AnyJson as "AnyJson" => Object::with_type(SchemaType::AnyValue);
    Origin as "Origin" => Object::with_type(SchemaType::AnyValue);
    Consent as "Consent" => open_object("An answer and how it came")
        .property("state", one_of("What was said", ["granted", "denied", "pending", "unknown"]))
        .property("source", text("Where it was said"))
        .property("at", instant())
        .property("text_version", maybe(Type::String))
        .property("via", text("By which way it came"))
        .required("state").required("source").required("at");
    ConsentState as "ConsentState" => one_of("What was said", ["granted", "denied", "pending", "unknown"]);
    Enrollment as "Enrollment" => open_object("One person's walk through one version of a campaign")
        .property("id", Ref::from_schema_name("EnrollmentId"))
        .property("profile", Ref::from_schema_name("ProfileId"))
        .property("campaign", text("The campaign's key"))
        .property("version", integer("The campaign's version, pinned at entry"))
        .property("key", text("The value at the campaign's entry key, empty where it has none"))
        .property("entered_at", instant())
        .property("entry_event_at", instant())
        .property("entry", Ref::from_schema_name("Position"))
        .property("event", Ref::from_schema_name("Position"))
        .property("state", open_object("Where it stands, with what belongs to that")
            .property("state", one_of("Its name", ["waiting", "sending", "completed", "exited"]))
            .required("state"))
        .required("id").required("profile").required("campaign").required("version").required("entered_at")
        .required("state");
    Suppression as "Suppression" => ObjectBuilder::new().description(Some("Why an address is on the list"))
        .property("kind", text("Unsubscribed and topic stop marketing, the others everything")
            .pattern(Some("^(unsubscribed|complaint|bounced|manual|topic:.+)$")))
        .property("source", text("Where it came from: a provider's answer, a link, a person's words"))
        .property("at", instant())
        .property("profile", one_or_null("ProfileId", "Whose answer it was, where it was somebody's"))
        .required("kind").required("source").required("at").required("profile");
    Outcome as "Outcome" => ObjectBuilder::new().description(Some("What came of handing a message to a provider"))
        .property("outcome", one_of("Its name", ["accepted", "retry", "rejected", "transport_down", "unknown"]))
        .property("reply", text("Accepted: the provider's answer"))
        .property("cause", text("Of every other: what the provider said, or what stood in the way"))
        .property("after", maybe(Type::String))
        .property("slow_domain", flag("Retry: the whole domain of the address asks for patience"))
        .property("about_recipient", flag("Retry: the provider works, and this one address is in the way (a full mailbox)"))
        .property("suppress", flag("Rejected: the address itself is dead"))
        .required("outcome");
    CampaignStatus as "CampaignStatus" => one_of("Whether a campaign sends", ["draft", "live", "paused", "archived"]);
    Content as "Content" => OneOfBuilder::new().description(Some("A message as its channel carries it, told apart by `kind`"))
        .item(content("email", &["subject", "html", "text", "message_id"])
            .property("from", mailbox()).property("to", mailbox()).property("reply_to", maybe(Type::String))
            .property("headers", list(list(Object::with_type(Type::String))))
            .property("date", instant())
            .required("from").required("to").required("reply_to").required("headers").required("date"))
        .item(content("sms", &["to", "text"]))
        .item(content("push", &["to", "title", "body"]).property("link", maybe(Type::String)).required("link"))
        .item(content("whatsapp", &["to", "name", "language"])
            .property("parameters", list(Object::with_type(Type::String))).required("parameters"))
        .item(content("webhook", &["url", "json"]));
    KeptSummary as "InboxLine" => ObjectBuilder::new().description(Some("A message of the sandbox in a list"))
        .property("message", Ref::from_schema_name("MessageId"))
        .property("at", instant())
        .property("channel", Ref::from_schema_name("Channel"))
        .property("campaign", text("The campaign's key"))
        .property("to", text("The address"))
        .property("title", text("The subject, or the start of the text"))
        .required("message").required("at").required("channel").required("campaign").required("to").required("title");
    Kept as "InboxMessage" => ObjectBuilder::new().description(Some("A message that would have been sent"))
        .property("message", Ref::from_schema_name("MessageId"))
        .property("profile", Ref::from_schema_name("ProfileId"))
        .property("campaign", text("The campaign's key"))
        .property("template", text("The template's key"))
        .property("template_version", integer("Which version of it"))
        .property("purpose", Ref::from_schema_name("Purpose"))
        .property("channel", Ref::from_schema_name("Channel"))
        .property("at", instant())
        .property("content", Ref::from_schema_name("Content"))
        .required("message").required("profile").required("campaign").required("template")
        .required("template_version").required("purpose").required("channel").required("at").required("content");
    Finding as "Finding" => open_object("What one campaign made of an input")
        .property("campaign", text("The campaign's key"))
        .required("campaign");
}

/// Those that others of this file speak of.
pub fn by_name(name: &str) -> serde_json::Value {
    let schema = match name {
        "Timestamp" => Timestamp::schema(),
        "ProfileId" => ProfileId::schema(),
        "Position" => Position::schema(),
        _ => EnrollmentId::schema(),
    };
    // Documents in memory serialise without fail.
    serde_json::to_value(schema).unwrap_or_default()
}
