//! Answers every event with a greeting: what a function costs that does nothing.

use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::value::RawValue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let hello = service_fn(async |_: LambdaEvent<Box<RawValue>>| Ok::<_, Error>("hello"));
    Runtime::new(hello).run_concurrent().await
}
