use std::collections::BTreeMap;

use tokio::net::TcpListener;

use super::*;
use crate::options::Role;
use crate::replicas::call::CallError;
use crate::replicas::members::{Member, of_list};
use crate::replicas::poll::Answer;

async fn port(role: Role) -> (Replicas, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (Replicas::start(listener, role), address)
}

fn known(port: u16, name: &str, serves: bool, writes: bool) -> Known {
    let answer = Answer {
        incarnation: name.into(),
        serves,
        ready: true,
        writes,
        generations: Arc::new(BTreeMap::new()),
    };
    Known { member: member(port), answer: Some(answer), silent: None }
}

fn member(port: u16) -> Member {
    Member { address: ([10, 0, 0, 1], port).into(), ready: true }
}

fn unknown(port: u16) -> Known {
    let address = member(port).address;
    let silent = CallError::Timeout { address, limit: Duration::from_secs(2) };
    Known { member: member(port), answer: None, silent: Some(silent) }
}

fn show(replicas: &Replicas, others: &[Known]) {
    let mut all = vec![known(1, replicas.name(), replicas.role().serves(), false)];
    all.extend_from_slice(others);
    let own = Some(all[0].member.address);
    replicas.set_surroundings(Surroundings { complete: true, own, replicas: all });
}

fn names(peers: &Option<BTreeSet<PeerId>>) -> Vec<&str> {
    peers.iter().flatten().map(|peer| &*peer.0).collect()
}

#[tokio::test]
async fn all_that_clients_might_come_to_are_asked() {
    let (replicas, _) = port(Role::Control).await;
    let mut peers = Peers::new(Some(replicas.clone()));
    assert!(!peers.are_known(), "nobody was asked yet");
    // Only the other one of the role `control` is there: then it is not known who serves.
    show(&replicas, &[known(2, "control", false, false)]);
    assert!(!peers.are_known());
    assert_eq!(names(&peers.changed()), Vec::<&str>::new());
    show(&replicas, &[known(2, "control", false, false), known(3, "edge", true, false), unknown(4)]);
    assert!(peers.are_known());
    assert_eq!(names(&peers.changed()), ["at 10.0.0.1:4", "edge"]);
    assert_eq!(peers.changed(), None, "the machine knows that");
    // A new process at the same address is another one.
    show(&replicas, &[known(3, "reborn", true, false)]);
    assert_eq!(names(&peers.changed()), ["reborn"]);
    // Whoever does not find itself among the others asks the wrong ones.
    replicas.set_surroundings(Surroundings {
        complete: true,
        own: None,
        replicas: vec![known(3, "edge", true, false)],
    });
    assert!(!peers.are_known());
}

#[tokio::test]
async fn what_is_used_here_need_not_be_asked_for() {
    let (replicas, _) = port(Role::All).await;
    let mut peers = Peers::new(Some(replicas.clone()));
    let (group, token) = (GroupId(1), Token(1));
    let count = |holds| Count { holds, idle: Duration::from_secs(1) };
    let counted = |holds| Some(Event::Counted { group, token, count: count(holds) });
    show(&replicas, &[]);
    peers.changed();
    assert_eq!(peers.count(group, token, count(0), "web"), counted(0), "there is nobody else");
    show(&replicas, &[unknown(2)]);
    peers.changed();
    assert_eq!(peers.count(group, token, count(1), "web"), counted(1));
    assert_eq!(peers.count(group, token, count(0), "web"), None);
    // Nobody answers there, so it might be in use.
    let (events, mut told) = mpsc::channel(1);
    peers.ask(&events);
    let busy = Count { holds: 1, idle: Duration::ZERO };
    assert_eq!(told.recv().await, Some(Event::Counted { group, token, count: busy }));
}

#[tokio::test]
async fn a_process_joins_by_itself_when_it_could_be_known_for_long_enough() {
    let (replicas, address) = port(Role::Edge).await;
    let (ttl, latest) = (Duration::from_millis(50), Duration::from_secs(60));
    let mut peers = Peers::with(Some(replicas.clone()), ttl, latest);
    assert!(!peers.has_joined());
    let began = Instant::now();
    replicas.set_members(of_list(&[address]));
    assert!(matches!(peers.news().await, News::Joined));
    assert!(peers.has_joined() && began.elapsed() >= ttl);

    // Nobody knows of it, and it goes on without.
    let (replicas, _) = port(Role::Edge).await;
    let mut peers = Peers::with(Some(replicas), Duration::ZERO, Duration::from_millis(100));
    let began = Instant::now();
    assert!(matches!(peers.news().await, News::Joined));
    assert!(began.elapsed() >= Duration::from_millis(90));
    // Those that need not wait do not.
    assert!(Peers::new(None).has_joined());
    assert!(Peers::new(Some(port(Role::Control).await.0)).has_joined());
}

#[tokio::test]
async fn whoever_leads_joins_when_nobody_else_can_still_put_anything_to_sleep() {
    let (replicas, _) = port(Role::All).await;
    let mut peers = Peers::new(Some(replicas.clone()));
    show(&replicas, &[]);
    assert!(!peers.join_as_leader(), "the last leader may have written just before");
    let port = peers.port.as_mut().expect("there is a port");
    port.began = port.began.checked_sub(WRITE_WITHIN).expect("the machine runs for longer");
    show(&replicas, &[known(2, "leader before", true, true)]);
    assert!(!peers.join_as_leader());
    show(&replicas, &[unknown(2)]);
    assert!(!peers.join_as_leader());
    show(&replicas, &[known(2, "leader before", true, false)]);
    assert!(peers.join_as_leader() && peers.has_joined());
    assert!(!peers.join_as_leader(), "once");
}
