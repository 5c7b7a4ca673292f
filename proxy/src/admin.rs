//! The admin listener: health, metrics and insight. It runs on the control runtime, away from the workers.

pub mod metrics;
