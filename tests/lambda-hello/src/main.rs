//! A bare Lambda function. The benchmarks compare the framework's functions with it: it shows the least that
//! a Lambda function in Rust costs.

use lambda_http::{Error, Request, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(|_: Request| async { Ok::<_, Error>("hello world") })).await
}
