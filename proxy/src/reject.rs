//! Refusals of our own: the only place that picks one of our status codes.
