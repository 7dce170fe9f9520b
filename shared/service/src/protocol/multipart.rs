//! Multipart bodies that `plugin_api_dispatch` takes apart and puts together again for the author's route.
//!
//! A file is in memory once: its chunks are those that the connection brought, and the route reads the same chunks.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Request};
use axum::http::header::CONTENT_DISPOSITION;
use bk_plugin_core::ids::TraceId;
use bytes::Bytes;
use mailparse::parse_content_disposition;

use super::Service;
use super::envelope::Failure;

/// One part: a field, or a file if it has a file name.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) content_type: Option<String>,
    /// In the chunks in which it came.
    pub(super) content: Vec<Bytes>,
}

impl Part {
    /// A field's text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content.concat()).into_owned()
    }
}

impl Service {
    /// All parts of a multipart body. Files have a limit of their own, as in the reference.
    pub(super) async fn read_parts(&self, mut request: Request) -> Result<Vec<Part>, Failure> {
        // The limits below are stricter, and tell fields and files apart.
        DefaultBodyLimit::disable().apply(&mut request);
        let mut multipart = Multipart::from_request(request, &())
            .await
            .map_err(|rejection| Failure::bad_request(format!("multipart parse error - {rejection}")))?;
        let (mut left_for_fields, mut left_for_files) =
            (self.settings().body_limit, self.settings().file_limit);
        let mut parts = Vec::new();
        while let Some(mut field) = self.next_field(&mut multipart).await? {
            let (name, file_name) = names(&field);
            let is_file = file_name.is_some();
            let left = if is_file { &mut left_for_files } else { &mut left_for_fields };
            let mut content = Vec::new();
            while let Some(chunk) = field.chunk().await.map_err(|error| self.unread_part(&error))? {
                let Some(rest) = left.checked_sub(chunk.len()) else {
                    drop(field);
                    discard(multipart).await;
                    return Err(self.too_large(is_file));
                };
                *left = rest;
                content.push(chunk);
            }
            let content_type = field.content_type().map(ToOwned::to_owned);
            parts.push(Part { name, file_name, content_type, content });
        }
        Ok(parts)
    }

    async fn next_field<'m>(&self, multipart: &'m mut Multipart) -> Result<Option<Field<'m>>, Failure> {
        multipart.next_field().await.map_err(|error| self.unread_part(&error))
    }

    fn unread_part(&self, error: &MultipartError) -> Failure {
        self.unread(error.status())
    }

    fn too_large(&self, is_file: bool) -> Failure {
        if is_file {
            Failure::files_too_large(self.settings().file_limit)
        } else {
            Failure::body_too_large(self.settings().body_limit)
        }
    }
}

/// Reads the rest of a body that is refused. (A connection that is closed with a body unread is reset, and the client
/// may never see the answer.)
async fn discard(mut multipart: Multipart) {
    const MOST: usize = 64 * 1024 * 1024;
    let mut read = 0;
    while let Ok(Some(mut field)) = multipart.next_field().await {
        while let Ok(Some(chunk)) = field.chunk().await {
            read += chunk.len();
            if read > MOST {
                return;
            }
        }
    }
}

/// The name of a part and of its file. RFC 2231 lets a client write a name with its charset (`filename*`) and the names
/// of parameters in any case, which multer, the parser behind axum's, does not read.
fn names(field: &Field<'_>) -> (String, Option<String>) {
    let (name, file_name) = (field.name().map(ToOwned::to_owned), field.file_name().map(ToOwned::to_owned));
    if let (Some(name), Some(file_name)) = (&name, &file_name) {
        return (name.clone(), Some(file_name.clone()));
    }
    let header =
        field.headers().get(CONTENT_DISPOSITION).map(|header| String::from_utf8_lossy(header.as_bytes()));
    let mut parameters = parse_content_disposition(&header.unwrap_or_default()).params;
    let name = name.or_else(|| parameters.remove("name"));
    (name.unwrap_or_default(), file_name.or_else(|| parameters.remove("filename")))
}

/// A multipart body of `fields` and `parts`.
pub(super) struct MultipartBody {
    pub(super) content_type: String,
    pub(super) len: usize,
    pub(super) body: Body,
}

impl MultipartBody {
    pub(super) fn new(fields: &[(&str, String)], parts: Vec<Part>) -> Self {
        // As random as any id, so that no file contains it.
        let mut writer = Writer { boundary: format!("part-{}", TraceId::random()), chunks: Vec::new() };
        for (name, text) in fields {
            writer.part(&format!("name=\"{}\"", quoted(name)), None, vec![text.clone().into()]);
        }
        for part in parts {
            let name = quoted(&part.name);
            let disposition = match &part.file_name {
                Some(file_name) => format!("name=\"{name}\"; filename=\"{}\"", quoted(file_name)),
                None => format!("name=\"{name}\""),
            };
            writer.part(&disposition, part.content_type.as_deref(), part.content);
        }
        writer.chunks.push(format!("--{}--\r\n", writer.boundary).into());
        let len = writer.chunks.iter().map(Bytes::len).sum();
        let content_type = format!("multipart/form-data; boundary={}", writer.boundary);
        let chunks = writer.chunks.into_iter().map(Ok::<_, Infallible>);
        Self { content_type, len, body: Body::from_stream(futures::stream::iter(chunks)) }
    }
}

struct Writer {
    boundary: String,
    chunks: Vec<Bytes>,
}

impl Writer {
    fn part(&mut self, disposition: &str, content_type: Option<&str>, content: Vec<Bytes>) {
        let boundary = &self.boundary;
        let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n");
        if let Some(content_type) = content_type {
            head = format!("{head}Content-Type: {content_type}\r\n");
        }
        head += "\r\n";
        self.chunks.push(head.into());
        self.chunks.extend(content);
        self.chunks.push(Bytes::from_static(b"\r\n"));
    }
}

/// A name between quotes, escaped as browsers do.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}
