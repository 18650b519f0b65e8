//! `kind: template`: a folder with one file per part, or one document with the parts inside.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map as Json, Value};

use crate::definition::problem::{Code, Problem, nearest};
use crate::definition::reader::{At, Map, Reader, Target};
use crate::definition::template_check;
use crate::definition::yaml;
use crate::message::Channel;
use crate::render::includes;
use crate::render::links::Tracks;
use crate::render::template::{EmailPart, Markup, Parts, PushPart, Template, WhatsappPart};

const FIELDS: [&str; 11] =
    ["kind", "key", "name", "owner", "topic", "defaults", "sample", "track", "locale", "locales", "partials"];
/// One for each channel.
const PARTS: [&str; 5] = ["email", "sms", "push", "whatsapp", "webhook"];
/// Files a template's folder may hold beside `template.yaml`.
pub const PART_FILES: [&str; 9] = [
    "email.mjml",
    "email.html",
    "email.txt",
    "subject",
    "preheader",
    "sms.hbs",
    "push.hbs",
    "whatsapp.yaml",
    "webhook.json.hbs",
];
const PARAMETERS_MAX: usize = 100;
const VARIANTS_MAX: usize = 50;

/// A file beside `template.yaml`: its full name for problems, its own name, its text.
#[derive(Debug, Clone, Copy)]
pub struct PartFile<'a> {
    pub file: &'a str,
    pub name: &'a str,
    pub text: &'a str,
    /// Whether other templates may include it, too.
    pub is_shared: bool,
}

impl PartFile<'_> {
    fn is_part(&self) -> bool {
        PART_FILES.contains(&locale_of(self.name).1)
    }
}

/// Whether a file's own name is that of a text which parts may include.
pub fn may_be_included(own: &str) -> bool {
    let ending = own.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|(_, ending)| ending);
    ending.is_some_and(|ending| includes::ENDINGS.contains(&ending))
}

/// `version` is 0: the store counts versions when the text is applied.
pub fn read(at: &At<'_>, key: &str, files: &[PartFile<'_>]) -> Option<Template> {
    let fields: Vec<&str> = FIELDS.into_iter().chain(PARTS).collect();
    let map = at.map(&fields, &[])?;
    let name = map.maybe("name", |at| at.name());
    let topic = map.maybe("topic", |at| {
        let key = at.key()?;
        at.refers(Target::Topic(key.clone()));
        Some(key)
    });
    let defaults = map.optional("defaults", Json::new(), |at| object(&at));
    let sample = map.optional("sample", Json::new(), |at| object(&at));
    let tracks = map.optional("track", Tracks::ALL, tracks);
    let own = map.maybe("locale", |at| locale(&at));
    let parts = Folder { at, map: Some(&map), files, locale: None }.parts();
    let variants = variants(at, &map, files);
    let partials = partials(&map, files);
    let (parts, variants, partials) = (parts?, variants?, partials?);
    let mut right = true;
    if parts == Parts::default() {
        at.wrong::<()>("a template has at least one part: email, sms, push, whatsapp or webhook");
        right = false;
    }
    for (tag, variant) in &variants {
        for channel in Channel::ALL.into_iter().filter(|it| variant.has(*it) && !parts.has(*it)) {
            let channel = channel.as_str();
            at.wrong::<()>(format!("{channel} is written for `{tag}` and not for everybody else"));
            right = false;
        }
    }
    // What is wrong elsewhere hides nothing of what is wrong in the parts.
    let mut template = Template {
        key: key.to_owned(),
        version: 0,
        name: name.clone().flatten(),
        topic: topic.clone().flatten(),
        defaults: defaults.clone().unwrap_or_default(),
        sample: sample.clone().unwrap_or_default(),
        tracks: tracks.unwrap_or(Tracks::ALL),
        locale: own.clone().flatten(),
        parts,
        variants,
        partials,
    };
    let used = includes::included(&template);
    // Without defaults a sample would lack what it does not.
    if defaults.is_none() {
        template.sample.clear();
    }
    right &= template_check::check(at, &template, files).is_some();
    let unknown = |file: &&PartFile<'_>| !file.is_part() && !file.is_shared && !used.contains(file.name);
    let unknown: Vec<_> = files.iter().filter(unknown).collect();
    unknown.iter().for_each(|file| unknown_file(at.reader, file));
    template.partials.retain(|name, _| used.contains(name));
    let (_, _, _, _, _, _) = (name?, topic?, defaults?, sample?, tracks?, own?);
    (right && unknown.is_empty()).then_some(template)
}

/// What parts may include: under `partials`, in the folder, or beside it, the nearest first.
fn partials(map: &Map<'_>, files: &[PartFile<'_>]) -> Option<BTreeMap<String, String>> {
    let inline = map.maybe("partials", |at| at.open_map())?;
    let (mut all, mut right) = (BTreeMap::new(), true);
    for (key, place) in inline.iter().flat_map(Map::iter) {
        if !may_be_included(&key.text) || key.text.split('/').any(|step| step.is_empty() || step.starts_with('.')) {
            let endings = includes::ENDINGS.join(", .");
            place.wrong::<()>(format!("wanted the name of a file that ends in .{endings}"));
            right = false;
            continue;
        }
        match place.text() {
            Some(text) => drop(all.insert(format!("{}/{}", includes::FOLDER, key.text), text.to_owned())),
            None => right = false,
        }
    }
    if !right {
        return None;
    }
    let (shared, own): (Vec<&PartFile<'_>>, Vec<&PartFile<'_>>) =
        files.iter().filter(|file| !file.is_part() && may_be_included(file.name)).partition(|file| file.is_shared);
    for file in own.iter().chain(&shared) {
        all.entry(file.name.to_owned()).or_insert_with(|| file.text.to_owned());
    }
    Some(all)
}

/// What readers of some places get instead: under `locales`, or in folders named for them.
fn variants(at: &At<'_>, map: &Map<'_>, files: &[PartFile<'_>]) -> Option<BTreeMap<String, Parts>> {
    let inline = map.maybe("locales", |at| at.open_map())?;
    let mut right = true;
    let mut tags: BTreeSet<String> =
        files.iter().filter(|it| it.is_part()).filter_map(|it| locale_of(it.name).0).map(str::to_owned).collect();
    for (key, place) in inline.iter().flat_map(Map::iter) {
        if !is_locale(&key.text) {
            place.wrong::<()>(format!("`{}` is not a locale such as de or de-AT", key.text));
            right = false;
            continue;
        }
        tags.insert(key.text.clone());
    }
    if tags.len() > VARIANTS_MAX {
        at.problem(Code::Limit, format!("has {} locales; at most {VARIANTS_MAX} are allowed", tags.len()));
        return None;
    }
    let mut read = BTreeMap::new();
    for tag in tags {
        let inside = inline.as_ref().and_then(|map| map.get(&tag));
        let here = inside.as_ref().map(|at| at.map(&PARTS, &[]));
        if matches!(here, Some(None)) {
            right = false;
            continue;
        }
        let here = here.flatten();
        let folder = Folder { at: inside.as_ref().unwrap_or(at), map: here.as_ref(), files, locale: Some(&tag) };
        match folder.parts() {
            Some(parts) => drop(read.insert(tag.clone(), parts)),
            None => right = false,
        }
    }
    right.then_some(read)
}

fn locale(at: &At<'_>) -> Option<String> {
    let text = at.text()?;
    if is_locale(text) { Some(text.to_owned()) } else { at.wrong("wanted a locale such as de or de-AT") }
}

/// A language of two or three small letters, and what narrows it down.
pub fn is_locale(text: &str) -> bool {
    let mut pieces = text.split('-');
    let language = pieces.next().unwrap_or_default();
    (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && pieces.all(|it| (2..=8).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// `de/subject` is `subject` for `de`.
fn locale_of(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((locale, part)) => (Some(locale), part),
        None => (None, name),
    }
}

fn unknown_file(reader: &Reader<'_>, file: &PartFile<'_>) {
    reader.problems.borrow_mut().push(Problem {
        file: file.file.to_owned(),
        line: 1,
        column: 1,
        field: file.name.to_owned(),
        code: Code::UnknownField,
        message: format!("not a part of a template, and none includes it; parts are {}", PART_FILES.join(", ")),
        nearest: nearest(file.name, PART_FILES),
    });
}

/// `{ clicks: false, opens: false }`: what is not named is tracked, where the workspace wants it.
fn tracks(at: At<'_>) -> Option<Tracks> {
    let map = at.map(&["clicks", "opens"], &[])?;
    let (clicks, opens) =
        (map.optional("clicks", true, |at| at.boolean()), map.optional("opens", true, |at| at.boolean()));
    Some(Tracks { clicks: clicks?, opens: opens? })
}

fn object(at: &At<'_>) -> Option<Json<String, Value>> {
    at.open_map()?;
    match at.value()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// The document's fields and the files beside it, for everybody or for one locale; each part is written in one of the
/// two.
struct Folder<'m, 'a> {
    at: &'m At<'a>,
    map: Option<&'m Map<'a>>,
    files: &'m [PartFile<'m>],
    locale: Option<&'m str>,
}

impl<'a> Folder<'_, 'a> {
    fn parts(&self) -> Option<Parts> {
        let email = self.email();
        let sms = self.text("sms", "sms.hbs");
        let push = self.mapping("push", "push.hbs", push);
        let whatsapp = self.mapping("whatsapp", "whatsapp.yaml", whatsapp);
        let webhook = self.text("webhook", "webhook.json.hbs");
        Some(Parts { email: email?, sms: sms?, push: push?, whatsapp: whatsapp?, webhook: webhook? })
    }

    fn file(&self, name: &str) -> Option<&PartFile<'_>> {
        self.files.iter().find(|file| locale_of(file.name) == (self.locale, name))
    }

    fn inline<T>(&self, name: &str, read: impl FnOnce(At<'a>) -> Option<T>) -> Option<Option<T>> {
        self.map.map_or(Some(None), |map| map.maybe(name, read))
    }

    /// A part that is text: `Some(None)` where neither field nor file has it.
    fn text(&self, field: &str, file: &str) -> Option<Option<String>> {
        let inline = self.inline(field, |at| not_empty(&at, at.text()?));
        self.either(inline, field, file)
    }

    fn either(&self, inline: Option<Option<String>>, field: &str, file: &str) -> Option<Option<String>> {
        match (inline?, self.file(file)) {
            (Some(_), Some(_)) => self.at.wrong(format!("{field} is written here and in the file {file}")),
            (None, Some(file)) if file.text.trim().is_empty() => {
                self.at.reader.problems.borrow_mut().push(Problem {
                    file: file.file.to_owned(),
                    line: 1,
                    column: 1,
                    field: field.to_owned(),
                    code: Code::WrongValue,
                    message: "the file is empty".to_owned(),
                    nearest: None,
                });
                None
            }
            (None, Some(file)) => Some(Some(file.text.trim_end().trim_start_matches('\u{feff}').to_owned())),
            (inline, None) => Some(inline),
        }
    }

    /// A part that is a mapping, as a field or as a YAML file of its own.
    fn mapping<T>(&self, field: &str, file: &str, read: impl Fn(&At<'_>) -> Option<T>) -> Option<Option<T>> {
        let inline = self.inline(field, |at| read(&at));
        match (inline?, self.file(file)) {
            (Some(_), Some(_)) => self.at.wrong(format!("{field} is written here and in the file {file}")),
            (inline, None) => Some(inline),
            (None, Some(file)) => {
                let reader = Reader::new(file.file, file.text);
                let part = match yaml::parse(file.text) {
                    Ok(trees) if trees.len() == 1 => read(&At::root(&reader, &trees[0].root)),
                    Ok(_) => {
                        reader.note(1, 1, field, Code::WrongValue, "wanted one mapping".to_owned());
                        None
                    }
                    Err(faults) => {
                        for fault in faults {
                            reader.note(fault.line, fault.column, &fault.field, fault.code, fault.message);
                        }
                        None
                    }
                };
                self.at.reader.problems.borrow_mut().extend(reader.problems.into_inner());
                part.map(Some)
            }
        }
    }

    fn email(&self) -> Option<Option<EmailPart>> {
        let inline = self.inline("email", |at| at.map(&["subject", "preheader", "html", "mjml", "text"], &[]))?;
        let field = |name: &str, file: &str| {
            let text = match &inline {
                Some(map) => map.maybe(name, |at| not_empty(&at, at.text()?)),
                None => Some(None),
            };
            self.either(text, &format!("email.{name}"), file)
        };
        let (subject, preheader) = (field("subject", "subject"), field("preheader", "preheader"));
        let (html, mjml, text) = (field("html", "email.html"), field("mjml", "email.mjml"), field("text", "email.txt"));
        let at = inline.as_ref().map_or(self.at, |map| &map.at);
        let markup = match (html?, mjml?) {
            (Some(_), Some(_)) => return at.wrong("a mail is written in MJML or in HTML, not in both"),
            (html, mjml) => html.map(Markup::Html).or(mjml.map(Markup::Mjml)),
        };
        match (subject?, preheader?, markup, text?) {
            (None, None, None, None) if inline.is_none() => Some(None),
            (Some(subject), preheader, Some(markup), text) => {
                Some(Some(EmailPart { subject, preheader, markup, text }))
            }
            (subject, _, markup, _) => {
                for (name, is_missing) in [("subject", subject.is_none()), ("html", markup.is_none())] {
                    if is_missing {
                        let place = self.locale.map_or_else(String::new, |tag| format!("{tag}/"));
                        let field = format!("{place}email.{name}");
                        let message =
                            "an e-mail has a subject and a body in HTML or MJML; this one is missing".to_owned();
                        at.reader.note(at.node.line, at.node.column, &field, Code::MissingField, message);
                    }
                }
                None
            }
        }
    }
}

fn not_empty(at: &At<'_>, text: &str) -> Option<String> {
    if text.trim().is_empty() { at.wrong("may not be empty") } else { Some(text.trim_end().to_owned()) }
}

fn push(at: &At<'_>) -> Option<PushPart> {
    let map = at.map(&["title", "body", "link"], &[])?;
    let text = |at: At<'_>| not_empty(&at, at.text()?);
    let title = map.required("title").and_then(text);
    let body = map.required("body").and_then(text);
    let link = map.maybe("link", text);
    Some(PushPart { title: title?, body: body?, link: link? })
}

fn whatsapp(at: &At<'_>) -> Option<WhatsappPart> {
    let map = at.map(&["name", "language", "parameters"], &[])?;
    let name = map.required("name").and_then(|at| at.name());
    let language = map.required("language").and_then(|at| at.name());
    let parameters = map.optional("parameters", Vec::new(), |at| {
        let items = at.list()?;
        if items.len() > PARAMETERS_MAX {
            at.problem(Code::Limit, format!("has {} items; at most {PARAMETERS_MAX} are allowed", items.len()));
        }
        let read: Vec<_> = items.iter().map(|at| at.text().map(str::to_owned)).collect();
        read.into_iter().collect()
    });
    Some(WhatsappPart { name: name?, language: language?, parameters: parameters? })
}
