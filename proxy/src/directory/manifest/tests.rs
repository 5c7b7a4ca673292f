use super::*;

fn parts(text: &str) -> Vec<Parsed> {
    parse(text.as_bytes(), false, &[]).iter().flat_map(|document| document.parts.to_vec()).collect()
}

fn fault(text: &str) -> (usize, String) {
    let documents = parse(text.as_bytes(), false, &[]);
    let faults = documents.iter().flat_map(|document| {
        document.parts.iter().filter_map(|part| match part {
            Parsed::Fault(fault) => Some((document.line_of(fault.line), fault.message.clone())),
            _ => None,
        })
    });
    let faults: Vec<_> = faults.collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.into_iter().next().unwrap()
}

#[test]
fn documents_are_split_and_know_their_lines() {
    let text = "# first\n\nkind: A\n---\n# second\nkind: B\n--- # third\n---\n{kind: D}\n...\n";
    let documents = parse(text.as_bytes(), false, &[]);
    assert_eq!(documents.iter().map(|document| document.line).collect::<Vec<_>>(), [3, 6, 9]);
    let kinds: Vec<_> = documents
        .iter()
        .map(|document| match &*document.parts {
            [Parsed::Foreign(foreign)] => foreign.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["A", "B", "D"]);
}

#[test]
fn a_marker_inside_indented_text_does_not_split() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    ---\n    y\n";
    assert!(matches!(&parts(text)[..], [Parsed::Object { .. }]));
}

#[test]
fn a_list_is_its_items() {
    let text = "\
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: a}}
  - {apiVersion: apps/v1, kind: Deployment, metadata: {name: b}}
  - {apiVersion: v1, kind: Service, metadata: {name: c}, spec: {ports: 7}}
";
    let parts = parts(text);
    assert!(matches!(&parts[0], Parsed::Object { item: Some(0), .. }));
    assert!(matches!(&parts[1], Parsed::Foreign(foreign) if foreign.to_string() == "Deployment (apps/v1)"));
    assert!(
        matches!(&parts[2], Parsed::Fault(fault) if fault.message.starts_with("item 2: ")),
        "{:?}",
        parts[2]
    );
}

#[test]
fn a_fault_has_the_line_it_stands_at() {
    let text = "kind: A\n---\napiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n    - port: many\n";
    let (line, message) = fault(text);
    assert_eq!(line, 9, "{message}");
    let (line, message) = fault("a: b\n---\nkind: [\n");
    assert!(line >= 3, "{line} {message}");
    let (line, message) = fault("apiVersion: v1\nkind: Service\nmetadata: {}\n");
    assert!(message.contains("name"), "{line} {message}");
}

#[test]
fn a_number_is_no_text() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  answer: 42\n";
    assert_eq!(fault(text).0, 5);
}

#[test]
fn a_kind_that_is_read_never_passes_for_foreign() {
    for spec in ["[]", "7", "{template: 3, target: []}"] {
        let text =
            format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: a}}\nspec: {spec}\n");
        assert!(!matches!(&parts(&text)[..], [Parsed::Foreign(_)]), "{spec}");
    }
}

#[test]
fn an_old_version_is_named_with_the_one_to_write() {
    let (_, message) = fault("apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\n");
    assert_eq!(message, "the version extensions/v1beta1 is not read; write networking.k8s.io/v1");
    let foreign = parts("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n");
    assert!(matches!(&foreign[..], [Parsed::Foreign(_)]));
}

#[test]
fn secrets_in_other_hands_exist_with_unknown_content() {
    let sealed_names = [
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {x: 'ENC[AES256_GCM]'}\nsops: {mac: x}\n",
            "a",
        ),
        (
            "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: b}\nspec: {template: {metadata: {name: c}}}\n",
            "c",
        ),
        (
            "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: d}\nspec: {target: {name: e}}\n",
            "e",
        ),
        ("apiVersion: external-secrets.io/v1beta1\nkind: ExternalSecret\nmetadata: {name: f}\n", "f"),
    ];
    for (text, name) in sealed_names {
        match &parts(text)[..] {
            [Parsed::Sealed { object: Object::Secret(secret), .. }] => {
                assert_eq!(&*secret.metadata.name, name);
                assert_eq!(&*secret.metadata.namespace, "default");
                assert_eq!(&*secret.secret_type, SEALED_SECRET_TYPE);
                assert!(secret.data.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_broken_secret_is_not_quoted() {
    for data in ["{password: [hunter2]}", "hunter2", "{password: hunter2!}"] {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\ndata: {data}\n");
        let (_, message) = fault(&text);
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn bytes_that_are_not_text_are_one_fault() {
    let documents = parse(b"a: b\n\xff\xfe", false, &[]);
    assert!(documents[0].is_broken());
    assert_eq!(documents[0].line, 2);
    assert!(parse("\u{feff}kind: A\n".as_bytes(), false, &[]).len() == 1);
}

#[test]
fn json_is_read_and_placed() {
    let documents = parse(br#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}}"#, true, &[]);
    assert!(matches!(&*documents[0].parts, [Parsed::Object { .. }]));
    let documents = parse(b"{\n\"kind\": }", true, &[]);
    let Parsed::Fault(fault) = &documents[0].parts[0] else { panic!() };
    assert_eq!(documents[0].line_of(fault.line), 2);
}

#[test]
fn the_number_of_documents_is_bounded() {
    let text = "---\n1\n".repeat(DOCUMENTS_MAX + 1);
    let documents = parse(text.as_bytes(), false, &[]);
    assert_eq!(documents.len(), DOCUMENTS_MAX + 1);
    assert!(documents.last().unwrap().is_broken());
}

#[test]
fn an_unchanged_document_is_not_parsed_again() {
    let one = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n";
    let before = parse(format!("{one}---\nkind: B\n").as_bytes(), false, &[]);
    let after = parse(format!("{one}---\nkind: C\n").as_bytes(), false, &before);
    assert!(Arc::ptr_eq(&before[0].parts, &after[0].parts));
    assert!(!Arc::ptr_eq(&before[1].parts, &after[1].parts));
}
