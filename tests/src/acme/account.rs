//! An account at the CA, by its own key and past the edge.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use instant_acme::{Account, BodyWrapper, BytesResponse, Error, HttpClient};

/// Deactivates an account (RFC 8555 §7.3.6). `account` is the JSON of its credentials.
pub(super) fn deactivate(authority: &Path, account: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let credentials = serde_json::from_str(account).expect("credentials");
        let builder = Account::builder_with_http(Box::new(Curl { authority: authority.to_owned() }));
        let account = builder.from_credentials(credentials).await.expect("the CA answers");
        account.deactivate().await.expect("the CA does it");
    });
}

/// Requests by curl, which knows whom to trust.
struct Curl {
    authority: PathBuf,
}

impl HttpClient for Curl {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let authority = self.authority.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.expect("a body in memory").to_bytes();
            Ok(send(&authority, &Request::from_parts(parts, body)).map(Full::new).into())
        })
    }
}

fn send(authority: &Path, request: &Request<Bytes>) -> Response<Bytes> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--include", "--http1.1", "--cacert"]).arg(authority);
    match request.method().as_str() {
        "HEAD" => curl.arg("--head"),
        "GET" => &mut curl,
        method => curl.args(["--request", method, "--data-binary", "@-"]),
    };
    for (name, value) in request.headers() {
        curl.arg("--header").arg(format!("{name}: {}", value.to_str().expect("text")));
    }
    let url = request.uri().to_string();
    let mut child =
        curl.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl is there");
    child.stdin.take().expect("a pipe").write_all(request.body()).expect("written");
    let answer = child.wait_with_output().expect("it ends").stdout;
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
    let mut response = Response::builder().status(status);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        response = response.header(name, value);
    }
    response.body(Bytes::from(body.to_owned())).expect("an answer")
}
