//! The clients of AWS: built once for each process, from Lambda's own variables alone.
//!
//! The SDK's chain that searches files and a metadata service for credentials is left out: Lambda sets them as variables,
//! and so can tests and emulators.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region, SharedCredentialsProvider};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_types::SdkConfig;

/// Makes the clients. They share one pool of connections, which stay open between the events of a function.
#[derive(Debug, Clone)]
pub struct Clients {
    config: SdkConfig,
}

/// A variable that clients need is not set.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {0} is not set; AWS Lambda sets it")]
pub struct ClientsError(pub &'static str);

/// Time limit for connecting: the services are in the same region.
const CONNECT: Duration = Duration::from_secs(1);
/// Time limit for one attempt: the services answer within some milliseconds.
const ATTEMPT: Duration = Duration::from_millis(1500);
/// Time limit for a call with all its attempts: far below any function's time-out, and no longer than the engine's reserve
/// for it.
const CALL: Duration = Duration::from_millis(3500);
/// Attempts of one call, with jitter between them. After these the engine retries.
const ATTEMPTS: u32 = 3;
const FIRST_BACK_OFF: Duration = Duration::from_millis(25);

impl Clients {
    /// Clients by the variables that `variables` knows: `AWS_REGION`, `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` and `AWS_ENDPOINT_URL` if they are set.
    pub fn new(variables: &dyn Fn(&str) -> Option<String>) -> Result<Self, ClientsError> {
        let variable = |name: &'static str| variables(name).filter(|value| !value.is_empty());
        let required = |name: &'static str| variable(name).ok_or(ClientsError(name));
        let credentials = Credentials::from_keys(
            required("AWS_ACCESS_KEY_ID")?,
            required("AWS_SECRET_ACCESS_KEY")?,
            variable("AWS_SESSION_TOKEN"),
        );
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(required("AWS_REGION")?))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(http)
            .retry_config(retries())
            .timeout_config(time_outs());
        config.set_endpoint_url(variable("AWS_ENDPOINT_URL"));
        Ok(Self { config: config.build() })
    }

    /// A client of DynamoDB.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// A client of SQS.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.config)
    }

    /// A client of Secrets Manager.
    pub(crate) fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.config)
    }
}

fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_BACK_OFF)
}

fn time_outs() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(CALL)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let variables = |name: &str| (name == "AWS_REGION").then(|| "eu-central-1".to_owned());
        assert_eq!(Clients::new(&variables).unwrap_err().0, "AWS_ACCESS_KEY_ID");
        assert_eq!(Clients::new(&|_| Some(String::new())).unwrap_err().0, "AWS_ACCESS_KEY_ID");
    }

    #[test]
    fn credentials_do_not_print() {
        let printed = format!("{:?}", Clients::new(&|_| Some("hunter2".to_owned())).unwrap());
        assert!(!printed.contains("secret_access_key: \"hunter2"), "{printed}");
    }
}
