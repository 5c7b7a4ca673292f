use super::*;

fn settings(address: std::net::SocketAddr) -> Settings {
    let text = format!("address: '{address}'");
    crate::yaml::from_str(&text).expect("settings")
}

#[tokio::test]
async fn without_a_store_every_question_fails() {
    let store = SessionStore::default();
    assert!(!store.is_named());
    assert!(matches!(store.read("session:x").await, Err(StoreError::Unnamed)));
}

#[tokio::test]
async fn a_store_that_is_away_is_not_asked_by_everybody() {
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address")
    };
    let store = SessionStore::default();
    store.configure(Some(&settings(closed))).expect("a thread");
    assert!(matches!(store.read("session:x").await, Err(StoreError::Connect { .. })));
    assert!(matches!(store.read("session:x").await, Err(StoreError::Away)));
    store.configure(None).expect("nothing to start");
    assert!(matches!(store.read("session:x").await, Err(StoreError::Unnamed)));
}

#[tokio::test]
async fn no_more_wait_than_there_is_room_for() {
    // It takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let store = Arc::new(SessionStore::default());
    store.configure(Some(&settings(silent.local_addr().expect("an address")))).expect("a thread");
    let waiting: Vec<_> = (0..QUESTIONS_LEN_MAX)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.read("session:x").await })
        })
        .collect();
    let running = store.running.load_full().expect("configured");
    while running.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(store.read("session:x").await, Err(StoreError::Busy)));
    for one in waiting {
        assert!(one.await.expect("no panic").is_err(), "and nobody is let in");
    }
}
