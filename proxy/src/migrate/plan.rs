//! The steps of moving in, in their order, and the way back.

use super::{Report, Target, Verdict};

/// Each step with its commands, one text for each.
pub fn plan(report: &Report, target: &Target) -> Vec<String> {
    let open = |wanted: Verdict| {
        let findings = report.objects.iter().flat_map(|object| &object.findings);
        findings.filter(|finding| finding.verdict == wanted).count()
    };
    let has = |kind: &str| report.objects.iter().any(|object| object.object.starts_with(kind));
    let namespace = &target.namespace;
    let mut steps = vec![
        format!(
            "Decide about what is left: {} things to write by hand, {} that are closed until then (`vestibule migrate`).",
            open(Verdict::ByHand),
            open(Verdict::Closed)
        ),
        format!(
            "Start beside the old controller, in the namespace {namespace}, with `cluster: {{status: off}}`: it serves and writes nothing. \
             Nobody is sent to it yet."
        ),
        "Compare: `vestibule check` on the manifests, then `vestibule explain URL` and `curl --connect-to` for the hosts that matter.".into(),
    ];
    if report.written().next().is_some() {
        steps.push("Commit what `vestibule migrate --write DIR` wrote, beside the old objects: both controllers serve the same hosts now.".into());
    }
    steps.push(
        "Admit it: patch the network policies that are named in the report, and the policies of the mesh."
            .into(),
    );
    steps.push(
        "Turn the traffic: change the selector of the old controller's LoadBalancer Service to the pods of Vestibule, so that the address \
         stays. Connections that are open go on at the old controller until they end."
            .into(),
    );
    steps.push("Let it write: `cluster: {status: on}`, and stop the old controller from writing statuses (`--update-status=false`).".into());
    if has("IngressClass") {
        steps.push(
            "Move the default class, if the old one was: one IngressClass has the annotation, never two."
                .into(),
        );
    }
    if has("ValidatingWebhookConfiguration") {
        steps.push("Delete the admission webhook of the old controller before the controller itself: without it no Ingress can be changed.".into());
    }
    steps.push("Watch `vestibule_rejects_total` and `vestibule status` for a day; then remove the old controller and its objects.".into());
    steps.push(
        "The way back, until the old controller is removed: change the selector of the Service back. Nothing that was written keeps the \
         old controller from serving."
            .into(),
    );
    steps
}
