//! Every code a problem may have, with its status, its title, what it means and what to do: the one table that answers,
//! pages and documents are made of.

use actix_web::http::StatusCode;

/// A code and what belongs to it, a line each.
macro_rules! codes {
    ($($name:ident, $code:literal, $status:ident, $title:literal, $means:literal, $help:literal;)*) => {
        /// What went wrong, by its stable name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($name,)*
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Stable: for programs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            pub const fn means(self) -> &'static str {
                match self { $(Self::$name => $means,)* }
            }

            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => $help,)* }
            }
        }
    };
}

impl Code {
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

codes! {
    // Bodies, of events and of controls.
    BodyTooLarge, "body_too_large", PAYLOAD_TOO_LARGE, "Body too large",
        "The body has more bytes than this address takes, before or after inflating.",
        "Send less at once: a batch in parts, definitions in several requests.";
    BodyTooSlow, "body_too_slow", REQUEST_TIMEOUT, "Body too slow",
        "The body did not arrive whole within the time this address allows.",
        "Send it again over a better connection, or in smaller parts.";
    BodyBroken, "body_broken", BAD_REQUEST, "Body broken",
        "The body ended early or its framing is wrong.",
        "Look at what stands between client and server; send it again whole.";
    InvalidGzip, "invalid_gzip", BAD_REQUEST, "Body is not gzip",
        "The body says it is gzip and cannot be inflated.",
        "Compress it again, or send it plain without `Content-Encoding`.";
    UnsupportedEncoding, "unsupported_encoding", UNSUPPORTED_MEDIA_TYPE, "Content-Encoding not supported",
        "`Content-Encoding` is something other than identity or gzip, or names several.",
        "Send the body plain or in gzip, once.";
    InvalidUtf8, "invalid_utf8", BAD_REQUEST, "JSON not accepted",
        "The text holds bytes that are not UTF-8.", "Write JSON in UTF-8; the byte is named in `detail`.";
    InvalidJson, "invalid_json", BAD_REQUEST, "JSON not accepted",
        "The text is not JSON.", "The line and column are named in `detail`.";
    TooDeep, "too_deep", BAD_REQUEST, "JSON not accepted",
        "Objects and lists are nested deeper than is taken.", "Send a flatter document.";
    NulCharacter, "nul_character", BAD_REQUEST, "JSON not accepted",
        "A text holds the character NUL, raw or escaped.", "Leave it out; databases cannot hold it.";
    LoneSurrogate, "lone_surrogate", BAD_REQUEST, "JSON not accepted",
        "A text holds half of a surrogate pair.", "Mend the text where it was cut.";
    NumberTooLong, "number_too_long", BAD_REQUEST, "JSON not accepted",
        "A number has more digits than is taken.", "Send it as text, or with fewer digits.";
    ReservedName, "reserved_name", BAD_REQUEST, "JSON not accepted",
        "An object uses a name that is kept for the service.", "Call the field otherwise.";
    NotAnObject, "not_an_object", BAD_REQUEST, "Body is not a call",
        "The body, or an item of a batch, is no JSON object.", "Send an object with the fields of the call.";
    NotABatch, "not_a_batch", BAD_REQUEST, "Body is not a batch",
        "The body has no list `batch`.", "Send `{\"batch\": [...]}`.";
    TooManyItems, "too_many_items", PAYLOAD_TOO_LARGE, "Batch too long",
        "The batch has more items than is taken at once.", "Send it in parts.";
    BatchTooLarge, "batch_too_large", PAYLOAD_TOO_LARGE, "Batch too large",
        "The items of the batch are too large together once what they share is added to each.", "Send it in parts.";
    // Calls of the track API.
    EventTooLarge, "event_too_large", PAYLOAD_TOO_LARGE, "Event too large",
        "One event has more bytes than is taken.", "Leave out what no campaign asks for.";
    UnknownType, "unknown_type", BAD_REQUEST, "Call not accepted",
        "`type` is none of track, identify, page, screen, group, alias.", "Name one of them.";
    MissingType, "missing_type", BAD_REQUEST, "Call not accepted",
        "An item of a batch has no `type`.", "Name one of track, identify, page, screen, group, alias.";
    WrongType, "wrong_type", BAD_REQUEST, "Call not accepted",
        "A field is of the wrong kind, such as a list where a text is expected.", "`field` names it.";
    MissingEvent, "missing_event", BAD_REQUEST, "Call not accepted",
        "A track call has no `event`.", "Name what happened.";
    MissingIdentity, "missing_identity", BAD_REQUEST, "Call not accepted",
        "A call has neither `userId` nor `anonymousId`.", "Say whose it is by one of them.";
    MissingUserId, "missing_user_id", BAD_REQUEST, "Call not accepted",
        "An alias call has no `userId`.", "Give the id from now on.";
    MissingPreviousId, "missing_previous_id", BAD_REQUEST, "Call not accepted",
        "An alias call has no `previousId`.", "Give the id used before.";
    MissingGroupId, "missing_group_id", BAD_REQUEST, "Call not accepted",
        "A group call has no `groupId`.", "Give the group's id.";
    TooLong, "too_long", BAD_REQUEST, "Call not accepted",
        "A name or an id has more characters than is taken.", "`field` names it.";
    // Write keys.
    MissingWriteKey, "missing_write_key", UNAUTHORIZED, "Write key missing",
        "No write key was given.",
        "Give it as the user name of Basic authorization, or as `writeKey` in the body; `carillon key create` makes one.";
    UnreadableAuthorization, "unreadable_authorization", UNAUTHORIZED, "Authorization not readable",
        "The Authorization header cannot be read.", "Send `Basic` with the write key as user name.";
    UnknownWriteKey, "unknown_write_key", UNAUTHORIZED, "Write key not known",
        "The write key is none of this service, or was revoked.", "`carillon key list` shows those that are taken.";
    TooManyWrongKeys, "too_many_wrong_keys", TOO_MANY_REQUESTS, "Too many wrong keys",
        "Too many requests with wrong write keys came from this address.",
        "Correct the key; try again after the seconds of `Retry-After`.";
    RateLimited, "rate_limited", TOO_MANY_REQUESTS, "Too many requests",
        "This write key sends faster than it may.", "Slow down; try again after the seconds of `Retry-After`.";
    KeysUnreadable, "keys_unreadable", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "The write keys cannot be read at the moment.", "Try again; events can be sent again without harm.";
    // What passes by itself.
    Overloaded, "overloaded", TOO_MANY_REQUESTS, "Overloaded",
        "More waits to be stored than can be held at once.", "Try again after the seconds of `Retry-After`.";
    NotStorable, "not_storable", UNPROCESSABLE_ENTITY, "Event not storable",
        "The database does not take this event for what it is, as a rule that it must keep says; it takes others.",
        "`detail` has the database's code and the service's log the cause; sent again as it is, it is refused again.";
    StorageFailing, "storage_failing", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "The disk or database refuses; nothing of this request was stored.",
        "Try again; the operator finds the cause in the log and with `carillon doctor`.";
    StorageSlow, "storage_slow", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "The log did not answer in time; the events may have been stored.",
        "Send the same again: repeats are recognised by messageId.";
    Stopping, "stopping", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "The service is stopping.", "Try again in a moment.";
    DatabaseUnreachable, "database_unreachable", SERVICE_UNAVAILABLE, "Database out of reach",
        "The service has no connection to its database, or lost it meanwhile.",
        "Try again; `carillon doctor` says whether the database answers, and what to do where it does not.";
    Unavailable, "unavailable", SERVICE_UNAVAILABLE, "Temporarily unavailable",
        "The request could not be carried out; the cause is in the service's log.",
        "Try again; where it stays so, look into the log for the correlation id of the answer.";
    // Addresses.
    NotFound, "not_found", NOT_FOUND, "Not found",
        "There is nothing at this address.", "Look at the path; `/api/v1/openapi.json` lists what there is.";
    MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed",
        "The address exists and does not take this method.", "The header `Allow` names those it takes.";
    // Tokens.
    MissingToken, "missing_token", UNAUTHORIZED, "Token missing",
        "The request has no `Authorization: Bearer TOKEN`.",
        "`carillon token create` makes a token; `serve` leaves one in `server.json` of its data folder.";
    WrongToken, "wrong_token", UNAUTHORIZED, "Token not known",
        "The token is not known, was revoked, or was rotated and its time is over.",
        "`carillon token list` shows those that are taken.";
    ExpiredToken, "expired_token", UNAUTHORIZED, "Token expired",
        "The token was made for a time, and that is over.", "Make another with `carillon token create`.";
    MissingScope, "missing_scope", FORBIDDEN, "Scope missing",
        "The token may not do this, or not give to others what it may not do itself.",
        "`scope` names what it lacks; use a token that has it.";
    UnknownToken, "unknown_token", NOT_FOUND, "Token not known",
        "No live token has this id.", "`carillon token list` shows them.";
    UnknownBackup, "unknown_backup", NOT_FOUND, "Backup not known",
        "There is no whole backup of that name in the folder of this process, or the backup has no such file.",
        "`GET /api/v1/backups` lists them; each manifest names its files.";
    UnknownImport, "unknown_import", NOT_FOUND, "Import not known",
        "There is no import of that id.", "`GET /api/v1/imports` lists them.";
    TooManyImports, "too_many_imports", CONFLICT, "Too many imports",
        "As many files wait to be taken in as this process keeps.",
        "Send it again when one of them is done, or stop one: `GET /api/v1/imports` lists them.";
    UnreadableFile, "unreadable_file", UNPROCESSABLE_ENTITY, "File not readable",
        "The file is not what `format` says: empty, a spreadsheet, or without a column that is needed.",
        "`detail` says what is missing; docs/imports.md describes every format.";
    InvalidMapping, "invalid_mapping", UNPROCESSABLE_ENTITY, "Mapping not accepted",
        "`map` holds mistakes; nothing was taken in.", "`detail` lists every one with its line; docs/imports.md has the fields.";
    BackupUnderWay, "backup_under_way", CONFLICT, "Backup under way",
        "A backup is being made in the folder of this process; one at a time, because each reads the whole database.",
        "Try again when it is in the list of `GET /api/v1/backups`.";
    // Questions.
    InvalidParameter, "invalid_parameter", BAD_REQUEST, "Parameter not accepted",
        "A parameter or a field of the body has a value that is not taken.", "`field` names it, `detail` says what is.";
    UnknownParameter, "unknown_parameter", BAD_REQUEST, "Parameter not known",
        "The query holds a parameter that this address does not have.", "`nearest` names the one that was meant, maybe.";
    InvalidQuery, "invalid_query", BAD_REQUEST, "Query not accepted",
        "The query cannot be read: a parameter is missing, comes twice, or is of the wrong kind.",
        "`detail` says which.";
    InvalidBody, "invalid_body", BAD_REQUEST, "Body not accepted",
        "The body is JSON and not of the form that is asked for: a field is missing, unknown or of the wrong kind.",
        "`detail` says which; `/api/v1/openapi.json` has the form.";
    UnknownProfile, "unknown_profile", NOT_FOUND, "Profile not known",
        "Nobody is known by this user id or anonymous id, or has this number where it is one (`profile:17`).",
        "Search with `GET /api/v1/profiles?q=`.";
    UnknownCampaign, "unknown_campaign", NOT_FOUND, "Campaign not known",
        "No campaign in force has this key.", "`nearest` names one that was meant, maybe.";
    UnknownSegment, "unknown_segment", NOT_FOUND, "Segment not known",
        "No segment in force has this key.", "`nearest` names one that was meant, maybe.";
    UnknownTemplate, "unknown_template", NOT_FOUND, "Template not known",
        "No template in force has this key.", "`nearest` names one that was meant, maybe.";
    UnknownDefinition, "unknown_definition", NOT_FOUND, "Definition not known",
        "Nothing of this kind, key and version was applied.", "`GET /api/v1/definitions/list` lists what was.";
    UnknownMessage, "unknown_message", NOT_FOUND, "Message not known",
        "There is no message of this id.", "`GET /api/v1/messages` lists them.";
    UnknownEvent, "unknown_event", NOT_FOUND, "Event not known",
        "No event is found by this position, id or messageId.",
        "After seven days an event on which nothing was decided is found by its position alone.";
    UnknownKey, "unknown_key", NOT_FOUND, "Key not known",
        "No live write key has this id.", "`carillon key list` shows them.";
    NotParked, "not_parked", NOT_FOUND, "Not parked",
        "Nothing is parked at this position, or it was redriven before.", "`GET /api/v1/parked` lists what is.";
    NotADeadLetter, "not_a_dead_letter", CONFLICT, "Not a dead letter",
        "The message has not failed, so there is nothing to redrive.", "`detail` says what it is.";
    InvalidDefinitions, "invalid_definitions", UNPROCESSABLE_ENTITY, "Definitions not accepted",
        "The files hold mistakes; nothing was applied.", "`problems` lists every one with file, line and column.";
    ClockIsReal, "clock_is_real", CONFLICT, "The clock is real",
        "This is no demo, or its messages leave through a real provider, so nobody may move the clock.",
        "Move the clock of what `carillon demo` made.";
    TestNotSent, "test_not_sent", UNPROCESSABLE_ENTITY, "Test not sent",
        "The test message could not be made or was not handed over.", "`detail` says why.";
    NotRendered, "not_rendered", UNPROCESSABLE_ENTITY, "Not rendered",
        "The template could not be filled in with this data.", "`detail` says what is missing or wrong.";
    // Writes that are repeated.
    InvalidIdempotencyKey, "invalid_idempotency_key", BAD_REQUEST, "Idempotency-Key not accepted",
        "The header `Idempotency-Key` is given twice, empty, longer than 255 characters, or not visible ASCII.",
        "Send a fresh random text for each thing you want done, such as a UUID.";
    IdempotencyKeyReused, "idempotency_key_reused", UNPROCESSABLE_ENTITY, "Idempotency-Key used before",
        "The same key came within a day with another request.", "Use a fresh key for another request.";
    IdempotencyConflict, "idempotency_conflict", CONFLICT, "Request still in hand",
        "The same request with this key is being carried out right now.",
        "Try again after the seconds of `Retry-After`; you get the answer of the first.";
    IdempotencyAnswerErased, "idempotency_answer_erased", CONFLICT, "Answer erased",
        "The request with this key was carried out; a person was erased since, and with them all answers that may be of them.",
        "Do not ask for it again: `detail` says the status it was answered with, and lists show what it changed.";
    TooManyStreams, "too_many_streams", TOO_MANY_REQUESTS, "Too many streams",
        "As many live streams are open as this process serves.", "Close one, or try again later.";
}

/// The same as a page of the documentation.
pub fn as_markdown() -> String {
    use std::fmt::Write;
    let mut page = "# Problems\n\nEvery answer that is no success is a JSON document of RFC 9457 with the media type \
        `application/problem+json`.\n`code` is stable and for programs; `detail` is for people and may change; `type` is the \
        address of the code's own page, which the service serves under `/problems/`.\n\nThis page is made from \
        `src/http/problem/codes.rs`: `UPDATE_DOCS=1 cargo nextest run --test api -E 'test(docs)'` renews it.\n"
        .to_owned();
    for code in Code::ALL {
        let (status, title) = (code.status().as_u16(), code.title());
        let _ = write!(page, "\n## {}\n\n{status} · {title}\n\n{} {}\n", code.as_str(), code.means(), code.help());
    }
    page
}
