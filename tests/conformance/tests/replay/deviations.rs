//! Every answer that differs from the reference's, with a check of the new answer. `DEVIATIONS.md` gives the
//! reasons, by number.

use std::fmt;

use serde_json::Value;

use super::transcript::Answer;

/// Why an answer differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// The deviation with this number.
    Number(u8),
    /// The recorded answer comes from the recorder's set-up, not from the reference.
    Recorder,
    /// The reference gives no message where a caller needs one.
    Words,
    /// The interface leaves the behaviour open.
    Open,
}

/// One answer that differs.
pub(crate) struct Deviation {
    pub(crate) case: &'static str,
    step: usize,
    pub(crate) why: Why,
    /// The reference's answer, in words.
    pub(super) differs: &'static str,
    pub(super) instead: Instead,
}

/// The answer that is expected instead.
pub(super) enum Instead {
    /// The answer that another case recorded in its first step.
    Like(&'static str),
    /// An error in the envelope.
    Envelope(u16),
    /// 200 and a body that passes the check.
    Json(fn(&Value) -> bool),
}

use self::Instead::{Envelope, Json, Like};
use self::Why::{Number, Open, Recorder, Words};

const fn deviation(case: &'static str, why: Why, differs: &'static str, instead: Instead) -> Deviation {
    Deviation { case, step: 0, why, differs, instead }
}

const fn at_step(step: usize, deviation: Deviation) -> Deviation {
    Deviation { step, ..deviation }
}

/// All deviations but those of finish callbacks.
pub(crate) const DEVIATIONS: &[Deviation] = &[
    deviation("callback_no_slash_get", Number(1), "301 to the path with a slash", Envelope(405)),
    deviation("detail_slash", Number(1), "404 with a slash", Like("detail_1.0.0")),
    deviation("dispatch_no_slash", Number(1), "500 without a slash", Like("dispatch_get")),
    deviation("invoke_trailing_slash", Number(1), "404 with a slash", Like("invoke_ok")),
    deviation("logs_slash", Number(1), "404 with a slash", Like("logs_unknown")),
    deviation("meta_no_slash", Number(1), "301 to the path with a slash", Like("meta")),
    deviation("plugin_api_get_slash", Number(1), "404 with a slash", Like("plugin_api_get")),
    deviation("schedule_slash", Number(1), "404 with a slash", Like("schedule_unknown")),
    //
    deviation("bk_plugin_root", Number(2), "a page of HTML", Envelope(404)),
    deviation("callback_get", Number(2), "{\"detail\": ...}", Envelope(405)),
    deviation("detail_unknown", Number(2), "no body", Envelope(404)),
    deviation("detail_unknown_any", Number(2), "no body", Envelope(404)),
    deviation("dispatch_dumped_bad", Number(2), "500 for what the caller sent", Envelope(400)),
    deviation("dispatch_get_method", Number(2), "{\"detail\": ...}", Envelope(405)),
    deviation("dispatch_not_json", Number(2), "{\"detail\": ...}", Envelope(400)),
    deviation(
        "dispatch_post_on_get_only",
        Number(2),
        "{\"detail\": ...} as data",
        Json(|body| {
            let data = &body["data"];
            body["result"] == true && data["result"] == false && is_text(&data["message"])
        }),
    ),
    deviation("invoke_bom", Number(2), "{\"detail\": ...}", Envelope(400)),
    deviation("invoke_get", Number(2), "{\"detail\": ...}", Envelope(405)),
    deviation("invoke_nan", Number(2), "{\"detail\": ...}", Envelope(400)),
    deviation("invoke_no_ct", Number(2), "{\"detail\": ...}", Envelope(415)),
    deviation("invoke_no_version", Number(2), "a page of HTML", Envelope(404)),
    deviation("invoke_not_json", Number(2), "{\"detail\": ...}", Envelope(400)),
    deviation("invoke_unknown_version", Number(2), "no body", Envelope(404)),
    deviation("meta_post", Number(2), "{\"detail\": ...}", Envelope(405)),
    deviation("openapi_absent", Number(2), "a page of HTML", Envelope(404)),
    deviation("plugin_api_put", Number(2), "{\"detail\": ...}", Envelope(405)),
    deviation("schedule_empty", Number(2), "a page of HTML", Envelope(404)),
    deviation("schedule_post", Number(2), "{\"detail\": ...}", Envelope(405)),
    deviation("unknown_path_slash", Number(2), "a page of HTML", Envelope(404)),
    //
    at_step(
        2,
        deviation(
            "poll_while",
            Number(3),
            "400 while it polls",
            Json(|body| body["result"] == true && body["message"] == "callback success"),
        ),
    ),
    //
    deviation("invoke_bad_jwt", Number(5), "500 and a traceback", Envelope(403)),
    deviation("meta_bad_jwt", Number(5), "500 and a traceback", Envelope(403)),
    deviation("meta_expired_jwt", Number(5), "500 and a traceback", Envelope(403)),
    //
    deviation("prod.callback_no_jwt", Number(2), "words without an envelope", Envelope(403)),
    deviation("prod.dispatch_get_no_jwt", Number(2), "words without an envelope", Envelope(403)),
    deviation("prod.invoke_no_jwt", Number(2), "words without an envelope", Envelope(403)),
    at_step(1, deviation("prod.logs_ok", Number(2), "a page of HTML", Envelope(404))),
    deviation("prod.plugin_api_no_jwt", Number(5), "302 to a page for logging in", Envelope(403)),
    deviation("scope_prod.scope_app_bk_app_code", Number(2), "{\"detail\": ...}", Envelope(403)),
    deviation("scope_prod.scope_denied_missing", Number(2), "{\"detail\": ...}", Envelope(403)),
    deviation("scope_prod.scope_denied_then_404", Number(2), "{\"detail\": ...}", Envelope(403)),
    deviation("scope_prod.scope_denied_type", Number(2), "{\"detail\": ...}", Envelope(403)),
    deviation("scope_prod.scope_denied_unverified_app", Number(5), "200", Envelope(403)),
    deviation("scope_prod.scope_denied_value", Number(2), "{\"detail\": ...}", Envelope(403)),
    // The recorded answer reflects bkoauth, a library of the reference that was not installed there.
    deviation(
        "scope_prod.scope_dispatch_allowed",
        Recorder,
        "the words of an exception, and the JWT as a token",
        Json(|body| {
            let data = &body["data"];
            body["result"] == true
                && data["path"] == "/bk_plugin/plugin_api/echo/"
                && data["user"] == "u"
                && is_text(&data["headers"]["HTTP_X_BKAPI_JWT"])
        }),
    ),
    deviation("scope_prod.scope_dispatch_denied", Number(2), "{\"detail\": ...}", Envelope(403)),
    deviation("scope_prod.scope_no_jwt", Number(2), "words without an envelope", Envelope(403)),
    //
    deviation("invoke_large_3MB", Number(7), "400 and a traceback", Envelope(413)),
    //
    // The recorder's log table holds at most three bytes a character, so its plugin fails when it logs an
    // emoji. Behind the gateway, without that table, the reference succeeds.
    deviation(
        "invoke_ok_unicode",
        Recorder,
        "FAIL where an emoji is logged",
        Json(|body| {
            let data = &body["data"];
            data["state"] == 4
                && data["err"].is_null()
                && data["outputs"]["world"].as_str().is_some_and(|text| text.starts_with("你好 😀"))
        }),
    ),
    //
    at_step(
        1,
        deviation(
            "finish_poll_nonjson",
            Words,
            "FAIL without a reason",
            Json(|body| {
                let data = &body["data"];
                data["state"] == 5
                    && data["outputs"]["trail"].as_array().is_some_and(|trail| trail.len() == 1)
                    && data["err"].as_str().is_some_and(|err| err.contains("plugin context json dumps error"))
            }),
        ),
    ),
];

/// The deviations of finish callbacks: case, reason, difference.
pub(crate) const FINISH_DEVIATIONS: &[(&str, Why, &str)] =
    &[("finish_redirect", Open, "a redirect is followed as a GET without a body")];

pub(super) fn of(case: &str, step: usize) -> Option<&'static Deviation> {
    DEVIATIONS.iter().find(|deviation| deviation.case == case && deviation.step == step)
}

/// Checks that an answer is an error in the envelope, with this status; returns the differences.
pub(super) fn envelope(answer: &Answer, status: u16) -> Vec<String> {
    let body = &answer.body;
    let right = answer.status == status
        && answer.content_type.as_deref() == Some("application/json")
        && body["result"] == false
        && is_text(&body["message"])
        && (status != 413 || body["message"].as_str().is_some_and(|text| text.contains(char::is_numeric)));
    if right { Vec::new() } else { vec![format!("not {status} in the envelope: {answer}")] }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Recorder => f.write_str("the recorder's own"),
            Self::Words => f.write_str("words where there were none"),
            Self::Open => f.write_str("left open"),
        }
    }
}
