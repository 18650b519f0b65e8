//! Templates as folders and as one document, and the starter content.

use crate::definition::tests::{bad, file, good, lines};
use crate::definition::{Definition, Document, Known, SourceFile, cross_check, read, shelved};
use crate::message::Channel;
use crate::render::template::{PushPart, Template, WhatsappPart};

fn template(documents: &[Document]) -> &Template {
    match &documents[0].definition {
        Definition::Template(template) => template,
        other => panic!("{other:?}"),
    }
}

fn folder() -> Vec<SourceFile> {
    vec![
        file(
            "x/templates/hello/template.yaml",
            "kind: template\nname: Hello\ndefaults: { profile.traits.name: you }\n",
        ),
        file("x/templates/hello/email.html", "<p>Hello {{profile.traits.name}}</p>\n"),
        file("x/templates/hello/email.txt", "Hello\n"),
        file("x/templates/hello/subject", "Hi {{profile.traits.name}}\n"),
        file("x/templates/hello/preheader", "A greeting\n"),
        file("x/templates/hello/sms.hbs", "Hi\n"),
        file("x/templates/hello/push.hbs", "title: \"{{event.name}}\"\nbody: Body\nlink: https://shop.example\n"),
        file("x/templates/hello/whatsapp.yaml", "name: hello\nlanguage: en\nparameters: [ \"{{event.name}}\" ]\n"),
        file("x/templates/hello/webhook.json.hbs", "{\"a\": \"{{event.name}}\"}\n"),
    ]
}

#[test]
fn a_folder_is_one_template_and_can_be_written_again() {
    let documents = read(&folder()).unwrap();
    let parts = &template(&documents).parts;
    let email = parts.email.as_ref().unwrap();
    assert_eq!((email.subject.as_str(), email.text.as_deref()), ("Hi {{profile.traits.name}}", Some("Hello")));
    let push =
        PushPart { title: "{{event.name}}".into(), body: "Body".into(), link: Some("https://shop.example".into()) };
    assert_eq!(parts.push, Some(push));
    let whatsapp =
        WhatsappPart { name: "hello".into(), language: "en".into(), parameters: vec!["{{event.name}}".into()] };
    assert_eq!(parts.whatsapp, Some(whatsapp));
    assert!(Channel::ALL.into_iter().all(|channel| parts.has(channel)));

    let mut written = documents[0].files();
    assert!(written.iter().all(|file| file.name.starts_with("templates/hello/")));
    written.sort_by(|one, other| one.name.cmp(&other.name));
    let mut original = folder();
    original.iter_mut().for_each(|file| file.name = file.name.replace("x/", ""));
    original.sort_by(|one, other| one.name.cmp(&other.name));
    assert_eq!(written, original);
    let again = read(&written).unwrap();
    let stored = read(&[file("stored", &documents[0].text)]).unwrap();
    for other in [&again, &stored] {
        assert_eq!((&other[0].text, &other[0].definition), (&documents[0].text, &documents[0].definition));
    }
}

#[test]
fn a_folder_for_a_locale_holds_what_its_readers_get_instead() {
    let mut files = folder();
    files.push(file("x/templates/hello/de/email.mjml", "<mjml><mj-body><mj-section></mj-section></mj-body></mjml>\n"));
    files.push(file("x/templates/hello/de/subject", "Hallo {{profile.traits.name}}\n"));
    files.push(file("x/templates/hello/fr-CA/sms.hbs", "Bonjour\n"));
    let documents = read(&files).unwrap();
    let variants = &template(&documents).variants;
    assert_eq!(variants.keys().collect::<Vec<_>>(), ["de", "fr-CA"]);
    assert_eq!(variants["fr-CA"].sms.as_deref(), Some("Bonjour"));
    assert_eq!(variants["de"].email.as_ref().unwrap().subject, "Hallo {{profile.traits.name}}");
    let mut written = documents[0].files();
    assert!(written.iter().any(|file| file.name == "templates/hello/de/subject"));
    assert_eq!(read(&written).unwrap()[0].definition, documents[0].definition);
    written
        .iter_mut()
        .filter(|file| file.name.ends_with("de/subject"))
        .for_each(|file| file.text = "\n {{nme}".to_owned());
    let told = lines(&read(&written).unwrap_err());
    assert!(told.contains("templates/hello/de/subject:2:2: de/subject: "), "{told}");
    files.push(file("x/templates/hello/de/emial.html", "x"));
    assert!(lines(&read(&files).unwrap_err()).contains("de/emial.html: not a part of a template"));
    // What is named for no locale belongs to nobody.
    let stray = [folder(), vec![file("x/templates/hello/German/subject", "x")]].concat();
    assert!(lines(&read(&stray).unwrap_err()).contains("there is no template.yaml beside it"));
}

/// Two templates in a folder, and what they share.
fn sharing() -> Vec<SourceFile> {
    vec![
        file("x/templates/one/template.yaml", "kind: template\n"),
        file("x/templates/one/sms.hbs", "One {{> foot}}"),
        file("x/templates/two/template.yaml", "kind: template\n"),
        file("x/templates/two/sms.hbs", "Two {{> foot}}{{> own}}"),
        file("x/templates/two/partials/own.txt", "!"),
        file("x/templates/partials/foot.txt", "-- {{> deep/shop}}\n"),
        file("x/templates/partials/deep/shop.hbs", "{{workspace.name}}"),
        file("x/templates/partials/unused.mjml", "<mj-nothing>"),
    ]
}

#[test]
fn templates_share_pieces_that_are_versioned_and_written_back_with_them() {
    let documents = read(&sharing()).unwrap();
    assert_eq!(documents.len(), 2);
    let pieces = |n: usize| match &documents[n].definition {
        Definition::Template(template) => template.partials.keys().cloned().collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(pieces(0), ["partials/deep/shop.hbs", "partials/foot.txt"]);
    assert!(template(&documents).variants.is_empty(), "a folder of pieces is no locale");
    assert_eq!(pieces(1), ["partials/deep/shop.hbs", "partials/foot.txt", "partials/own.txt"]);
    // Each is whole by itself, whatever becomes of what it shares.
    for document in &documents {
        let stored = read(&[file("stored", &document.text)]).unwrap();
        let again = read(&document.files()).unwrap();
        assert_eq!((&stored[0].text, &stored[0].definition), (&document.text, &document.definition));
        assert_eq!((&again[0].text, &again[0].definition), (&document.text, &document.definition));
    }
    let written = shelved(documents.iter().flat_map(Document::files).collect());
    let names: Vec<&str> = written.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names.iter().filter(|name| name.ends_with("foot.txt")).collect::<Vec<_>>(),
        [&"templates/partials/foot.txt"]
    );
    let again = read(&written).unwrap();
    for (one, other) in documents.iter().zip(&again) {
        assert_eq!(
            (&one.text, &one.definition),
            (&other.text, &other.definition),
            "reading what was written changes nothing"
        );
    }
    // A changed piece is another text of every template that includes it.
    let mut changed = sharing();
    changed.iter_mut().filter(|file| file.name.ends_with("shop.hbs")).for_each(|file| file.text = "Us".to_owned());
    let other = read(&changed).unwrap();
    assert!(documents.iter().zip(&other).all(|(one, other)| one.text != other.text));
    // Two that were applied with different ones keep their own.
    let apart = shelved([documents[0].files(), other[1].files()].concat());
    let names: Vec<&str> = apart.iter().map(|file| file.name.as_str()).collect();
    assert!(
        names.contains(&"templates/one/partials/deep/shop.hbs")
            && names.contains(&"templates/two/partials/deep/shop.hbs"),
        "{names:?}"
    );
    assert!(names.contains(&"templates/partials/foot.txt"), "{names:?}");
    let apart = read(&apart).unwrap();
    assert_eq!((&apart[0].text, &apart[1].text), (&documents[0].text, &other[1].text));
}

#[test]
fn what_is_wrong_with_a_piece_is_told_in_its_file() {
    let with = |name: &str, text: &str| {
        let mut files = sharing();
        files.retain(|file| !file.name.ends_with(name));
        files.push(file(&format!("x/templates/{name}"), text));
        lines(&read(&files).unwrap_err())
    };
    let told = with("partials/deep/shop.hbs", "\n {{worksp.name}}");
    assert!(
        told.contains("x/templates/partials/deep/shop.hbs:2:2: partials/deep/shop.hbs: `worksp.name` is not known"),
        "{told}"
    );
    let told = with("two/sms.hbs", "Two {{> foo}}");
    assert!(told.contains("two/sms.hbs:1:5: sms: there is no partials/foo.txt"), "{told}");
}

#[test]
fn pieces_that_nothing_includes_are_told_and_those_of_nobody_too() {
    let with = |name: &str| lines(&read(&[sharing(), vec![file(name, "x")]].concat()).unwrap_err());
    let told = with("x/templates/two/partials/more.txt");
    assert!(
        told.contains("two/partials/more.txt:1:1: partials/more.txt: not a part of a template, and none includes it"),
        "{told}"
    );
    assert!(with("y/partials/foot.txt").contains("there is no template in this folder or beside it"));
    let inline = "kind: template\nkey: hello\npartials: { foot.txt: 'bye {{event.nme.}}' }\nsms: 'Hi {{> foot}}'\n";
    let told = bad(inline);
    assert!(told.contains("test.yaml:1:1: partials/foot.txt: line 1, column 5 of partials/foot.txt"), "{told}");
    assert_eq!(good(&inline.replace("nme.", "name")).len(), 1);
    assert!(bad("kind: template\nkey: h\npartials: { ../x.txt: '' }\nsms: Hi\n").contains("wanted the name of a file"));
    assert!(bad("kind: template\nkey: h\npartials: { x.exe: '' }\nsms: Hi\n").contains("wanted the name of a file"));
}

#[test]
fn one_document_may_hold_all_parts() {
    let text = "
kind: template
key: hello
email: { subject: Hi, preheader: A greeting, html: <p>Hello</p> }
sms: Hi
push: { title: T, body: B }
webhook: '{}'
";
    let documents = good(text);
    assert_eq!(template(&documents).parts.email.as_ref().unwrap().text, None);
    assert_eq!(documents[0].files()[0].name, "templates/hello.yaml");
}

#[test]
fn a_template_with_holes_is_refused() {
    let head = "kind: template\nkey: hello\n";
    for (rest, told) in [
        ("", "a template has at least one part"),
        ("email: { subject: Hi }", "missing_field test.yaml:3:8: email.html"),
        ("email: { subject: Hi, html: '', text: 1 }", "email.html: may not be empty"),
        ("email: { subject: Hi, mjml: <p>x</p> }", "email.mjml: line 1, column 1 of it: `p` cannot stand here"),
        ("email: { subject: Hi, mjml: x, html: x }", "a mail is written in MJML or in HTML, not in both"),
        ("sms: Hi\ntrack: { click: false }", "unknown_field test.yaml:4:10: track.click"),
        ("sms: Hi\nlocale: English", "locale: wanted a locale such as de or de-AT"),
        ("sms: Hi\nlocales: { De: { sms: Hallo } }", "`De` is not a locale such as de or de-AT"),
        (
            "sms: Hi\nlocales: { de: { push: { title: T, body: B } } }",
            "push is written for `de` and not for everybody else",
        ),
        ("sms: Hi\nlocales: { de: { email: { subject: Hallo } } }", "missing_field"),
        ("sms: Hi\nlocales: { de: { sms: '{{event.nme}' } }", "de/sms: line 1, column 1 of it"),
        ("sms: Hi\ntopic: No Such", "wrong_value test.yaml:4:8: topic"),
        ("push: { title: T }", "missing_field test.yaml:3:7: push.body"),
    ] {
        let answer = bad(&format!("{head}{rest}\n"));
        assert!(answer.contains(told), "{rest}: {answer}");
    }
}

#[test]
fn what_would_fail_when_sent_is_told_when_it_is_read() {
    let with = |name: &str, text: &str| {
        let mut files = folder();
        files.retain(|file| !file.name.ends_with(&format!("/{name}")));
        files.push(file(&format!("x/templates/hello/{name}"), text));
        lines(&read(&files).unwrap_err())
    };
    let broken = with("email.html", "<p>\n{{#if event.properties.a}}</p>");
    assert!(broken.starts_with("wrong_value x/templates/hello/email.html:"), "{broken}");
    let unknown = with("sms.hbs", "Hi {{person.name}}");
    assert!(unknown.contains("sms.hbs:1:"), "{unknown}");
    let sample = "kind: template\nsample: { event: { properties: { a: 1 } } }\n\
                  sms: 'Hi {{event.properties.b}}'\nkey: hello\n";
    let missing = bad(sample);
    assert!(missing.contains("test.yaml:1:1: sms: line 1"), "{missing}");
    assert!(missing.contains("the sample has no `event.properties.b`, and it has no default"), "{missing}");
    assert_eq!(good(&sample.replace("properties.b", "properties.a")).len(), 1);
}

#[test]
fn everything_that_is_wrong_with_a_template_is_told_at_once() {
    let mut files = folder();
    let write = |files: &mut Vec<SourceFile>, name: &str, text: &str| {
        files.retain(|file| file.name != format!("x/templates/hello/{name}"));
        files.push(file(&format!("x/templates/hello/{name}"), text));
    };
    write(&mut files, "template.yaml", "kind: template\nkey: other\ntopic: No Such\nsize: 3\n");
    write(&mut files, "subject", "Hi {{person.name}}");
    write(
        &mut files,
        "email.html",
        "<p>{{nobody.a}}\n{{#if event.a}}{{{event.b}}}{{else}}{{nobody.c}}{{/if}}</p>\n{{event.d.}}",
    );
    write(&mut files, "preheader", "{{#if event.name}}");
    write(&mut files, "sms.hbs", "{{> nothing}}");
    write(&mut files, "whatsapp.yaml", "name: hello\nlanguage: en\nparameters: [ \"{{a}}\", \"{{b}}\" ]\n");
    write(&mut files, "de/sms.hbs", "Hallo {{wer}}");
    write(&mut files, "emial.html", "x");
    let told = lines(&read(&files).unwrap_err());
    for words in [
        "template.yaml:2:6: key: the folder is called `hello`",
        "template.yaml:3:8: topic: ",
        "template.yaml:4:1: size: unknown field",
        "subject:1:4: subject: `person.name` is not known",
        "preheader:1:1: preheader: {{#if}} begins a block that never ends",
        "sms.hbs:1:1: sms: there is no partials/nothing",
        "whatsapp parameter 1: `a` is not known",
        "whatsapp parameter 2: `b` is not known",
        "de/sms.hbs:1:7: de/sms: `wer` is not known",
        "emial.html:1:1: emial.html: not a part of a template",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    // Tags that can be read are all looked at.
    write(&mut files, "email.html", "<p>{{nobody.a}}\n{{#if event.a}}{{{event.b}}}{{else}}{{nobody.c}}{{/if}}</p>");
    let told = lines(&read(&files).unwrap_err());
    for (place, words) in
        [("1:4", "`nobody.a` is not known"), ("2:16", "unescaped output"), ("2:37", "`nobody.c` is not known")]
    {
        assert!(told.contains(&format!("email.html:{place}: email.html: {words}")), "{words}\n{told}");
    }
}

#[test]
fn everything_a_sample_lacks_is_told_and_nothing_that_only_follows_from_it() {
    let told = bad("kind: template\nkey: hello\nsample: { event: { properties: { a: 1 } } }\n\
                    sms: '{{event.properties.a}} {{event.properties.b}} {{#if event.properties.c}}{{event.properties.d}}{{/if}}'\n\
                    email: { subject: '{{profile.traits.name}}', html: '<p>{{event.properties.b}} {{campaign.e.f}}</p>' }\n");
    for words in ["event.properties.b", "profile.traits.name", "campaign.e.f"] {
        assert!(told.contains(&format!("the sample has no `{words}`")), "{words}\n{told}");
    }
    assert!(!told.contains("properties.a`") && !told.contains("properties.d`"), "{told}");
}

#[test]
fn an_address_that_is_not_a_page_a_mail_or_a_call_is_refused_where_it_is_written() {
    let with = |html: &str| {
        let mut files = folder();
        files.retain(|file| !file.name.ends_with("/email.html"));
        files.push(file("x/templates/hello/email.html", html));
        read(&files).map(|_| ()).map_err(|problems| lines(&problems))
    };
    let refused = with("<p>Hi</p>\n<a href=\" JAVA&Tab;script:x\">{{profile.traits.name}}</a>").unwrap_err();
    assert!(refused.contains("email.html:2:9: email.html: `href` leads to `javascript:`"), "{refused}");
    assert!(refused.contains("http, https, mailto, tel"), "{refused}");
    assert!(with("<a href=\"{{profile.traits.name}}\">x</a><img src=\"cid:logo\"> javascript:x").is_ok());
    let sample = "kind: template\nkey: h\nsample: { event: { properties: { url: 'data:text/html,x' } } }\n\
                  email: { subject: Hi, html: '<img src=\"{{event.properties.url}}\">' }\n";
    assert!(bad(sample).contains("with the sample, `src` leads to `data:`"), "{}", bad(sample));
}

#[test]
fn broken_tags_are_explained_in_words_with_their_place() {
    let with = |source: &str| {
        let mut files = folder();
        files.retain(|file| !file.name.ends_with("/sms.hbs"));
        files.push(file("x/templates/hello/sms.hbs", source));
        lines(&read(&files).unwrap_err())
    };
    for (source, place, says) in [
        ("a\n {{#if event.name}} b", "2:2", "{{#if}} begins a block that never ends: add {{/if}}"),
        ("a\n b{{/if}}", "2:3", "{{/if}} ends a block that was never begun"),
        ("{{#if event.name}}\n{{#each event.list}}x{{/if}}", "2:22", "{{#each}} of line 2 must end first"),
        ("a {{else}} b", "1:3", "{{else}} stands outside of any block"),
        ("a\n\n {{event.name} b", "3:2", "never ends: add }}"),
        ("a\n{{event.first name!}}", "2:1", "`{{event.first name!}}` cannot be read: write a variable such as"),
        ("{{default event.name “you”}}", "1:1", "straight quotes"),
        ("{{default event.name \"you}}", "1:1", "a quote (\") is missing"),
        ("x {{#if (gt event.n 1}}x{{/if}}", "1:3", "a bracket is missing"),
    ] {
        let told = with(source);
        assert!(told.contains(&format!("sms.hbs:{place}: ")) && told.contains(says), "{source}: {told}");
        for rule in ["identifier", "raw_text", "expected", "helper_"] {
            assert!(!told.contains(rule), "{told}");
        }
    }
}

#[test]
fn tabs_that_indent_are_named_with_their_line() {
    for (text, place) in [
        ("kind: template\nkey: hello\nemail:\n\tsubject: Hi\n", "4:1"),
        ("kind: template\nkey: hello\npush:\n  title: T\n\tbody: B\n", "5:1"),
    ] {
        let told = bad(text);
        assert!(told.contains(&format!("test.yaml:{place}: ")), "{text:?}: {told}");
        assert!(told.contains("tabs cannot indent YAML; use spaces"), "{text:?}: {told}");
    }
}

#[test]
fn a_folder_with_odd_files_is_refused() {
    let with = |name: &str, text: &str| {
        let mut files = folder();
        files.retain(|file| !file.name.ends_with(&format!("/{name}")));
        files.push(file(&format!("x/templates/hello/{name}"), text));
        lines(&read(&files).unwrap_err())
    };
    assert!(with("emial.html", "x").contains("emial.html:1:1: emial.html: not a part"));
    assert!(with("emial.html", "x").contains("did you mean `email.html`?"));
    assert!(with("email.mjml", "<mjml>").contains("a mail is written in MJML or in HTML, not in both"));
    assert!(with("push.hbs", "title: T\n").contains("push.hbs:1:1: body: this field is missing"));
    assert!(with("sms.hbs", " \n").contains("sms.hbs:1:1: sms: the file is empty"));
    assert!(with("template.yaml", "kind: template\nkey: other\n").contains("the folder is called `hello`"));
    assert!(with("template.yaml", "kind: template\nsms: Hi\n").contains("sms is written here and in the file sms.hbs"));
}

#[test]
fn the_starter_content_is_right_and_fits_together() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut pending = vec![root.join("templates"), root.join("demo/definitions")];
    while let Some(folder) = pending.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().display().to_string();
            assert!(crate::definition::is_definition_file(&name), "{name}");
            files.push(file(&name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
    let documents = read(&files).unwrap_or_else(|problems| panic!("{}", lines(&problems)));
    assert_eq!(lines(&cross_check(&documents, &Known::default())), "");
    assert!(documents.len() >= 7, "{}", documents.len());
}
