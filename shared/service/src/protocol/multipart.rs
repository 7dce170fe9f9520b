//! Multipart bodies that `plugin_api_dispatch` takes apart and puts together again for the author's route.

use axum::extract::{FromRequest as _, Multipart, Request};
use bk_plugin_core::ids::TraceId;
use bytes::Bytes;

use super::Service;
use super::envelope::Failure;

/// One part: a field, or a file if it has a file name.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) content: Bytes,
}

impl Service {
    /// All parts of a multipart body.
    pub(super) async fn read_parts(&self, request: Request) -> Result<Vec<Part>, Failure> {
        let mut multipart = Multipart::from_request(request, &())
            .await
            .map_err(|rejection| Failure::bad_request(format!("multipart parse error - {rejection}")))?;
        let mut parts = Vec::new();
        while let Some(field) = multipart.next_field().await.map_err(|error| self.unread(error.status()))? {
            parts.push(Part {
                name: field.name().unwrap_or_default().to_owned(),
                file_name: field.file_name().map(ToOwned::to_owned),
                content_type: field.content_type().map(ToOwned::to_owned),
                content: field.bytes().await.map_err(|error| self.unread(error.status()))?,
            });
        }
        Ok(parts)
    }
}

/// A multipart body of `fields` and `parts`, and its content type.
pub(super) fn write_parts(fields: &[(&str, String)], parts: &[Part]) -> (String, Vec<u8>) {
    // As random as any id, so that no file contains it.
    let boundary = format!("part-{}", TraceId::random());
    let mut body = Vec::new();
    for (name, text) in fields {
        write_part(&mut body, &boundary, &format!("name=\"{}\"", quoted(name)), None, text.as_bytes());
    }
    for part in parts {
        let name = quoted(&part.name);
        let disposition = match &part.file_name {
            Some(file_name) => format!("name=\"{name}\"; filename=\"{}\"", quoted(file_name)),
            None => format!("name=\"{name}\""),
        };
        write_part(&mut body, &boundary, &disposition, part.content_type.as_deref(), &part.content);
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

fn write_part(body: &mut Vec<u8>, boundary: &str, disposition: &str, kind: Option<&str>, content: &[u8]) {
    body.extend_from_slice(
        format!("--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n").as_bytes(),
    );
    if let Some(kind) = kind {
        body.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body.extend_from_slice(content);
    body.extend_from_slice(b"\r\n");
}

/// A name between quotes, escaped as browsers do.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
