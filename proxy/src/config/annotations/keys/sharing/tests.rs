use super::*;

#[test]
fn services_have_weights_and_perhaps_ports() {
    let read = weights("web-v1=80, web-v2 = 15,web-v3:8080=5, web-v4:http=0").expect("weights");
    let written: Vec<String> = read
        .iter()
        .map(|share| format!("{} {} {}", share.name, share.port.as_deref().unwrap_or("-"), share.weight))
        .collect();
    assert_eq!(written, ["web-v1 - 80", "web-v2 - 15", "web-v3 8080 5", "web-v4 http 0"]);
}

#[test]
fn what_is_none_is_told() {
    for bad in ["", "web", "web=", "web=x", "web=-1", "=1", "Web=1", "web:=1", "web=1000001", "a/b=1"] {
        assert!(weights(bad).is_err(), "{bad}");
    }
    let many = |count: usize| (0..count).map(|n| format!("web-{n}=1")).collect::<Vec<_>>().join(", ");
    assert_eq!(weights(&many(SERVICES_MAX)).expect("as many as there may be").len(), SERVICES_MAX);
    assert!(weights(&many(SERVICES_MAX + 1)).is_err());
}
