//! The edge: listeners, the path of a request, upstreams, and the configuration that drives them.

pub mod access;
pub mod admin;
pub mod config;
pub mod directory;
pub mod http1;
pub mod listen;
pub mod message;
pub mod reject;
pub mod request;
pub mod route;
pub mod settings;
pub mod tls;
pub mod upstream;
pub mod yaml;
