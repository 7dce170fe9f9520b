//! The port `Queue`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::queue::{Delivery, Message, NotAMessage, Queue, Receive};
use bk_plugin_core::store_error::StoreError;

use super::SqlStore;
use crate::backend::Backend;
use crate::message::{Handle, MessageRow};
use crate::request::{DeleteMessage, MoveToDeadLetters, ReceiveMessages, ReceiverId, Request, SendMessage};
use crate::store_error::closed;

/// Messages that one receive takes at most, whatever the caller asks for.
const MOST_RECEIVED: usize = 1024;

/// The longest delay, a year: sums of milliseconds stay far below what a column can hold.
const LONGEST_DELAY: Duration = Duration::from_hours(365 * 24);

#[async_trait]
impl<B: Backend> Queue for SqlStore<B> {
    async fn send(&self, message: &Message, delay: Duration) -> Result<(), StoreError> {
        let body = message.to_body()?;
        let due_at = self.clock.now() + delay;
        let (kind, group) = (message.kind(), message.group().cloned());
        self.writer.ask(|reply| Request::Send(SendMessage { kind, group, body, due_at, reply })).await
    }

    async fn receive_selected(&self, receive: Receive<'_>) -> Result<Vec<Delivery>, StoreError> {
        let mut wait = receive.wait;
        if receive.max == 0 {
            return Ok(Vec::new());
        }
        let until = self.clock.now() + wait;
        loop {
            let max = receive.max.min(MOST_RECEIVED);
            let id = ReceiverId(self.next_receiver.fetch_add(1, Ordering::Relaxed));
            let selection = receive.selection.clone();
            let request = |reply| Request::Receive(ReceiveMessages { id, max, selection, wait, reply });
            let mut answer = self.writer.begin(request).await?;
            let answered = tokio::select! {
                biased;
                answered = &mut answer => answered,
                () = receive.ended() => {
                    self.writer.tell(Request::EndWait(id)).await?;
                    // The writer may have received for it meanwhile.
                    answer.await
                }
            };
            let rows = answered.map_err(|_| closed())??;
            let nothing_came = rows.is_empty();
            let deliveries = self.deliver(rows).await;
            if nothing_came || !deliveries.is_empty() {
                return Ok(deliveries);
            }
            wait = until.since(self.clock.now());
        }
    }

    async fn delete(&self, handle: &str) -> Result<(), StoreError> {
        // A handle of another queue names no message here, and to delete a message that is gone is no error.
        let Some(handle) = Handle::parse(handle) else { return Ok(()) };
        self.writer.ask(|reply| Request::Delete(DeleteMessage { handle, reply })).await
    }

    fn longest_delay(&self) -> Duration {
        LONGEST_DELAY
    }
}

impl<B> SqlStore<B> {
    /// Reads the messages. One that names no invocation would be redelivered for ever, so it is moved to the dead
    /// letters.
    async fn deliver(&self, rows: Vec<MessageRow>) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(rows.len());
        for row in rows {
            let handle = Handle { id: row.id, receive_count: row.receive_count };
            match Message::parse(&row.body) {
                Ok(message) => deliveries.push(Delivery {
                    message,
                    handle: handle.to_text(),
                    receive_count: u32::try_from(row.receive_count).unwrap_or(u32::MAX),
                }),
                Err(error) => self.move_to_dead_letters(handle, &error).await,
            }
        }
        deliveries
    }

    async fn move_to_dead_letters(&self, handle: Handle, error: &NotAMessage) {
        tracing::error!(
            message_id = handle.id,
            %error,
            "a message of the queue names no invocation; it is moved to the table of dead letters"
        );
        let reason = error.to_string();
        let request = |reply| Request::MoveToDeadLetters(MoveToDeadLetters { handle, reason, reply });
        if let Err(error) = self.writer.ask(request).await {
            // It will be redelivered and moved then. The readable messages beside it must not wait for that.
            tracing::error!(message_id = handle.id, %error, "the message could not be moved");
        }
    }
}
