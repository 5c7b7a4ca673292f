//! Configuration: objects in, a table and problems out.
//!
//! `compile` is total. One broken object never stops the others: it becomes a [`problem::Problem`], and what guards access
//! and cannot be enforced becomes a route that refuses.

pub mod objects;
pub mod problem;
