//! The inbox over HTTP; what its pages look like is told in `tests/pages`.
#![allow(clippy::unwrap_used)]

use actix_web::{App, test};
use serde_json::Value;

use super::*;
use crate::channel::sandbox::Sandbox;
use crate::render::Rendered;
use crate::render::tests::{email, sms};

/// Status and body.
async fn ask(sandbox: &Sandbox, path: &str) -> (u16, String) {
    let kept: Arc<dyn KeptMessages> = Arc::new(sandbox.clone());
    let everybody: Admits = Arc::new(|_| Box::pin(std::future::ready(Ok(()))));
    let app = test::init_service(App::new().configure(configure(web::Data::from(kept), everybody))).await;
    let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
    let status = response.status().as_u16();
    (status, String::from_utf8(test::read_body(response).await.to_vec()).unwrap())
}

async fn filled(messages: &[Rendered]) -> (tempfile::TempDir, Sandbox) {
    let folder = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(folder.path()).unwrap();
    for message in messages {
        sandbox.keep(message).await;
    }
    (folder, sandbox)
}

#[actix_web::test]
async fn the_list_is_read_page_by_page_to_its_end() {
    let messages: Vec<Rendered> = (0..5).map(|n| email("x", "<p>x</p>").seed(&n.to_string()).done()).collect();
    let (_folder, sandbox) = filled(&messages).await;
    let mut seen = Vec::new();
    let mut path = "/api/v1/inbox?limit=2".to_owned();
    loop {
        let (status, body) = ask(&sandbox, &path).await;
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        seen.extend(page["messages"].as_array().unwrap().iter().map(|it| it["message"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/inbox?limit=2&cursor={next}");
    }
    let mut expected: Vec<String> = messages.iter().map(|it| it.message().to_string()).collect();
    expected.sort_by(|a, b| b.cmp(a));
    assert_eq!(seen, expected);
    let (_, one) = ask(&sandbox, &format!("/api/v1/inbox/{}", seen[0])).await;
    assert_eq!(serde_json::from_str::<Kept>(&one).unwrap().message.to_string(), seen[0]);
}

#[actix_web::test]
async fn strange_addresses_are_not_found_and_strange_questions_refused() {
    let (_folder, sandbox) = filled(&[sms("x").done()]).await;
    let none = "0".repeat(32);
    for path in
        [format!("/api/v1/inbox/{none}"), "/api/v1/inbox/..%2f..%2fsecret".to_owned(), "/api/v1/inbox/%00".to_owned()]
    {
        assert_eq!(ask(&sandbox, &path).await.0, 404, "{path}");
    }
    for (query, code) in [
        ("limit=many", "invalid_parameter"),
        ("limit=-1", "invalid_parameter"),
        ("limt=1", "invalid_query"),
        ("limit=0", "invalid_parameter"),
        ("limit=201", "invalid_parameter"),
        ("cursor=x", "invalid_parameter"),
        ("cursor=1-2-3", "invalid_parameter"),
        ("cursor=99999999999999999999-0", "invalid_parameter"),
    ] {
        let (status, answer) = ask(&sandbox, &format!("/api/v1/inbox?{query}")).await;
        assert!(status == 400 && answer.contains(&format!("\"{code}\"")), "{query}: {answer}");
    }
}
