//! Workloads of a real API server that sleep and wake. No controllers run: what they would do, the tests do.

use std::time::Duration;

use tests::client::Client;
use tests::cluster::{ControlPlane, eventually, pause};
use tests::waking::{
    App, add_user, apply_as, cluster, command, events, ingress, patch_status, ready, runs, serve, service,
    workload,
};

#[test]
fn a_deployment_sleeps_is_woken_by_a_held_request_and_comes_back_as_it_was() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 3));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-idle", "1s")]));
    let app = App::start();
    runs(&cluster, "deployment", "web", 3, Some(app.address));
    let edge = serve(&cluster, "wake: {onlyReplica: true}\n");
    eventually("it serves", || Client::connect(edge.http()).get("shop.test", "/").status == 200);

    cluster.expect("deployment/web", "{.spec.replicas}", "0");
    runs(&cluster, "deployment", "web", 0, None);
    assert_eq!(
        cluster.read_with("configmap/vestibule-wake", "{.data.default_deployment_web}", &["-n", "vestibule"]),
        "3"
    );

    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    cluster.expect("deployment/web", "{.spec.replicas}", "3");
    runs(&cluster, "deployment", "web", 3, Some(app.address));
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("\"app\":\"woken\""), "{}", answer.text());
    cluster.expect("deployment/web", "{.spec.replicas}", "0");

    // Who looks at the workload sees who woke it.
    eventually("it is told of both", || {
        let woken = events(&cluster, "deployment/web", "Woken");
        let slept = events(&cluster, "deployment/web", "PutToSleep");
        woken.contains("Normal: Woken with 3 replicas for a request of Ingress default/web rule 0 (/) (program, request id ")
            && slept.matches("Normal: Put to sleep: nobody uses it.").count() == 2
    });
    let own = "namespace=\"default\",workload=\"deployment/web\"";
    eventually("it is counted", || edge.metric("vestibule_workloads{state=\"asleep\"} ") == Some(1.0));
    let count = |series: &str| edge.metric(&series.replace("OWN", own));
    assert_eq!(count("vestibule_wakes_total{OWN,result=\"awake\"} "), Some(1.0));
    assert_eq!(count("vestibule_sleeps_total{OWN,result=\"asleep\"} "), Some(2.0));
    assert!(count("vestibule_workload_asleep_seconds_total{OWN} ").is_some_and(|seconds| seconds > 0.0));
    assert_eq!(count("vestibule_wake_duration_seconds_count "), Some(1.0));
    assert_eq!(count("vestibule_wake_waiting_requests "), Some(0.0));
}

#[test]
fn the_database_is_woken_first() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&workload("StatefulSet", "db", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake", "deployment/web after statefulset/db")]));
    let app = App::start();
    runs(&cluster, "deployment", "web", 0, None);
    let edge = serve(&cluster, "");
    eventually("it serves", || !edge.ask("/readyz").text().is_empty());
    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    cluster.expect("statefulset/db", "{.spec.replicas}", "1");
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "0", "before its database is ready");
    ready(&cluster, "statefulset", "db", 1);
    cluster.expect("deployment/web", "{.spec.replicas}", "1");
    runs(&cluster, "deployment", "web", 1, Some(app.address));
    assert!(client.answer().text().contains("\"app\":\"woken\""));
}

#[test]
fn what_nobody_can_tell_apart_is_a_problem() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&workload("StatefulSet", "web", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-wait", "hold")]));
    let edge = serve(&cluster, "");
    edge.err().wait_for(&["CannotWake", "deployment/web and statefulset/web"]);
}

#[test]
fn a_missing_right_is_told_and_costs_no_wait() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-timeout", "5m")]));
    runs(&cluster, "deployment", "web", 0, None);
    cluster.kubectl(&["delete", "rolebinding", "vestibule-wake", "vestibule-wake-look"]);
    let edge = serve(&cluster, "");
    let answer = Client::connect(edge.http()).get("shop.test", "/");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("reason: wake_failed"), "{}", answer.text());
    edge.err().wait_for(&["CannotWake", "forbidden"]);
}

#[test]
fn commands_act_with_the_rights_of_whoever_runs_them() {
    let cluster = cluster();
    cluster.apply(&workload("Deployment", "web", 2));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[]));
    for (user, verbs) in [("tenant", "--verb=get,patch"), ("reader", "--verb=get")] {
        add_user(&cluster, user);
        cluster.kubectl(&["create", "role", user, verbs, "--resource=deployments.apps"]);
        let (role, user_option) = (format!("--role={user}"), format!("--user={user}"));
        cluster.kubectl(&["create", "rolebinding", user, &role, &user_option]);
    }
    let app = App::start();
    runs(&cluster, "deployment", "web", 2, Some(app.address));
    let edge = serve(&cluster, "wake: {onlyReplica: true}\n");
    edge.err().wait_for(&["this replica leads"]);

    let refused = |words: &[&str]| {
        let output = command(&cluster, "reader", words);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("the API server forbids to patch default/deployment/web"), "{error}");
    };
    let obeyed = |words: &[&str], replicas: &str| {
        let output = command(&cluster, "tenant", words);
        assert_eq!(output.status.code(), Some(0), "{output:?}\n{:?}", edge.err().all());
        assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), replicas, "{words:?}");
    };
    refused(&["sleep", "deployment/web"]);
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "2");
    obeyed(&["sleep", "deployment/web"], "0");
    runs(&cluster, "deployment", "web", 0, None);
    refused(&["wake", "deployment/web"]);
    refused(&["keep-awake", "deployment/web", "--for", "1h"]);
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "0");
    obeyed(&["keep-awake", "deployment/web", "--for", "1h"], "2");
    runs(&cluster, "deployment", "web", 2, Some(app.address));
    obeyed(&["sleep", "deployment/web"], "0");
    runs(&cluster, "deployment", "web", 0, None);
    obeyed(&["wake", "deployment/web"], "2");
    eventually("it is told", || {
        events(&cluster, "deployment/web", "Woken").matches("Woken with 2 replicas for a command.").count()
            == 2
    });
    let missing = command(&cluster, "tenant", &["wake", "deployment/none"]);
    assert!(String::from_utf8_lossy(&missing.stderr).contains("it does not exist"), "{missing:?}");
}

#[test]
fn flux_and_argo_cd_leave_asleep_what_names_no_replicas_and_are_named_where_they_do_not() {
    let cluster = cluster();
    let manifest = |label: &str, replicas: &str| {
        workload("Deployment", "web", 1)
            .replace("replicas: 1, ", replicas)
            .replace("{name: web}\nspec", &format!("{{name: web, labels: {{version: {label}}}}}\nspec"))
    };
    let sleeps = || {
        cluster.expect("deployment/web", "{.spec.replicas}", "0");
        runs(&cluster, "deployment", "web", 0, None);
    };
    apply_as(&cluster, "kustomize-controller", &manifest("one", ""));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake-idle", "1s")]));
    let app = App::start();
    runs(&cluster, "deployment", "web", 1, Some(app.address));
    let edge = serve(&cluster, "wake: {onlyReplica: true}\n");
    sleeps();
    // Flux applies on the server, again and again, and with changes of its own; Argo CD as kubectl does.
    for label in ["one", "two"] {
        apply_as(&cluster, "kustomize-controller", &manifest(label, ""));
        cluster.apply(&manifest(label, ""));
        cluster.expect("deployment/web", "{.metadata.labels.version}", label);
        assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "0", "{label}");
    }
    // With a number in the manifest it is woken, and to take the number out once it sleeps does not wake it.
    apply_as(&cluster, "kustomize-controller", &manifest("three", "replicas: 2, "));
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "2");
    runs(&cluster, "deployment", "web", 2, Some(app.address));
    sleeps();
    apply_as(&cluster, "kustomize-controller", &manifest("four", ""));
    cluster.expect("deployment/web", "{.metadata.labels.version}", "four");
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "0");
    // Once more, and it is a fight, in which Vestibule gives in.
    apply_as(&cluster, "kustomize-controller", &manifest("five", "replicas: 2, "));
    runs(&cluster, "deployment", "web", 2, Some(app.address));
    edge.err().wait_for(&["Contested", "kustomize-controller"]);
    eventually("it is told on the workload", || {
        let told = events(&cluster, "deployment/web", "Contested");
        told.contains(
            "Warning: Scaled up by kustomize-controller (Flux: take spec.replicas out of the manifest",
        )
    });
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "2");
}

#[test]
fn a_hibernated_database_is_left_asleep_by_gitops_and_wakes_before_its_application() {
    let cluster = cluster();
    cluster.apply(DATABASE_KIND);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/clusters.postgresql.cnpg.io"]);
    let rights = [
        "create",
        "role",
        "databases",
        "--verb=get,list,watch,patch",
        "--resource=clusters.postgresql.cnpg.io",
    ];
    cluster.kubectl(&rights);
    cluster.kubectl(&["create", "rolebinding", "databases", "--role=databases", "--user=vestibule"]);
    let database =
        "apiVersion: postgresql.cnpg.io/v1\nkind: Cluster\nmetadata: {name: pg}\nspec: {instances: 3}\n";
    apply_as(&cluster, "kustomize-controller", database);
    let kind = "clusters.postgresql.cnpg.io";
    patch_status(&cluster, kind, "pg", "{\"readyInstances\":3}");
    cluster.apply(&workload("Deployment", "web", 2));
    cluster.apply(&service("web"));
    let plan = "deployment/web after cluster.postgresql.cnpg.io/pg";
    cluster.apply(&ingress(&[("wake", plan), ("wake-idle", "1s")]));
    let app = App::start();
    runs(&cluster, "deployment", "web", 2, Some(app.address));
    let edge = serve(&cluster, "wake: {onlyReplica: true}\n");
    let hibernation = "{.metadata.annotations.cnpg\\.io/hibernation}";
    cluster.expect("deployment/web", "{.spec.replicas}", "0");
    assert_eq!(cluster.read(&format!("{kind}/pg"), hibernation), "", "before what needs it is gone");
    runs(&cluster, "deployment", "web", 0, None);
    cluster.expect(&format!("{kind}/pg"), hibernation, "on");
    patch_status(&cluster, kind, "pg", "{\"readyInstances\":0}");
    // The manifest does not name the annotation, so whoever applies it leaves it as it is.
    apply_as(&cluster, "kustomize-controller", &database.replace("instances: 3", "instances: 2"));
    cluster.apply(&database.replace("instances: 3", "instances: 2"));
    assert_eq!(cluster.read(&format!("{kind}/pg"), hibernation), "on");

    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    cluster.expect(&format!("{kind}/pg"), hibernation, "off");
    assert_eq!(cluster.read("deployment/web", "{.spec.replicas}"), "0", "before its database is ready");
    patch_status(&cluster, kind, "pg", "{\"readyInstances\":2}");
    cluster.expect("deployment/web", "{.spec.replicas}", "2");
    runs(&cluster, "deployment", "web", 2, Some(app.address));
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_group_of_sablier_wakes_as_its_labels_and_autoscalers_say() {
    let cluster = cluster();
    let labels = "labels: {sablier.enable: 'true'}, annotations: {sablier.group: 'media,other', sablier.active.replicas: '2'}";
    for name in ["web", "films"] {
        let labelled = workload("Deployment", name, 0)
            .replace(&format!("{{name: {name}}}\nspec"), &format!("{{name: {name}, {labels}}}\nspec"));
        cluster.apply(&labelled);
        ready(&cluster, "deployment", name, 0);
    }
    cluster.apply(&workload("Deployment", "unrelated", 0));
    cluster.apply(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: films}\n\
         spec: {minReplicas: 4, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: films}}\n",
    );
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake", "group/media")]));
    let app = App::start();
    runs(&cluster, "deployment", "web", 0, None);
    let edge = serve(&cluster, "");
    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    cluster.expect("deployment/web", "{.spec.replicas}", "2");
    cluster.expect("deployment/films", "{.spec.replicas}", "4");
    runs(&cluster, "deployment", "web", 2, Some(app.address));
    ready(&cluster, "deployment", "films", 4);
    assert_eq!(client.answer().status, 200);
    assert_eq!(cluster.read("deployment/unrelated", "{.spec.replicas}"), "0");
}

#[test]
fn anything_with_a_scale_subresource_sleeps_and_wakes_by_that_alone() {
    let cluster = cluster();
    cluster.apply(SCALABLE_KIND);
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/rollouts.example.com"]);
    for (name, verbs, resource) in [
        ("rollouts", "--verb=get,list,watch", "--resource=rollouts.example.com"),
        ("rollouts-scale", "--verb=patch", "--resource=rollouts.example.com/scale"),
    ] {
        cluster.kubectl(&["create", "role", name, verbs, resource]);
        cluster.kubectl(&["create", "rolebinding", name, &format!("--role={name}"), "--user=vestibule"]);
    }
    cluster.apply("apiVersion: example.com/v1\nkind: Rollout\nmetadata: {name: web}\nspec: {replicas: 5}\n");
    let kind = "rollouts.example.com";
    patch_status(&cluster, kind, "web", "{\"replicas\":5,\"readyReplicas\":5}");
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake", "rollout.example.com/web"), ("wake-idle", "1s")]));
    let edge = serve(&cluster, "wake: {onlyReplica: true}\n");
    cluster.expect("rollouts.example.com/web", "{.spec.replicas}", "0");
    patch_status(&cluster, kind, "web", "{\"replicas\":0,\"readyReplicas\":0}");
    let mut client = Client::connect(edge.http());
    client.send("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    cluster.expect("rollouts.example.com/web", "{.spec.replicas}", "5");
}

/// A kind that has replicas to be scaled.
const SCALABLE_KIND: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: rollouts.example.com}\n\
    spec: {group: example.com, scope: Namespaced, names: {plural: rollouts, singular: rollout, kind: Rollout}, \
    versions: [{name: v1, served: true, storage: true, \
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}, \
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}\n";

#[test]
fn what_a_backup_would_find_asleep_and_has_volumes_is_told_of() {
    let cluster = cluster();
    let claim = "volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], \
                 resources: {requests: {storage: 1Gi}}}}], selector:";
    cluster.apply(&workload("StatefulSet", "db", 1).replacen("selector:", claim, 1));
    cluster.apply(&workload("Deployment", "web", 0));
    cluster.apply(&service("web"));
    cluster.apply(&ingress(&[("wake", "deployment/web after statefulset/db"), ("wake-idle", "1s")]));
    runs(&cluster, "deployment", "web", 0, None);
    ready(&cluster, "statefulset", "db", 1);
    let _edge = serve(&cluster, "wake: {onlyReplica: true, backup: '00:00-00:00'}\n");
    cluster.expect("statefulset/db", "{.spec.replicas}", "0");
    eventually("it is told on what has volumes", || {
        events(&cluster, "statefulset/db", "AsleepDuringBackup")
            .contains("Warning: It sleeps while backups run, and has volumes (data)")
    });
    assert_eq!(events(&cluster, "deployment/web", "AsleepDuringBackup"), "", "it has none");
}

#[test]
fn while_nothing_happens_nothing_is_asked_of_the_api_server() {
    let cluster = cluster();
    let mut manifests = String::new();
    for number in 0..WORKLOADS {
        let name = format!("web{number}");
        let ingress = ingress(&[("wake-idle", "1s")]).replace("name: web", &format!("name: {name}"));
        let rule = format!("rules: [{{host: {name}.test, http:");
        let parts = [
            workload("Deployment", &name, number % 2),
            service(&name),
            ingress.replace("rules: [{http:", &rule),
        ];
        manifests.push_str(&format!("{}---\n", parts.join("---\n")));
    }
    cluster.apply(&manifests);
    // Those with one are awake, and their Pods never become ready: nobody can use them, and they sleep soon.
    let edge = serve(&cluster, "wake: {onlyReplica: true}\n");
    let asleep = f64::from(WORKLOADS);
    for number in (1..WORKLOADS).step_by(2) {
        ready(&cluster, "deployment", &format!("web{number}"), 1);
    }
    eventually("all sleep", || edge.metric("vestibule_workloads{state=\"asleep\"} ") == Some(asleep));
    // What follows on that (Events) is over when nothing is asked for a while.
    let mut before = requests(&cluster);
    eventually("it is quiet", || {
        pause(Duration::from_secs(3));
        let last = std::mem::replace(&mut before, requests(&cluster));
        last == before
    });
    pause(QUIET);
    let after = requests(&cluster);
    let asked: Vec<String> = after.iter().filter(|line| !before.contains(line)).cloned().collect();
    eprintln!("{WORKLOADS} workloads asleep for {QUIET:?}: {} series of requests grew", asked.len());
    assert_eq!(asked, Vec::<String>::new());
}

/// How often the API server was asked for what wakes and sleeps, by verb and kind. Leases are renewed whatever happens, and a
/// watch counts when it ends.
fn requests(cluster: &ControlPlane) -> Vec<String> {
    let output = cluster.command(&["get", "--raw", "/metrics"]).output().expect("kubectl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kinds = [
        "deployments",
        "statefulsets",
        "pods",
        "events",
        "configmaps",
        "horizontalpodautoscalers",
        "ingresses",
    ];
    let counts =
        text.lines().filter(|line| line.starts_with("apiserver_request_total{") && !line.contains("WATCH"));
    let ours = counts.filter(|line| kinds.iter().any(|kind| line.contains(&format!("resource=\"{kind}\""))));
    ours.map(str::to_owned).collect()
}

const WORKLOADS: u32 = 20;
const QUIET: Duration = Duration::from_secs(20);

/// As much of CloudNativePG as its objects take.
const DATABASE_KIND: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: clusters.postgresql.cnpg.io}\n\
    spec: {group: postgresql.cnpg.io, scope: Namespaced, names: {plural: clusters, singular: cluster, kind: Cluster}, \
    versions: [{name: v1, served: true, storage: true, subresources: {status: {}}, \
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]}\n";
