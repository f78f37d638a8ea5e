//! The cold start: what it refuses, and how it says so.

use std::process::Command;

use super::support::runtime::{OwnRuntime, vars};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_reported_at_once_and_end_the_process() {
    for (variables, expected) in [
        (vars(&[]), vec!["DESTINATIONS", "WEBHOOK_URL"]),
        (vars(&[("WEBHOOK_URL", "https://h/SECRET"), ("DESTINATIONS", "file:x")]), vec!["not both"]),
        (
            vars(&[
                ("WEBHOOK_URL", "SECRET"),
                ("WEBHOOK_TIMEOUT", "301"),
                ("ALLOW_PRIVATE_CIDRS", "8.8.8.0/24"),
                ("LOCAL_RECEIVERS", "yes"),
                ("AWS_LAMBDA_LOG_LEVEL", "LOUD"),
            ]),
            vec!["WEBHOOK_URL", "WEBHOOK_TIMEOUT", "ALLOW_PRIVATE_CIDRS", "LOCAL_RECEIVERS", "AWS_LAMBDA_LOG_LEVEL"],
        ),
        (
            vars(&[("WEBHOOK_URL", "https://h/"), ("LOCAL_RECEIVERS", "true"), ("LAMBDA_TASK_ROOT", "/var/task")]),
            vec!["LOCAL_RECEIVERS"],
        ),
    ] {
        let runtime = OwnRuntime::start(variables).await;
        let (code, told) = runtime.ended().await;
        assert_eq!(code, Some(1));
        let message = told.unwrap().body["errorMessage"].as_str().unwrap().to_owned();
        let log = runtime.log().await;
        assert_eq!((log.len(), log[0]["level"].as_str()), (1, Some("ERROR")));
        assert_eq!((log[0]["code"].as_str(), log[0]["owner"].as_str()), (Some("invalid_settings"), Some("operator")));
        for part in expected {
            assert!(message.contains(part) && log[0]["message"].as_str().unwrap().contains(part), "{part}: {message}");
        }
        assert!(!runtime.output().await.contains("SECRET") && !message.contains("SECRET"));
    }
}

#[test]
fn outside_of_lambda_the_program_says_how_to_run_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_detection-outcome-handler")).env_clear().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("cargo lambda watch"));
}
