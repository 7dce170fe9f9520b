//! The author's own routes: who may call them, and where their handlers run.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::response::Parts;
use axum::http::{Extensions, StatusCode};
use axum::middleware::{Next, from_extractor_with_state, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use bk_plugin_core::trace_context::LOG_SPAN;
use bk_plugin_engine::Engine;
use bk_plugin_engine::author_threads::{AuthorTask, AuthorThreads, Lost, Owner};
use bk_plugin_kit::runtime::UnexpectedError;
use futures::FutureExt as _;
use futures::future::{Either, Ready, ready, select};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};

use super::Service;
use super::envelope::Failure;
use super::gateway::{Admitted, Audience, VerifiedApp, VerifiedUser};
use super::rejections;

/// Prefix of the routes that `plugin_api_dispatch` reaches.
pub(super) const PLUGIN_API: &str = "/bk_plugin/plugin_api";
const OPENAPI: &str = "/bk_plugin/openapi";
const PRIVATE: &str = "/bk_plugin/private";

/// The author's routes for callers that come through the gateway.
pub(super) fn routes(service: &Arc<Service>) -> Router {
    let author = service.engine.registry().routes();
    let mount = |path, routes| mount(path, routes, &service.engine);
    let of_apps = mount(OPENAPI, &author.openapi).merge(mount(PRIVATE, &author.private));
    only_for::<VerifiedUser>(mount(PLUGIN_API, &author.plugin_api), service)
        .merge(only_for::<VerifiedApp>(of_apps, service))
}

fn only_for<A: Audience + 'static>(routes: Router, service: &Arc<Service>) -> Router {
    routes.layer(from_extractor_with_state::<Admitted<A>, _>(Arc::clone(service)))
}

/// The routes under `path`. Their handlers run on the threads of author code, if there are any.
pub(super) fn mount(path: &str, routes: &Router, engine: &Arc<Engine>) -> Router {
    let routes = Router::new().nest(path, routes.clone());
    let routes = match engine.author_threads() {
        Some(threads) => {
            let state = (Arc::clone(engine), Arc::clone(threads));
            routes.layer(from_fn_with_state(state, on_author_threads))
        }
        None => routes,
    };
    routes.layer(map_response(rejections::in_envelope))
}

/// Frames of a body that are ready before the caller takes them.
const FRAMES_AHEAD: usize = 4;

/// Runs a handler, and reads the body of its answer, in a task of author code. What comes out of the task is nothing
/// of the author's, so that nothing of the author's is run or dropped elsewhere.
async fn on_author_threads(
    State((engine, threads)): State<(Arc<Engine>, Arc<AuthorThreads>)>,
    request: Request,
    next: Next,
) -> Response {
    // At ERROR level, so that a line of any level names its route whatever the log's filter is.
    let (method, path) = (request.method(), request.uri().path());
    let span = tracing::error_span!(LOG_SPAN, %method, path);
    let (give_head, head) = oneshot::channel();
    let (give_frame, frames) = mpsc::channel(FRAMES_AHEAD);
    // It does not run beside a step that runs alone.
    let entered = engine.enter().await;
    let task = threads.spawn(Owner::Routes, span, async move {
        let (parts, body) = next.run(request).await.into_parts();
        if give_head.send((plain(parts), body.size_hint())).is_ok() {
            give_frames(body, give_frame).await;
        }
        drop(entered);
    });
    match select(head, task).await {
        Either::Left((Ok((parts, size)), task)) => {
            answer(parts, AuthorBody { frames, size, end: Some(Either::Left(task)) })
        }
        Either::Left((Err(_), task)) => ended_early(task.await),
        // It may have given all before it was seen to end.
        Either::Right((ended, mut head)) => match head.try_recv() {
            Ok((parts, size)) => {
                answer(parts, AuthorBody { frames, size, end: Some(Either::Right(ready(ended))) })
            }
            Err(_) => ended_early(ended),
        },
    }
}

fn answer(parts: Parts, body: AuthorBody) -> Response {
    Response::from_parts(parts, Body::new(body))
}

/// The parts without values of types that are not known here.
fn plain(mut parts: Parts) -> Parts {
    let unexpected = parts.extensions.remove::<UnexpectedError>();
    parts.extensions = Extensions::new();
    if let Some(unexpected) = unexpected {
        parts.extensions.insert(unexpected);
    }
    parts
}

async fn give_frames(mut body: Body, frames: mpsc::Sender<Result<Frame<Bytes>, axum::Error>>) {
    while let Some(frame) = body.frame().await {
        // The author's error becomes its text.
        let frame = frame.map_err(|error| axum::Error::new(error.to_string()));
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

/// The answer to a request whose handler has given none.
fn ended_early(ended: Result<(), Lost>) -> Response {
    match ended {
        Err(Lost::Panicked(text)) => resume_unwind(Box::new(text)),
        Err(lost) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, lost.to_string()).into_response(),
        Ok(()) => Failure::unexpected("the route gave no answer").into_response(),
    }
}

/// The body of an author's answer, which the author's task reads.
struct AuthorBody {
    frames: mpsc::Receiver<Result<Frame<Bytes>, axum::Error>>,
    /// What is left of it.
    size: SizeHint,
    /// How the task ends, which is cancelled when the caller takes no more. `None` when that was said.
    end: Option<Either<AuthorTask<()>, Ready<Result<(), Lost>>>>,
}

impl HttpBody for AuthorBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(frame) = task::ready!(self.frames.poll_recv(cx)) {
            if let (Some(left), Ok(frame)) = (self.size.exact(), &frame) {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.size = SizeHint::with_exact(left.saturating_sub(length));
            }
            return Poll::Ready(Some(frame));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        let ended = task::ready!(end.poll_unpin(cx));
        self.end = None;
        // The caller must see that the body broke off.
        Poll::Ready(ended.err().map(|lost| Err(axum::Error::new(lost))))
    }

    fn size_hint(&self) -> SizeHint {
        self.size.clone()
    }
}
