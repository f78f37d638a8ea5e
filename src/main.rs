//! Cold start: settings, clients, run. Nothing here calls anybody but Lambda's Runtime API.

use std::process::ExitCode;
use std::sync::Arc;

use detection_outcome_handler::deliver::App;
use detection_outcome_handler::domain::problem::whole_sentence;
use detection_outcome_handler::outbound::queues::Queues;
use detection_outcome_handler::outbound::registry::Registry;
use detection_outcome_handler::outbound::webhook::{ClientUnavailable, Webhook};
use detection_outcome_handler::outbound::{aws, tls};
use detection_outcome_handler::settings::{self, Settings, process_environment};
use detection_outcome_handler::{inbound, telemetry};
use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn};
use serde_json::value::RawValue;

// One thread: a delivery waits, it does not compute, and more threads double the work per event.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    telemetry::init(&settings::log_settings(&process_environment));
    if !settings::is_inside_lambda(&process_environment) {
        telemetry::not_inside_lambda();
        return ExitCode::FAILURE;
    }
    let app = match start() {
        Ok((app, place)) => {
            telemetry::started(&place);
            Arc::new(app)
        }
        Err(problems) => {
            telemetry::failed_start(&problems);
            inbound::report_failed_start(&problems).await;
            return ExitCode::FAILURE;
        }
    };
    match run(app).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            telemetry::stopped(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Makes what every invocation shares, and says where destinations come from; the error says all that is wrong.
fn start() -> Result<(App, String), String> {
    let settings = Settings::parse(&process_environment).map_err(|problems| whole_sentence(&problems))?;
    let place = settings.place.to_string();
    let app = app(settings).map_err(|error| error.to_string())?;
    Ok((app, place))
}

fn app(settings: Settings) -> Result<App, ClientUnavailable> {
    let tls = tls::config(&settings.extra_authorities)?;
    let webhook = Webhook::new(&Arc::new(settings.allowed_networks), tls)?;
    let aws = aws::config(settings.aws, &settings.aws_authorities)?;
    let registry = Registry::new(settings.place, settings.registry_ttl, &aws);
    let queues = settings.queues.map(|urls| Queues::new(&aws, urls));
    Ok(App::new(registry, webhook, queues, settings.max_attempts, settings.unrouted))
}

async fn run(app: Arc<App>) -> Result<(), Error> {
    let handler = service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let app = app.clone();
        async move { inbound::handle(&app, event).await }
    });
    // One invocation at a time on Lambda, several on Lambda Managed Instances.
    Runtime::new(handler).run_concurrent().await
}
