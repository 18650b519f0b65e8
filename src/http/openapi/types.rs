//! What the words of the pure half look like in JSON: they know nothing of documentation, so it is written here. Where
//! a value has many shapes, what all of them share is named and the rest left open.

use utoipa::openapi::schema::{
    AdditionalProperties, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::audience::Consent;
use crate::audience::consent::ConsentState;
use crate::decision::{Enrollment, Finding};
use crate::event::Origin;
use crate::http::scope::Scope;
use crate::ids::{EnrollmentId, EventId, MessageId, Position, ProfileId, Timestamp};
use crate::message::{Channel, Purpose};

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

/// With these fields, and maybe others.
fn open_object(says: &str) -> ObjectBuilder {
    ObjectBuilder::new().description(Some(says)).additional_properties(Some(AdditionalProperties::FreeForm(true)))
}

/// One of the names of [`Scope`].
pub struct ScopeName;

/// A duration as people write it.
pub struct SpanText;

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
