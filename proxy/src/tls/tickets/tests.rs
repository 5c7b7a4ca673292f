use super::*;

#[test]
fn a_ticket_opens_on_every_replica_that_shares_the_secret() {
    let (one, other) = (keys(1, class(), 0), keys(1, class(), 0));
    let ticket = one.seal(b"state", hours(12)).unwrap();
    assert_eq!(other.open(&ticket, hours(12)).as_deref(), Some(&b"state"[..]));
    assert!(memchr::memmem::find(&ticket, b"state").is_none());
}

#[test]
fn a_ticket_opens_nowhere_else() {
    let ticket = keys(1, class(), 0).seal(b"state", hours(12)).unwrap();
    let gateway =
        |name: &str, port| ListenerKey::Gateway { namespace: "infra".into(), name: name.into(), port };
    for other in [
        keys(2, class(), 0),
        keys(1, class(), 1),
        keys(1, ListenerKey::Class { class: "public".into(), tls: false }, 0),
        keys(1, ListenerKey::Class { class: "private".into(), tls: true }, 0),
        keys(1, gateway("edge", 443), 0),
    ] {
        assert_eq!(other.open(&ticket, hours(12)), None);
    }
    let ticket = keys(1, gateway("edge", 443), 0).seal(b"state", hours(12)).unwrap();
    assert_eq!(keys(1, gateway("edge", 8443), 0).open(&ticket, hours(12)), None);
    assert_eq!(keys(1, gateway("edgy", 443), 0).open(&ticket, hours(12)), None);
}

#[test]
fn keys_seal_for_one_epoch_and_open_one_before_and_one_after() {
    let sealed_at = 10 * EPOCH;
    let ticket = keys(1, class(), 0).seal(b"state", sealed_at).unwrap();
    let second = Duration::from_secs(1);
    for (now, opens) in [
        (9 * EPOCH - second, false),
        (9 * EPOCH, true),
        (sealed_at, true),
        (12 * EPOCH - second, true),
        (12 * EPOCH, false),
    ] {
        assert_eq!(keys(1, class(), 0).open(&ticket, now).is_some(), opens, "{now:?}");
    }
    // The promise made to clients: from the last second of its epoch, a ticket opens for its whole lifetime.
    let keys = keys(1, class(), 0);
    let late = keys.seal(b"state", 11 * EPOCH - second).unwrap();
    let lifetime = Duration::from_secs(keys.lifetime().into());
    assert!(keys.open(&late, 11 * EPOCH - second + lifetime).is_some());
}

#[test]
fn one_set_of_keys_follows_the_clock_both_ways() {
    let keys = keys(1, class(), 0);
    let first = keys.seal(b"state", hours(1)).unwrap();
    let second = keys.seal(b"state", hours(7)).unwrap();
    assert_ne!(first[..KEY_NAME_BYTES], second[..KEY_NAME_BYTES]);
    assert!(keys.open(&first, hours(7)).is_some());
    assert!(keys.open(&second, hours(1)).is_some());
    let third = keys.seal(b"state", hours(13)).unwrap();
    assert!(keys.open(&first, hours(13)).is_none());
    assert!(keys.open(&third, hours(7)).is_some());
    // The first epoch of all has none before it.
    assert!(keys.seal(b"state", Duration::ZERO).is_some());
}

#[test]
fn a_changed_ticket_does_not_open() {
    let keys = keys(1, class(), 0);
    let ticket = keys.seal(b"state", hours(12)).unwrap();
    for index in 0..ticket.len() {
        let mut changed = ticket.clone();
        changed[index] ^= 1;
        assert_eq!(keys.open(&changed, hours(12)), None, "byte {index}");
        assert_eq!(keys.open(&ticket[..index], hours(12)), None, "length {index}");
    }
    assert_eq!(keys.open(&[&ticket[..], b"x"].concat(), hours(12)), None);
}

#[test]
fn tickets_are_bounded() {
    let keys = keys(1, class(), 0);
    let overhead = KEY_NAME_BYTES + NONCE_BYTES + TAG_BYTES;
    let longest = keys.seal(&vec![0; TICKET_BYTES_MAX - overhead], hours(12)).unwrap();
    assert_eq!(longest.len(), TICKET_BYTES_MAX);
    assert!(keys.open(&longest, hours(12)).is_some());
    let longer = keys.seal(&vec![0; TICKET_BYTES_MAX - overhead + 1], hours(12)).unwrap();
    assert_eq!(keys.open(&longer, hours(12)), None);
}

#[test]
fn two_tickets_for_one_state_differ() {
    let keys = keys(1, class(), 0);
    assert_ne!(keys.seal(b"state", hours(12)), keys.seal(b"state", hours(12)));
}

#[test]
fn the_secret_is_not_shown() {
    assert_eq!(format!("{:?}", TicketSecret::new([7; 32])), "TicketSecret");
    assert_eq!(format!("{:?}", keys(7, class(), 0)), "TicketKeys");
}

fn keys(secret: u8, listener: ListenerKey, policy: u8) -> TicketKeys {
    TicketKeys::new(&TicketSecret::new([secret; SECRET_BYTES]), &listener, &[policy; 32])
}

fn class() -> ListenerKey {
    ListenerKey::Class { class: "public".into(), tls: true }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}
