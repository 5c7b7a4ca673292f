use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use http::Request;

use super::*;
use crate::http::Http;

/// An HTTP side that answers what it was told to, in order, and remembers what it was asked.
#[derive(Clone, Default)]
pub(crate) struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    answers: VecDeque<Answer>,
    asked: Vec<Request<Bytes>>,
}

type Answer = Result<Response<Bytes>, HttpError>;

impl Script {
    pub(crate) fn answer(&self, status: u16, body: &str) -> &Script {
        let answer =
            Response::builder().status(status).body(Bytes::from(body.to_owned())).expect("an answer");
        self.0.lock().expect("no panic").answers.push_back(Ok(answer));
        self
    }

    pub(crate) fn fail(&self, error: &str) -> &Script {
        self.0.lock().expect("no panic").answers.push_back(Err(HttpError(error.to_owned())));
        self
    }

    /// `METHOD path?query` of each request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        let script = self.0.lock().expect("no panic");
        let line = |request: &Request<Bytes>| {
            format!(
                "{} {}",
                request.method(),
                request.uri().path_and_query().map_or("", |path| path.as_str())
            )
        };
        script.asked.iter().map(line).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request<Bytes>> {
        self.0.lock().expect("no panic").asked.clone()
    }
}

impl Http for Script {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Answer> {
        let mut script = self.0.lock().expect("no panic");
        script.asked.push(request);
        let answer =
            script.answers.pop_front().unwrap_or_else(|| Err(HttpError("nobody expected this".to_owned())));
        Box::pin(async move { answer })
    }
}

#[test]
fn zones_are_sought_from_the_deepest_to_two_labels() {
    let of = |record| candidates(record).collect::<Vec<_>>();
    assert_eq!(of("_acme-challenge.a.b.test"), ["_acme-challenge.a.b.test", "a.b.test", "b.test"]);
    assert_eq!(of("test"), [""; 0]);
    assert_eq!(of(&["a"; 60].join(".")).len(), CANDIDATES_MAX);
}

#[tokio::test]
async fn requests_are_kept_apart() {
    let throttle = Throttle::new(Duration::from_millis(20));
    let begun = Instant::now();
    for _ in 0..6 {
        throttle.pass().await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_throttled_is_repeated_and_given_up() {
    let mut left = 2;
    let throttle = Throttle::none();
    let done = throttle.patiently(|| {
        left -= 1;
        let answer = if left < 0 { Ok(left) } else { Err(ProviderError::Throttled("slow down".to_owned())) };
        async move { answer }
    });
    assert_eq!(done.await, Ok(-1));
    let mut tries = 0;
    let never = throttle.patiently(|| {
        tries += 1;
        async { Err::<(), _>(ProviderError::Throttled("slow down".to_owned())) }
    });
    assert!(matches!(never.await, Err(ProviderError::Throttled(_))));
    assert_eq!(tries, ATTEMPTS_MAX);
}

#[test]
fn an_excerpt_is_one_short_line() {
    let body = format!("<p>\n {}</p>", "é".repeat(500));
    let answer = Response::builder().status(500).body(Bytes::from(body)).expect("an answer");
    let text = excerpt(&answer);
    assert!(text.starts_with("status 500: <p> é") && text.len() <= EXCERPT_BYTES_MAX + 12, "{text}");
}
