use serde_json::json;

use super::*;

fn reason(found: Option<Trouble>) -> Option<TroubleReason> {
    found.map(|trouble| trouble.reason)
}

#[test]
fn containers_say_why_they_do_not_run() {
    let pod = |container: Value| json!({"metadata": {"name": "web-1"}, "status": {"containerStatuses": [container]}});
    let waiting = |reason: &str| pod(json!({"name": "app", "state": {"waiting": {"reason": reason}}}));
    for (word, expected) in [
        ("ImagePullBackOff", TroubleReason::Image),
        ("CrashLoopBackOff", TroubleReason::Crash),
        ("CreateContainerConfigError", TroubleReason::Configuration),
    ] {
        assert_eq!(reason(of_pod(&waiting(word))), Some(expected), "{word}");
    }
    assert_eq!(of_pod(&waiting("ContainerCreating")), None);
    // Between two starts it says nothing of a loop.
    let again = pod(json!({
        "name": "app", "restartCount": 1, "ready": false, "state": {"running": {}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }));
    let found = of_pod(&again).expect("a crash");
    assert_eq!(found.reason, TroubleReason::Crash);
    assert_eq!(
        &*found.detail,
        "Pod web-1: container app: it was started anew; it ended with 137 (OOMKilled)"
    );
    let well = pod(json!({"name": "app", "restartCount": 3, "ready": true, "state": {"running": {}}}));
    assert_eq!(of_pod(&well), None);
}

#[test]
fn the_scheduler_says_whether_it_lacks_room_or_storage() {
    let pod = |message: &str| {
        json!({"metadata": {"name": "web-1"}, "status": {"conditions": [
            {"type": "PodScheduled", "reason": "Unschedulable", "message": message}]}})
    };
    let found = of_pod(&pod("0/3 nodes are available: 3 Insufficient memory.")).expect("no room");
    assert_eq!(found.reason, TroubleReason::Room);
    assert!(found.detail.contains("Insufficient memory"), "{}", found.detail);
    let storage = "pod has unbound immediate PersistentVolumeClaims";
    assert_eq!(reason(of_pod(&pod(storage))), Some(TroubleReason::Volume));
}

#[test]
fn a_condition_says_that_no_pod_comes_into_being() {
    let failure = |message: &str| json!({"status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": message}]}});
    let quota = failure("pods \"web\" is forbidden: exceeded quota: small");
    assert_eq!(reason(of_conditions(&quota)), Some(TroubleReason::Quota));
    let denied = failure("admission webhook \"policy\" denied the request");
    assert_eq!(reason(of_conditions(&denied)), Some(TroubleReason::Rejected));
    assert_eq!(of_conditions(&json!({"status": {}})), None);
}

#[test]
fn the_newest_event_that_says_something_counts() {
    let event = |time: &str, reason: &str, message: &str| json!({"lastTimestamp": time, "reason": reason, "message": message});
    let since: Timestamp = "2026-11-21T10:00:00Z".parse().expect("a time");
    let of = |events: &[Value]| reason(of_events(&json!({"items": events}), since));
    let quota =
        "create Pod db-0 in StatefulSet db failed error: pods \"db-0\" is forbidden: exceeded quota: small";
    assert_eq!(of(&[event("2026-11-21T10:00:01Z", "FailedCreate", quota)]), Some(TroubleReason::Quota));
    let mount = event("2026-11-21T10:00:05Z", "FailedMount", "configmap \"x\" not found");
    let probe = event("2026-11-21T10:00:09Z", "Unhealthy", "Readiness probe failed: 503");
    assert_eq!(of(&[mount.clone(), probe.clone()]), Some(TroubleReason::Unready));
    assert_eq!(of(&[probe, mount.clone()]), Some(TroubleReason::Unready), "in whatever order they come");
    let other = event("2026-11-21T10:00:20Z", "SomethingElse", "");
    assert_eq!(of(&[mount, other]), Some(TroubleReason::Volume));
    assert_eq!(of(&[event("2026-11-21T09:00:00Z", "FailedMount", "")]), None, "before it was woken");
}

#[test]
fn what_pods_say_is_short_and_writes_no_lines() {
    let long = trouble(TroubleReason::Rejected, &format!("a\n{}", "ä".repeat(DETAIL_BYTES_MAX)));
    assert!(long.detail.len() <= DETAIL_BYTES_MAX + 2 && !long.detail.contains('\n'));
}
