//! The rigs that tests share: the function under a runtime, AWS's APIs, receivers, authorities and networks.
#![allow(dead_code, reason = "each test binary uses a part of them")]

pub(crate) mod authority;
pub(crate) mod aws;
pub(crate) mod bench;
pub(crate) mod dynamodb;
pub(crate) mod network;
pub(crate) mod receiver;
pub(crate) mod runtime;
pub(crate) mod samples;
pub(crate) mod throttle;
