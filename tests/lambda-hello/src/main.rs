//! A bare function, which the benchmarks put beside the framework's: what a Lambda function in Rust costs at least.

use lambda_http::{Error, Request, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(|_: Request| async { Ok::<_, Error>("hello world") })).await
}
