//! The callers' end of the writer's channel.

use bk_plugin_core::store_error::StoreError;
use tokio::sync::{mpsc, oneshot};

use crate::reply::Reply;
use crate::request::Request;
use crate::store_error::closed;

/// Sends requests to the writer and waits for its replies.
pub(crate) struct Client {
    requests: mpsc::Sender<Request>,
}

impl Client {
    pub(crate) fn new(requests: mpsc::Sender<Request>) -> Self {
        Self { requests }
    }

    /// Sends a request and waits until the writer has committed it.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, StoreError> {
        self.begin(request).await?.await.map_err(|_| closed())?
    }

    /// Sends a request. Its reply is waited for elsewhere.
    pub(crate) async fn begin<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply)).await?;
        Ok(answer)
    }

    /// Sends a request that has no reply.
    pub(crate) async fn tell(&self, request: Request) -> Result<(), StoreError> {
        self.requests.send(request).await.map_err(|_| closed())
    }

    pub(crate) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_ok() {
            // No answer means that the writer was closed already.
            closed.await.ok();
        }
    }
}
