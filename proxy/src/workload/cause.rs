//! Who woke something: for log lines, for Events, and for the replica that scales in the place of another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The first request that asked for what sleeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cause {
    /// The object with its rule.
    pub(crate) route: Box<str>,
    pub(crate) request_id: Box<str>,
    /// Where the route knows who asks.
    #[serde(default)]
    pub(crate) user: Option<Box<str>>,
    pub(crate) agent: Agent,
}

/// What kind of client it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Agent {
    /// Somebody looks at the answer in a window.
    Browser,
    Program,
}

/// Why something is woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Request(Cause),
    /// Somebody with the right to do so said that it shall be awake.
    Command,
    /// A window of time in which it is kept awake; also for what an older replica asks, which does not say why.
    Schedule,
}

impl Agent {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Agent::Browser => "browser",
            Agent::Program => "program",
        }
    }
}

impl Cause {
    /// Within the bounds of what is told to others.
    pub(crate) fn bounded(mut self) -> Self {
        for text in [&mut self.route, &mut self.request_id].into_iter().chain(&mut self.user) {
            if text.len() > TEXT_BYTES_MAX {
                *text = text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into();
            }
        }
        self
    }
}

impl fmt::Display for Cause {
    /// Text that came with the request is escaped: it is shown in terminals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a request of {}", self.route.escape_debug())?;
        if let Some(user) = &self.user {
            write!(f, " by {}", user.escape_debug())?;
        }
        write!(f, " ({}, request id {})", self.agent.as_str(), self.request_id.escape_debug())
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Request(cause) => cause.fmt(f),
            Why::Command => f.write_str("a command"),
            Why::Schedule => f.write_str("its schedule"),
        }
    }
}

const TEXT_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests;
