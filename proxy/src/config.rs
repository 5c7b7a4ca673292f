//! Configuration: objects in, a table and problems out.
//!
//! `compile` is total. One broken object never stops the others: it becomes a [`problem::Problem`], and what guards access
//! and cannot be enforced becomes a route that refuses.

pub mod annotations;
mod attach;
pub mod backend;
mod backend_ref;
mod backend_tls;
mod certs;
mod claims;
pub mod compile;
mod cors;
pub mod gateway;
mod grpcroute;
mod httproute;
pub mod ingress;
mod limits;
mod lower;
pub mod nginx;
pub mod objects;
pub mod problem;
pub mod providers;
mod relay;
pub mod status;
mod values;

#[cfg(test)]
mod golden;
