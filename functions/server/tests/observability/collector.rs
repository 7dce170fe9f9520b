//! A fake OpenTelemetry collector, which receives spans over OTLP and keeps them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use local_apigw::DATA;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};
/// The authority that signed the certificate of the collector with TLS.
pub(crate) const AUTHORITY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fakes/apigw/data/test_authority.pem");

/// A running collector.
pub(crate) struct Collector {
    pub(crate) url: String,
    taken: Arc<Mutex<Vec<Taken>>>,
}

/// A received span.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) span: Span,
    resource: Vec<KeyValue>,
}

impl Taken {
    pub(crate) fn trace_id(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn span_id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        text_of(&self.span.attributes, key)
    }

    pub(crate) fn resource(&self, key: &str) -> Option<String> {
        text_of(&self.resource, key)
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::start_as("http", Server::builder())
    }

    /// Starts a collector with TLS, whose certificate for `localhost` is signed by the authority in
    /// [`AUTHORITY`].
    pub(crate) fn start_with_tls() -> Self {
        bk_plugin_service::tls::install();
        let read = |name: &str| std::fs::read(format!("{DATA}{name}")).unwrap();
        let key = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(read("test_localhost.pk8"))
        );
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(read("test_localhost.pem"), key));
        Self::start_as("https", Server::builder().tls_config(tls).unwrap())
    }

    fn start_as(scheme: &str, mut server: Server) -> Self {
        let taken = Arc::default();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("{scheme}://localhost:{}", incoming.local_addr().unwrap().port());
        let service = TraceServiceServer::new(Service(Arc::clone(&taken)));
        tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
        Self { url, taken }
    }

    /// The spans with this name, in the order of their start.
    pub(crate) fn spans(&self, name: &str) -> Vec<Taken> {
        let taken = self.taken.lock().unwrap();
        let mut spans: Vec<_> = taken.iter().filter(|taken| taken.span.name == name).cloned().collect();
        spans.sort_by_key(|taken| taken.span.start_time_unix_nano);
        spans
    }

    /// Everything received, as text.
    pub(crate) fn everything(&self) -> String {
        format!("{:?}", self.taken.lock().unwrap())
    }
}

struct Service(Arc<Mutex<Vec<Taken>>>);

#[async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut taken = self.0.lock().unwrap();
        for sent in request.into_inner().resource_spans {
            let resource = sent.resource.unwrap_or_default().attributes;
            let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans);
            taken.extend(spans.map(|span| Taken { span, resource: resource.clone() }));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
