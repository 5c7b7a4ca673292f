//! The admin socket: what the admin listener answers, and commands, for whoever the kernel says runs this process, and for root.
//!
//! Without a cluster nobody else could say who may wake what. `POST /wake`, `/sleep` and `/keep-awake`, each with
//! `?workload=NAMESPACE/KIND/NAME`, the last with `&seconds=`. The socket's mode is 0600, and who connects is asked of the kernel.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use wake::machine::Command;
use wake::workload::{Reference, Workload};

use super::State;
use super::api::{answer, pairs, text};
use crate::workload::drive::Commander;

/// An open socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Takes the place of a socket that nobody listens on any more; of nothing else.
    pub(crate) fn bind(path: &Path) -> io::Result<Socket> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(error);
                }
                if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                    return Err(error);
                }
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        // Who connects before that is refused all the same.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Socket { listener, path: path.to_owned() })
    }

    /// Serves until the future is dropped.
    pub(crate) async fn serve(self, state: Arc<State>, commander: Commander) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors: that passes.
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let may = stream.peer_cred().is_ok_and(|peer| may_command(peer.uid(), own_user()));
            let (state, commander) = (Arc::clone(&state), commander.clone());
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let (state, commander) = (&state, &commander);
                    async move { Ok::<_, Infallible>(respond(state, commander, may, &request).await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(CONNECTION_AGE_MAX)
                    .max_buf_size(HEADERS_BYTES_MAX)
                    .serve_connection(TokioIo::new(stream), service);
                // Whoever goes away does not want to know.
                let _ = timeout(CONNECTION_AGE_MAX, connection).await;
                drop(place);
            });
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // It may have been taken away before.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn respond(
    state: &State,
    commander: &Commander,
    may: bool,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    if !may {
        let message = "this socket is for whoever runs the process, and for root\n";
        return text(StatusCode::FORBIDDEN, message.into());
    }
    if *request.method() != Method::POST {
        return answer(state, request.method(), request.uri(), now());
    }
    match parse(request.uri()) {
        Ok((workload, command)) => {
            if commander.command(workload.clone(), command).await {
                text(StatusCode::OK, "{}".into())
            } else {
                let message = format!("{workload} is woken by no route\n");
                text(StatusCode::NOT_FOUND, message)
            }
        }
        Err((status, message)) => text(status, format!("{message}\n")),
    }
}

fn parse(uri: &Uri) -> Result<(Workload, Command), (StatusCode, String)> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let (mut workload, mut seconds) = (None, None);
    for (name, value) in pairs(uri.query().unwrap_or_default()) {
        match &*name {
            "workload" => workload = Some(value),
            "seconds" => seconds = value.parse::<u64>().ok(),
            _ => {}
        }
    }
    let command = match uri.path() {
        "/wake" => Command::Wake,
        "/sleep" => Command::Sleep,
        "/keep-awake" => {
            let seconds = seconds.ok_or_else(|| bad("`seconds` is missing".into()))?;
            Command::KeepAwake(Duration::from_secs(seconds.min(AWAKE_SECONDS_MAX)))
        }
        _ => return Err((StatusCode::NOT_FOUND, "known: /wake /sleep /keep-awake".into())),
    };
    let workload = workload.ok_or_else(|| bad("`workload` is missing".into()))?;
    let (namespace, reference) =
        workload.split_once('/').ok_or_else(|| bad("a workload is NAMESPACE/KIND/NAME".into()))?;
    let reference = Reference::parse(reference).map_err(|error| bad(error.to_string()))?;
    Ok((reference.within(&namespace.into()), command))
}

fn own_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a user may command a process of another one.
fn may_command(user: u32, own: u32) -> bool {
    user == own || user == 0
}

#[expect(clippy::disallowed_methods, reason = "the shell of this module, where time comes in")]
fn now() -> Timestamp {
    Timestamp::now()
}

const CONNECTIONS_MAX: usize = 16;
const HEADERS_BYTES_MAX: usize = 16 << 10;
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const AWAKE_SECONDS_MAX: u64 = 400 * 24 * 3600;

#[cfg(test)]
mod tests;
