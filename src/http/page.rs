//! The frame of the few pages this service serves itself: no script, nothing loaded from elsewhere, light and dark.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

pub(super) use handlebars::html_escape as escape;

/// Nothing but our own style, our own frames and forms to ourselves.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fbfbfa;--surface:#fff;--line:#e6e6e3;--border:#8a8a86;--text:#1b1b1a;\
--muted:#5c5c59;--accent:#4f46c8}\
@media(prefers-color-scheme:dark){:root{--bg:#121214;--surface:#1a1a1d;--line:#2c2c31;--border:#6e6e78;\
--text:#ececee;--muted:#a3a3ab;--accent:#9d97ff}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--bg);color:var(--text);font:14px/20px system-ui,sans-serif;\
font-variant-numeric:tabular-nums}\
main{max-width:1040px;margin:0 auto;padding:20px 16px 32px}\
main.narrow{max-width:520px;padding-top:64px}\
h1{font-size:22px;line-height:28px;font-weight:600;margin:0 0 4px;overflow-wrap:anywhere}\
h2{font-size:14px;font-weight:600;margin:20px 0 8px}\
p{margin:0 0 12px}.muted{color:var(--muted)}\
a{color:var(--accent)}\
a:focus-visible,button:focus-visible{outline:2px solid var(--accent);outline-offset:1px}\
.panel{background:var(--surface);border:1px solid var(--line);border-radius:8px;overflow:hidden}\
table{width:100%;border-collapse:collapse}\
th,td{text-align:left;padding:8px 12px;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}\
tr:last-child td{border-bottom:0}td.whole{white-space:nowrap}\
th{font-size:12px;font-weight:600;color:var(--muted)}\
time{white-space:nowrap}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:0;padding:12px}\
dt{color:var(--muted)}dd{margin:0;overflow-wrap:anywhere}\
pre{margin:0;padding:12px;font:13px/20px ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}\
iframe{display:block;width:100%;height:560px;border:0;background:#fff}\
button{font:600 14px/20px system-ui,sans-serif;color:#fff;background:#4f46c8;border:0;border-radius:6px;\
padding:8px 16px;cursor:pointer}\
button.quiet{color:var(--text);background:none;border:1px solid var(--border)}\
fieldset{border:1px solid var(--line);border-radius:8px;margin:16px 0;padding:4px 12px 8px;background:var(--surface)}\
legend{font-weight:600;padding:0 4px}\
label{display:flex;gap:12px;align-items:flex-start;padding:10px 4px;min-height:44px;cursor:pointer}\
label span{overflow-wrap:anywhere}label span span{display:block}\
input[type=checkbox]{width:20px;height:20px;margin:0;accent-color:var(--accent);flex:none}\
input:focus-visible{outline:2px solid var(--accent);outline-offset:2px}\
nav{margin-top:12px}\
@media(max-width:640px){thead{position:absolute;clip-path:inset(50%)}\
table,tbody,tr,td{display:block}td{border:0;padding:2px 12px}\
tr{padding:8px 0;border-bottom:1px solid var(--line)}tr:last-child{border:0}\
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}";

/// A page in English; `title` is text, `body` is HTML.
pub(super) fn page(status: StatusCode, title: &str, body: &str) -> HttpResponse {
    page_in("en", status, title, body)
}

/// The same in the language of this tag.
pub(super) fn page_in(lang: &str, status: StatusCode, title: &str, body: &str) -> HttpResponse {
    let title = escape(title);
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Robots-Tag", "noindex"))
        .body(format!(
            "<!doctype html><html lang=\"{lang}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>"
        ))
}
