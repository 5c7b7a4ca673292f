//! The edge: listeners, the path of a request, upstreams, and the configuration that drives them.

pub mod access;
pub mod admin;
pub mod cluster;
pub mod command;
pub mod config;
pub(crate) mod connection;
pub mod directory;
pub mod edge;
pub mod http1;
pub(crate) mod http2;
pub mod limit;
pub mod listen;
pub mod message;
pub mod options;
pub mod reject;
pub mod request;
pub mod route;
pub mod sample_app;
pub mod serve;
pub mod settings;
pub mod snapshot;
pub mod tls;
pub(crate) mod transport;
pub mod upstream;
pub(crate) mod worker;
pub mod yaml;
