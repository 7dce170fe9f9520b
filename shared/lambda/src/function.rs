//! The four functions. Whatever can be made once is made before the first event, and kept.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use aws_lambda_events::event::sqs::SqsEvent;
use bk_plugin_aws::dynamodb::DynamoDbTable;
use bk_plugin_aws::secret::{SecretError, SecretVariables};
use bk_plugin_aws::sqs::SqsQueue;
use bk_plugin_aws::{Clients, ClientsError};
use bk_plugin_core::clock::SystemClock;
use bk_plugin_core::queue::Queue;
use bk_plugin_engine::Engine;
use bk_plugin_engine::author_threads::AuthorThreads;
use bk_plugin_engine::callback_token::InvalidKey;
use bk_plugin_engine::metered_store::MeteredStore;
use bk_plugin_kit::ProjectErrors;
use bk_plugin_kit::runtime::{MakeProject, Registry};
use bk_plugin_service::protocol::{self, Description, Endpoint, ProtocolSettings, Service};
use bk_plugin_service::settings::{EngineHost, Reader, SettingErrors, Settings};
use bk_plugin_service::tls;
use lambda_runtime::{Error as RuntimeError, LambdaEvent, service_fn};
use tracing::Instrument as _;

use crate::batch::PollTick;
use crate::http::{answer, ends_at};
use crate::log::{self, Metrics};
use crate::settings::StoreSettings;

/// Why a function does not start. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Settings are wrong or missing.
    #[error("settings are wrong: {0}")]
    Settings(#[from] SettingErrors),
    /// The author's function did not make the project; the message is the author's.
    #[error("{0}")]
    Author(String),
    /// The project cannot be served.
    #[error("the plugin project is wrong: {0}")]
    Project(#[from] ProjectErrors),
    /// The clients of AWS cannot be made.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The secret settings cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A key for callback tokens is not valid.
    #[error("BK_PLUGIN_CALLBACK_KEY: {0}")]
    CallbackKey(#[from] InvalidKey),
    /// Lambda's runtime interface failed.
    #[error("Lambda's runtime interface: {0}")]
    Runtime(#[from] RuntimeError),
    /// The runtime cannot be started.
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
}

/// `invoke`: first steps, `plugin_api_dispatch` and the author's own routes; and `meta`, which comes here with a slash
/// at its end (`template.yaml` says why).
pub fn invoke<Kind>(project: impl MakeProject<Kind>) -> ExitCode {
    run(async {
        let (service, metrics) = service(project).await?;
        let routes = protocol::invoke_routes(&service).merge(protocol::meta_routes(service.description()));
        serve(protocol::endpoint(service.description(), routes), metrics).await
    })
}

/// `callback`: third parties' callbacks, and `schedule`.
pub fn callback<Kind>(project: impl MakeProject<Kind>) -> ExitCode {
    run(async {
        let (service, metrics) = service(project).await?;
        let routes = protocol::callback_routes(&service).merge(protocol::schedule_routes(&service));
        serve(protocol::endpoint(service.description(), routes), metrics).await
    })
}

/// `meta`: what the plugin is. It gets neither a store nor a secret.
pub fn meta<Kind>(project: impl MakeProject<Kind>) -> ExitCode {
    run(async {
        let lookup = |name: &str| std::env::var(name).ok();
        let mut reader = Reader::new(&lookup);
        log::install(&mut reader);
        let metrics = Metrics::install(&reader);
        let settings = Settings::read_public(&mut reader);
        let settings = reader.finish(settings)?;
        let description =
            Description::new(registry(project, &settings.app_code).await?, settings, Arc::new(SystemClock));
        let routes = protocol::meta_routes(&description).merge(protocol::document_routes(&description));
        serve(protocol::endpoint(&description, routes), metrics).await
    })
}

/// `poll-tick`: handles the messages of the queue.
pub fn poll_tick<Kind>(project: impl MakeProject<Kind>) -> ExitCode {
    run(async {
        let parts = Parts::new(project).await?;
        let lookup = |name: &str| std::env::var(name).ok();
        let mut reader = Reader::new(&lookup);
        let arn =
            reader.required("BK_PLUGIN_DLQ_ARN", "the ARN of the dead-letter queue; template.yaml sets it");
        let arn = reader.finish(arn)?;
        let (poll_tick, metrics) = (Arc::new(PollTick::new(parts.engine, parts.queue, arn)), parts.metrics);
        let handle = move |event: LambdaEvent<SqsEvent>| {
            let poll_tick = Arc::clone(&poll_tick);
            async move {
                let (batch, context) = event.into_parts();
                let span = tracing::info_span!("event", aws_request_id = context.request_id);
                let response = poll_tick.handle(batch, ends_at(&context)).instrument(span).await;
                metrics.flush();
                Ok::<_, RuntimeError>(response)
            }
        };
        Ok(lambda_runtime::run(service_fn(handle)).await?)
    })
}

/// The parts that all functions but `meta` share: those that run steps.
struct Parts {
    engine: Arc<Engine>,
    queue: Arc<dyn Queue>,
    settings: Settings,
    metrics: Metrics,
}

impl Parts {
    async fn new<Kind>(project: impl MakeProject<Kind>) -> Result<Self, StartError> {
        let environment = |name: &str| std::env::var(name).ok();
        let mut reader = Reader::new(&environment);
        log::install(&mut reader);
        let metrics = Metrics::install(&reader);
        let secret_name = reader.text("BK_PLUGIN_SECRET_NAME");
        reader.finish(())?;
        let clients = Clients::new(&environment)?;
        let secret = match secret_name {
            Some(name) => SecretVariables::read(&clients, &name).await?,
            None => SecretVariables::default(),
        };
        let lookup =
            |name: &str| environment(name).filter(|value| !value.is_empty()).or_else(|| secret.get(name));
        let mut reader = Reader::new(&lookup);
        let (settings, store) = (Settings::read(&mut reader), StoreSettings::read(&mut reader));
        if settings.app_secret.is_none() && settings.environment.is_development() {
            reader.wrong(
                "BKPAAS_APP_SECRET",
                "is required: put it into the secret that BK_PLUGIN_SECRET_NAME names",
            );
        }
        // A function does not know its own address, not even in development.
        if settings.callback_base.is_none() && settings.environment.is_development() {
            reader.wrong(
                "BK_PLUGIN_PUBLIC_URL",
                "is required: callback URLs begin with it; template.yaml sets it",
            );
        }
        let callback_base = settings.callback_base.clone().unwrap_or_default();
        let (settings, store) = reader.finish((settings, store))?;
        bk_plugin_kit::http::trust(settings.authorities.pem());
        let table = DynamoDbTable::new(clients.dynamodb(), store.table);
        let queue = SqsQueue::new(clients.sqs(), store.queue_url, store.longest_delay);
        let store = Arc::new(MeteredStore::new(Arc::new(table), Arc::new(queue)));
        let threads = AuthorThreads::start(settings.held_threads)?;
        let engine = settings.engine(EngineHost {
            registry: threads.within(registry(project, &settings.app_id)).await?,
            store: Arc::clone(&store),
            // A function is frozen between events, and learns by this clock when it will be killed.
            clock: Arc::new(SystemClock),
            app_secret: settings.app_secret.clone().unwrap_or_default(),
            callback_base,
            // Only Lambda's own API listens on this machine, unless all of AWS is an emulator here.
            finish_callbacks: settings.finish_callback_client(lookup("AWS_ENDPOINT_URL").is_some()),
        })?;
        // Metrics are written after the event, when no step is running, and every metric costs money.
        let engine = Arc::new(engine.without_running_steps().with_author_threads(threads));
        Ok(Self { engine, queue: store, settings, metrics })
    }
}

async fn service<Kind>(project: impl MakeProject<Kind>) -> Result<(Arc<Service>, Metrics), StartError> {
    let Parts { engine, settings, metrics, .. } = Parts::new(project).await?;
    // The token in a callback URL is enough: third parties call the HTTP API directly, not through BlueKing's
    // gateway.
    let protocol = ProtocolSettings { callbacks_through_gateway: false, ..settings.protocol() };
    Ok((Service::new(engine, protocol), metrics))
}

async fn serve(endpoint: Endpoint, metrics: Metrics) -> Result<(), StartError> {
    let handle = move |request| answer(endpoint.clone(), metrics, request);
    Ok(lambda_http::run(lambda_http::service_fn(handle)).await?)
}

/// Calls the author's function that makes the project, checks the project, and warns of probable mistakes.
async fn registry<Kind>(
    project: impl MakeProject<Kind>,
    app_code: &str,
) -> Result<Arc<Registry>, StartError> {
    let registry = project.make().await.map_err(StartError::Author)?.build()?;
    for warning in registry.warnings(app_code) {
        tracing::warn!("{warning}");
    }
    Ok(Arc::new(registry))
}

/// Runs on one thread: a function handles one event at a time, and fewer threads are started sooner. (Steps run on
/// threads of their own.)
fn run(function: impl Future<Output = Result<(), StartError>>) -> ExitCode {
    tls::install();
    let ran = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Io)
        .and_then(|runtime| runtime.block_on(function));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the function cannot start");
            ExitCode::FAILURE
        }
    }
}
