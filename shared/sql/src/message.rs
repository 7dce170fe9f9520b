//! Messages as the queue stores them, and the handles of their deliveries.

/// A message as it is stored, received for the `receive_count`th time.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct MessageRow {
    pub(crate) id: i64,
    pub(crate) receive_count: i64,
    pub(crate) body: String,
}

/// One delivery of a message. Each delivery raises the count, so the handle of an earlier one fits no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) id: i64,
    pub(crate) receive_count: i64,
}

impl Handle {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (id, receive_count) = text.split_once('-')?;
        Some(Self { id: id.parse().ok()?, receive_count: receive_count.parse().ok()? })
    }

    pub(crate) fn to_text(self) -> String {
        format!("{}-{}", self.id, self.receive_count)
    }
}
