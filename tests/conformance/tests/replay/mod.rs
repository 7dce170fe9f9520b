//! Replays transcripts of the reference.

mod compare;
mod deviations;
mod receiver;
mod transcript;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

pub(crate) use self::compare::Names;
pub(crate) use self::deviations::{DEVIATIONS, FINISH_DEVIATIONS, Why};
pub(crate) use self::receiver::Receiver;
pub(crate) use self::transcript::{Transcript, read_all};

use self::compare::compare;
use self::deviations::Deviation;
use self::transcript::{Answer, Request, Response};

/// The longest wait for a state that comes without a request.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The result of replaying one transcript.
pub(crate) enum Outcome {
    Same,
    /// It differs as listed, for these reasons.
    Deviates(Vec<Why>),
    /// It differs where it should not: the differences.
    Differs(Vec<String>),
}

/// The service and the receiver of finish callbacks that a replay uses.
pub(crate) struct Replay<'a> {
    pub(crate) base_url: &'a str,
    pub(crate) client: &'a reqwest::Client,
    pub(crate) receiver: &'a Receiver,
    pub(crate) all: &'a [Transcript],
}

impl Replay<'_> {
    /// Replays one transcript, step by step.
    pub(crate) async fn run(&self, transcript: &Transcript) -> Outcome {
        let mut names = Names::default();
        let (mut differences, mut reasons) = (Vec::new(), Vec::new());
        for (index, step) in transcript.steps.iter().enumerate() {
            let deviation = deviations::of(&transcript.case, index);
            let request = step.request.renewed(&transcript.case, &mut names, self.receiver);
            let until = Instant::now() + LONGEST_WAIT;
            let answered = loop {
                let mut learned = names.clone();
                let answer = self.send(&request).await;
                let found = self.judge(&step.response, &answer, deviation, &mut learned);
                if found.is_ok() || !request.settles() || Instant::now() > until {
                    names = learned;
                    break found;
                }
                sleep(Duration::from_millis(50)).await;
            };
            match answered {
                Ok(()) => reasons.extend(deviation.map(|deviation| deviation.why)),
                Err(found) => {
                    let what =
                        |text| format!("step {index}, {} {}: {text}", request.method, request.shown_path());
                    differences.extend(found.into_iter().map(what));
                    // Later steps would only repeat the difference.
                    break;
                }
            }
        }
        match (differences.is_empty(), reasons.is_empty()) {
            (false, _) => Outcome::Differs(differences),
            (true, false) => Outcome::Deviates(reasons),
            (true, true) => Outcome::Same,
        }
    }

    async fn send(&self, request: &Request) -> Answer {
        let url = format!("{}{}", self.base_url, request.path);
        let method = request.method.parse().unwrap();
        let mut call = self.client.request(method, url);
        for (name, value) in &request.headers {
            call = call.header(name, value);
        }
        if let Some(body) = &request.body {
            call = call.body(body.clone());
        }
        match call.send().await {
            Ok(response) => Answer::read(response).await,
            Err(error) => Answer::none(&format!("{error:?}")),
        }
    }

    /// Compares an answer with the recorded one or, where a deviation is listed, with the expected one.
    fn judge(
        &self,
        recorded: &Response,
        answer: &Answer,
        deviation: Option<&Deviation>,
        names: &mut Names,
    ) -> Result<(), Vec<String>> {
        let differences = differences(recorded, answer, names);
        let Some(deviation) = deviation else {
            return if differences.is_empty() { Ok(()) } else { Err(differences) };
        };
        if differences.is_empty() {
            return Err(vec![format!("it is listed as a deviation ({}) and is none", deviation.differs)]);
        }
        let instead = match deviation.instead {
            deviations::Instead::Like(case) => {
                let other = self.all.iter().find(|transcript| transcript.case == case);
                let other = other.expect("a listed case is a transcript");
                differences_of_like(&other.steps[0].response, answer, names)
            }
            deviations::Instead::Envelope(status) => deviations::envelope(answer, status),
            deviations::Instead::Json(check) => {
                if answer.status == 200 && check(&answer.body) {
                    return Ok(());
                }
                vec![format!("not what it is to be instead: {answer}")]
            }
        };
        if instead.is_empty() { Ok(()) } else { Err(instead) }
    }
}

fn differences_of_like(recorded: &Response, answer: &Answer, names: &Names) -> Vec<String> {
    differences(recorded, answer, &mut names.clone())
}

fn differences(recorded: &Response, answer: &Answer, names: &mut Names) -> Vec<String> {
    if answer.status != recorded.status {
        return vec![format!("status {} is recorded, not {answer}", recorded.status)];
    }
    let media_type = |text: &Option<String>| {
        text.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned()
    };
    let (there, here) = (media_type(&recorded.content_type), media_type(&answer.content_type));
    if there != here {
        return vec![format!("content type {there:?} is recorded, not {here:?} ({answer})")];
    }
    let mut found = Vec::new();
    compare(&recorded.body, &answer.body, names, "body", &mut found);
    found
}

/// Checks that the finish callbacks of a transcript arrived as recorded. `None` if none were recorded.
pub(crate) async fn finish_callbacks(
    transcript: &Transcript,
    receiver: &Receiver,
) -> Option<Result<Option<Why>, String>> {
    let count = transcript.finish_callback_count?;
    let recorded = &transcript.finish_callback_received;
    let path = transcript.finish_callback_path()?;
    if count == 0 {
        let got = receiver.at(&path);
        return Some(if got.is_empty() { Ok(None) } else { Err(format!("finish callback sent: {got:?}")) });
    }
    // The framework promises that a failed finish callback is sent again, but not how often.
    let failed_before =
        path.starts_with("/500/") || path.starts_with("/false/") || path.starts_with("/once500/");
    let least = if failed_before { 2 } else { 1 };
    let until = Instant::now() + LONGEST_WAIT;
    while receiver.at(&path).len() < least && Instant::now() < until {
        sleep(Duration::from_millis(20)).await;
    }
    let got = receiver.at(&path);
    if got.len() < least {
        return Some(Err(format!("finish callback sent {} times, not {least}", got.len())));
    }
    let wanted: Value = serde_json::from_str(&recorded[0].body).unwrap();
    for post in &got {
        if post.method != "POST" || post.content_type != "application/json" || post.body != wanted {
            return Some(Err(format!("finish callback {post:?}; {wanted} is recorded")));
        }
    }
    let Some((_, why, _)) = FINISH_DEVIATIONS.iter().find(|(case, ..)| *case == transcript.case) else {
        return Some(Ok(None));
    };
    // The only deviation of finish callbacks: redirects are not followed.
    let followed = receiver.at(Receiver::REDIRECTED);
    Some(if followed.is_empty() { Ok(Some(*why)) } else { Err(format!("redirect followed: {followed:?}")) })
}
