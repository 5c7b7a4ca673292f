use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::members::Member;
use super::super::poll::{Answer, Known, Surroundings};
use super::*;
use crate::options::Role;

fn replica(port: u16, thumbprints: &[&str]) -> Known {
    let generations: BTreeMap<Box<str>, i64> = thumbprints.iter().map(|print| (answered(print), 1)).collect();
    Known {
        member: Member { address: ([127, 0, 0, 1], port).into(), ready: true },
        answer: Some(Answer {
            incarnation: format!("{port}").into(),
            serves: true,
            ready: true,
            writes: false,
            generations: Arc::new(generations),
        }),
        silent: None,
    }
}

fn of(replicas: Vec<Known>) -> Surroundings {
    Surroundings { complete: true, own: None, replicas }
}

#[tokio::test]
async fn it_is_known_as_soon_as_the_last_one_answers() {
    let replicas = Replicas::new(Role::Control, 0);
    replicas.set_surroundings(of(vec![replica(1, &["print"]), replica(2, &["other"])]));
    let waiting = tokio::spawn({
        let replicas = replicas.clone();
        async move { replicas.all_answer_within("print", Duration::from_secs(60)).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    replicas.set_surroundings(of(vec![replica(1, &["print"]), replica(2, &["other", "print"])]));
    assert!(waiting.await.expect("it ends"));
}

#[tokio::test]
async fn one_that_never_says_so_is_not_waited_for_without_end() {
    let replicas = Replicas::new(Role::Control, 0);
    assert!(!replicas.all_answer_within("print", SOON).await, "nobody was asked");
    replicas.set_surroundings(of(vec![replica(1, &["print"]), replica(2, &[])]));
    assert!(!replicas.all_answer_within("print", SOON).await);
}

const SOON: Duration = Duration::from_millis(10);
